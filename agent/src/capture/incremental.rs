//! The direct and the partial way: a partial snapshot of Qdrant, completed from its files and the last capture.
//!
//! Qdrant alone decides what the shard is at one instant; this program only says which files it need not send
//! ([`claims`] says why that is right). Whatever does not fit (a file that vanishes or changes, a segment that
//! is made anew or moves on, an answer that lacks what nobody claimed) ends the try: nothing of it is committed.
//! After some tries the capture falls back to a way that needs no trust, and says why. Every so often Qdrant sends
//! everything, and what would have been reused is compared with it ([`compare`]).

use super::observe::{self, Before};
use super::reader::ReadShard;
use super::session::IngestSession;
use super::stream::{pump, spool_failed};
use super::{Taken, deliver_with, millis};
use crate::failure::{Failed, chain};
use crate::flow::both;
use crate::job::{Halt, Job};
use crate::order::{CaptureOrder, Method};
use crate::spool;
use base::Base;
pub(super) use base::{Base as NewBase, BaseStore};
use bytes::{BufMut as _, BytesMut};
use claims::{Claims, FileName, Known, Unsettled, is_sealed, never_changes};
use complete::{Rest, Whole};
use disk::{FileIdentity, Held, ShardDir};
use holdfast_qdrant::{QdrantError, ShardManifest};
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, HASH_LEN};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;

mod base;
mod claims;
mod compare;
mod complete;
mod disk;
#[cfg(test)]
mod fixture;

/// Tries before another way is taken.
const TRIES: u32 = 3;
/// Left to itself, the agent has Qdrant store a snapshot rather than stream more than this: storing is several
/// times as quick (QDRANT 1.18.3: 346 against 63 MB/s).
const STREAM_AT_MOST: ByteCount = ByteCount::mib(256);

/// A capture by these ways.
pub(super) struct Incremental {
    pub(super) taken: Taken,
    pub(super) shard: ReadShard,
    /// To be kept once the capture is committed.
    pub(super) base: NewBase,
}

/// Why a try brought nothing.
enum Miss {
    /// The next may; with these segments left alone.
    Again(String, BTreeSet<String>),
    /// No use in trying again.
    Never(String),
}

/// Everything about the shard that must be the same before and after.
struct Seen {
    before: Before,
    dir: ShardDir,
    server: (String, String),
    manifest: ShardManifest,
    identities: BTreeMap<String, FileIdentity>,
}

/// Captures the shard. `None` if it can't be done this way now: `reasons` then says why.
pub(super) async fn capture(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    way: Method,
    reasons: &mut Vec<String>,
) -> Result<Option<Incremental>, Halt> {
    let Some(storage) = job.site.config.qdrant.storage_dir.clone() else {
        if way != Method::Auto {
            reasons.push("qdrant.storage_dir is not set".to_owned());
        }
        return Ok(None);
    };
    let store = BaseStore::new(&job.site.config.state_dir);
    if let Some(path) = store.distrusted(&order.collection, order.shard) {
        let path = path.display();
        reasons.push(format!(
            "an earlier check found a difference; remove {path} to trust it again"
        ));
        return Ok(None);
    }
    let mut hot = BTreeSet::new();
    for _ in 0..TRIES {
        let tried = one_try(job, order, session, way, (&storage, &hot), reasons).await;
        let (reason, again) = match tried {
            Ok(Ok(done)) => return Ok(Some(done)),
            Ok(Err(Miss::Never(reason))) => (reason, false),
            Ok(Err(Miss::Again(reason, moved))) => {
                hot.extend(moved);
                (reason, true)
            }
            Err(Halt::Failed(failed)) if may_pass(failed.code) => (failed.message, true),
            Err(halt) => return Err(halt),
        };
        tracing::info!(%reason, again, "the capture is not usable");
        reasons.push(reason);
        if !again {
            break;
        }
    }
    Ok(None)
}

/// Whether a failure is one of reading from Qdrant, where another way may do better.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::SnapshotTruncated
            | Code::QdrantError
            | Code::QdrantUnreachable
            | Code::CollectionNotFound
            | Code::SpoolFull
    )
}

async fn one_try(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    way: Method,
    (storage, hot): (&Path, &BTreeSet<String>),
    reasons: &mut Vec<String>,
) -> Result<Result<Incremental, Miss>, Halt> {
    job.meter.stage("comparing with the last capture");
    job.meter.restart(0);
    let seen = match look(job, order, storage).await? {
        Ok(seen) => seen,
        Err(miss) => return Ok(Err(miss)),
    };
    let base = usable_base(job, order, &seen, reasons).await?;
    let every = job.site.config.capture.full_every;
    let full = base
        .as_ref()
        .is_some_and(|base| base.since_full + 1 >= every);
    let held = match way {
        Method::Direct | Method::Auto if !full => match hold(&seen, base.as_deref(), way) {
            Ok(held) => held,
            Err(miss) => return Ok(Err(miss)),
        },
        Method::Direct | Method::Auto | Method::Partial | Method::Stored | Method::Stream => {
            Held::new()
        }
    };
    let disk: BTreeSet<FileName> = held.keys().cloned().collect();
    let known = Known {
        base: base.as_deref().filter(|_| !full && way != Method::Direct),
        disk: Some(&disk),
        hot: Some(hot),
    };
    let claims = Claims::plan(&seen.manifest, known);
    if way == Method::Auto
        && !full
        && let Some(reason) = too_much(job, &seen, &claims)
    {
        return Ok(Err(Miss::Never(reason)));
    }
    if full {
        let text = format!("Qdrant sent everything: one in {every} captures checks the others");
        reasons.push(text);
    } else if claims.is_empty() {
        reasons.push("Qdrant sent everything: there was nothing to leave out".to_owned());
    }
    let rest = Rest {
        claims,
        held,
        base: base.clone(),
    };
    let (whole, timing) = match transfer(job, order, session, &seen, rest).await? {
        Ok(done) => done,
        Err(miss) => return Ok(Err(miss)),
    };
    if let Err(miss) = check_after(job, order, session, &seen, &whole).await? {
        return Ok(Err(miss));
    }
    if let Some(base) = base.as_deref().filter(|_| full) {
        compared(job, base, &whole).await?;
    }
    Ok(Ok(finish(
        order,
        seen,
        whole,
        timing,
        base.filter(|_| !full),
    )))
}

/// Looks at the shard before the snapshot.
async fn look(job: &Job, order: &CaptureOrder, storage: &Path) -> Result<Result<Seen, Miss>, Halt> {
    let qdrant = &job.site.qdrant;
    let before = observe::before(qdrant, order).await?;
    // A failed operation is tried again under its old number: then a segment changes and its version does not.
    // A failed operation shows as red, a failed optimization as its error.
    if before.entry.info["optimizer_status"] != "ok" || before.entry.info["status"] == "red" {
        let text = "Qdrant reports a failed optimization or operation: versions prove nothing then";
        return Ok(Err(Miss::Never(text.to_owned())));
    }
    let Some(started) = qdrant.started().await? else {
        let text =
            "Qdrant does not say when it was started: its files can't be told from restored ones";
        return Ok(Err(Miss::Never(text.to_owned())));
    };
    let manifest = match qdrant
        .partial_manifest(&order.collection, order.shard)
        .await
    {
        Ok(manifest) => manifest,
        Err(error @ (QdrantError::NotFound { .. } | QdrantError::BadRequest { .. })) => {
            let text = format!("Qdrant makes no partial snapshots: {}", chain(&error));
            return Ok(Err(Miss::Never(text)));
        }
        Err(error) => return Err(error.into()),
    };
    let dir = ShardDir::new(storage, order);
    let mut identities = BTreeMap::new();
    for id in manifest.segments.keys() {
        match dir.identity(id) {
            Ok(identity) => drop(identities.insert(id.clone(), identity)),
            Err(error) => {
                let text = format!("a segment is not in qdrant.storage_dir: {error}");
                return Ok(Err(Miss::Again(text, BTreeSet::new())));
            }
        }
    }
    let server = (before.server_version.to_string(), started);
    Ok(Ok(Seen {
        before,
        dir,
        server,
        manifest,
        identities,
    }))
}

/// The last capture, if it is of the same files in the same life of the server.
async fn usable_base(
    job: &Job,
    order: &CaptureOrder,
    seen: &Seen,
    reasons: &mut Vec<String>,
) -> Result<Option<Arc<Base>>, Halt> {
    let store = BaseStore::new(&job.site.config.state_dir);
    let (name, shard) = (order.collection.clone(), order.shard);
    let loading = tokio::task::spawn_blocking(move || store.load(&name, shard));
    let loaded = loading.await.map_err(|error| Halt::crashed(&error))?;
    let usable = loaded.and_then(|base| {
        if base.server != seen.server {
            return Err("Qdrant was started anew since the last capture".to_owned());
        }
        let same = |(id, then): (&String, &FileIdentity)| {
            seen.identities.get(id).is_none_or(|now| now == then)
        };
        if base.identities.iter().all(same) {
            Ok(Arc::new(base))
        } else {
            Err(
                "segments were put in place anew since the last capture, as a restore does"
                    .to_owned(),
            )
        }
    });
    Ok(usable
        .map_err(|reason| {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        })
        .ok())
}

/// Opens what never changes in sealed segments; not what the last capture has, unless that is not to be used.
fn hold(seen: &Seen, base: Option<&Base>, way: Method) -> Result<Held, Miss> {
    let again = |error: std::io::Error| Miss::Again(error.to_string(), BTreeSet::new());
    let mut held = Held::new();
    for (id, segment) in &seen.manifest.segments {
        if segment.segment_version == 0 || !is_sealed(&seen.dir.state(id).map_err(again)?) {
            continue;
        }
        for file in segment.file_versions.keys() {
            let captured = way == Method::Auto && base.is_some_and(|base| base.has(id, file));
            if never_changes(file) && !captured {
                let name = (id.clone(), file.clone());
                held.insert(name, seen.dir.hold(id, file).map_err(again)?);
            }
        }
    }
    Ok(held)
}

/// Whether so much would be streamed that a stored snapshot is quicker.
fn too_much(job: &Job, seen: &Seen, claims: &Claims) -> Option<String> {
    let dir = job.site.config.qdrant.snapshots_dir.as_ref()?;
    let bytes = seen.manifest.segments.iter().flat_map(|(id, segment)| {
        let files = segment.file_versions.keys();
        let sent = files.filter(|file| !claims.has(id, file));
        sent.map(|file| seen.dir.bytes_of(id, file))
    });
    let bytes = ByteCount(bytes.sum());
    (dir.is_dir() && bytes > STREAM_AT_MOST)
        .then(|| format!("Qdrant would have to stream {bytes}: storing a snapshot is quicker"))
}

/// When the snapshot was asked for, how long it took in milliseconds, and how many points the collection had if
/// that did not change.
type Timing = (holdfast_types::Timestamp, u64, Option<u64>);

async fn transfer(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    seen: &Seen,
    rest: Rest,
) -> Result<Result<(Whole, Timing), Miss>, Halt> {
    job.meter.stage("reading what has changed");
    let qdrant = &job.site.qdrant;
    let limit = job.site.config.spool_limit;
    let (writer, reader) =
        spool::open(&job.site.config.state_dir, limit).map_err(|error| spool_failed(&error))?;
    let captured = job.site.clock.now();
    let began = Instant::now();
    let (name, shard) = (&order.collection, order.shard);
    let answer = qdrant.create_partial_snapshot(name, shard, &rest.claims.request);
    let Some(stream) = answer.await? else {
        // The request names a segment that does not exist.
        let text = "Qdrant says that nothing differs from a manifest that can't be its own";
        return Ok(Err(Miss::Never(text.to_owned())));
    };
    let pumping = async {
        pump(stream, writer).await?;
        let snapshot_ms = millis(began.elapsed());
        observe::active(qdrant, order).await?;
        let points = seen.before.quiet_points(qdrant, name).await;
        Ok::<_, Halt>((captured, snapshot_ms, points))
    };
    let threads = job.site.config.limits.encode_threads;
    let label = format!("shard {shard} of {name}");
    let taking = deliver_with(&job.meter, threads, label, session, move |stage| {
        complete::read(reader, stage, rest)
    });
    let (timing, read) = both(pumping, taking).await?;
    Ok(match read {
        Ok(whole) => Ok((whole, timing)),
        Err(Unsettled::Wrong(why)) => Err(Miss::Again(why, BTreeSet::new())),
        Err(Unsettled::Moved(ids)) => {
            let text = format!(
                "{} segments moved on before the snapshot was made",
                ids.len()
            );
            Err(Miss::Again(text, ids))
        }
    })
}

/// Looks again at everything that was not read from Qdrant.
async fn check_after(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    seen: &Seen,
    whole: &Whole,
) -> Result<Result<(), Miss>, Halt> {
    let again = |text: String| Ok(Err(Miss::Again(text, BTreeSet::new())));
    for file in whole.held.values() {
        if let Err(why) = file.check() {
            return again(why);
        }
    }
    for id in whole.answer.manifest.segments.keys() {
        let now = seen.dir.identity(id).ok();
        if let (Some(before), Some(now)) = (seen.identities.get(id), now)
            && *before != now
        {
            return again(format!("segment {id} was put in place anew meanwhile"));
        }
    }
    if job.site.qdrant.started().await?.as_ref() != Some(&seen.server.1) {
        return again("Qdrant was started anew meanwhile".to_owned());
    }
    let mut ids = BytesMut::with_capacity(whole.reused.len() * HASH_LEN);
    for id in &whole.reused {
        ids.put_slice(id.as_bytes());
    }
    let have = session.have(ids.freeze(), whole.reused.len()).await?;
    let lost = have.iter().filter(|have| **have == 0).count();
    if lost > 0 {
        let store = BaseStore::new(&job.site.config.state_dir);
        store.forget(&order.collection, order.shard);
        return again(format!(
            "the repository lacks {lost} chunks of the last capture"
        ));
    }
    Ok(Ok(()))
}

/// Fails loudly if a full capture shows that the incremental ones were wrong.
async fn compared(job: &Job, base: &Base, whole: &Whole) -> Result<(), Halt> {
    let sealed = sealed_in(whole);
    let (manifest, recipe) = (&whole.answer.manifest, &whole.shard.recipe);
    let different = compare::differences(base, manifest, &sealed, recipe);
    let Some(first) = different.first() else {
        tracing::info!("the full capture confirms what earlier ones reused");
        return Ok(());
    };
    let store = BaseStore::new(&job.site.config.state_dir);
    let what = format!(
        "{} files that had not changed by Qdrant's word differ, the first is {first}",
        different.len()
    );
    let marked = store.distrust(base, &what);
    store.forget(&base.collection, base.shard);
    let note = match marked {
        Ok(path) => format!(
            "direct and partial captures of it are off until {} is removed",
            path.display()
        ),
        Err(error) => format!("and this could not be noted: {error}"),
    };
    tracing::error!(collection = %base.collection, shard = %base.shard, %what, "earlier captures are in doubt");
    Err(Halt::Failed(Failed::new(
        Code::ProofFailed,
        format!(
            "shard {} of {}: {what}; {note}; recovery points since the last full capture are in doubt, the next one is not",
            base.shard, base.collection
        ),
    )))
}

fn sealed_in(whole: &Whole) -> BTreeSet<String> {
    let states = whole.answer.states.iter();
    let sealed = states.filter(|(_, state)| is_sealed(state));
    sealed.map(|(id, _)| id.clone()).collect()
}

/// What is committed, and what the next capture builds on; `base` is what this one was built on.
fn finish(
    order: &CaptureOrder,
    seen: Seen,
    whole: Whole,
    (captured, snapshot_ms, points): Timing,
    base: Option<Arc<Base>>,
) -> Incremental {
    let sealed = sealed_in(&whole);
    let Whole {
        shard,
        answer,
        bytes: [reused, disk, sent],
        ..
    } = whole;
    tracing::info!(
        reused,
        disk,
        sent,
        "bytes taken from the last capture, read from disk, sent by Qdrant"
    );
    let method = match (reused, disk) {
        (0, 0) => Method::Stream,
        (_, 0) => Method::Partial,
        (_, _) => Method::Direct,
    };
    let mut identities = seen.identities;
    identities.retain(|id, _| answer.manifest.segments.contains_key(id));
    for id in answer.manifest.segments.keys() {
        if !identities.contains_key(id)
            && let Ok(identity) = seen.dir.identity(id)
        {
            identities.insert(id.clone(), identity);
        }
    }
    // Of a segment that could not be looked at, nothing may be reused.
    let mut manifest = answer.manifest;
    manifest
        .segments
        .retain(|id, _| identities.contains_key(id));
    let since_full = match method {
        Method::Stream => 0,
        Method::Direct | Method::Partial | Method::Auto | Method::Stored => {
            base.map_or(1, |base| base.since_full + 1)
        }
    };
    let mut collection = seen.before.entry.clone();
    collection.points = points;
    let new = Base::new(
        (order.collection.clone(), order.shard),
        seen.server,
        manifest,
        identities,
        sealed,
        since_full,
        shard.recipe.clone(),
    );
    Incremental {
        taken: Taken {
            method,
            server_version: seen.before.server_version.clone(),
            captured,
            snapshot_ms,
            collection,
            disturbed: seen.before.disturbed,
        },
        shard,
        base: new,
    }
}
