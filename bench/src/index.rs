//! A repository of very many tiny chunks: what opening and pruning cost when the index is large.
//!
//! Each step runs as a process of its own, so that its memory can be told. The chunks are written through the
//! library like any others, 16 bytes each, as many to a pack as real packs have.

use crate::engine::{commit, init, open_with};
use crate::figure::Report;
use crate::{contender, cost};
use anyhow::{Result, ensure};
use bytes::Bytes;
use clap::Subcommand;
use fs_err as fs;
use holdfast_archive::{Codec, Extent, FileClass, FileRecipe};
use holdfast_decide::Tombstone;
use holdfast_repository::{GarbageOptions, PointTombstone, Tuning};
use holdfast_types::{ChunkId, Epoch, Timestamp};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Plain bytes of a chunk.
const CHUNK_BYTES: u32 = 16;
/// Bytes of a pack: about 400 such chunks, as a pack of 32 MiB holds of real ones.
const PACK_BYTES: usize = 32 << 10;
/// Recovery points among which the chunks are shared out.
const POINTS: u32 = 20;
const GRACE: Duration = Duration::from_secs(1);

/// A step of the measurement.
#[derive(Clone, Copy, Subcommand)]
pub(crate) enum Step {
    /// Writes so many chunks
    Fill { chunks: u64 },
    /// Opens the repository
    Open,
    /// Marks half of the points and sweeps them
    Forget,
    /// Marks what nothing needs
    Mark,
    /// Deletes what was marked
    Sweep,
}

/// Fills a repository below `work` and measures every step.
pub(crate) fn measure(report: Report, work: &Path, chunks: u64) -> Result<()> {
    let repository = work.join("index");
    if repository.exists() {
        fs::remove_dir_all(&repository)?;
    }
    let run = |step: &[&str]| {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("index")
            .arg(&repository)
            .args(step)
            .stdout(Stdio::null());
        cost::run(&mut command)
    };
    run(&["fill", &chunks.to_string()])?;
    let millions = chunks as f64 / 1e6;
    let bytes = contender::bytes_below(&repository.join("index"))? as f64;
    let name = |step: &str| format!("index-of-{millions}-million/{step}");
    report.figure(
        &name("stored"),
        "index",
        (bytes / chunks as f64, "B/chunk"),
        None,
    );
    let empty = contender::bytes_below(&repository.join("packs"))?;
    for step in ["open", "forget", "mark", "sweep"] {
        let cost = run(&[step])?;
        if step == "forget" {
            continue;
        }
        report.figure(&name(step), "time", (cost.wall, "s"), None);
        report.figure(&name(step), "cpu", (cost.cpu, "CPU s"), None);
        let memory = cost.memory as f64;
        report.figure(
            &name(step),
            "peak-memory",
            (memory / 1_048_576.0, "MiB"),
            None,
        );
        report.figure(
            &name(step),
            "per-chunk",
            (memory / chunks as f64, "B/chunk"),
            None,
        );
    }
    let left = contender::bytes_below(&repository.join("packs"))?;
    ensure!(
        left < empty * 6 / 10,
        "half of the points went, but {left} of {empty} bytes stayed"
    );
    fs::remove_dir_all(&repository)?;
    Ok(())
}

/// Does one step.
pub(crate) async fn step(folder: &Path, step: Step) -> Result<()> {
    if let Step::Fill { chunks } = step {
        init(folder).await?;
        return fill(folder, chunks).await;
    }
    let repository = open_with(folder, Tuning::default()).await?;
    ensure!(
        repository.report().damaged.is_empty(),
        "{:?}",
        repository.report().damaged
    );
    if matches!(step, Step::Open) {
        return Ok(());
    }
    let epoch = repository.claim_epoch().await?;
    let now = |seconds| Timestamp::EPOCH.after(Duration::from_secs(seconds));
    let at = match step {
        Step::Forget => {
            for point in repository.list_points().await?.into_iter().step_by(2) {
                let stone = stone(point.id);
                repository.tombstone_point(epoch, &stone).await?;
                repository.sweep_point(epoch, &stone.point, now(2)).await?;
            }
            return Ok(());
        }
        Step::Mark => now(10),
        Step::Sweep | Step::Fill { .. } | Step::Open => now(100),
    };
    let options = GarbageOptions {
        now: at,
        grace: GRACE,
        small_pack_bytes: 0,
        ..GarbageOptions::default()
    };
    println!("{:?}", repository.collect_garbage(epoch, options).await?);
    Ok(())
}

fn stone(point: holdfast_types::RecoveryPointId) -> PointTombstone {
    PointTombstone {
        point,
        tombstone: Tombstone {
            since: Timestamp::EPOCH,
            grace: GRACE,
        },
        reasons: vec!["a benchmark".to_owned()],
        by: "holdfast-bench".to_owned(),
        despite_floor: false,
        swept: false,
        marked: Epoch(0),
    }
}

async fn fill(folder: &Path, chunks: u64) -> Result<()> {
    let tuning = Tuning {
        pack_bytes: PACK_BYTES,
        packs_in_flight: 8,
    };
    let repository = open_with(folder, tuning).await?;
    let epoch = repository.claim_epoch().await?;
    let each = chunks / u64::from(POINTS);
    for point in 0..POINTS {
        let session = repository.begin(epoch).await?;
        let first = each * u64::from(point);
        let mut extents = Vec::new();
        for number in first..first + each {
            // The repository believes its caller about a chunk's hash; to it this is as good as any.
            let id = ChunkId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
            let data = Bytes::from(vec![7; CHUNK_BYTES as usize]);
            session.put(id, Codec::Stored, CHUNK_BYTES, data).await?;
            extents.push(Extent::Chunk {
                id,
                len: CHUNK_BYTES,
            });
        }
        let file = FileRecipe {
            path: "file".to_owned(),
            size: each * u64::from(CHUNK_BYTES),
            class: FileClass::General,
            extents,
        };
        commit(&repository, &session, epoch, point + 1, vec![file]).await?;
    }
    Ok(())
}

/// The repository's folder and what to do with it.
#[derive(clap::Args)]
pub(crate) struct Args {
    repository: PathBuf,
    #[command(subcommand)]
    step: Step,
}

impl Args {
    pub(crate) async fn run(self) -> Result<()> {
        step(&self.repository, self.step).await
    }
}
