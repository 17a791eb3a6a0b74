//! The history of one job as its followers see it, and how they are woken.
//!
//! Bounded: notes are limited by the plan's length, and of progress only the newest per shard is
//! kept, so a slow follower misses intermediate figures and nothing else.

use holdfast_proto::v1;
use holdfast_types::{CollectionName, JobId, NodeId, ShardId, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Lines kept of one job; a plan with more steps than this loses notes, never its end.
const MAX_LINES: usize = 100_000;

/// What progress is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgressKey {
    /// On which node.
    pub node: NodeId,
    /// Of which collection.
    pub collection: CollectionName,
    /// Of which shard; 0 for a whole collection.
    pub shard: ShardId,
}

/// One job's history.
#[derive(Debug)]
pub struct JobFeed {
    job: JobId,
    state: Mutex<FeedState>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct FeedState {
    version: u64,
    lines: Vec<v1::JobEvent>,
    progress: BTreeMap<ProgressKey, (u64, v1::JobEvent)>,
    ended: bool,
}

/// How far a follower has read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    lines: usize,
    version: u64,
}

impl JobFeed {
    /// The feed of a job that has just begun.
    #[must_use]
    pub fn new(job: JobId) -> Self {
        Self {
            job,
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// Adds the first event.
    pub fn started(&self, now: Timestamp, kind: &str, plan: Vec<String>) {
        let started = v1::JobStarted {
            kind: kind.to_owned(),
            plan,
        };
        self.add(now, v1::job_event::Event::Started(started));
    }

    /// Adds a line for a person.
    pub fn note(&self, now: Timestamp, text: impl Into<String>) {
        self.add(now, v1::job_event::Event::Note(text.into()));
    }

    /// Replaces the figures of one shard.
    pub fn progress(&self, now: Timestamp, key: &ProgressKey, progress: v1::Progress) {
        let event = v1::job_event::Event::Progress(v1::JobProgress {
            node: key.node.to_string(),
            collection: key.collection.to_string(),
            shard_id: key.shard.0,
            progress: Some(progress),
        });
        let event = self.event(now, event);
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        state.progress.insert(key.clone(), (version, event));
        self.wake(state);
    }

    /// Adds the last event. Nothing is added afterwards.
    pub fn ended(&self, now: Timestamp, ended: v1::JobEnded) {
        self.add(now, v1::job_event::Event::Ended(ended));
    }

    /// A receiver that sees a change after every event.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What happened since `cursor`, which moves on. The flag says whether the last event is in it.
    #[must_use]
    pub fn since(&self, cursor: &mut Cursor) -> (Vec<v1::JobEvent>, bool) {
        let state = self.lock();
        let fresh = state.progress.values();
        let mut events: Vec<v1::JobEvent> = fresh
            .filter(|(version, _)| *version > cursor.version)
            .map(|(_, event)| event.clone())
            .collect();
        let lines = state.lines.get(cursor.lines..).unwrap_or_default();
        // The first event of a job comes first, everything else after the figures it ends.
        let first = usize::from(cursor.lines == 0 && !lines.is_empty());
        events.splice(0..0, lines[..first].iter().cloned());
        events.extend_from_slice(&lines[first..]);
        *cursor = Cursor {
            lines: state.lines.len(),
            version: state.version,
        };
        (events, state.ended)
    }

    fn add(&self, now: Timestamp, event: v1::job_event::Event) {
        let last = matches!(event, v1::job_event::Event::Ended(_));
        let event = self.event(now, event);
        let mut state = self.lock();
        if state.ended || (state.lines.len() >= MAX_LINES && !last) {
            return;
        }
        state.version += 1;
        state.lines.push(event);
        state.ended = last;
        self.wake(state);
    }

    fn wake(&self, state: MutexGuard<'_, FeedState>) {
        let version = state.version;
        drop(state);
        self.changed.send_replace(version);
    }

    fn event(&self, now: Timestamp, event: v1::job_event::Event) -> v1::JobEvent {
        v1::JobEvent {
            job_id: self.job.to_string(),
            at_us: now.as_micros(),
            event: Some(event),
        }
    }

    fn lock(&self) -> MutexGuard<'_, FeedState> {
        // No code that holds this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, JobFeed, ProgressKey};
    use holdfast_proto::v1;
    use holdfast_types::{ShardId, Timestamp};

    const NOW: Timestamp = Timestamp::EPOCH;

    fn words(events: &[v1::JobEvent]) -> Vec<String> {
        let word = |event: &v1::JobEvent| match event.event.as_ref().unwrap() {
            v1::job_event::Event::Started(_) => "started".into(),
            v1::job_event::Event::Progress(p) => {
                format!("progress {}", p.progress.as_ref().unwrap().bytes_done)
            }
            v1::job_event::Event::Note(text) => text.clone(),
            v1::job_event::Event::Ended(_) => "ended".into(),
        };
        events.iter().map(word).collect()
    }

    fn bytes(done: u64) -> v1::Progress {
        v1::Progress {
            bytes_done: done,
            ..Default::default()
        }
    }

    #[test]
    fn followers_see_every_line_and_the_newest_figures() {
        let feed = JobFeed::new("job-1".parse().unwrap());
        let key = ProgressKey {
            node: "n1".parse().unwrap(),
            collection: "docs".parse().unwrap(),
            shard: ShardId(0),
        };
        feed.started(NOW, "backup", vec![]);
        feed.progress(NOW, &key, bytes(1));
        feed.progress(NOW, &key, bytes(2));
        feed.note(NOW, "done");
        let mut cursor = Cursor::default();
        let (events, ended) = feed.since(&mut cursor);
        assert_eq!(words(&events), ["started", "progress 2", "done"]);
        assert!(!ended);
        assert_eq!(feed.since(&mut cursor).0, []);
        feed.ended(NOW, v1::JobEnded::default());
        feed.note(NOW, "too late");
        let (events, ended) = feed.since(&mut cursor);
        assert_eq!(words(&events), ["ended"]);
        assert!(ended);
        let (all, _) = feed.since(&mut Cursor::default());
        assert_eq!(words(&all), ["started", "progress 2", "done", "ended"]);
    }

    #[tokio::test]
    async fn a_follower_is_woken() {
        let feed = JobFeed::new("job-1".parse().unwrap());
        let mut watch = feed.watch();
        feed.note(NOW, "x");
        watch.changed().await.unwrap();
    }
}
