//! `cargo xtask bench`: capture and restore of one collection, end to end, beside what Qdrant needs alone.
//!
//! Peers are measured in the same run on the same data, so the ratios hold on a noisy machine; absolute
//! times do not travel. It judges nothing: it prints figures, one JSON object a line with `--json`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::site::{Options, Site};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

mod ways;

const NAME: &str = "bench";
/// Green answers in a row that count as quiet.
const QUIET: u32 = 10;

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
    /// With --ways: rounds, of which the medians are shown
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// With --ways: a collection snapshot to begin with, in place of loading points
    #[arg(long, conflicts_with_all = ["points", "dim", "indexed"])]
    snapshot: Option<PathBuf>,
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
    let mut data = Dataset {
        name: NAME,
        points: cli.points,
        dim: cli.dim,
    };
    match &cli.snapshot {
        Some(snapshot) => (data.points, data.dim) = ways::recover(&site.qdrant, snapshot).await?,
        None => load(&site.qdrant, &data, cli.indexed).await?,
    }
    let mut figures = Vec::new();
    if cli.ways {
        ways::measure(&site, &data, cli.rounds, &mut figures).await?;
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
    // An optimizer may begin a moment after the last write.
    let quiet = AtomicU32::new(0);
    holdfast_tests::wait::until("the collection to be green", limit, || async {
        let info = qdrant.get(&format!("/collections/{NAME}")).await.ok()?;
        let before = match info["status"] == "green" {
            true => quiet.fetch_add(1, Ordering::Relaxed),
            false => quiet.swap(0, Ordering::Relaxed),
        };
        (before + 1 >= QUIET).then_some(())
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
    eprintln!("{method}: {}", done["backup"]);
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
