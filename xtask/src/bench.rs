//! `cargo xtask bench`: builds the programs optimised and measures them; see `holdfast-bench --help`.

use crate::run::{cargo, checked};
use anyhow::Result;
use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// Passed on to holdfast-bench, such as `-- --points 700000 --json`
    #[arg(last = true)]
    args: Vec<String>,
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
    let mut bench = cargo(&[
        "run",
        "--release",
        "--locked",
        "-p",
        "holdfast-tests",
        "--bin",
        "holdfast-bench",
        "--",
    ]);
    checked(bench.args(&options.args))
}
