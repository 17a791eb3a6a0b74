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

/// A way of capture and the site that it needs.
struct Way {
    /// As `--method` has it.
    method: &'static str,
    shared_storage: bool,
}

const WAYS: [Way; 3] = [
    Way {
        method: "stored",
        shared_storage: false,
    },
    Way {
        method: "direct",
        shared_storage: true,
    },
    Way {
        method: "partial",
        shared_storage: true,
    },
];

/// What one site needed.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    first: Rate,
    same: Rate,
    agent: f64,
    coordinator: f64,
    restores: Restores,
}

/// MB of the collection per second.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    /// Of processor time of agent and coordinator.
    cpu: f64,
    /// On the wall, Qdrant's own work included.
    wall: f64,
}

/// What the restores of one site needed.
#[derive(Clone, Copy, Debug, Default)]
struct Restores {
    /// MB per second of processor time of a cold one.
    rate: f64,
    /// Seconds until a running Qdrant has the collection back under another name.
    hot: f64,
    /// Seconds until a stopped one has started with it.
    cold: f64,
    /// Peak memory of the agent that restored cold, MiB.
    agent: f64,
    /// Peak memory of the coordinator after everything, MiB.
    coordinator: f64,
}

/// Bytes of a mebibyte.
const MIB: f64 = 1_048_576.0;

/// First and unchanged backup in every way, and after the stored ones hot and cold restore, several times from nothing.
pub(crate) async fn measure(report: Report, name: &str, base: &Path, repeat: usize) -> Result<()> {
    for way in WAYS {
        let mut all = Vec::new();
        for _ in 0..repeat {
            all.push(once(base, &way).await?);
        }
        let middle = |part: fn(&Needs) -> f64| median(all.iter().map(part).collect());
        let show = |bench: &str, metric: &str, value: f64, unit: &str| {
            report.figure(
                &format!("{name}/system-{}/{bench}", way.method),
                metric,
                (value, unit),
                None,
            );
        };
        let rate = |bench: &str, value| show(bench, "cpu-throughput", value, "MB/CPU s");
        let memory = |process: &str, value| show(process, "peak-memory", value, "MiB");
        rate("first-backup", middle(|one| one.first.cpu));
        rate("unchanged-backup", middle(|one| one.same.cpu));
        let wall = |bench: &str, value| show(bench, "throughput", value, "MB/s");
        wall("first-backup", middle(|one| one.first.wall));
        wall("unchanged-backup", middle(|one| one.same.wall));
        memory("agent", middle(|one| one.agent));
        memory("coordinator", middle(|one| one.coordinator));
        if way.shared_storage {
            continue;
        }
        rate("cold-restore", middle(|one| one.restores.rate));
        show("hot-restore", "time", middle(|one| one.restores.hot), "s");
        show("cold-restore", "time", middle(|one| one.restores.cold), "s");
        let of_hot = middle(|one| one.restores.cold / one.restores.hot);
        show("cold-restore", "time-of-hot", of_hot, "×");
        memory("cold-restore-agent", middle(|one| one.restores.agent));
        memory(
            "coordinator-after-restores",
            middle(|one| one.restores.coordinator),
        );
    }
    Ok(())
}

async fn once(base: &Path, way: &Way) -> Result<Needs> {
    let options = Options {
        shared_snapshots: true,
        shared_storage: way.shared_storage,
        spool_mib: 4096,
        ..Options::default()
    };
    let mut site = Site::start_with(options).await?;
    node::recover(&site.qdrant, base).await?;
    let mut needs = Needs {
        first: backup(&site, way.method)?,
        same: backup(&site, way.method)?,
        ..Needs::default()
    };
    needs.agent = peak(&site.agent);
    needs.coordinator = peak(&site.coordinator);
    if !way.shared_storage {
        needs.restores.hot = hot(&site).await?;
        cold(&mut site, &mut needs.restores).await?;
        needs.restores.coordinator = peak(&site.coordinator);
    }
    Ok(needs)
}

/// The most memory that a process has had, MiB.
fn peak(process: &Process) -> f64 {
    process
        .peak_memory()
        .map_or(f64::NAN, |bytes| bytes as f64 / MIB)
}

/// One backup of everything, at the rates of the whole collection.
fn backup(site: &Site, method: &str) -> Result<Rate> {
    let (before, began) = (both(site)?, Instant::now());
    let done = site.ok(&["backup", "create", "--method", method])?;
    let (cpu, wall) = (both(site)? - before, began.elapsed().as_secs_f64());
    let bytes = done["backup"]["logical_bytes"]
        .as_u64()
        .context("no logical_bytes")?;
    ensure!(bytes > 0, "an empty capture: {done}");
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds.max(0.01);
    Ok(Rate {
        cpu: rate(cpu),
        wall: rate(wall),
    })
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

/// A cold restore and the start of Qdrant after it.
async fn cold(site: &mut Site, needs: &mut Restores) -> Result<()> {
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
    needs.cold = began.elapsed().as_secs_f64();
    needs.rate = bytes as f64 / 1e6 / cpu.max(0.01);
    needs.agent = agent.memory as f64 / MIB;
    Ok(())
}

fn both(site: &Site) -> Result<f64> {
    Ok(Cpu::of(site.agent.pid())?.0 + Cpu::of(site.coordinator.pid())?.0)
}
