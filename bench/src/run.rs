//! What a run measures, and with which tools.

use crate::contender::Tool;
use crate::contest::Contest;
use crate::data::Source;
use crate::figure::Report;
use crate::{contender, index, node, parts, system, tune};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use fs_err as fs;
use holdfast_tests::qdrant::{Kind, Qdrant, program};
use std::path::{Path, PathBuf};

/// A version of points that no round of changes reaches.
const TUNING_VERSION: u64 = 1000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Points of a collection
    #[arg(long, default_value_t = 900_000)]
    points: u64,
    /// The folder that bench/embed.py wrote; without it only random vectors are measured
    #[arg(long, value_name = "DIR")]
    embeddings: Option<PathBuf>,
    /// Where everything is put; the indexed collection is kept there for the next run
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// What to measure (default: everything)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often what begins with an empty repository is repeated; medians are shown
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Rounds of 1 % changes before the optimizer runs
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// Rounds of 1 % changes in all, after which the last restore is measured
    #[arg(long, default_value_t = 30)]
    generations: u64,
    /// Chunks of the synthetic index
    #[arg(long, default_value_t = 10_000_000)]
    chunks: u64,
    /// One JSON object a line: bench, metric, value, unit, peer, ratio
    #[arg(long)]
    json: bool,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// First backup, unchanged backup and restore beside the peers
    First,
    /// The same, and rounds of changes, an optimizer run, a restore after many generations
    Rounds,
    /// What the parts of a first backup cost
    Parts,
    /// What other chunk sizes, codecs and pack sizes would give
    Tune,
    /// Agent and coordinator together
    System,
    /// A synthetic index
    Index,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(options.repeat > 0, "--repeat must be 1 or more");
    ensure!(
        options.rounds > 0 && options.rounds < options.generations,
        "--rounds must be 1 or more, and less than --generations"
    );
    // As every program of Holdfast does; else no HTTP client can be built.
    let _ = rustls::crypto::ring::default_provider().install_default();
    fs::create_dir_all(&options.work)?;
    let work = fs::canonicalize(&options.work)?;
    let report = Report { json: options.json };
    if options.wants(Part::Index) {
        index::measure(report, &work, options.chunks)?;
    }
    if [Part::First, Part::Rounds, Part::Parts, Part::System]
        .iter()
        .any(|part| options.wants(*part))
    {
        let (kind, qdrant) = program()?;
        ensure!(
            kind == Kind::Real,
            "{} has its own storage: put a real Qdrant on PATH or in $HOLDFAST_QDRANT_BIN",
            qdrant.display()
        );
        match &options.embeddings {
            Some(folder) => {
                options
                    .collection(report, &work, Source::real(folder)?)
                    .await?
            }
            None => report.skipped("real", "no --embeddings: bench/embed.py makes them"),
        }
        options.collection(report, &work, Source::random()).await?;
    }
    Ok(())
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    async fn collection(&self, report: Report, work: &Path, source: Source) -> Result<()> {
        ensure!(
            source.len() >= self.points,
            "there are embeddings for {} points only: say --points {0} or make more",
            source.len()
        );
        let base = node::base(work, &source, self.points).await?;
        if self.wants(Part::System) {
            system::measure(report, source.name(), &base, self.repeat).await?;
        }
        let dir = tempfile::tempdir_in(work)?;
        let qdrant = Qdrant::start(dir.path()).await?;
        node::recover(&qdrant, &base).await?;
        if self.wants(Part::Parts) {
            let folder = dir.path().join("files");
            node::files(&qdrant, &folder).await?;
            breakdown(report, source.name(), &folder, dir.path())?;
            fs::remove_dir_all(folder)?;
        }
        if self.wants(Part::Tune) {
            self.tune(report, &source, &qdrant, dir.path()).await?;
        }
        if !self.wants(Part::First) && !self.wants(Part::Rounds) {
            return Ok(());
        }
        let mut contest = Contest {
            report,
            source: &source,
            points: self.points,
            qdrant,
            tools: available(report),
            contenders: Vec::new(),
            work: dir.path().to_owned(),
        };
        contest.first(self.repeat).await?;
        if self.wants(Part::Rounds) {
            contest.rounds(1..=self.rounds).await?;
            contest.optimized().await?;
            contest.rounds(self.rounds + 1..=self.generations).await?;
        }
        Ok(())
    }
}

impl Options {
    async fn tune(
        &self,
        report: Report,
        source: &Source,
        qdrant: &Qdrant,
        dir: &Path,
    ) -> Result<()> {
        let (before, after) = (dir.join("before"), dir.join("after"));
        node::files(qdrant, &before).await?;
        node::change(qdrant, source, self.points, 100, TUNING_VERSION).await?;
        node::files(qdrant, &after).await?;
        tune::cuts(report, source.name(), &before, &after)?;
        tune::codecs(report, source.name(), &before)?;
        for mib in [4, 8, 16, 32, 64] {
            let mut engine = contender::Contender::new(Tool::Holdfast, dir)?;
            let cost = engine.backup_with(&before, &["--pack-mib", &mib.to_string()])?;
            let bench = format!("{}/pack/{mib}-MiB", source.name());
            report.figure(&bench, "cpu", (cost.cpu, "CPU s"), None);
            report.figure(
                &bench,
                "peak-memory",
                (cost.memory as f64 / 1_048_576.0, "MiB"),
                None,
            );
            report.figure(
                &bench,
                "stored",
                (engine.stored()? as f64 / 1e6, "MB"),
                None,
            );
        }
        fs::remove_dir_all(before)?;
        fs::remove_dir_all(after)?;
        Ok(())
    }
}

/// The tools that this machine has; those it lacks are named.
fn available(report: Report) -> Vec<Tool> {
    let mut tools = Vec::new();
    for tool in Tool::ALL {
        match tool.version() {
            Ok(version) => {
                eprintln!("{}: {version}", tool.name());
                tools.push(tool);
            }
            Err(error) => report.skipped(tool.name(), &format!("{error:#}")),
        }
    }
    tools
}

/// The parts of a first backup on one thread, and the whole beside their sum.
fn breakdown(report: Report, name: &str, folder: &Path, work: &Path) -> Result<()> {
    let bench = format!("{name}/breakdown");
    let parts = parts::measure(folder)?;
    let mb = parts.bytes as f64 / 1e6;
    for (metric, seconds) in [
        ("cut-and-hash", parts.cut_and_hash),
        ("probe-and-compress", parts.encode),
        ("seal", parts.seal),
        ("read", parts.read),
        ("write", parts.write),
        ("verify", parts.verify),
    ] {
        report.figure(&bench, metric, (mb / seconds.max(0.01), "MB/CPU s"), None);
    }
    let mut engine = contender::Contender::new(Tool::Holdfast, work)?;
    let whole = mb / engine.backup(folder).context("the whole")?.cpu;
    let bound = mb / (parts.cut_and_hash + parts.encode + parts.seal);
    let with_io = mb / (parts.cut_and_hash + parts.encode + parts.seal + parts.read + parts.write);
    report.figure(
        &bench,
        "whole",
        (whole, "MB/CPU s"),
        Some(("the serial bound", bound)),
    );
    report.figure(
        &bench,
        "whole",
        (whole, "MB/CPU s"),
        Some(("the bound with reading and writing", with_io)),
    );
    let bytes = (parts.encoded_bytes as f64 / 1e6, "MB");
    report.figure(&bench, "encoded", bytes, Some(("of the whole", mb)));
    Ok(())
}
