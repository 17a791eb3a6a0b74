//! The whole system: agent, wire, coordinator. What the agent and the coordinator need together.

use crate::cost::{self, Cpu};
use crate::figure::{Report, median};
use crate::node::{self, NAME};
use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use holdfast_tests::process::{Process, built};
use holdfast_tests::site::{NODE, Options, Site};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What one site needed.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    first: f64,
    same: f64,
    restore: f64,
    /// Seconds until a running Qdrant has the collection back under another name.
    hot: f64,
    /// Seconds until a stopped one has started with it.
    cold: f64,
    agent: f64,
    coordinator: f64,
}

/// Bytes of a mebibyte.
const MIB: f64 = 1_048_576.0;

/// First backup, unchanged backup, hot and cold restore, several times from nothing.
pub(crate) async fn measure(report: Report, name: &str, base: &Path, repeat: usize) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..repeat {
        all.push(once(base).await?);
    }
    let middle = |part: fn(&Needs) -> f64| median(all.iter().map(part).collect());
    let show = |bench: &str, metric: &str, value: f64, unit: &str| {
        report.figure(
            &format!("{name}/system-{bench}"),
            metric,
            (value, unit),
            None,
        );
    };
    show(
        "first-backup",
        "cpu-throughput",
        middle(|one| one.first),
        "MB/CPU s",
    );
    show(
        "unchanged-backup",
        "cpu-throughput",
        middle(|one| one.same),
        "MB/CPU s",
    );
    show(
        "cold-restore",
        "cpu-throughput",
        middle(|one| one.restore),
        "MB/CPU s",
    );
    show("hot-restore", "time", middle(|one| one.hot), "s");
    show("cold-restore", "time", middle(|one| one.cold), "s");
    show(
        "cold-restore",
        "time-of-hot",
        middle(|one| one.cold / one.hot),
        "×",
    );
    show("agent", "peak-memory", middle(|one| one.agent), "MiB");
    show(
        "coordinator",
        "peak-memory",
        middle(|one| one.coordinator),
        "MiB",
    );
    Ok(())
}

async fn once(base: &Path) -> Result<Needs> {
    let options = Options {
        shared_snapshots: true,
        spool_mib: 4096,
        ..Options::default()
    };
    let mut site = Site::start_with(options).await?;
    node::recover(&site.qdrant, base).await?;
    let mut needs = Needs {
        first: backup(&site)?,
        same: backup(&site)?,
        ..Needs::default()
    };
    let peak = |process: &Process| {
        process
            .peak_memory()
            .map_or(f64::NAN, |bytes| bytes as f64 / MIB)
    };
    needs.agent = peak(&site.agent);
    needs.hot = hot(&site).await?;
    (needs.restore, needs.cold) = restore(&mut site).await?;
    needs.coordinator = peak(&site.coordinator);
    Ok(needs)
}

/// MB of the collection per second of processor time of agent and coordinator.
fn backup(site: &Site) -> Result<f64> {
    let before = both(site)?;
    let done = site.ok(&["backup", "create", "--method", "stored"])?;
    let cpu = both(site)? - before;
    let bytes = done["backup"]["logical_bytes"]
        .as_u64()
        .context("no logical_bytes")?;
    ensure!(bytes > 0, "an empty capture: {done}");
    Ok(bytes as f64 / 1e6 / cpu.max(0.01))
}

/// Seconds of a restore into the running Qdrant, beside the collection; it is removed again.
async fn hot(site: &Site) -> Result<f64> {
    const TARGET: &str = "restored-hot";
    let began = Instant::now();
    site.ok(&["restore", "run", "latest", "-c", NAME, "--as", TARGET])?;
    let took = began.elapsed().as_secs_f64();
    site.qdrant
        .delete(&format!("/collections/{TARGET}"))
        .await?;
    Ok(took)
}

/// MB per second of processor time of a cold restore, and the seconds until Qdrant has started with it.
async fn restore(site: &mut Site) -> Result<(f64, f64)> {
    let made = site.ok(&["restore", "ticket", "latest", "--node", NODE, "-c", NAME])?;
    let ticket = made["ticket"].as_str().context("no ticket")?;
    site.qdrant.process.stop(Duration::from_secs(60))?;
    let storage = &site.qdrant.storage;
    let bytes = crate::contender::bytes_below(&storage.join("collections"))?;
    fs::remove_dir_all(storage)?;
    fs::create_dir_all(storage)?;
    let before = Cpu::of(site.coordinator.pid())?;
    let began = Instant::now();
    let mut command = Command::new(built("holdfast-agent")?);
    command.arg("--config").arg(site.dir().join("agent.toml"));
    command
        .args(["restore", "--ticket", ticket, "--data-dir"])
        .arg(storage);
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let agent = cost::run(&mut command)?;
    let cpu = agent.cpu + (Cpu::of(site.coordinator.pid())? - before).0;
    site.qdrant.process.restart()?;
    site.qdrant.wait_ready().await?;
    let took = began.elapsed().as_secs_f64();
    Ok((bytes as f64 / 1e6 / cpu.max(0.01), took))
}

fn both(site: &Site) -> Result<f64> {
    Ok(Cpu::of(site.agent.pid())?.0 + Cpu::of(site.coordinator.pid())?.0)
}
