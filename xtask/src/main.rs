//! `cargo xtask`: the checks, tests, mutation tests and benchmarks of this workspace.
//!
//! It runs cargo and reads files; it never changes the source tree.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod bench;
mod check_deny;
mod check_deps;
mod check_purity;
mod check_sizes;
mod mutate;
mod run;
mod seaweedfs;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Checks, tests and benchmarks of the Holdfast workspace"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that must be green: dependency direction, file sizes, format, lints, all tests
    Test(test::Options),
    /// Dependencies between crates point one way, what must stay small links nothing large, and the pure crates are
    /// pure by one list
    CheckDeps,
    /// No source file outgrows its room
    CheckSizes,
    /// Mutation tests of the decisions (`crates/decide`): one change at a time that some test must notice
    Mutate(mutate::Options),
    /// Throughput and cost of capture and restore, end to end, as ratios to Qdrant's own figures
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test(options) => test::run(&options),
        Command::CheckDeps => check_deps::run().and_then(|()| check_purity::run()),
        Command::CheckSizes => check_sizes::run(),
        Command::Mutate(options) => mutate::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
