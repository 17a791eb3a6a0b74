//! The history of one job that runs as its followers see it, how they are woken, and what of it goes to the job's log.
//!
//! Bounded: notes are limited by the plan's length, and of progress only the newest per shard, or of the whole of a run of
//! upkeep, is kept, so a slow follower misses intermediate figures and nothing else.

use super::log::{JobLog, Level, LogChange, LogLine, Rows};
use super::pace::{Pace, Rate};
use super::upkeep::Extent;
use crate::dispatch::News;
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
    /// Held while something of the job is written to the catalogue: one writer at a time.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct FeedState {
    version: u64,
    lines: Vec<v1::JobEvent>,
    progress: BTreeMap<ProgressKey, Told>,
    whole: Option<Whole>,
    log: JobLog,
    ended: bool,
}

/// What was told last of one shard.
#[derive(Debug)]
struct Told {
    version: u64,
    event: v1::JobEvent,
    progress: v1::Progress,
    pace: Pace,
}

/// What was told last of a run of upkeep.
#[derive(Debug)]
struct Whole {
    version: u64,
    event: v1::JobEvent,
    stage: String,
    extent: Extent,
    pace: Pace,
}

/// How far one shard is.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// As its agent told it.
    pub progress: v1::Progress,
    /// How fast it goes on.
    pub rate: Option<Rate>,
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
        Self::resumed(job, Rows::new())
    }

    /// The feed of a job that goes on after a restart, with its log until then.
    #[must_use]
    pub fn resumed(job: JobId, log: Rows) -> Self {
        let state = FeedState {
            log: JobLog::of(log),
            ..FeedState::default()
        };
        Self {
            job,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Waits until nothing of the job is being written.
    pub async fn writing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    /// Whose it is.
    #[must_use]
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// Adds the first event, and what the log tells of before.
    pub fn started(&self, at: Timestamp, kind: &str, plan: Vec<String>) {
        let started = v1::JobStarted {
            kind: kind.to_owned(),
            plan,
        };
        self.add(at, v1::job_event::Event::Started(started));
        let told: Vec<LogLine> = self.lock().log.rows().values().cloned().collect();
        for line in told {
            self.add(line.at, v1::job_event::Event::Note(line.text));
        }
    }

    /// Adds a line for a person, here and in the log.
    pub fn note(&self, now: Timestamp, text: impl Into<String>) {
        self.say(now, Level::Info, text.into());
    }

    /// Adds a line on something that went wrong, here and in the log.
    pub fn warn(&self, now: Timestamp, text: impl Into<String>) {
        self.say(now, Level::Warning, text.into());
    }

    /// Adds a line to the log alone.
    pub fn log(&self, now: Timestamp, level: Level, text: impl Into<String>) {
        let line = LogLine::new(now, level, text.into());
        self.lock().log.push(line);
    }

    fn say(&self, now: Timestamp, level: Level, text: String) {
        self.log(now, level, text.clone());
        self.add(now, v1::job_event::Event::Note(text));
    }

    /// The log.
    #[must_use]
    pub fn log_rows(&self) -> Rows {
        self.lock().log.rows().clone()
    }

    /// What of the log is to be written.
    #[must_use]
    pub fn log_change(&self) -> LogChange {
        self.lock().log.change()
    }

    /// Takes note that it is.
    pub fn log_written(&self, change: &LogChange) {
        self.lock().log.wrote(change);
    }

    /// Replaces the figures of one shard.
    pub fn progress(&self, now: Timestamp, key: &ProgressKey, progress: v1::Progress) {
        let event = v1::job_event::Event::Progress(v1::JobProgress {
            node: key.node.to_string(),
            collection: key.collection.to_string(),
            shard_id: key.shard.0,
            progress: Some(progress.clone()),
        });
        let event = self.event(now, event);
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let before = state.progress.remove(key);
        let was = before
            .as_ref()
            .map_or("", |told| told.progress.slowed.as_str());
        let changed = slowed_line(key, was, &progress.slowed);
        let mut pace = before.map(|before| before.pace).unwrap_or_default();
        pace.tell(now, progress.bytes_done);
        let told = Told {
            version,
            event,
            progress,
            pace,
        };
        state.progress.insert(key.clone(), told);
        self.wake(state);
        if let Some(line) = changed {
            self.note(now, line);
        }
    }

    /// Replaces the figures of a run of upkeep.
    pub fn progress_of_whole(&self, now: Timestamp, stage: &str, extent: Extent) {
        let event = v1::job_event::Event::Progress(v1::JobProgress {
            progress: Some(v1::Progress {
                stage: stage.to_owned(),
                bytes_done: extent.bytes,
                bytes_total: extent.bytes_total.unwrap_or(0),
                bytes_sent: 0,
                slowed: String::new(),
            }),
            ..v1::JobProgress::default()
        });
        let event = self.event(now, event);
        let mut state = self.lock();
        state.version += 1;
        let before = state.whole.take();
        let mut pace = before.map(|before| before.pace).unwrap_or_default();
        pace.tell(now, extent.bytes);
        state.whole = Some(Whole {
            version: state.version,
            event,
            stage: stage.to_owned(),
            extent,
            pace,
        });
        self.wake(state);
    }

    /// What a run of upkeep does now, how far it is and how fast it goes on.
    #[must_use]
    pub fn whole(&self, now: Timestamp) -> Option<(String, Extent, Option<Rate>)> {
        let state = self.lock();
        let told = state.whole.as_ref()?;
        Some((told.stage.clone(), told.extent, told.pace.rate(now)))
    }

    /// Takes what became known of an open command.
    pub fn news(&self, now: Timestamp, key: &ProgressKey, news: News) {
        match news {
            News::Progress(progress) => self.progress(now, key, progress),
            News::Away(node) => {
                self.warn(
                    now,
                    format!("the agent of node {node} is away: waiting for it"),
                );
            }
            News::Back(node) => self.note(now, format!("the agent of node {node} is back")),
        }
    }

    /// How far every shard is of which its agent has told.
    #[must_use]
    pub fn figures(&self, now: Timestamp) -> BTreeMap<ProgressKey, Figures> {
        let state = self.lock();
        let told = state.progress.iter();
        told.map(|(key, told)| {
            let figures = Figures {
                progress: told.progress.clone(),
                rate: told.pace.rate(now),
            };
            (key.clone(), figures)
        })
        .collect()
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
            .filter(|told| told.version > cursor.version)
            .map(|told| told.event.clone())
            .collect();
        let whole = state.whole.iter();
        let whole = whole.filter(|told| told.version > cursor.version);
        events.extend(whole.map(|told| told.event.clone()));
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

/// What is said when a capture begins or ends to be slower than it could be.
fn slowed_line(key: &ProgressKey, was: &str, is: &str) -> Option<String> {
    let ProgressKey {
        node,
        collection,
        shard,
    } = key;
    match (was, is) {
        ("", "") => None,
        ("", why) => Some(format!(
            "{collection}/{shard} on {node}: slowed down: {why}"
        )),
        (_, "") => Some(format!(
            "{collection}/{shard} on {node}: slowed down no longer"
        )),
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests;
