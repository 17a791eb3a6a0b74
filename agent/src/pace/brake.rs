//! Looks how long searches take at Qdrant while a capture runs, and slows the capture down by that.

use super::law::{Law, Look};
use super::{Pace, Totals};
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

/// Watches over one capture.
#[derive(Debug)]
pub(crate) struct Brake<'a> {
    job: &'a Job,
    limit: Duration,
    law: Law,
    last: Option<SearchCounts>,
    since: Instant,
    before: Totals,
}

impl<'a> Brake<'a> {
    /// Looks for the first time, before the capture begins: from then on it is compared.
    pub(crate) async fn new(job: &'a Job, courtesy: Courtesy) -> Self {
        let last = seen(&job.site.qdrant).await;
        job.pace.blind.store(last.is_none(), Ordering::Relaxed);
        Self {
            job,
            limit: courtesy.latency,
            law: Law::new(courtesy.latency, courtesy.delay, job.pace.ceiling),
            last,
            since: Instant::now(),
            before: job.pace.totals(),
        }
    }

    /// Looks for as long as the capture runs.
    pub(crate) async fn watch(mut self) -> Infallible {
        loop {
            tokio::time::sleep(EVERY).await;
            let counts = seen(&self.job.site.qdrant).await;
            self.look(counts);
        }
    }

    fn look(&mut self, counts: Option<SearchCounts>) {
        let (pace, meter) = (&self.job.pace, &self.job.meter);
        let (now, totals) = (Instant::now(), pace.totals());
        let took = match (&counts, &self.last) {
            (Some(counts), Some(last)) => counts.mean_since(last),
            (None, _) | (_, None) => None,
        };
        let read = totals.read.saturating_sub(self.before.read);
        let was_spent = self.law.is_spent();
        let rate = self.law.look(Look {
            latency: took,
            read: per_second(read, now - self.since),
            held_up: totals.held_up.saturating_sub(self.before.held_up),
        });
        pace.slow_to(rate);
        match (took.filter(|took| *took > self.limit), rate) {
            (Some(took), Some(_)) => meter.slowed(slow_text(took, self.limit)),
            (Some(_) | None, None) => meter.slowed(String::new()),
            (None, Some(_)) => {}
        }
        if self.law.is_spent() && !was_spent {
            pace.spent.store(true, Ordering::Relaxed);
            tracing::warn!(
                held_up_secs = totals.held_up.as_secs(),
                "the capture was held up for searches for as long as it may be: it goes on as fast as it can"
            );
        }
        self.last = counts.or(self.last);
        (self.since, self.before) = (now, totals);
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
