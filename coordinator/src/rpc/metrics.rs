//! What Prometheus is told: gauges that are drawn anew from what the coordinator knows whenever somebody asks.
//!
//! It shows names of nodes, collections, schedules and copies, and numbers; nothing can be changed through it.

use super::admin;
use crate::core::Core;
use crate::fault::Fault;
use crate::logs;
use crate::schedule;
use crate::storage;
use holdfast_proto::v1;
use holdfast_types::{CollectionName, Timestamp};
use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

mod name;

pub use name::Metric;

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// Values of metrics, in no order.
#[derive(Debug, Default)]
struct Samples(Vec<(Metric, Labels, f64)>);

impl Samples {
    fn put(&mut self, metric: Metric, of: &str, value: f64) {
        let label = metric.label().map(|label| (label, of.to_owned()));
        self.0.push((metric, label.into_iter().collect(), value));
    }

    fn put_if(&mut self, metric: Metric, of: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.put(metric, of, value);
        }
    }

    fn encode(&self) -> String {
        let mut registry = Registry::with_prefix("holdfast");
        for metric in Metric::ALL {
            let gauges = Gauges::default();
            let mut of_it = self.0.iter().filter(|(of, ..)| of == metric).peekable();
            if of_it.peek().is_none() {
                continue;
            }
            for (_, labels, value) in of_it {
                gauges.get_or_create(labels).set(*value);
            }
            registry.register(metric.name(), metric.help(), gauges);
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _written = text::encode(&mut text, &registry);
        text
    }
}

/// All metrics, as OpenMetrics text.
///
/// # Errors
/// A catalogue that can't be read.
pub async fn text(core: &Core) -> Result<String, Fault> {
    let points = admin::live_points(core).await?;
    let now = core.clock.now();
    let mut samples = Samples::default();
    let status = admin::status(core, &points).await;
    overall(&mut samples, &status);
    for node in admin::nodes(core) {
        let up = node.connected && node.qdrant_error.is_none() && node.inventory.is_some();
        samples.put(Metric::NodeConnected, &node.node, truth(node.connected));
        samples.put(Metric::NodeQdrantUp, &node.node, truth(up));
        let offset = Timestamp::from_micros(node.clock_offset_ms.saturating_mul(1000));
        samples.put(Metric::NodeClockOffset, &node.node, seconds(offset));
        samples.put(
            Metric::NodeDrained,
            &node.node,
            truth(node.drained.is_some()),
        );
        if let Some(look) = node.storage.as_ref().filter(|_| node.connected) {
            storage_of(&mut samples, &node.node, look);
        }
    }
    for (node, record) in core.nodes.list() {
        let of = node.as_str();
        let took = record.searches.filter(|_| record.connected);
        samples.put_if(Metric::SearchTime, of, took.map(|took| took.as_secs_f64()));
        samples.put(Metric::HeldUp, of, record.held_up.as_secs_f64());
    }
    for (of, churn) in storage::churn(&core.nodes.list()) {
        samples.put(Metric::Touched, &of, count(churn.touched_bytes));
        samples.put(Metric::GoneSegments, &of, count(churn.gone_segments));
    }
    let known = schedule::known_collections(core);
    for (name, standing) in &logs::standings(core, &points, &known) {
        if known.contains(name) {
            collection(&mut samples, core, name, standing, now);
        }
    }
    let busy = core.book.running().await.map(|job| job.id);
    for standing in schedule::standings(core, busy) {
        let of = standing.schedule.name.as_str();
        let late = standing.late.map_or(0.0, |late| late.by.as_secs_f64());
        samples.put(Metric::ScheduleLate, of, late);
        let last = standing.memory.last_success.as_ref();
        samples.put_if(
            Metric::ScheduleLastSuccess,
            of,
            last.map(|run| seconds(run.planned)),
        );
        samples.put_if(Metric::ScheduleNext, of, standing.next.map(seconds));
    }
    for copy in &status.copies {
        let of = &copy.name;
        samples.put(Metric::CopyTrouble, of, truth(copy.trouble.is_some()));
        samples.put(Metric::CopyMaxLag, of, count(copy.max_lag_seconds));
        if let Some(lag) = &copy.lag {
            samples.put(Metric::CopyLag, of, count(lag.seconds));
            samples.put(Metric::CopyLagPoints, of, count(lag.points));
            samples.put(Metric::CopyLagBytes, of, count(lag.bytes));
        }
    }
    Ok(samples.encode())
}

fn storage_of(samples: &mut Samples, of: &str, look: &v1::StorageWatch) {
    if look.total_bytes > 0 {
        samples.put(Metric::StorageFree, of, count(look.free_bytes));
        samples.put(Metric::StorageTotal, of, count(look.total_bytes));
    }
    let full = storage::lasts(look).map(|left| left.as_secs_f64());
    samples.put_if(Metric::StorageFull, of, full);
    let troubles = look.troubles.len() as u64;
    samples.put(Metric::StorageTroubles, of, count(troubles));
    let polled = !look.polling_because.is_empty();
    samples.put(Metric::StoragePolled, of, truth(polled));
    samples.put(Metric::StorageOverflows, of, count(look.overflows));
}

fn overall(samples: &mut Samples, status: &v1::StatusResponse) {
    let program = status.program.as_ref().map(|program| &*program.version);
    samples.put(Metric::BuildInfo, program.unwrap_or_default(), 1.0);
    samples.put(
        Metric::Started,
        "",
        seconds(Timestamp::from_micros(status.started_us)),
    );
    samples.put(Metric::Epoch, "", count(status.epoch));
    samples.put(Metric::Warnings, "", count(status.warnings.len() as u64));
    samples.put(Metric::RecoveryPoints, "", count(status.recovery_points));
    samples.put(Metric::StoredBytes, "", count(status.stored_bytes));
    samples.put(Metric::Chunks, "", count(status.chunks));
    let failed = status.jobs.iter().find(|job| job.ended_us != 0);
    let failed = failed.is_some_and(|job| job.failure.is_some());
    samples.put(Metric::LastJobFailed, "", truth(failed));
    if let Some(check) = &status.last_check {
        let ended = Timestamp::from_micros(check.ended_us);
        samples.put(Metric::LastCheck, "", seconds(ended));
        samples.put(Metric::Damaged, "", truth(check.needs_attention));
    }
}

fn collection(
    samples: &mut Samples,
    core: &Core,
    name: &CollectionName,
    standing: &logs::CollectionStanding,
    now: Timestamp,
) {
    let of = name.as_str();
    let until = standing.recoverable_until;
    samples.put_if(Metric::RecoverableUntil, of, until.map(seconds));
    let behind = until.map(|until| now.since(until).as_secs_f64());
    samples.put(Metric::Rpo, of, behind.unwrap_or(f64::INFINITY));
    samples.put(Metric::Continuous, of, truth(standing.continuous));
    samples.put(
        Metric::LogTroubles,
        of,
        count(standing.troubles.len() as u64),
    );
    let policy = core.policy.as_ref().map(|loaded| &loaded.policy);
    let target = policy.and_then(|policy| policy.rpo_of(name, now));
    samples.put_if(
        Metric::RpoTarget,
        of,
        target.map(|(allowed, _)| allowed.as_secs_f64()),
    );
}

/// Seconds since 1970, to the microsecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of this century are exact in 53 bits"
)]
fn seconds(at: Timestamp) -> f64 {
    at.as_micros() as f64 / 1e6
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is lost beyond 2⁵³ nobody sees on a gauge"
)]
fn count(number: u64) -> f64 {
    number as f64
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
mod tests {
    use super::{Metric, Samples};

    #[test]
    fn samples_are_text_that_prometheus_takes() {
        let mut samples = Samples::default();
        samples.put(Metric::Warnings, "", 2.0);
        samples.put(Metric::Rpo, "a\"b", f64::INFINITY);
        samples.put(Metric::Rpo, "docs", 1.5);
        let text = samples.encode();
        for line in [
            "# TYPE holdfast_warnings gauge",
            "holdfast_warnings 2.0",
            "holdfast_collection_rpo_seconds{collection=\"a\\\"b\"} inf",
            "holdfast_collection_rpo_seconds{collection=\"docs\"} 1.5",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("holdfast_epoch"), "nothing is known of it");
    }
}
