//! `cargo xtask test`: the one command that must be green.
//!
//! Every step runs even if an earlier one failed, so that one run shows everything. A test that
//! lacks something it needs prints a line that begins with `SKIPPED:`; they are listed and counted.

use crate::run::{cargo, checked, root};
use crate::{check_deps, check_sizes, seaweedfs};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

#[derive(Args)]
pub(crate) struct Options {
    /// Leave out formatting and lints
    #[arg(long)]
    no_lints: bool,
    /// Only the tests whose path contains this text
    filter: Option<String>,
}

/// What the test binaries reported.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut failures = Vec::new();
    let mut step = |name: &str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("xtask test: {name} failed: {error:#}");
            failures.push(name.to_owned());
        }
    };
    step("check-deps", check_deps::run());
    step("check-sizes", check_sizes::run());
    let mut tally = Tally::default();
    if !options.no_lints {
        lint(&mut step, &mut tally);
    }
    // The end-to-end tests start the real programs, so these exist before any test runs. All targets: with
    // the tests' own dependencies left out, cargo would compile everything twice, under two feature sets.
    step(
        "build",
        checked(&mut cargo(&[
            "build",
            "--workspace",
            "--all-targets",
            "--locked",
        ])),
    );
    seaweedfs::provide();
    step("tests", run_tests(options.filter.as_deref(), &mut tally));
    for line in &tally.skipped {
        println!("{line}");
    }
    let failed = tally.failed.max(u64::try_from(failures.len())?);
    println!(
        "{} passed, {failed} failed, {} skipped",
        tally.passed,
        tally.skipped.len()
    );
    if !failures.is_empty() {
        bail!("failed: {}", failures.join(", "));
    }
    Ok(())
}

fn lint(step: &mut impl FnMut(&str, Result<()>), tally: &mut Tally) {
    let present = |tool: &str| {
        cargo(&[tool, "--version"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if present("fmt") {
        step("format", checked(&mut cargo(&["fmt", "--all", "--check"])));
    } else {
        tally.skipped.push(
            "SKIPPED: format: rustfmt is not installed (rustup component add rustfmt)".into(),
        );
    }
    if present("clippy") {
        let args = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        step("lints", checked(&mut cargo(&args)));
    } else {
        tally
            .skipped
            .push("SKIPPED: lints: clippy is not installed (rustup component add clippy)".into());
    }
}

fn run_tests(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let mut args = vec!["test", "--workspace", "--locked", "--no-fail-fast"];
    args.extend(filter);
    args.extend(["--", "--show-output"]);
    let mut child = cargo(&args)
        .stdout(Stdio::piped())
        .spawn()
        .context("can't start cargo test")?;
    let log_path = root().join("target/xtask-test.log");
    let mut log =
        std::fs::File::create(&log_path).with_context(|| log_path.display().to_string())?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    let mut failing = false;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        writeln!(log, "{line}")?;
        failing |= line == "failures:";
        if tally.read(&line) || failing {
            println!("{line}");
        }
        failing &= !line.starts_with("test result:");
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "cargo test ended with {status}; everything it printed is in {}",
            log_path.display()
        );
    }
    Ok(())
}

impl Tally {
    /// Counts what one line reports; true if it is worth showing.
    fn read(&mut self, line: &str) -> bool {
        if line.starts_with("SKIPPED:") {
            self.skipped.push(line.to_owned());
            return false;
        }
        let Some(counts) = line.strip_prefix("test result:") else {
            return line.ends_with("... FAILED");
        };
        for (number, what) in counts
            .split([';', '.'])
            .filter_map(|part| part.trim().split_once(' '))
        {
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn counts_results_and_skips() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        tally
            .read("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.read("SKIPPED: no Qdrant server: set HOLDFAST_QDRANT_BIN");
        tally.read("test a::b ... ok");
        assert_eq!(
            (tally.passed, tally.failed, tally.skipped.len()),
            (15, 2, 1)
        );
    }
}
