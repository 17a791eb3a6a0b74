//! From the command line to the exit code: parse, build the runtime, run, report, exit.

use crate::args::{BackupCommand, Cli, Command, RestoreCommand};
use crate::command::{self, Context};
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use clap::{CommandFactory, Parser};
use holdfast_service::exit::ExitCode;
use holdfast_service::failure::Code;

/// Runs the program with the process's own arguments.
#[must_use]
pub fn run() -> std::process::ExitCode {
    // A usage error prints itself and ends with 2; help and version end with 0.
    let cli = Cli::parse();
    let context = Context {
        output: Output::new(cli.output, wants_events(&cli.command)),
        quiet: cli.quiet,
    };
    match start(context, cli.command) {
        Ok(()) => ExitCode::Ok.into(),
        Err(failure) => {
            context.output.fail(&failure);
            failure.exit().into()
        }
    }
}

/// The command line's definition, for completions, manual pages and tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn start(context: Context, command: Command) -> Outcome<()> {
    holdfast_certs::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Code::Internal, "can't start the runtime").caused_by(&error)
        })?;
    let result = runtime.block_on(Box::pin(command::run(context, command)));
    // A task that still waits (for a signal, say) must not keep the process.
    runtime.shutdown_background();
    result
}

fn wants_events(command: &Command) -> bool {
    match command {
        Command::Backup {
            command: BackupCommand::Create(args),
            ..
        } => args.events,
        Command::Backup {
            command: BackupCommand::Import(args),
            ..
        } => args.events,
        Command::Restore {
            command: RestoreCommand::Run(args),
            ..
        } => args.events,
        Command::Certs { .. }
        | Command::Status(_)
        | Command::Nodes(_)
        | Command::Collections(_)
        | Command::Diff(_)
        | Command::Backup { .. }
        | Command::Restore { .. }
        | Command::Jobs { .. }
        | Command::Hold { .. }
        | Command::Schedules(_)
        | Command::Policy { .. }
        | Command::Repo { .. }
        | Command::Key { .. }
        | Command::Config { .. }
        | Command::Completions { .. }
        | Command::Demo(_) => false,
    }
}
