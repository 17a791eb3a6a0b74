//! Cold restore: lays collections of a recovery point out in the data directory of a Qdrant that is stopped.
//!
//! What may be read comes from a ticket that an operator made for this node. Each collection is built beside the
//! others, in [`place::Storage`]'s own folder, and takes its name by one rename when every byte is verified and on disk.
//! What is there already is kept: an interrupted run goes on chunk by chunk, and what the node itself still
//! has is copied in place of being fetched. Nothing is ever deleted but what an earlier run of this left unfinished.
//!
//! It does not start Qdrant, and says nothing of points: counting them takes a server.

use crate::config::AgentConfig;
use crate::dial::TlsDial;
use crate::failure::{Failed, chain};
use crate::fetch;
use crate::flow::both;
use crate::job::Halt;
use crate::link::{Dial as _, Link};
use crate::progress::Meter;
use crate::rebuild::check_whole;
use files::Layout;
use holdfast_archive::{CollectionEntry, ShardEntry};
use holdfast_certs::ClientTls;
use holdfast_qdrant::collection_files;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, CollectionName};
use ledger::Errand;
use place::{Placed, Storage};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ticket::Leave;
use tokio::sync::mpsc;

mod aliases;
mod files;
mod in_use;
mod ledger;
mod place;
mod sync;
mod ticket;

/// Chunks between the connection and the writer.
const CHUNKS: usize = 16;

/// Tries of one shard over connections that break, and the pause between them.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ColdOrder {
    /// The ticket's id.
    pub ticket: String,
    /// Qdrant's storage directory.
    pub data_dir: PathBuf,
    /// Whether collections that exist are moved aside.
    pub overwrite: bool,
    /// Whether aliases are set.
    pub with_aliases: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColdReport {
    /// An earlier run has done everything by the same ticket.
    DoneBefore,
    /// It is done now.
    Done(ColdDone),
}

/// The result of a cold restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdDone {
    /// The recovery point.
    pub recovery_point: String,
    /// The collections, in the manifest's order.
    pub collections: Vec<ColdCollection>,
    /// Aliases that were set.
    pub aliases: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Servers that wrote the data.
    pub qdrant_versions: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// A collection that was laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdCollection {
    /// Its name.
    pub name: CollectionName,
    /// Logical bytes of its files.
    pub logical_bytes: u64,
    /// Bytes that did not have to be fetched, holes included.
    pub kept_bytes: u64,
    /// Where what had the name before is now.
    pub moved_to: Option<PathBuf>,
    /// Exact number of points that a count must give, if it is known.
    pub points: Option<u64>,
}

impl fmt::Display for ColdReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoneBefore => writeln!(f, "this ticket was used here before: nothing to do"),
            Self::Done(done) => done.fmt(f),
        }
    }
}

impl fmt::Display for ColdDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (point, seconds) = (&self.recovery_point, self.elapsed.as_secs_f64());
        writeln!(f, "laid out {point} in {seconds:.1} s")?;
        for done in &self.collections {
            let (bytes, kept) = (ByteCount(done.logical_bytes), ByteCount(done.kept_bytes));
            write!(
                f,
                "  {}: {bytes}, of which {kept} were there or are zeros",
                done.name
            )?;
            if let Some(points) = done.points {
                write!(f, "; {points} points at the capture")?;
            }
            if let Some(old) = &done.moved_to {
                write!(f, "; what was there is now {}", old.display())?;
            }
            writeln!(f)?;
        }
        if !self.aliases.is_empty() {
            writeln!(f, "  aliases: {}", self.aliases.join(", "))?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        let versions = self.qdrant_versions.join(", ");
        writeln!(
            f,
            "start Qdrant now: of the minor release of {versions}, or of the next one"
        )
    }
}

/// Carries a cold restore out.
///
/// # Errors
/// Why it failed. Collections that were placed before stay; no other has changed.
pub async fn run(
    config: &AgentConfig,
    order: &ColdOrder,
    meter: &Arc<Meter>,
) -> Result<ColdReport, Failed> {
    let began = Instant::now();
    let storage = Storage::open(&order.data_dir)?;
    if storage.is_done(&order.ticket)? {
        return Ok(ColdReport::DoneBefore);
    }
    in_use::refuse(&config.qdrant.url, storage.root())?;
    let tls = ClientTls::load(config.tls.clone())
        .map_err(|error| Failed::from_error(Code::Certificate, &error))?;
    let dial = TlsDial::new(&config.coordinator, tls);
    meter.stage("asking the coordinator");
    let leave = ticket::redeem(&dial, &order.ticket).await?;
    let errand = Errand {
        ticket: order.ticket.clone(),
        point: leave.manifest.id.clone(),
        overwrite: order.overwrite,
    };
    check(&storage, &errand, &leave)?;
    let total = leave.shards().map(|(_, shard)| shard.logical_bytes).sum();
    meter.restart(total);
    let mut collections = Vec::new();
    for (index, entry) in leave.manifest.collections.iter().enumerate() {
        let done = collection(&storage, &errand, &dial, &leave, index, entry, meter).await?;
        collections.push(done);
    }
    let (mut aliases, mut warnings) = (Vec::new(), Vec::new());
    if order.with_aliases {
        (aliases, warnings) = aliases::set(storage.root(), &leave.manifest.collections)?;
    }
    storage.done(&order.ticket)?;
    ticket::close(&dial, &order.ticket).await;
    let mut qdrant_versions: Vec<String> = leave
        .shards()
        .map(|(_, shard)| shard.server_version.to_string())
        .collect();
    qdrant_versions.sort();
    qdrant_versions.dedup();
    Ok(ColdReport::Done(ColdDone {
        recovery_point: leave.manifest.id.to_string(),
        collections,
        aliases,
        warnings,
        qdrant_versions,
        elapsed: began.elapsed(),
    }))
}

/// Everything that can be known to forbid it, before anything is written.
fn check(storage: &Storage, errand: &Errand, leave: &Leave) -> Result<(), Failed> {
    if storage.is_of_a_cluster()? {
        return Err(Failed::new(
            Code::PlanBlocked,
            "this data directory is of a node of a Qdrant cluster: the other nodes would contradict it; restore into the running cluster (`holdfast restore run`)",
        ));
    }
    for entry in &leave.manifest.collections {
        if entry.shards.len() != entry.shard_count as usize || entry.shards.is_empty() {
            let what = format!("the recovery point does not hold all of {}", entry.name);
            return Err(Failed::new(Code::RepositoryDamaged, what));
        }
        let blocks =
            storage.exists(&entry.name) && !storage.is_placed(&errand.ticket, &entry.name)?;
        if blocks && !errand.overwrite {
            return Err(Failed::new(
                Code::TargetExists,
                format!(
                    "{} exists: give --overwrite to move it aside, or make a ticket for other collections",
                    storage.collection(&entry.name).display()
                ),
            ));
        }
    }
    Ok(())
}

async fn collection(
    storage: &Storage,
    errand: &Errand,
    dial: &TlsDial,
    leave: &Leave,
    index: usize,
    entry: &CollectionEntry,
    meter: &Arc<Meter>,
) -> Result<ColdCollection, Failed> {
    let logical_bytes = entry.shards.iter().map(|s| s.logical_bytes).sum();
    let is_there = |kept_bytes, moved_to| ColdCollection {
        name: entry.name.clone(),
        logical_bytes,
        kept_bytes,
        moved_to,
        points: entry.points,
    };
    let settled = storage.settle(&entry.name)?;
    if storage.is_placed(&errand.ticket, &entry.name)? {
        return Ok(is_there(logical_bytes, settled));
    }
    let staged = storage.stage(&leave.manifest.id, &entry.name)?;
    let mut kept_bytes = 0;
    for shard in &entry.shards {
        let layout = Layout {
            staged: staged.join(shard.shard_id.to_string()),
            existing: storage
                .collection(&entry.name)
                .join(shard.shard_id.to_string()),
        };
        meter.stage(format!(
            "laying out {} shard {}",
            entry.name, shard.shard_id
        ));
        kept_bytes += shard_with_tries(storage, dial, leave, index, shard, layout, meter).await?;
    }
    let own = collection_files(&entry.info, entry.cluster.as_ref())
        .map_err(|error| Failed::from_error(Code::RepositoryDamaged, &error))?;
    meter.stage(format!("putting {} in place", entry.name));
    let (storage, name) = (storage.clone(), entry.name.clone());
    let errand = errand.clone();
    let placing = move || {
        for (file, content) in &own {
            storage.write(&staged.join(file), content)?;
        }
        storage.place(&errand, &staged, &name)
    };
    let Placed { moved_to } = blocking(placing).await?;
    // What a killed run has replaced was there first.
    Ok(is_there(kept_bytes, settled.or(moved_to)))
}

/// Lays one shard out, again and again while only the connection breaks. Returns the bytes that were not fetched.
async fn shard_with_tries(
    storage: &Storage,
    dial: &TlsDial,
    leave: &Leave,
    index: usize,
    shard: &ShardEntry,
    layout: Layout,
    meter: &Arc<Meter>,
) -> Result<u64, Failed> {
    let mut tries = 0;
    loop {
        let tried = async {
            let link = Link {
                channel: dial.dial().await.map_err(Halt::Broken)?,
                epoch: leave.epoch,
                generation: 0,
            };
            one_shard(storage, &link, leave, index, shard, layout.clone(), meter).await
        };
        match tried.await {
            Ok(kept) => return Ok(kept),
            Err(Halt::Broken(failed)) if tries >= TRIES => return Err(failed),
            Err(Halt::Broken(failed)) => {
                tries += 1;
                tracing::info!(reason = %failed.message, "interrupted; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(Halt::Failed(failed)) => return Err(failed),
            Err(Halt::Stopped) => {
                return Err(Failed::new(
                    Code::Internal,
                    "a stage ended without an error",
                ));
            }
        }
    }
}

async fn one_shard(
    storage: &Storage,
    link: &Link,
    leave: &Leave,
    index: usize,
    shard: &ShardEntry,
    layout: Layout,
    meter: &Arc<Meter>,
) -> Result<u64, Halt> {
    let command = &leave.commands[index];
    let (recipe, key) = fetch::recipe(link, command, shard).await?;
    check_whole(&recipe)?;
    let (scan_key, scan_layout) = (key.clone(), layout.clone());
    let plan = blocking(move || files::plan(recipe, &scan_key, &scan_layout)).await?;
    let (wanted, kept) = (plan.missing(), plan.kept_bytes());
    // Holes take no space, and what is there already takes none anew.
    storage.check_space(wanted.iter().map(|(_, len)| u64::from(*len)).sum())?;
    let (chunks, chunks_rx) = mpsc::channel(CHUNKS);
    let meter = Arc::clone(meter);
    let writing =
        tokio::task::spawn_blocking(move || files::write(&plan, &key, chunks_rx, &layout, &meter));
    let writing = async { writing.await.map_err(|error| Halt::crashed(&error))? };
    both(fetch::chunks(link, command, wanted, chunks), writing).await?;
    Ok(kept)
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    let done = tokio::task::spawn_blocking(act).await;
    done.map_err(|error| Failed::from_error(Code::Internal, &error))?
}

/// An IO error of the data directory, which a person named.
fn disk(error: &std::io::Error) -> Failed {
    let code = crate::failure::io_code(error);
    let code = if code == Code::Internal {
        Code::Config
    } else {
        code
    };
    let mut what = chain(error);
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        what += ": run it as the user that Qdrant runs as, or let this one write Qdrant's storage directory; \
                 nothing of a collection shows before it is whole";
    }
    Failed::new(code, what)
}

/// A path below another, as a user sees it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
