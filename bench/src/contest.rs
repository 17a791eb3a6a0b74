//! The rounds that all contenders go through, on the same folders, one after the other.

use crate::contender::{Contender, Tool};
use crate::cost::Cost;
use crate::data::Source;
use crate::engine::files_below;
use crate::figure::{Report, median};
use crate::node;
use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use holdfast_tests::qdrant::Qdrant;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// One point in so many is changed in a round.
const CHANGED: u64 = 100;

/// What is measured with one collection.
pub(crate) struct Contest<'a> {
    pub(crate) report: Report,
    pub(crate) source: &'a Source,
    pub(crate) points: u64,
    pub(crate) qdrant: Qdrant,
    pub(crate) tools: Vec<Tool>,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) work: PathBuf,
}

/// Figures of several attempts, by tool: MB per second of processor time, and per second on the wall.
#[derive(Default)]
struct Samples(BTreeMap<Tool, (Vec<f64>, Vec<f64>)>);

impl Samples {
    fn rate(&mut self, tool: Tool, bytes: u64, cost: Cost) {
        let rate = |seconds: f64| bytes as f64 / 1e6 / seconds.max(0.01);
        let (cpu, wall) = self.0.entry(tool).or_default();
        cpu.push(rate(cost.cpu));
        wall.push(rate(cost.wall));
    }

    /// By processor time, and on the wall.
    fn medians(self) -> [Vec<(Tool, f64)>; 2] {
        let of = |(tool, (cpu, wall))| ((tool, median(cpu)), (tool, median(wall)));
        let (cpu, wall) = self.0.into_iter().map(of).unzip();
        [cpu, wall]
    }
}

impl Contest<'_> {
    /// First backup, unchanged backup and restore, several times from nothing.
    pub(crate) async fn first(&mut self, repeat: usize) -> Result<()> {
        let (folder, out) = (self.folder(), self.work.join("restored"));
        let bytes = node::files(&self.qdrant, &folder).await?;
        let digest = digest(&folder)?;
        let (mut first, mut same, mut back) =
            (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..repeat {
            self.contenders.clear();
            for tool in self.tools.clone() {
                let mut contender = Contender::new(tool, &self.work)?;
                first.rate(tool, bytes, contender.backup(&folder)?);
                back.rate(tool, bytes, contender.restore(&out)?);
                ensure!(
                    self::digest(&out)? == digest,
                    "{} restored something else",
                    tool.name()
                );
                self.contenders.push(contender);
            }
            // Every snapshot is of new files: no tool may conclude from inode and time that it has one.
            node::files(&self.qdrant, &folder).await?;
            for contender in &mut self.contenders {
                same.rate(contender.tool, bytes, contender.backup(&folder)?);
            }
        }
        self.rates("first-backup", first);
        self.rates("unchanged-backup", same);
        self.rates("restore", back);
        self.stored("first-backup")
    }

    /// Rounds of changes with a backup after each; a restore at the end.
    pub(crate) async fn rounds(&mut self, rounds: std::ops::RangeInclusive<u64>) -> Result<()> {
        let (folder, last) = (self.folder(), *rounds.end());
        let (mut costs, mut bytes) = (Samples::default(), 0);
        for version in rounds {
            node::change(&self.qdrant, self.source, self.points, CHANGED, version).await?;
            bytes = node::files(&self.qdrant, &folder).await?;
            for contender in &mut self.contenders {
                costs.rate(contender.tool, bytes, contender.backup(&folder)?);
            }
        }
        let bench = format!("after-{last}-rounds");
        self.rates(&format!("backup-{bench}"), costs);
        self.stored(&bench)?;
        self.restore_all(&bench, bytes)
    }

    /// A backup after the optimizer has built everything anew.
    pub(crate) async fn optimized(&mut self) -> Result<()> {
        node::optimize(&self.qdrant).await?;
        let folder = self.folder();
        let bytes = node::files(&self.qdrant, &folder).await?;
        let mut costs = Samples::default();
        for contender in &mut self.contenders {
            costs.rate(contender.tool, bytes, contender.backup(&folder)?);
        }
        self.rates("backup-after-optimizer", costs);
        self.stored("after-optimizer")
    }

    fn restore_all(&self, bench: &str, bytes: u64) -> Result<()> {
        let out = self.work.join("restored");
        let digest = digest(&self.folder())?;
        let mut costs = Samples::default();
        for contender in &self.contenders {
            costs.rate(contender.tool, bytes, contender.restore(&out)?);
            ensure!(
                self::digest(&out)? == digest,
                "{} restored something else",
                contender.tool.name()
            );
        }
        self.rates(&format!("restore-{bench}"), costs);
        Ok(())
    }

    fn stored(&self, bench: &str) -> Result<()> {
        let sizes: Result<Vec<_>> = self
            .contenders
            .iter()
            .map(|contender| Ok((contender.tool, contender.stored()? as f64 / 1e6)))
            .collect();
        self.show(bench, "stored", "MB", &sizes?);
        Ok(())
    }

    fn rates(&self, bench: &str, samples: Samples) {
        let [cpu, wall] = samples.medians();
        self.show(bench, "cpu-throughput", "MB/CPU s", &cpu);
        self.show(bench, "throughput", "MB/s", &wall);
    }

    fn show(&self, bench: &str, metric: &str, unit: &str, all: &[(Tool, f64)]) {
        self.report.contest(
            &format!("{}/{bench}", self.source.name()),
            metric,
            unit,
            all,
        );
    }

    fn folder(&self) -> PathBuf {
        self.work.join("files")
    }
}

/// A digest over paths and contents of all files below a folder.
fn digest(folder: &Path) -> Result<blake3::Hash> {
    let mut all = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    for (path, name) in files_below(folder)? {
        let mut hasher = blake3::Hasher::new();
        let mut file = fs::File::open(&path)?;
        loop {
            let len = file.read(&mut buffer).with_context(|| name.clone())?;
            if len == 0 {
                break;
            }
            hasher.update(&buffer[..len]);
        }
        all.update(blake3::hash(name.as_bytes()).as_bytes());
        all.update(hasher.finalize().as_bytes());
    }
    Ok(all.finalize())
}
