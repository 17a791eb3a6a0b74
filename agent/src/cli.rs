//! The command line of `holdfast-agent`: parse, build, run, and end with a documented exit code.

use crate::agent::Agent;
use crate::cold::{self, ColdOrder};
use crate::config::{self, AgentConfig, AgentConfigError, DEFAULT_CONFIG};
use crate::enrol;
use crate::progress::Meter;
use clap::{Parser, Subcommand};
use ending::{Doing, Ending};
use holdfast_certs::enrol::EnrolToken;
use holdfast_service::config::Strictness;
use holdfast_service::exit::ExitCode;
use holdfast_service::health;
use holdfast_service::logging;
use holdfast_service::shutdown::{Shutdown, StopReason};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod ending;

/// The agent beside one Qdrant node: captures and restores its collections for a Holdfast coordinator.
#[derive(Debug, Parser)]
#[command(name = "holdfast-agent", version, about, after_help = EXAMPLES)]
struct Args {
    /// The configuration file.
    #[arg(
        long,
        short,
        global = true,
        env = "HOLDFAST_AGENT_CONFIG",
        value_name = "FILE",
        default_value = "/etc/holdfast/agent.toml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  holdfast-agent config default > agent.toml
  holdfast-agent --config agent.toml config check
  holdfast-agent --config agent.toml
  holdfast-agent --config agent.toml healthcheck

Exit codes: 0 done, 1 unexpected error, or not ready (healthcheck), 2 usage, 3 configuration,
4 certificate, 6 Qdrant, 8 storage, 130 interrupted; of restore and enrol see there.";

const RUN_EXAMPLES: &str = "Examples:
  holdfast-agent --config agent.toml run
  HOLDFAST_AGENT_CONFIG=agent.toml holdfast-agent run";

const HEALTHCHECK_EXAMPLES: &str = "Examples:
  holdfast-agent --config agent.toml healthcheck
  holdfast-agent healthcheck || echo 'not ready'

Exit codes: 0 ready, 1 not ready or not running, 3 configuration (health_listen is missing).";

const RESTORE_EXAMPLES: &str = "Examples:
  holdfast restore ticket latest --node n1                    on the operator's machine
  holdfast-agent --config agent.toml restore --ticket TICKET --data-dir /qdrant/storage
  HOLDFAST_RESTORE_TICKET= holdfast-agent restore             as an init step: nothing to restore, exit code 0

Qdrant must be stopped, and this program may write its storage directory. Each collection appears whole or not at all; an
interrupted run goes on where it was. By the same ticket nothing is done twice, so that it may stay in an init step.

Exit codes: 0 done, 3 configuration, 4 certificate, 5 coordinator unreachable, 7 repository, 8 storage full, 10 refused
(Qdrant runs, or a collection exists), 13 the ticket opens nothing for this node.";

const ENROL_EXAMPLES: &str = "Examples:
  holdfast nodes enrol n4                                     on the operator's machine
  holdfast-agent --config agent.toml enrol --coordinator https://holdfast.internal:6352 --token TOKEN
  HOLDFAST_ENROL_TOKEN=TOKEN holdfast-agent enrol --coordinator https://holdfast.internal:6352

The key is made here and never leaves; certificate, key and authorities are put where [tls] of the configuration names them, and
nothing is ever overwritten. The coordinator is trusted by the fingerprint in the token alone. If a valid certificate of this node is
there already, nothing is done and the exit code is 0, so that it may stay in an init step.

Exit codes: 0 done, 2 usage, 3 configuration, 4 certificate or clock, 5 coordinator unreachable, 10 refused, 13 the token is
unknown, used, expired, or another node's.";

const CONFIG_EXAMPLES: &str = "Examples:
  holdfast-agent config default > agent.toml
  holdfast-agent --config agent.toml config check";

const CHECK_EXAMPLES: &str = "Examples:
  holdfast-agent --config agent.toml config check
  sudo -u holdfast holdfast-agent config check

For JSON: holdfast config check agent.toml --output json

Exit codes: 0 valid, 3 not valid; the message names the key and what to do.";

const DEFAULT_EXAMPLES: &str = "Examples:
  holdfast-agent config default > agent.toml
  holdfast-agent config default | grep -A3 '^\\[limits\\]'";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until stopped (the default).
    #[command(after_help = RUN_EXAMPLES)]
    Run,
    /// Ask the running agent whether it is ready; for container health checks. It asks /readyz at health_listen.
    #[command(after_help = HEALTHCHECK_EXAMPLES)]
    Healthcheck,
    /// Lay collections of a recovery point out in the data directory of a Qdrant that is stopped.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
    /// Get this agent's certificate from the coordinator, by a token that is good once.
    #[command(after_help = ENROL_EXAMPLES)]
    Enrol(EnrolArgs),
    /// The configuration file.
    #[command(subcommand, after_help = CONFIG_EXAMPLES)]
    Config(ConfigCommand),
}

#[derive(Debug, clap::Args)]
struct RestoreArgs {
    /// What `holdfast restore ticket ID --node NAME` printed. None, or an empty one, means that there is nothing to restore.
    #[arg(
        long,
        value_name = "TICKET",
        env = "HOLDFAST_RESTORE_TICKET",
        hide_env_values = true
    )]
    ticket: Option<String>,
    /// Qdrant's storage directory [default: qdrant.storage_dir of the configuration].
    #[arg(long, value_name = "DIR", env = "HOLDFAST_RESTORE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Replace collections that exist: they are moved to DIR/holdfast-restore/replaced, not deleted.
    #[arg(long)]
    overwrite: bool,
    /// Leave aliases alone.
    #[arg(long)]
    without_aliases: bool,
}

#[derive(Debug, clap::Args)]
struct EnrolArgs {
    /// Where the coordinator enrols, such as https://holdfast.internal:6352.
    #[arg(long, value_name = "URL", env = "HOLDFAST_ENROL_COORDINATOR")]
    coordinator: Option<String>,
    /// What `holdfast nodes enrol NODE` printed.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "HOLDFAST_ENROL_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the file, the paths in it included; unknown keys are errors. Run it as the agent's user.
    #[command(after_help = CHECK_EXAMPLES)]
    Check,
    /// Print a configuration with every key, its default and its meaning.
    #[command(after_help = DEFAULT_EXAMPLES)]
    Default,
}

/// What `main` does.
#[must_use]
pub fn main() -> std::process::ExitCode {
    holdfast_certs::install_crypto_provider();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // help and version are no errors; the text goes where clap wants it
            let _ = error.print();
            let code = if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Ok
            };
            return code.into();
        }
    };
    let command = args.command.unwrap_or(Command::Run);
    let doing = match &command {
        Command::Run => Doing::Running,
        Command::Restore(_) => Doing::Restoring,
        Command::Enrol(_) => Doing::Enrolling,
        Command::Healthcheck | Command::Config(_) => Doing::Looking,
    };
    let result = match command {
        Command::Run => run(&args.config),
        Command::Healthcheck => healthcheck(&args.config),
        Command::Restore(wanted) => restore(&args.config, wanted),
        Command::Enrol(wanted) => enrol(&args.config, wanted),
        Command::Config(ConfigCommand::Check) => check(&args.config),
        Command::Config(ConfigCommand::Default) => say(DEFAULT_CONFIG),
    };
    match result {
        Ok(code) => code.into(),
        Err(ending) => {
            let _ = writeln!(std::io::stderr(), "{}", ending.render(doing));
            ending.code.into()
        }
    }
}

impl From<AgentConfigError> for Ending {
    fn from(error: AgentConfigError) -> Self {
        Self::new(ExitCode::Config, &error)
    }
}

fn run(path: &Path) -> Result<ExitCode, Ending> {
    let (config, unknown) = config::load(path, Strictness::Lenient)?;
    logging::init(config.log.format, &config.log.filter)
        .map_err(|error| Ending::new(ExitCode::Config, &error))?;
    for key in unknown {
        tracing::warn!(file = %path.display(), "{key}");
    }
    on_runtime(serve(config))
}

async fn serve(config: AgentConfig) -> Result<ExitCode, Ending> {
    let shutdown = Shutdown::new();
    shutdown
        .listen_for_signals()
        .map_err(|error| Ending::new(ExitCode::Internal, &error))?;
    tracing::info!(
        node = %config.node,
        cluster = %config.cluster,
        coordinator = %config.coordinator,
        qdrant = %config.qdrant.url,
        version = env!("CARGO_PKG_VERSION"),
        "holdfast-agent starts"
    );
    let ended = |error: crate::AgentError| Ending::new(error.exit_code(), &error);
    let agent = Agent::prepare(config).await.map_err(ended)?;
    Box::pin(agent.run(shutdown.clone())).await.map_err(ended)?;
    tracing::info!("stopped");
    Ok(shutdown
        .reason()
        .map_or(ExitCode::Ok, StopReason::exit_code))
}

fn restore(path: &Path, args: RestoreArgs) -> Result<ExitCode, Ending> {
    let Some(ticket) = args.ticket.filter(|ticket| !ticket.is_empty()) else {
        return say("no ticket: nothing to restore\n");
    };
    let (config, unknown) = config::load(path, Strictness::Lenient)?;
    logging::init(config.log.format, &config.log.filter)
        .map_err(|error| Ending::new(ExitCode::Config, &error))?;
    for key in unknown {
        tracing::warn!(file = %path.display(), "{key}");
    }
    let data_dir = args.data_dir.or_else(|| config.qdrant.storage_dir.clone());
    let data_dir = data_dir.ok_or_else(|| {
        let what = "--data-dir is missing, and qdrant.storage_dir is not configured";
        Ending::said(ExitCode::Usage, what)
    })?;
    let order = ColdOrder {
        ticket,
        data_dir,
        overwrite: args.overwrite,
        with_aliases: !args.without_aliases,
    };
    on_runtime(async move {
        let meter = Arc::new(Meter::default());
        let restored = Box::pin(cold::run(&config, &order, &meter)).await;
        let report = restored.map_err(|failed| Ending::of_restore(&failed, &order.data_dir))?;
        say(&report.to_string())
    })
}

fn enrol(path: &Path, args: EnrolArgs) -> Result<ExitCode, Ending> {
    let (config, _) = config::load(path, Strictness::Lenient)?;
    if let Some(before) = enrol::before(&config) {
        return say(&before.to_string());
    }
    let missing = |what| Ending::said(ExitCode::Usage, what);
    let token = args.token.filter(|token| !token.is_empty());
    let token =
        token.ok_or_else(|| missing("--token is missing: `holdfast nodes enrol` makes one"))?;
    let endpoint = args.coordinator.filter(|endpoint| !endpoint.is_empty());
    let endpoint = endpoint
        .ok_or_else(|| missing("--coordinator is missing: `holdfast nodes enrol` names it"))?;
    let token: EnrolToken = token
        .trim()
        .parse()
        .map_err(|error| Ending::new(ExitCode::Usage, &error))?;
    on_runtime(async move {
        let enrolled = Box::pin(enrol::run(&config, &endpoint, &token)).await;
        let enrolled =
            enrolled.map_err(|failed| Ending::said(failed.code.exit_code(), failed.to_string()))?;
        say(&enrolled.to_string())
    })
}

fn healthcheck(path: &Path) -> Result<ExitCode, Ending> {
    let (config, _) = config::load(path, Strictness::Lenient)?;
    let Some(addr) = config.health_listen else {
        let what = "health_listen is not configured";
        return Err(Ending::said(ExitCode::Config, what));
    };
    on_runtime(async move {
        health::probe(addr)
            .await
            .map(|()| ExitCode::Ok)
            .map_err(|error| Ending::new(ExitCode::Internal, &error))
    })
}

fn check(path: &Path) -> Result<ExitCode, Ending> {
    let (config, _) = config::load(path, Strictness::Strict)?;
    config.check_paths()?;
    say(&format!("{} is valid\n", path.display()))
}

fn say(text: &str) -> Result<ExitCode, Ending> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map(|()| ExitCode::Ok)
        .map_err(|error| Ending::new(ExitCode::Internal, &error))
}

fn on_runtime(task: impl Future<Output = Result<ExitCode, Ending>>) -> Result<ExitCode, Ending> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Its own work is small; the heavy stages have threads of their own.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Ending::new(ExitCode::Internal, &error))?;
    let result = runtime.block_on(task);
    // A blocking reader may wait for a disk; the process must not.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_examples() {
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n  "), "{help}");
            let own = command.get_subcommands_mut();
            for command in own.filter(|command| command.get_name() != "help") {
                check(command);
            }
        }
        check(&mut Args::command());
        let help = Args::command().render_long_help().to_string();
        assert!(help.contains("1 unexpected error"), "{help}");
    }
}
