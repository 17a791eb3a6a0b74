//! `cargo xtask bench`: capture and restore of one collection, end to end, beside what Qdrant needs alone.
//!
//! Peers are measured in the same run on the same data, so the ratios hold on a noisy machine; absolute
//! times do not travel. It judges nothing: it prints figures, one JSON object a line with `--json`.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::site::{Options, Site};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const NAME: &str = "bench";

#[derive(Parser)]
#[command(about = "Throughput and cost of capture and restore, as ratios to Qdrant's own figures")]
struct Cli {
    /// Points to load
    #[arg(long, default_value_t = 200_000)]
    points: u64,
    /// Length of a vector
    #[arg(long, default_value_t = 384)]
    dim: usize,
    /// Let Qdrant build its HNSW index before measuring (takes long)
    #[arg(long)]
    indexed: bool,
    /// Measure the ways of capture only: seconds, bytes read, lock time, and queries meanwhile
    #[arg(long)]
    ways: bool,
    /// One JSON object a line: bench, metric, value, unit, peer, ratio
    #[arg(long)]
    json: bool,
}

/// One measured figure, perhaps beside a peer's.
struct Figure {
    bench: &'static str,
    metric: &'static str,
    value: f64,
    unit: &'static str,
    peer: Option<(&'static str, f64)>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let site = Site::start_with(Options {
        shared_snapshots: true,
        shared_storage: cli.ways,
        spool_mib: 4096,
        ..Options::default()
    })
    .await?;
    let data = Dataset {
        name: NAME,
        points: cli.points,
        dim: cli.dim,
    };
    load(&site.qdrant, &data, cli.indexed).await?;
    let mut figures = Vec::new();
    if cli.ways {
        ways(&site, &data, &mut figures).await?;
        for figure in &figures {
            figure.print(cli.json);
        }
        return Ok(());
    }
    let alone = qdrant_alone(&site.qdrant).await?;
    captures(&site, &data, &alone, &mut figures).await?;
    restores(&site, &alone, &mut figures).await?;
    memory(&site, &mut figures);
    for figure in &figures {
        figure.print(cli.json);
    }
    Ok(())
}

/// What Qdrant needs without Holdfast.
struct Alone {
    bytes: f64,
    snapshot: Duration,
    stream: Duration,
    upload: Duration,
}

async fn load(qdrant: &Qdrant, data: &Dataset<'_>, indexed: bool) -> Result<()> {
    let path = format!("/collections/{NAME}");
    let threshold = if indexed { 20_000 } else { 0 };
    let body = json!({
        "vectors": {"size": data.dim, "distance": "Cosine"},
        "optimizers_config": {"indexing_threshold": threshold},
    });
    qdrant.put(&path, body).await?;
    const BATCH: u64 = 1000;
    let batches = (0..data.points)
        .step_by(usize::try_from(BATCH)?)
        .map(|from| {
            let ids = from..(from + BATCH).min(data.points);
            async move { data.upsert(qdrant, ids, 0).await }
        });
    stream::iter(batches)
        .buffer_unordered(4)
        .try_collect::<()>()
        .await?;
    settle(qdrant).await
}

/// Waits until no optimizer runs.
async fn settle(qdrant: &Qdrant) -> Result<()> {
    let limit = Duration::from_secs(1800);
    holdfast_tests::wait::until("the collection to be green", limit, || async {
        let info = qdrant.get(&format!("/collections/{NAME}")).await.ok()?;
        (info["status"] == "green").then_some(())
    })
    .await
}

async fn qdrant_alone(qdrant: &Qdrant) -> Result<Alone> {
    let path = format!("/collections/{NAME}/shards/0/snapshots");
    let begun = Instant::now();
    let made = qdrant.post(&path, json!({})).await?;
    let snapshot = begun.elapsed();
    let name = made["name"].as_str().context("no snapshot name")?;
    let http = reqwest::Client::new();
    let body = http
        .get(format!("{}{path}/{name}", qdrant.url))
        .send()
        .await?
        .error_for_status()?
        .bytes()
        .await?;
    qdrant.delete(&format!("{path}/{name}")).await?;

    let begun = Instant::now();
    let url = format!("{}/collections/{NAME}/shards/0/snapshot", qdrant.url);
    let mut answer = http
        .get(url)
        .header("accept-encoding", "identity")
        .send()
        .await?
        .error_for_status()?;
    while answer.chunk().await?.is_some() {}
    let streamed = begun.elapsed();

    let info = qdrant.get(&format!("/collections/{NAME}")).await?;
    let body_json = json!({"vectors": info["config"]["params"]["vectors"], "optimizers_config": {"indexing_threshold": 0}});
    qdrant.put("/collections/alone", body_json).await?;
    let bytes = body.len();
    let begun = Instant::now();
    let part = reqwest::multipart::Part::stream_with_length(body, bytes as u64)
        .file_name("shard.snapshot");
    let form = reqwest::multipart::Form::new().part("snapshot", part);
    let url = format!(
        "{}/collections/alone/shards/0/snapshots/upload?priority=snapshot&wait=true",
        qdrant.url
    );
    http.post(url)
        .multipart(form)
        .send()
        .await?
        .error_for_status()?;
    let upload = begun.elapsed();
    qdrant.delete("/collections/alone").await?;
    Ok(Alone {
        bytes: bytes as f64,
        snapshot,
        stream: streamed,
        upload,
    })
}

async fn captures(
    site: &Site,
    data: &Dataset<'_>,
    alone: &Alone,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    let first = backup(site, "stored")?;
    let all = first.logical;
    figures.push(Figure::rate(
        "first-capture",
        &first,
        Some(("qdrant stored snapshot alone", alone.bytes, alone.snapshot)),
    ));
    figures.push(Figure::part("first-capture", "sent", first.sent, all));
    figures.push(Figure::part("first-capture", "stored", first.stored, all));
    let same = backup(site, "stored")?;
    figures.push(Figure::rate("unchanged-capture", &same, None));
    figures.push(Figure::part("unchanged-capture", "sent", same.sent, all));
    figures.push(Figure::part(
        "unchanged-capture",
        "stored",
        same.stored,
        first.stored,
    ));
    let streamed = backup(site, "stream")?;
    figures.push(Figure::rate(
        "stream-capture",
        &streamed,
        Some(("qdrant stream alone", alone.bytes, alone.stream)),
    ));
    // One point in a hundred, all over the collection.
    for from in (0..data.points).step_by(100_000) {
        let ids = from..(from + 1000).min(data.points);
        data.upsert(&site.qdrant, ids, 1).await?;
    }
    settle(&site.qdrant).await?;
    let changed = backup(site, "stored")?;
    figures.push(Figure::rate("changed-capture", &changed, None));
    figures.push(Figure::part("changed-capture", "sent", changed.sent, all));
    figures.push(Figure::part(
        "changed-capture",
        "stored",
        changed.stored,
        first.stored,
    ));
    Ok(())
}

async fn restores(site: &Site, alone: &Alone, figures: &mut Vec<Figure>) -> Result<()> {
    site.qdrant.delete(&format!("/collections/{NAME}")).await?;
    let begun = Instant::now();
    let done = site.ok(&["restore", "run", "latest", "--collection", NAME])?;
    let elapsed = begun.elapsed();
    let bytes = done["collections"][0]["uploaded_bytes"]
        .as_u64()
        .context("no uploaded_bytes")? as f64;
    figures.push(Figure {
        bench: "restore",
        metric: "throughput",
        value: bytes / elapsed.as_secs_f64() / 1e6,
        unit: "MB/s",
        peer: Some((
            "qdrant snapshot upload alone",
            alone.bytes / alone.upload.as_secs_f64() / 1e6,
        )),
    });
    Ok(())
}

fn memory(site: &Site, figures: &mut Vec<Figure>) {
    for (bench, process) in [("agent", &site.agent), ("coordinator", &site.coordinator)] {
        if let Some(bytes) = process.peak_memory() {
            figures.push(Figure {
                bench,
                metric: "peak-memory",
                value: bytes as f64 / 1e6,
                unit: "MB",
                peer: None,
            });
        }
    }
}

/// Each way in turn, after one point in a hundred was overwritten; before, one capture of each kind that the others
/// build on, so that no way gains from being the first to send.
async fn ways(site: &Site, data: &Dataset<'_>, figures: &mut Vec<Figure>) -> Result<()> {
    backup(site, "stored")?;
    backup(site, "partial")?;
    figures.push(Figure::plain(
        "idle",
        "query-p99",
        queries(site, data, Duration::from_secs(5)).await?,
        "ms",
    ));
    let rounds = ["stream", "stored", "direct", "partial", "auto"];
    for (generation, way) in (1..).zip(rounds) {
        for from in (0..data.points).step_by(100_000) {
            let ids = from..(from + 1000).min(data.points);
            data.upsert(&site.qdrant, ids, generation).await?;
        }
        settle(&site.qdrant).await?;
        let taking = tokio::task::block_in_place(|| -> Result<_> {
            std::thread::scope(|scope| {
                let capture = scope.spawn(|| backup(site, way));
                let mut slowest = Vec::new();
                while !capture.is_finished() {
                    slowest.push(tokio::runtime::Handle::current().block_on(query(
                        site,
                        data,
                        slowest.len(),
                    ))?);
                }
                let done = capture
                    .join()
                    .map_err(|_| anyhow::anyhow!("the capture panicked"))??;
                Ok((done, slowest))
            })
        });
        let (done, latencies) = taking?;
        figures.push(Figure::plain(
            way,
            "seconds",
            done.elapsed.as_secs_f64(),
            "s",
        ));
        let log = site.agent.log();
        let last = log.lines().rev().find(|line| line.contains("snapshot_ms="));
        let last = last.context("the agent has logged no capture")?;
        let number = |name: &str| -> Result<f64> {
            let (_, rest) = last
                .split_once(name)
                .with_context(|| format!("no {name} in {last}"))?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Ok(digits.parse()?)
        };
        figures.push(Figure::plain(way, "lock", number("snapshot_ms=")?, "ms"));
        figures.push(Figure::plain(
            way,
            "bytes-read",
            number("read=")? / 1e6,
            "MB",
        ));
        figures.push(Figure::plain(way, "bytes-sent", done.sent / 1e6, "MB"));
        figures.push(Figure::plain(way, "query-p99", p99(latencies), "ms"));
    }
    Ok(())
}

/// The 99th percentile of queries, one after another, for so long.
async fn queries(site: &Site, data: &Dataset<'_>, within: Duration) -> Result<f64> {
    let begun = Instant::now();
    let mut latencies = Vec::new();
    while begun.elapsed() < within {
        latencies.push(query(site, data, latencies.len()).await?);
    }
    Ok(p99(latencies))
}

/// One search, in milliseconds.
async fn query(site: &Site, data: &Dataset<'_>, n: usize) -> Result<f64> {
    let body = json!({"query": data.vector(n as u64 * 7919 % data.points, 3), "limit": 10});
    let begun = Instant::now();
    site.qdrant
        .post(&format!("/collections/{NAME}/points/query"), body)
        .await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn p99(mut latencies: Vec<f64>) -> f64 {
    latencies.sort_by(f64::total_cmp);
    let at = latencies.len().saturating_sub(1) * 99 / 100;
    latencies.get(at).copied().unwrap_or(f64::NAN)
}

/// What one backup cost.
struct Backup {
    elapsed: Duration,
    logical: f64,
    sent: f64,
    stored: f64,
}

fn backup(site: &Site, method: &str) -> Result<Backup> {
    let begun = Instant::now();
    let done = site.ok(&["backup", "create", "--method", method])?;
    let elapsed = begun.elapsed();
    let number = |name: &str| -> Result<f64> {
        let value: &Value = &done["backup"][name];
        Ok(value
            .as_u64()
            .with_context(|| format!("no {name} in {done}"))? as f64)
    };
    ensure!(number("logical_bytes")? > 0.0, "an empty capture: {done}");
    Ok(Backup {
        elapsed,
        logical: number("logical_bytes")?,
        sent: number("sent_bytes")?,
        stored: number("stored_bytes")?,
    })
}

impl Figure {
    fn plain(bench: &'static str, metric: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            bench,
            metric,
            value,
            unit,
            peer: None,
        }
    }

    fn rate(
        bench: &'static str,
        backup: &Backup,
        peer: Option<(&'static str, f64, Duration)>,
    ) -> Self {
        Self {
            bench,
            metric: "throughput",
            value: backup.logical / backup.elapsed.as_secs_f64() / 1e6,
            unit: "MB/s",
            peer: peer.map(|(name, bytes, time)| (name, bytes / time.as_secs_f64() / 1e6)),
        }
    }

    fn part(bench: &'static str, metric: &'static str, bytes: f64, whole: f64) -> Self {
        Self {
            bench,
            metric,
            value: bytes / 1e6,
            unit: "MB",
            peer: Some(("of the whole", whole / 1e6)),
        }
    }

    fn print(&self, as_json: bool) {
        let ratio = self.peer.map(|(_, value)| self.value / value);
        if as_json {
            let peer = self
                .peer
                .map(|(name, value)| json!({"name": name, "value": value}));
            println!(
                "{}",
                json!({"bench": self.bench, "metric": self.metric, "value": self.value, "unit": self.unit,
                       "peer": peer, "ratio": ratio})
            );
            return;
        }
        let peer = match (self.peer, ratio) {
            (Some((name, value)), Some(ratio)) => {
                format!("  {ratio:.3} × {name} ({value:.1} {})", self.unit)
            }
            _ => String::new(),
        };
        println!(
            "{:<18} {:<12} {:>10.1} {:<5}{peer}",
            self.bench, self.metric, self.value, self.unit
        );
    }
}
