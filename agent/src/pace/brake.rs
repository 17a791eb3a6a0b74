//! Looks how long searches take at Qdrant while a capture runs, and slows the capture down by that.

use super::Pace;
use super::law::{Law, Look};
use crate::job::Job;
use crate::order::Courtesy;
use holdfast_qdrant::{QdrantClient, SearchCounts};
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// A look that takes longer says nothing.
const WITHIN: Duration = Duration::from_secs(5);

/// What a recovery point says where Qdrant does not tell.
pub(super) const BLIND: &str =
    "Qdrant does not tell how long searches take, so that max_query_latency was not kept";

/// Looks for as long as the capture runs.
pub(crate) async fn watch(job: &Job, courtesy: Courtesy) -> Infallible {
    let Courtesy { latency, delay } = courtesy;
    let (pace, meter) = (&job.pace, &job.meter);
    let mut law = Law::new(latency, delay, pace.ceiling);
    let mut last = seen(&job.site.qdrant).await;
    pace.blind.store(last.is_none(), Ordering::Relaxed);
    let (mut since, mut before) = (Instant::now(), pace.totals());
    let mut told = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let counts = seen(&job.site.qdrant).await;
        let (now, totals) = (Instant::now(), pace.totals());
        let took = match (&counts, &last) {
            (Some(counts), Some(last)) => counts.mean_since(last),
            (None, _) | (_, None) => None,
        };
        let rate = law.look(Look {
            latency: took,
            read: per_second(totals.read.saturating_sub(before.read), now - since),
            held_up: totals.held_up.saturating_sub(before.held_up),
        });
        pace.slow_to(rate);
        if let Some(took) = took.filter(|took| *took > latency && rate.is_some()) {
            meter.slowed(slow_text(took, latency));
        } else if rate.is_none() {
            meter.slowed(String::new());
        }
        if law.is_spent() && !told {
            told = true;
            pace.spent.store(true, Ordering::Relaxed);
            tracing::warn!(
                held_up_secs = totals.held_up.as_secs(),
                "the capture was held up for searches for as long as it may be: it goes on as fast as it can"
            );
        }
        if counts.is_some() {
            last = counts;
        }
        (since, before) = (now, totals);
    }
}

async fn seen(qdrant: &QdrantClient) -> Option<SearchCounts> {
    let counts = tokio::time::timeout(WITHIN, qdrant.searches()).await;
    counts.ok()?.ok()?
}

fn slow_text(took: Duration, limit: Duration) -> String {
    format!(
        "searches take {} ms, limit {} ms",
        took.as_millis(),
        limit.as_millis()
    )
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let millis = time.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

impl Pace {
    /// What the recovery point must say of how the limit on latency was kept.
    pub(crate) fn notes(&self) -> Vec<String> {
        let totals = self.totals();
        let blind = self.blind.load(Ordering::Relaxed).then(|| BLIND.to_owned());
        let spent = self.spent.load(Ordering::Relaxed).then(|| {
            format!(
                "searches took longer than they may for so long that the capture went on after {} s of slowing down",
                totals.held_up.as_secs()
            )
        });
        blind.into_iter().chain(spent).collect()
    }
}
