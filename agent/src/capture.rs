//! Capturing one shard: snapshot → reader thread → have-checks → encoders → put stream → commit.
//!
//! Every stage is a bounded queue away from the next, and all plain bytes in memory pass one gate. What
//! does grow with the shard is its recipe: 48 bytes a chunk (for the file that is being read up to three
//! times that, while its list grows), and 37 more for the encoding at the commit: some 90 MB a million
//! chunks. A million chunks are 62 GB of files that are edited in place or 1 TB of immutable ones.
//! [`MAX_RECIPE_BYTES`] bounds it at 3.6 million chunks and 310 MB; a larger shard
//! ends with `plan-blocked` as soon as that is certain. A capture whose connection breaks goes on
//! over the next one: stored snapshots are read again from their beginning, and the have-checks keep
//! what has arrived from being sent twice. It does not delete the snapshot: that is a cleanup, which
//! survives a crash.

use crate::attempts::Attempts;
use crate::commands::phase::Phase;
use crate::failure::{Failed, chain};
use crate::job::{Halt, Job};
use crate::order::{CaptureOrder, Method};
use crate::outcome::CaptureReport;
use crate::pace::{Brake, Pace};
use crate::progress::Meter;
use futures::TryFutureExt as _;
use futures::future::try_join_all;
use holdfast_archive::{CollectionEntry, ShardEntry, ShardRecipe, WalMark};
use holdfast_proto::limits::MAX_RECIPE_BYTES;
use holdfast_service::failure::Code;
use holdfast_types::{NodeId, ServerVersion, ShardId, Timestamp};
use incremental::{BaseStore, NewBase, Outcome};
use optimizers::Patience;
pub use reader::ReadShard;
use reader::{Gate, Stage};
pub use session::IngestSession;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use wal_mark::LogBefore;

mod cold_file;
pub mod extra;
mod incremental;
mod observe;
mod optimizers;
mod reader;
mod recipe_size;
mod send;
mod session;
mod stored;
mod stream;
mod wal_mark;

/// Tries before another way is taken, or what is there is taken as it is.
const TRIES: u32 = 3;
/// Pieces waiting for an encoder. Their bytes are bounded by the gate.
const MISSING_QUEUE: usize = 16;
/// Pieces waiting for the window.
const ENCODED_QUEUE: usize = 4;

/// What one way of capture yields beside the files.
#[derive(Clone, Debug)]
struct Taken {
    method: Method,
    server_version: ServerVersion,
    captured: Timestamp,
    snapshot_ms: u64,
    collection: CollectionEntry,
    /// What the recovery point must say of it.
    notes: Vec<String>,
}

/// Captures the shard and commits it, at the pace that the order allows.
///
/// # Errors
/// Why it failed; what it left on Qdrant stands in the journal.
pub async fn run(job: &Job, order: &CaptureOrder) -> Result<CaptureReport, Failed> {
    let Some(courtesy) = order.courtesy else {
        return Box::pin(capture(job, order)).await;
    };
    let brake = Brake::new(job, courtesy).await;
    tokio::select! {
        done = Box::pin(capture(job, order)) => done,
        never = brake.watch() => match never {},
    }
}

async fn capture(job: &Job, order: &CaptureOrder) -> Result<CaptureReport, Failed> {
    let began = Instant::now();
    let mut attempts = Attempts::new(job.site.config.limits.retry_for);
    let patience = Patience::new(job.site.config.capture.optimizer_wait);
    loop {
        let link = attempts.link(job).await?;
        let tried = IngestSession::open(&link, &job.id)
            .and_then(|session| {
                attempts.accepted();
                attempt(job, order, session, &patience)
            })
            .await;
        match tried {
            Ok((taken, logical_bytes, reasons)) => {
                let (way, read) = (taken.method.as_str(), job.meter.done());
                tracing::info!(way, snapshot_ms = taken.snapshot_ms, read, "captured");
                return Ok(CaptureReport {
                    logical_bytes,
                    sent_bytes: job.meter.sent(),
                    elapsed_ms: millis(began.elapsed()),
                    snapshot_ms: taken.snapshot_ms,
                    method: taken.method,
                    reasons,
                    held_up_ms: millis(job.pace.totals().held_up),
                });
            }
            Err(Halt::Broken(failed)) => {
                attempts.arrived(job.meter.arrived());
                attempts.pause(failed).await?;
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

async fn attempt(
    job: &Job,
    order: &CaptureOrder,
    session: IngestSession,
    patience: &Patience,
) -> Result<(Taken, u64, Vec<String>), Halt> {
    let mut reasons = Vec::new();
    let way = wanted(job, order.method);
    let log = log_before(job, order);
    let outcome = match way {
        Method::Direct | Method::Partial | Method::Auto => {
            let quick = incremental::capture(job, order, &session, way, patience, &mut reasons);
            Box::pin(quick).await?
        }
        Method::Stored | Method::Stream => Outcome::Otherwise(way),
    };
    let (taken, shard, base) = match outcome {
        Outcome::Done(done) => (done.taken, done.shard, done.base),
        Outcome::Otherwise(Method::Stored) => {
            let (taken, shard) = stored::capture(job, order, &session, patience).await?;
            (taken, shard, None)
        }
        Outcome::Otherwise(Method::Stream | Method::Auto | Method::Direct | Method::Partial) => {
            let (taken, shard) = stream::capture(job, order, &session, patience).await?;
            (taken, shard, None)
        }
    };
    reasons.extend(taken.notes.iter().cloned());
    reasons.extend(job.pace.notes());
    let wal = match &log {
        Some(log) => log.mark(shard.contents.next_operation).await,
        None => None,
    };
    let bytes = commit(job, order, &session, &taken, (shard, wal, &reasons)).await?;
    if let Some(base) = base {
        keep(job, base).await?;
    }
    Ok((taken, bytes, reasons))
}

/// The log as it is before Qdrant is asked for a snapshot; nothing, if it was asked already.
fn log_before(job: &Job, order: &CaptureOrder) -> Option<LogBefore> {
    match job.phase() {
        Phase::AskingSnapshot(_) | Phase::Snapshot(_) => None,
        Phase::Accepted | Phase::Restoring(_) | Phase::Replaying(_) | Phase::Hooked => {
            let storage = job.site.config.qdrant.storage_dir.as_deref()?;
            LogBefore::look(storage, order, &job.site.board)
        }
    }
}

/// The way to try first. The agent's configuration counts where the order leaves it open. A snapshot that an earlier attempt
/// has left is gone on with.
fn wanted(job: &Job, asked: Method) -> Method {
    match job.phase() {
        Phase::AskingSnapshot(_) | Phase::Snapshot(_) => return Method::Stored,
        Phase::Accepted | Phase::Restoring(_) | Phase::Replaying(_) | Phase::Hooked => {}
    }
    match asked {
        Method::Auto => job
            .site
            .config
            .capture
            .way
            .unwrap_or_else(|| safe(job, Method::Auto)),
        Method::Stored | Method::Stream | Method::Direct | Method::Partial => asked,
    }
}

/// The way that needs no trust. A shared snapshots directory makes the stored way the quickest; else the stream needs no disk.
fn safe(job: &Job, way: Method) -> Method {
    match way {
        Method::Stored => Method::Stored,
        Method::Stream => Method::Stream,
        Method::Auto | Method::Direct | Method::Partial => {
            match &job.site.config.qdrant.snapshots_dir {
                Some(dir) if dir.is_dir() => Method::Stored,
                Some(_) | None => Method::Stream,
            }
        }
    }
}

/// Keeps what the next capture builds on. Where that can't be, the last record goes too: else captures would count on from it
/// for ever, and the full one would never come.
async fn keep(job: &Job, base: NewBase) -> Result<(), Halt> {
    let store = BaseStore::new(&job.site.config.state_dir);
    let kept = tokio::task::spawn_blocking(move || store.store(&base));
    if let Err(error) = kept.await.map_err(|error| Halt::crashed(&error))? {
        tracing::warn!(reason = %error, "what the next capture would build on can't be kept: it reads everything");
    }
    Ok(())
}

async fn deliver(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    source: impl Read + Send + 'static,
) -> Result<ReadShard, Halt> {
    let shard = format!("shard {} of {}", order.shard, order.collection);
    let under = Conditions {
        meter: Arc::clone(&job.meter),
        pace: Arc::clone(&job.pace),
        encode_threads: job.site.config.limits.encode_threads,
        shard,
    };
    deliver_with(under, session, move |stage| reader::read(source, &stage)).await
}

/// Under which conditions a shard is read and sent.
struct Conditions {
    meter: Arc<Meter>,
    pace: Arc<Pace>,
    encode_threads: usize,
    /// Its name in messages.
    shard: String,
}

/// Runs the stages over one snapshot, with so many encoders; `shard` is its name in messages. Chunks that the
/// repository lacks have arrived when it returns.
///
/// # Errors
/// A snapshot that is not provably whole; what the coordinator refuses.
pub async fn deliver_shard(
    meter: &Arc<Meter>,
    encode_threads: usize,
    shard: String,
    session: &IngestSession,
    source: impl Read + Send + 'static,
) -> Result<ReadShard, Halt> {
    let under = Conditions {
        meter: Arc::clone(meter),
        pace: Arc::new(Pace::free()),
        encode_threads,
        shard,
    };
    deliver_with(under, session, move |stage| reader::read(source, &stage)).await
}

/// Runs the stages behind a reader, which blocks.
async fn deliver_with<T: Send + 'static>(
    under: Conditions,
    session: &IngestSession,
    read: impl FnOnce(Stage) -> Result<T, Halt> + Send + 'static,
) -> Result<T, Halt> {
    let (batches, batches_rx) = mpsc::channel(1);
    let (missing, missing_rx) = mpsc::channel(MISSING_QUEUE);
    let (encoded, encoded_rx) = mpsc::channel(ENCODED_QUEUE);
    let missing_rx = Arc::new(Mutex::new(missing_rx));
    let stage = Stage {
        key: session.key().clone(),
        gate: Gate::new(),
        batches,
        meter: Arc::clone(&under.meter),
        pace: Arc::clone(&under.pace),
        shard: under.shard,
        recipe_limit: MAX_RECIPE_BYTES,
    };
    let reading = tokio::task::spawn_blocking(move || read(stage));
    let encoders = (0..under.encode_threads).map(|_| {
        let (missing_rx, encoded) = (Arc::clone(&missing_rx), encoded.clone());
        joined(tokio::task::spawn_blocking(move || {
            send::encode(&missing_rx, &encoded)
        }))
    });
    let encoding = try_join_all(encoders.collect::<Vec<_>>());
    drop((encoded, missing_rx));
    let (read, (), _, ()) = tokio::try_join!(
        joined(reading),
        send::check(session, batches_rx, missing),
        encoding,
        send::put(session, encoded_rx, (under.meter, under.pace)),
    )?;
    Ok(read)
}

async fn joined<T>(task: tokio::task::JoinHandle<Result<T, Halt>>) -> Result<T, Halt> {
    task.await.map_err(|error| Halt::crashed(&error))?
}

async fn commit(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    taken: &Taken,
    (shard, wal, reasons): (ReadShard, Option<WalMark>, &[String]),
) -> Result<u64, Halt> {
    job.meter.stage("committing");
    let origin = Origin {
        shard: order.shard,
        node: job.site.config.node.clone(),
        server_version: taken.server_version.clone(),
        method: taken.method.as_str().to_owned(),
        captured: taken.captured,
        wal,
        reasons: reasons.to_vec(),
    };
    commit_shard(session, origin, &taken.collection, shard).await
}

/// What a shard's entry in a manifest says beside its files.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its number.
    pub shard: ShardId,
    /// Where it was captured.
    pub node: NodeId,
    /// By which server.
    pub server_version: ServerVersion,
    /// How.
    pub method: String,
    /// Everything acknowledged before is contained.
    pub captured: Timestamp,
    /// What its log said before.
    pub wal: Option<WalMark>,
    /// Why not in another way.
    pub reasons: Vec<String>,
}

/// Commits a delivered shard. Returns the logical size of its files in bytes.
///
/// # Errors
/// What the coordinator refuses.
pub async fn commit_shard(
    session: &IngestSession,
    origin: Origin,
    collection: &CollectionEntry,
    shard: ReadShard,
) -> Result<u64, Halt> {
    let ReadShard { contents, recipe } = shard;
    let logical_bytes = recipe.logical_bytes();
    let files = u32::try_from(recipe.files.len()).unwrap_or(u32::MAX);
    let encoded = encode_recipe(recipe)?;
    let hash = ShardRecipe::hash(&encoded);
    let entry = ShardEntry {
        shard_id: origin.shard,
        node: origin.node,
        server_version: origin.server_version,
        method: origin.method,
        reasons: origin.reasons,
        captured_at: origin.captured,
        next_operation: contents.next_operation,
        wal: origin.wal,
        clocks: contents.clocks,
        replica_state: Some(contents.replica_state),
        // the coordinator stores the recipe and names its chunks
        replicas: Vec::new(),
        recipe: Vec::new(),
        recipe_len: encoded.len() as u64,
        recipe_hash: hex(&hash),
        files,
        logical_bytes,
    };
    session.commit(&entry, collection, encoded, hash).await?;
    Ok(logical_bytes)
}

fn encode_recipe(recipe: ShardRecipe) -> Result<Vec<u8>, Failed> {
    recipe
        .encode()
        .map_err(|error| Failed::new(Code::QdrantError, chain(&error)))
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
