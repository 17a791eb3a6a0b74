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
use events::Events;
use holdfast_proto::v1;
use holdfast_service::clock::Clock;
use look::{Looked, Storage, pause};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// An event leads to a look after this time at the earliest: they come in swarms.
const SOON: Duration = Duration::from_secs(1);

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
    /// Adds the newest look to a heartbeat.
    pub fn tell(&self, beat: &mut v1::Heartbeat) {
        beat.storage.clone_from(&self.0.borrow());
    }
}

/// What watching needs.
pub struct Watching {
    /// The storage directory.
    pub root: PathBuf,
    /// Time between two looks, if nothing is noticed before.
    pub every: Duration,
    /// Asked to look at Qdrant when there are other collections or shards.
    pub observation: ObservationReceiver,
    /// Woken then, too.
    pub others: Arc<Notify>,
    /// Where looks are put.
    pub out: StorageSender,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Watching {
    /// Watches until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let fresh = (Storage::new(&self.root), Events::new(&self.root));
        let mut state = Some(Box::new(fresh));
        let mut polls = None;
        loop {
            let Some(mut taken) = state.take() else {
                return;
            };
            let (began, now) = (Instant::now(), self.clock.now());
            let looked = tokio::task::spawn_blocking(move || {
                let (storage, events) = &mut *taken;
                let mut looked = storage.look(now);
                events.watch(std::mem::take(&mut looked.folders));
                (taken, looked)
            });
            let Ok((taken, looked)) = looked.await else {
                tracing::error!(
                    "watching the storage directory has failed; it is not watched any more until the agent is restarted"
                );
                return;
            };
            let events = &taken.1;
            tell_polling(events, &mut polls);
            let took = began.elapsed();
            self.publish(looked, events);
            tokio::select! {
                () = tokio::time::sleep(pause(self.every, took)) => {}
                () = async {
                    events.news().await;
                    tokio::time::sleep(pause(SOON, took).saturating_sub(began.elapsed())).await;
                } => {}
                () = stop.cancelled() => return,
            }
            state = Some(taken);
        }
    }

    fn publish(&self, looked: Looked, events: &Events) {
        let told = v1::StorageWatch {
            polling_because: events.polling_because().unwrap_or_default().to_owned(),
            overflows: events.overflows(),
            ..looked.told
        };
        self.out.0.send_replace(Some(told));
        if looked.other_shards {
            let _number = self.observation.ask();
            self.others.notify_one();
        }
    }
}

/// Tells the log once why changes are found by looks alone, and when that is over.
fn tell_polling(events: &Events, told: &mut Option<String>) {
    let because = events.polling_because();
    if told.as_deref() == because {
        return;
    }
    match because {
        Some(why) => {
            tracing::warn!(
                reason = why,
                "changes of the storage directory are found by looks alone"
            );
        }
        None => tracing::info!("changes of the storage directory are found by events, too"),
    }
    *told = because.map(str::to_owned);
}

#[cfg(test)]
mod tests;
