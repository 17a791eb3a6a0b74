//! The ways of capture side by side: seconds, bytes, how long Qdrant's segments are held, and queries meanwhile.
//!
//! Every capture follows on a small change (one point in a thousand), on a capture that it can build on, and on idle queries, with
//! which those beside it are compared. What the agent says in its log is read there.

use crate::{Backup, Figure, NAME, backup, settle};
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::site::Site;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const WAYS: [&str; 5] = ["stream", "stored", "direct", "partial", "auto"];
/// How long idle queries are measured before each capture.
const IDLE: Duration = Duration::from_secs(5);

/// What one capture cost.
struct Cost {
    seconds: f64,
    /// From the request until Qdrant had handed everything over, in milliseconds: its segments are held for no longer.
    held: f64,
    /// Bytes that the agent read, from Qdrant and from disk, in MB.
    read: f64,
    /// Bytes that it sent to the coordinator, in MB.
    sent: f64,
    /// 99th percentile of queries beside it and of idle ones just before, in milliseconds.
    busy: f64,
    idle: f64,
    /// Queries beside it.
    queries: f64,
}

/// A node with the collection of a snapshot; its number of points and length of vectors.
pub(crate) async fn recover(qdrant: &Qdrant, snapshot: &Path) -> Result<(u64, usize)> {
    // A node reads files of its own snapshots folder only.
    let folder = qdrant.snapshots.join(NAME);
    std::fs::create_dir_all(&folder)?;
    let here = folder.join("base.snapshot");
    std::fs::copy(snapshot, &here).with_context(|| snapshot.display().to_string())?;
    let body = json!({"location": format!("file://{}", here.display()), "priority": "snapshot"});
    let path = format!("/collections/{NAME}");
    let recover = format!("{path}/snapshots/recover?wait=true");
    qdrant.put(&recover, body).await?;
    std::fs::remove_file(&here)?;
    settle(qdrant).await?;
    let info = qdrant.get(&path).await?;
    let points = info["points_count"].as_u64().context("no points_count")?;
    let dim = info["config"]["params"]["vectors"]["size"].as_u64();
    Ok((points, usize::try_from(dim.context("no vector size")?)?))
}

/// Each way in turn, so many times.
pub(crate) async fn measure(
    site: &Site,
    data: &Dataset<'_>,
    rounds: usize,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    // The first to send everything, and what the others build on.
    let first = backup(site, "partial")?;
    figures.push(Figure::plain("shard", "size", first.logical / 1e6, "MB"));
    let mut costs: Vec<Vec<Cost>> = WAYS.iter().map(|_| Vec::new()).collect();
    let mut generation = 0;
    for _ in 0..rounds.max(1) {
        for (way, costs) in WAYS.iter().zip(&mut costs) {
            generation += 1;
            for from in (0..data.points).step_by(100_000) {
                // others each time, so that every capture finds segments changed that hold most points
                let from = from + 100 * generation;
                let ids = from..(from + 100).min(data.points);
                data.upsert(&site.qdrant, ids, generation).await?;
            }
            settle(&site.qdrant).await?;
            costs.push(one(site, data, way).await?);
        }
    }
    for (way, costs) in WAYS.into_iter().zip(&costs) {
        let middle = |part: fn(&Cost) -> f64| {
            let mut all: Vec<f64> = costs.iter().map(part).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let plain = |metric, value, unit| Figure::plain(way, metric, value, unit);
        figures.push(plain("seconds", middle(|c| c.seconds), "s"));
        figures.push(plain("held-at-most", middle(|c| c.held), "ms"));
        figures.push(plain("bytes-read", middle(|c| c.read), "MB"));
        figures.push(plain("bytes-sent", middle(|c| c.sent), "MB"));
        figures.push(plain("queries", middle(|c| c.queries), ""));
        figures.push(Figure {
            peer: Some(("idle, just before", middle(|c| c.idle))),
            ..plain("query-p99", middle(|c| c.busy), "ms")
        });
    }
    Ok(())
}

async fn one(site: &Site, data: &Dataset<'_>, way: &'static str) -> Result<Cost> {
    let begun = Instant::now();
    let idle = queries(site, data, || begun.elapsed() < IDLE).await?;
    let (done, latencies) = std::thread::scope(|scope| -> Result<(Backup, Vec<f64>)> {
        let capture = scope.spawn(|| backup(site, way));
        let asking = queries(site, data, || !capture.is_finished());
        let runtime = tokio::runtime::Handle::current();
        let latencies = tokio::task::block_in_place(|| runtime.block_on(asking))?;
        let done = capture.join();
        let done = done.map_err(|_| anyhow::anyhow!("the capture panicked"))??;
        Ok((done, latencies))
    })?;
    let log = site.agent.log();
    let last = log.lines().rev().find(|line| line.contains("snapshot_ms="));
    let last = last.context("the agent has logged no capture")?;
    ensure!(
        way == "auto" || field(last, "way")?.contains(way),
        "{way} was not possible: {last}"
    );
    Ok(Cost {
        seconds: done.elapsed.as_secs_f64(),
        held: field(last, "snapshot_ms")?.parse()?,
        read: field(last, "read")?.parse::<f64>()? / 1e6,
        sent: done.sent / 1e6,
        queries: latencies.len() as f64,
        busy: p99(latencies),
        idle: p99(idle),
    })
}

/// A field of a line of the log.
fn field<'a>(line: &'a str, name: &str) -> Result<&'a str> {
    let mut words = line.split_whitespace();
    let found = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    Ok(found
        .with_context(|| format!("no {name} in {line}"))?
        .trim_matches('"'))
}

/// Times of searches, one after another, as long as `goes_on`, in milliseconds.
async fn queries(site: &Site, data: &Dataset<'_>, goes_on: impl Fn() -> bool) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    while goes_on() {
        let n = latencies.len() as u64 * 7919 % data.points;
        let body = json!({"query": data.vector(n, 3), "limit": 10});
        let path = format!("/collections/{NAME}/points/query");
        let begun = Instant::now();
        site.qdrant.post(&path, body).await?;
        latencies.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(latencies)
}

fn p99(mut latencies: Vec<f64>) -> f64 {
    latencies.sort_by(f64::total_cmp);
    let at = latencies.len().saturating_sub(1) * 99 / 100;
    latencies.get(at).copied().unwrap_or(f64::NAN)
}
