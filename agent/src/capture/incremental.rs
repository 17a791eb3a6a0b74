//! The direct and the partial way: a partial snapshot of Qdrant, completed from its files and the last capture.
//!
//! Qdrant alone decides what the shard is at one instant; this program only says which files it need not send
//! ([`claims`] says why that is right). Whatever does not fit (a file that vanishes or changes, a segment that
//! is made anew or moves on, an answer that lacks what nobody claimed) ends the try: nothing of it is committed.
//! After some tries the capture falls back to a way that needs no trust, and says why. Every so often, and where
//! there is nothing to build on, the shard is read from Qdrant in full ([`whole`] where too much would be streamed), and what
//! would have been reused is compared with it ([`compare`]).

use super::observe;
use super::optimizers::{Patience, disturbed};
use super::reader::ReadShard;
use super::session::IngestSession;
use super::stream::{GivenUp, Repeat, pump_watched, spool_failed};
use super::{Conditions, TRIES, Taken, deliver_with, millis, safe};
use crate::failure::Failed;
use crate::flow::both;
use crate::job::{Halt, Job};
use crate::order::{CaptureOrder, Method};
use crate::spool;
use base::Base;
pub(super) use base::{Base as NewBase, BaseStore};
use bytes::{BufMut as _, BytesMut};
use claims::{Claims, FileName, Known, Unsettled, is_sealed, never_changes};
use complete::{Rest, Whole};
use disk::Held;
use holdfast_qdrant::{ShardContents, ShardManifest, SnapshotStream};
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, HASH_LEN, Timestamp};
use look::{Last, Seen};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

mod base;
mod claims;
mod compare;
mod complete;
mod disk;
#[cfg(test)]
mod fixture;
mod look;
mod whole;

/// Left to itself, the agent has Qdrant store a snapshot rather than stream more than this: storing is several
/// times as quick (QDRANT 1.18.3: 346 against 63 MB/s).
const STREAM_AT_MOST: ByteCount = ByteCount::mib(256);

/// A capture by these ways.
pub(super) struct Incremental {
    pub(super) taken: Taken,
    pub(super) shard: ReadShard,
    /// To be kept once the capture is committed, if the next one can build on it.
    pub(super) base: Option<NewBase>,
}

/// How it went.
pub(super) enum Outcome {
    Done(Box<Incremental>),
    /// It can't be done this way now; the reasons say why. To be captured by a way that needs no trust.
    Otherwise(Method),
}

/// Why a try brought nothing.
enum Miss {
    /// The next may; with these segments left alone.
    Again(String, BTreeSet<String>),
    /// No use in trying again.
    Never(String),
    /// A stored snapshot does better. With the last capture, if it is due to be compared.
    Store(Box<Seen>, Option<Arc<Base>>, String),
}

/// One capture.
struct Task<'a> {
    job: &'a Job,
    order: &'a CaptureOrder,
    session: &'a IngestSession,
    way: Method,
    storage: PathBuf,
    patience: &'a Patience,
}

/// What earlier tries have taught.
struct Lessons {
    /// Segments that moved meanwhile.
    hot: BTreeSet<String>,
    /// What Qdrant streams does not fit into the spool.
    overflowed: bool,
    /// Whether there will be another try.
    repeat: Repeat,
}

/// Captures the shard.
pub(super) async fn capture(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    way: Method,
    patience: &Patience,
    reasons: &mut Vec<String>,
) -> Result<Outcome, Halt> {
    let Some(storage) = job.site.config.qdrant.storage_dir.clone() else {
        if way != Method::Auto {
            reasons.push("qdrant.storage_dir is not set".to_owned());
        }
        return Ok(Outcome::Otherwise(safe(job, way)));
    };
    let store = BaseStore::new(&job.site.config.state_dir);
    if let Some(path) = store.distrusted(&order.collection, order.shard) {
        let path = path.display();
        reasons.push(format!(
            "an earlier check found a difference; remove {path} to trust it again"
        ));
        return Ok(Outcome::Otherwise(safe(job, way)));
    }
    let task = Task {
        job,
        order,
        session,
        way,
        storage,
        patience,
    };
    task.run(reasons).await
}

impl Task<'_> {
    async fn run(&self, reasons: &mut Vec<String>) -> Result<Outcome, Halt> {
        let mut lessons = Lessons {
            hot: BTreeSet::new(),
            overflowed: false,
            repeat: Repeat::Yes,
        };
        let mut tries = 1..=TRIES;
        while let Some(number) = tries.next() {
            if number == TRIES {
                lessons.repeat = Repeat::No;
            }
            let (reason, again) = match self.one_try(&lessons, reasons).await {
                Ok(Ok(done)) => return Ok(Outcome::Done(Box::new(done))),
                Ok(Err(Miss::Store(seen, base, reason))) => {
                    reasons.push(reason);
                    let done = self.store(*seen, base).await?;
                    return Ok(Outcome::Done(Box::new(done)));
                }
                Ok(Err(Miss::Never(reason))) => (reason, false),
                Ok(Err(Miss::Again(reason, moved))) => {
                    lessons.hot.extend(moved);
                    (reason, true)
                }
                Err(Halt::Failed(failed)) if failed.code == Code::SpoolFull => {
                    // Streaming it once more would end the same way.
                    lessons.overflowed = true;
                    tries = TRIES..=TRIES;
                    (failed.message, true)
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
        Ok(Outcome::Otherwise(if lessons.overflowed {
            Method::Stored
        } else {
            safe(self.job, self.way)
        }))
    }

    async fn one_try(
        &self,
        lessons: &Lessons,
        reasons: &mut Vec<String>,
    ) -> Result<Result<Incremental, Miss>, Halt> {
        self.job.meter.stage("comparing with the last capture");
        self.job.meter.restart(0);
        let seen = match self.look().await? {
            Ok(seen) => seen,
            Err(miss) => return Ok(Err(miss)),
        };
        let last = self.last(&seen, reasons).await?;
        let every = self.job.site.config.capture.full_every;
        let full = last.is_full_due(every);
        let rest = match self.plan(&seen, &last, full, lessons) {
            Ok(rest) => rest,
            Err(miss) => return Ok(Err(miss)),
        };
        if let Some(reason) = self.better_stored(&seen, &rest.claims, full, lessons) {
            let base = last.base.filter(|_| full);
            return Ok(Err(Miss::Store(Box::new(seen), base, reason)));
        }
        if let Some(reason) = last.why_everything(full, every, &rest.claims) {
            reasons.push(reason);
        }
        let (whole, timing) = match self.transfer(&seen, rest, lessons.repeat).await? {
            Ok(done) => done,
            Err(miss) => return Ok(Err(miss)),
        };
        if let Err(miss) = self.check_after(&seen, &whole).await? {
            return Ok(Err(miss));
        }
        if let Some(base) = last.base.as_deref().filter(|_| full) {
            let (manifest, contents) = (&whole.answer.manifest, &whole.answer.contents);
            self.compared(base, manifest, contents, &whole.shard)?;
        }
        Ok(Ok(self.finish(seen, whole, timing, last.count)))
    }

    /// What Qdrant need not send.
    fn plan(&self, seen: &Seen, last: &Last, full: bool, lessons: &Lessons) -> Result<Rest, Miss> {
        let held = match self.way {
            Method::Direct | Method::Auto if !full => hold(seen, last.base.as_deref(), self.way)?,
            Method::Direct | Method::Auto | Method::Partial | Method::Stored | Method::Stream => {
                Held::new()
            }
        };
        let disk: BTreeSet<FileName> = held.keys().cloned().collect();
        let reuse = !full && self.way != Method::Direct;
        let known = Known {
            base: last.base.as_deref().filter(|_| reuse),
            disk: Some(&disk),
            hot: Some(&lessons.hot),
        };
        Ok(Rest {
            claims: Claims::plan(&seen.manifest, known),
            held,
            base: last.base.clone(),
        })
    }

    /// Why a stored snapshot does better than this stream: it would overflow the spool, or so much would be streamed that
    /// storing is quicker.
    fn better_stored(
        &self,
        seen: &Seen,
        claims: &Claims,
        full: bool,
        lessons: &Lessons,
    ) -> Option<String> {
        if lessons.overflowed {
            return Some("a stored snapshot needs no spool".to_owned());
        }
        let dir = self.job.site.config.qdrant.snapshots_dir.as_ref()?;
        if !full && self.way != Method::Auto {
            return None;
        }
        let bytes = seen.manifest.segments.iter().flat_map(|(id, segment)| {
            let files = segment.file_versions.keys();
            let sent = files.filter(|file| !claims.has(id, file));
            sent.map(|file| seen.dir.bytes_of(id, file))
        });
        let bytes = ByteCount(bytes.sum());
        (dir.is_dir() && bytes > STREAM_AT_MOST)
            .then(|| format!("Qdrant would have to stream {bytes}: storing a snapshot is quicker"))
    }

    async fn transfer(
        &self,
        seen: &Seen,
        rest: Rest,
        repeat: Repeat,
    ) -> Result<Result<(Whole, Timing), Miss>, Halt> {
        let (job, order) = (self.job, self.order);
        job.meter.stage("reading what has changed");
        let qdrant = &job.site.qdrant;
        let limit = job.site.config.spool_limit;
        let (writer, reader) =
            spool::open(&job.site.config.state_dir, limit).map_err(|error| spool_failed(&error))?;
        let captured = job.site.clock.now();
        let began = Instant::now();
        let stream = match self.ask(&rest.claims.request).await? {
            Ok(stream) => stream,
            Err(miss) => return Ok(Err(miss)),
        };
        let given_up = GivenUp::default();
        let pumping = Box::pin(async {
            let look = disturbed(qdrant, order, &seen.before.optimizers);
            let found =
                pump_watched((stream, &job.pace), writer, look, (repeat, &given_up)).await?;
            let snapshot_ms = millis(began.elapsed());
            let failing = observe::after(qdrant, order).await?;
            let name = &order.collection;
            let timing = Timing {
                captured,
                snapshot_ms,
                points: seen.before.quiet_points(qdrant, name, found).await,
                notes: observe::notes(found, false),
            };
            Ok::<_, Halt>((timing, failing))
        });
        let under = Conditions {
            meter: Arc::clone(&job.meter),
            pace: Arc::clone(&job.pace),
            encode_threads: job.site.config.limits.encode_threads,
            shard: format!("shard {} of {}", order.shard, order.collection),
        };
        let taking = deliver_with(under, self.session, move |stage| {
            complete::read(reader, stage, rest)
        });
        let done = both(pumping, taking).await;
        let again = |text: &str| Ok(Err(Miss::Again(text.to_owned(), BTreeSet::new())));
        if given_up.is_set() {
            return again("an optimizer began when Qdrant made the snapshot");
        }
        let ((timing, failing), read) = done?;
        if failing {
            return again("Qdrant reports a failed optimization or operation since");
        }
        match read {
            Ok(whole) => Ok(Ok((whole, timing))),
            Err(Unsettled::Wrong(why)) => again(&why),
            Err(Unsettled::Moved(ids)) => {
                let count = ids.len();
                let text = format!("{count} segments moved on before the snapshot was made");
                Ok(Err(Miss::Again(text, ids)))
            }
        }
    }

    /// Asks for the snapshot.
    async fn ask(&self, request: &ShardManifest) -> Result<Result<SnapshotStream, Miss>, Halt> {
        let (name, shard) = (&self.order.collection, self.order.shard);
        let qdrant = &self.job.site.qdrant;
        match qdrant.create_partial_snapshot(name, shard, request).await {
            Ok(Some(stream)) => Ok(Ok(stream)),
            Ok(None) => {
                // The request names a segment that does not exist.
                let text = "Qdrant says that nothing differs from a manifest that can't be its own";
                Ok(Err(Miss::Never(text.to_owned())))
            }
            Err(error) => look::refused(error).map(Err),
        }
    }

    /// Looks again at everything that was not read from Qdrant.
    async fn check_after(&self, seen: &Seen, whole: &Whole) -> Result<Result<(), Miss>, Halt> {
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
        if self.job.site.qdrant.started().await?.as_ref() != Some(&seen.server.1) {
            return again("Qdrant was started anew meanwhile".to_owned());
        }
        let mut ids = BytesMut::with_capacity(whole.reused.len() * HASH_LEN);
        for id in &whole.reused {
            ids.put_slice(id.as_bytes());
        }
        let have = self.session.have(ids.freeze(), whole.reused.len()).await?;
        let lost = have.iter().filter(|have| **have == 0).count();
        if lost > 0 {
            let store = BaseStore::new(&self.job.site.config.state_dir);
            store.forget(&self.order.collection, self.order.shard);
            return again(format!(
                "the repository lacks {lost} chunks of the last capture"
            ));
        }
        Ok(Ok(()))
    }

    /// Fails loudly if a full capture shows that the incremental ones were wrong.
    fn compared(
        &self,
        base: &Base,
        manifest: &ShardManifest,
        contents: &ShardContents,
        shard: &ReadShard,
    ) -> Result<(), Halt> {
        let sealed = sealed_in(contents);
        let different = compare::differences(base, manifest, &sealed, &shard.recipe);
        let Some(first) = different.first() else {
            tracing::info!("the full capture confirms what earlier ones reused");
            return Ok(());
        };
        let store = BaseStore::new(&self.job.site.config.state_dir);
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

    /// What is committed, and what the next capture builds on; `count` is the number of captures since the last full one
    /// before this.
    fn finish(&self, seen: Seen, whole: Whole, timing: Timing, count: Option<u32>) -> Incremental {
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
        let (method, since_full) = match (reused, disk) {
            (0, 0) => (Method::Stream, 0),
            (_, 0) => (Method::Partial, count.map_or(1, |n| n.saturating_add(1))),
            (_, _) => (Method::Direct, count.map_or(1, |n| n.saturating_add(1))),
        };
        let sealed = sealed_in(&answer.contents);
        let base = self.basis(&seen, answer.manifest, sealed, since_full, &shard);
        let Timing {
            captured,
            snapshot_ms,
            points,
            notes,
        } = timing;
        let mut collection = seen.before.entry;
        collection.points = points;
        Incremental {
            taken: Taken {
                method,
                server_version: seen.before.server_version,
                captured,
                snapshot_ms,
                collection,
                notes,
            },
            shard,
            base: Some(base),
        }
    }

    /// What the next capture builds on. Of a segment that was not looked at before, or was made anew since, nothing may be
    /// reused.
    fn basis(
        &self,
        seen: &Seen,
        mut manifest: ShardManifest,
        mut sealed: BTreeSet<String>,
        since_full: u32,
        shard: &ReadShard,
    ) -> Base {
        let mut identities = seen.identities.clone();
        let captured = &shard.contents.states;
        identities.retain(|id, identity| {
            captured.contains_key(id) && seen.dir.identity(id).is_ok_and(|now| now == *identity)
        });
        manifest
            .segments
            .retain(|id, _| identities.contains_key(id));
        sealed.retain(|id| identities.contains_key(id));
        Base::new(
            (self.order.collection.clone(), self.order.shard),
            seen.server.clone(),
            manifest,
            identities,
            sealed,
            since_full,
            shard.recipe.clone(),
        )
    }
}

/// Whether a failure is one of reading from Qdrant, where another way may do better.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::SnapshotTruncated
            | Code::QdrantError
            | Code::QdrantUnreachable
            | Code::CollectionNotFound
    )
}

/// What was observed while the snapshot was taken.
struct Timing {
    /// When it was asked for.
    captured: Timestamp,
    snapshot_ms: u64,
    /// How many points the collection had, if that did not change.
    points: Option<u64>,
    notes: Vec<String>,
}

fn sealed_in(contents: &ShardContents) -> BTreeSet<String> {
    let sealed = contents.states.iter().filter(|(_, state)| is_sealed(state));
    sealed.map(|(id, _)| id.clone()).collect()
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
