//! How long the searches of others take, for a coordinator that wants to know: its schedules wait for a calmer moment by that.

use holdfast_proto::v1;
use holdfast_qdrant::{QdrantClient, SearchCounts};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A look that takes longer says nothing.
const WITHIN: Duration = Duration::from_secs(5);

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Searching {
    wanted: AtomicBool,
    mean: Mutex<Option<Duration>>,
}

impl Searching {
    /// Whether anybody wants to know.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Looks, if anybody wants to know; `last` is what the look before found.
    pub(super) async fn look(&self, qdrant: &QdrantClient, last: &mut Option<SearchCounts>) {
        if !self.wanted.load(Ordering::Relaxed) {
            *last = None;
            self.set(None);
            return;
        }
        let counts = tokio::time::timeout(WITHIN, qdrant.searches()).await;
        let counts = counts.ok().and_then(Result::ok).flatten();
        let mean = match (&counts, &*last) {
            (Some(now), Some(before)) => now.mean_since(before),
            (None, _) | (_, None) => None,
        };
        *last = counts;
        self.set(mean);
    }

    fn set(&self, mean: Option<Duration>) {
        *self.mean.lock().unwrap_or_else(PoisonError::into_inner) = mean;
    }

    /// Puts it into a heartbeat.
    pub(super) fn tell(&self, beat: &mut v1::Heartbeat) {
        let mean = *self.mean.lock().unwrap_or_else(PoisonError::into_inner);
        // What took no time at all is told all the same: 0 stands for nothing seen.
        beat.search_us = mean.map_or(0, |mean| {
            u64::try_from(mean.as_micros()).unwrap_or(u64::MAX).max(1)
        });
    }
}
