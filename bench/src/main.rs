//! `cargo xtask bench repository`: the repository beside restic, Borg and rustic, on the files of a real collection.
//!
//! All contenders work on the same files on the same machine in the same run, so that ratios hold on a noisy one. It
//! judges nothing: it prints figures, one JSON object a line with `--json`. Data flows one way: data → node (a real
//! Qdrant) → unpack (a folder) → contest, parts and system → figure.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod contender;
mod contest;
mod cost;
mod data;
mod engine;
mod figure;
mod index;
mod node;
mod parts;
mod run;
mod system;
mod tune;
mod unpack;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "holdfast-bench-repository",
    about = "The repository beside its peers, measured on the files of a real collection"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything, or what is chosen
    Run(run::Options),
    /// One process without a wire, as the peers are: what `run` starts to measure it
    #[command(hide = true)]
    Engine {
        /// The repository's folder
        repository: PathBuf,
        #[command(subcommand)]
        act: Act,
    },
    /// A step with a repository of very many chunks, which `run` starts to measure it
    #[command(hide = true)]
    Index(index::Args),
}

#[derive(Subcommand)]
enum Act {
    Init,
    Backup {
        number: u32,
        folder: PathBuf,
        /// Size of a full pack in MiB
        #[arg(long)]
        pack_mib: Option<usize>,
    },
    Restore {
        number: u32,
        folder: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(options) => run::run(options).await,
        Command::Engine { repository, act } => match act {
            Act::Init => engine::init(&repository).await,
            Act::Backup {
                number,
                folder,
                pack_mib,
            } => engine::backup(&folder, &repository, number, pack_mib).await,
            Act::Restore { number, folder } => engine::restore(&repository, number, &folder).await,
        },
        Command::Index(args) => args.run().await,
    }
}
