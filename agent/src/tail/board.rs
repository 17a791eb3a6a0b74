//! Which timeline each log is in, for captures: a base belongs to the timeline that ran while it was made.

use super::scan::LogKey;
use holdfast_types::TimelineId;
use holdfast_wal::FileId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What the newest look that came to the end of a log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The timeline.
    pub timeline: TimelineId,
    /// The log's folder.
    pub folder: FileId,
    /// When that look began.
    pub began: Instant,
}

/// Filled by who follows the logs. Shared by clones.
#[derive(Clone, Debug, Default)]
pub struct Board {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    readings: Mutex<BTreeMap<LogKey, Reading>>,
    news: Notify,
}

impl Board {
    /// Takes note of a look, or that nothing is known of the log any more.
    pub fn put(&self, key: &LogKey, reading: Option<Reading>) {
        let mut readings = self.lock();
        match reading {
            Some(reading) => readings.insert(key.clone(), reading),
            None => readings.remove(key),
        };
        drop(readings);
        self.shared.news.notify_waiters();
    }

    /// The newest look.
    #[must_use]
    pub fn get(&self, key: &LogKey) -> Option<Reading> {
        self.lock().get(key).copied()
    }

    /// The first look that begins after the call and comes to the end; `None` if there is none within the time.
    pub async fn next(&self, key: &LogKey, within: Duration) -> Option<Reading> {
        let since = Instant::now();
        let found = async {
            loop {
                let news = self.shared.news.notified();
                tokio::pin!(news);
                // Enrolled before the look, so that nothing between look and wait is missed.
                news.as_mut().enable();
                match self.get(key) {
                    Some(reading) if reading.began > since => return Some(reading),
                    Some(_) => {}
                    None => return None,
                }
                news.await;
            }
        };
        tokio::time::timeout(within, found).await.ok().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogKey, Reading>> {
        let readings = self.shared.readings.lock();
        readings.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Board, Reading};
    use crate::tail::LogKey;
    use holdfast_types::{ShardId, TimelineId};
    use holdfast_wal::FileId;
    use std::time::{Duration, Instant};

    fn reading(timeline: u8) -> Option<Reading> {
        Some(Reading {
            timeline: TimelineId::from_bytes([timeline; 16]),
            folder: FileId {
                device: 1,
                inode: 2,
            },
            began: Instant::now(),
        })
    }

    #[tokio::test]
    async fn only_a_look_that_begins_afterwards_counts() {
        let board = Board::default();
        let key = LogKey {
            collection: "docs".parse().unwrap(),
            shard: ShardId(0),
        };
        assert_eq!(board.next(&key, Duration::from_secs(60)).await, None);
        board.put(&key, reading(1));
        assert_eq!(board.next(&key, Duration::from_millis(1)).await, None);
        let (waiting, asked) = (board.clone(), key.clone());
        let waiting =
            tokio::spawn(async move { waiting.next(&asked, Duration::from_secs(60)).await });
        tokio::task::yield_now().await;
        board.put(&key, reading(1));
        let found = waiting.await.unwrap().unwrap();
        assert_eq!(found.timeline, TimelineId::from_bytes([1; 16]));
        board.put(&key, None);
        assert_eq!(board.next(&key, Duration::from_secs(60)).await, None);
    }
}
