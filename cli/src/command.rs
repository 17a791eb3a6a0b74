//! One module for each command: it asks, and shows the answer.

pub(crate) mod backup;
mod certs;
mod config;
pub(crate) mod direct;
mod export;
mod extras;
mod import;
mod jobs;
mod key;
mod nodes;
mod policy;
mod read;
mod removal;
mod repo;
pub(crate) mod restore;
mod ticket;

use crate::args::{Cli, Command, ConnectionArgs};
use crate::client::{Coordinator, connect};
use crate::demo;
use crate::failure::Outcome;
use crate::output::{self, Output};
use crate::settings::Settings;
use clap::CommandFactory;

/// What every command needs to know about how to speak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// Where results go.
    pub(crate) output: Output,
    /// Whether progress is left out.
    pub(crate) quiet: bool,
}

/// Carries out one command line.
pub(crate) async fn run(context: Context, command: Command) -> Outcome<()> {
    match command {
        Command::Certs { command } => certs::run(context, command),
        Command::Status(args) => read::status(context, &args.connection).await,
        Command::Nodes(args) => nodes::run(context, args).await,
        Command::Collections(args) => read::collections(context, &args.connection).await,
        Command::Backup {
            connection,
            command,
        } => Box::pin(backup::run(context, &connection, command)).await,
        Command::Hold {
            connection,
            command,
        } => removal::hold(context, &connection, command).await,
        Command::Restore {
            connection,
            command,
        } => restore::run(context, &connection, command).await,
        Command::Diff(args) => read::diff(context, args).await,
        Command::Jobs {
            connection,
            command,
        } => jobs::run(context, &connection, command).await,
        Command::Schedules(args) => policy::schedules(context, &args.connection).await,
        Command::Policy { command } => policy::run(context, command).await,
        Command::Repo { command } => repo::run(context, command).await,
        Command::Key { command } => key::run(context, command).await,
        Command::Config { command } => config::run(context, &command).await,
        Command::Completions { shell } => completions(shell),
        Command::Demo(args) => demo::run(context, args).await,
    }
}

pub(crate) async fn coordinator(connection: &ConnectionArgs) -> Outcome<Coordinator> {
    connect(&Settings::find(connection)?).await
}

fn completions(shell: clap_complete::Shell) -> Outcome<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "holdfast", &mut script);
    output::write(&String::from_utf8_lossy(&script))
}
