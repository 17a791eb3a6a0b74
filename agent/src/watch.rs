//! Watches Qdrant's storage directory: what changes in which shard, what comes and goes, what is lost, and for how long the disk lasts.
//!
//! Three sources together, since none is enough alone. The kernel's [`events`] tell at once what comes, goes or is renamed, but not what is
//! written through a memory map, which is how Qdrant writes. A [`look`] at every file's size and times finds that, some seconds later.
//! What Qdrant itself tells is the observer's part; it is asked to look as soon as collections or shards came or went, and so are those who
//! follow logs.
//!
//! It opens no file, changes nothing, and decides nothing: the coordinator warns, and plans.

mod events;
mod files;
mod forecast;
mod look;
mod trouble;

use crate::observer::ObservationReceiver;
use crate::tail::LogKey;
use events::Events;
use holdfast_proto::limits::MAX_MESSAGE_BYTES;
use holdfast_proto::v1;
use holdfast_service::clock::Clock;
use holdfast_types::{CollectionName, ShardId};
use look::{Looked, Storage, pause};
use prost::Message as _;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// An event leads to a look after this time at the earliest: they come in swarms.
const SOON: Duration = Duration::from_secs(1);

/// Said where the thread that takes events has died.
const NO_EVENTS: &str = "folders can't be watched: taking events has failed";

/// Where the newest look can be read.
#[derive(Clone, Debug)]
pub struct StorageReceiver(watch::Receiver<Option<v1::StorageWatch>>);

/// Where it is put.
#[derive(Debug)]
pub struct StorageSender(watch::Sender<Option<v1::StorageWatch>>);

/// A pair without a look.
#[must_use]
pub fn channel() -> (StorageSender, StorageReceiver) {
    let (sender, receiver) = watch::channel(None);
    (StorageSender(sender), StorageReceiver(receiver))
}

impl StorageReceiver {
    /// Adds the newest look to a heartbeat, if it was not told yet.
    pub fn tell(&mut self, beat: &mut v1::Heartbeat) {
        if self.0.has_changed().unwrap_or(false) {
            beat.storage.clone_from(&self.0.borrow_and_update());
        }
    }

    /// Another coordinator may listen: the newest look is told again.
    pub fn begin_anew(&mut self) {
        self.0.mark_changed();
    }
}

/// What watching needs.
pub struct Watching {
    /// The storage directory.
    pub root: PathBuf,
    /// Time between two looks, if nothing is noticed before.
    pub every: Duration,
    /// What Qdrant serves; asked to look again when there are other collections or shards.
    pub observation: ObservationReceiver,
    /// Woken then, too.
    pub others: Arc<Notify>,
    /// Where looks are put.
    pub out: StorageSender,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What was told to the log.
#[derive(Default)]
struct Told {
    polling: Option<String>,
    overflows: u64,
}

impl Watching {
    /// Watches until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            if self.watch().await.is_none() {
                tracing::error!(
                    "watching the storage directory has failed; it is not watched any more until the agent is restarted"
                );
            }
        };
        // A look that hangs on a dead disk must not hold up the stop.
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Looks again and again; `None` when a look has panicked.
    async fn watch(&self) -> Option<()> {
        let mut storage = Storage::new(&self.root);
        let root = self.root.clone();
        let opened = tokio::task::spawn_blocking(move || Events::new(&root)).await;
        let mut events = opened.unwrap_or_else(|_| Events::none(NO_EVENTS));
        let mut told = Told::default();
        loop {
            let (began, now) = (Instant::now(), self.clock.now());
            let served = self.served();
            let looked = tokio::task::spawn_blocking(move || {
                let served = served.as_ref().map(|(asked, served)| (*asked, served));
                let looked = storage.look(now, served);
                (storage, looked)
            });
            let (returned, mut looked) = looked.await.ok()?;
            storage = returned;
            let folders = std::mem::take(&mut looked.folders);
            let watched = tokio::task::spawn_blocking(move || {
                events.watch(folders);
                events
            });
            // Without the hint, looks find the same.
            events = watched.await.unwrap_or_else(|_| Events::none(NO_EVENTS));
            told.tell(&events);
            let took = began.elapsed();
            let next = pause(self.every, took);
            self.publish(looked, &events, next);
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = async {
                    events.news().await;
                    tokio::time::sleep(pause(SOON, took).saturating_sub(began.elapsed())).await;
                } => {}
            }
        }
    }

    /// The shards that Qdrant has said it has on this node, and when it was asked.
    fn served(&self) -> Option<(Instant, BTreeSet<LogKey>)> {
        let seen = self.observation.latest()?;
        let inventory = seen.inventory.as_ref().ok()?;
        let mut shards = BTreeSet::new();
        for collection in &inventory.collections {
            let name: CollectionName = collection.name.parse().ok()?;
            shards.extend(collection.local_shards.iter().map(|shard| LogKey {
                collection: name.clone(),
                shard: ShardId(shard.shard_id),
            }));
        }
        Some((seen.began, shards))
    }

    fn publish(&self, looked: Looked, events: &Events, next: Duration) {
        let mut told = v1::StorageWatch {
            polling_because: events.polling_because().unwrap_or_default().to_owned(),
            overflows: events.overflows(),
            next_look_secs: next.as_secs(),
            ..looked.told
        };
        while told.encoded_len() > MAX_MESSAGE_BYTES / 4 {
            told.shards.truncate(told.shards.len() / 2);
        }
        self.out.0.send_replace(Some(told));
        if looked.other_shards {
            let _number = self.observation.ask();
            self.others.notify_one();
        }
    }
}

impl Told {
    /// Tells the log once why changes are found by looks alone, when that is over, and of events that were lost.
    fn tell(&mut self, events: &Events) {
        let overflows = events.overflows();
        if overflows > self.overflows {
            tracing::warn!(
                times = overflows - self.overflows,
                "the kernel lost events of the storage directory; a look followed"
            );
            self.overflows = overflows;
        }
        let because = events.polling_because();
        if self.polling.as_deref() == because {
            return;
        }
        match because {
            Some(reason) => {
                tracing::warn!(
                    reason,
                    "changes of the storage directory are found by looks alone"
                );
            }
            None => tracing::info!("changes of the storage directory are found by events, too"),
        }
        self.polling = because.map(str::to_owned);
    }
}

#[cfg(test)]
mod tests;
