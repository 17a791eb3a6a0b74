//! `cargo xtask test`: the one command that must be green.
//!
//! Every step runs even if an earlier one failed, so that one run shows everything. A test that
//! lacks something it needs prints a line that begins with `SKIPPED:`; they are listed and counted.

use crate::run::{cargo, checked, root};
use crate::{check_deny, check_deps, check_purity, check_sizes, seaweedfs};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

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
    step("check-purity", check_purity::run());
    step("check-sizes", check_sizes::run());
    let mut tally = Tally::default();
    let denied = check_deny::run().map(|skipped| {
        tally.skipped.extend(skipped.map(str::to_owned));
    });
    step("check-deny", denied);
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
    if present("fmt", "rustfmt") {
        step("format", checked(&mut cargo(&["fmt", "--all", "--check"])));
    } else {
        tally.skipped.push(
            "SKIPPED: format: rustfmt is not installed (rustup component add rustfmt)".into(),
        );
    }
    if present("clippy", "clippy") {
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

/// Whether cargo has the command; if not, its component is installed first, where rustup can.
fn present(command: &str, component: &str) -> bool {
    let works = || {
        let version = cargo(&[command, "--version"]).output();
        version.is_ok_and(|output| output.status.success())
    };
    if works() {
        return true;
    }
    // In the root, so that the component goes to the toolchain that rust-toolchain.toml names. Without rustup, or
    // without a network, the step is skipped, which is counted and shown.
    let mut rustup = Command::new("rustup");
    rustup
        .args(["component", "add", component])
        .current_dir(root());
    if let Err(error) = checked(&mut rustup) {
        eprintln!("xtask test: {component} can't be installed: {error:#}");
    }
    works()
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
