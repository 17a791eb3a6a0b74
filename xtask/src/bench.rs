//! `cargo xtask bench`: builds the programs optimised and measures them; see `-- --help` of each measurement.

use crate::run::{cargo, checked};
use anyhow::Result;
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(crate) struct Options {
    /// What is measured
    #[arg(value_enum, default_value_t = What::Site)]
    what: What,
    /// Passed on to the measuring program, such as `-- --points 700000 --json`
    #[arg(last = true)]
    args: Vec<String>,
}

/// A program that measures.
#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Capture and restore end to end, beside what Qdrant needs alone
    Site,
    /// The repository beside restic, Borg and rustic, on a real collection; sizes, memory, a large index
    Repository,
}

impl What {
    /// Its package, its program, and the arguments that begin a run.
    const fn program(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::Site => ("holdfast-tests", "holdfast-bench", &[]),
            Self::Repository => ("holdfast-bench", "holdfast-bench-repository", &["run"]),
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let programs = [
        "-p",
        "holdfast",
        "-p",
        "holdfast-agent",
        "-p",
        "holdfast-coordinator",
    ];
    let mut build = cargo(&["build", "--release", "--locked"]);
    checked(build.args(programs))?;
    let (package, program, begin) = options.what.program();
    let mut bench = cargo(&["run", "--release", "--locked"]);
    bench.args(["-p", package, "--bin", program, "--"]);
    checked(bench.args(begin).args(&options.args))
}
