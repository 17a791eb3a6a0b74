//! The command line: parse, load the configuration, run, exit with the documented code.

use crate::catalog::rebuild::rebuild;
use crate::config::{self, CoordinatorConfig, CoordinatorConfigError, DEFAULT_CONFIG};
use crate::fault::Fault;
use crate::missed;
use crate::repository::{Creation, check_key, open, probe_place};
use crate::start;
use clap::{Parser, Subcommand};
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::config::Strictness;
use holdfast_service::exit::ExitCode;
use holdfast_service::failure::Code;
use holdfast_service::{health, logging};
use std::future::Future;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  holdfast-coordinator config default > coordinator.toml
  holdfast-coordinator --config coordinator.toml config check
  holdfast-coordinator --config coordinator.toml repo init
  holdfast-coordinator --config coordinator.toml

Exit codes: 0 done, 1 unexpected, 2 usage, 3 configuration (a taken port too), 4 certificate,
7 repository or catalogue, 8 storage full, read-only or out of reach, 10 superseded by another coordinator,
130 interrupted.";

/// Takes captures into the repository, plans backups and restores, answers operators.
#[derive(Debug, Parser)]
#[command(name = "holdfast-coordinator", version, after_help = EXAMPLES)]
struct Args {
    /// The configuration file.
    #[arg(long, short, global = true, env = "HOLDFAST_COORDINATOR_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Run the coordinator (the default).
    #[command(after_help = "Example:\n  holdfast-coordinator --config coordinator.toml run")]
    Run,
    /// Make the catalogue anew from the repository. The coordinator must be stopped.
    #[command(after_help = "Example:\n  holdfast-coordinator --config coordinator.toml rebuild")]
    Rebuild,
    /// Ask a running coordinator whether it is ready; for container health checks.
    #[command(
        after_help = "Example:\n  holdfast-coordinator --config coordinator.toml healthcheck"
    )]
    Healthcheck,
    /// Check or print the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Work on the repository.
    #[command(subcommand)]
    Repo(RepoCommand),
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ConfigCommand {
    /// Check the file strictly: unknown keys are errors, and every named file must be readable.
    #[command(
        after_help = "Example:\n  holdfast-coordinator --config coordinator.toml config check"
    )]
    Check,
    /// Print a documented configuration with every default.
    #[command(after_help = "Example:\n  holdfast-coordinator config default > coordinator.toml")]
    Default,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum RepoCommand {
    /// Create the configured repository where nothing is.
    #[command(after_help = "Example:\n  holdfast-coordinator --config coordinator.toml repo init")]
    Init,
    /// Try whether the configured place keeps every promise that a repository needs, before trusting it.
    #[command(after_help = "Example:\n  holdfast-coordinator --config coordinator.toml repo probe")]
    Probe,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are results; clap knows where each goes.
            let _unprintable = error.print();
            return if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Ok
            };
        }
    };
    match run(args) {
        Ok(code) => code,
        Err(fault) => {
            let _unprintable = writeln!(std::io::stderr(), "error: {fault}");
            fault.known_code().exit_code()
        }
    }
}

fn run(args: Args) -> Result<ExitCode, Fault> {
    let command = args.command.unwrap_or(Command::Run);
    if matches!(command, Command::Config(ConfigCommand::Default)) {
        return say(DEFAULT_CONFIG.trim_end());
    }
    let path = args.config.ok_or_else(|| {
        Fault::new(
            Code::Usage,
            "no configuration: name it with --config FILE (`holdfast-coordinator config default` prints one)",
        )
    })?;
    match command {
        Command::Run => {
            let config = load(&path, true)?;
            block_on(start::run(config))?
        }
        Command::Rebuild => {
            let config = load(&path, true)?;
            block_on(rebuild_catalog(&config))?
        }
        Command::Healthcheck => {
            let config = load(&path, false)?;
            block_on(healthcheck(&config))?
        }
        Command::Config(ConfigCommand::Check) => check(&path),
        Command::Config(ConfigCommand::Default) => say(DEFAULT_CONFIG.trim_end()),
        Command::Repo(RepoCommand::Probe) => {
            let config = load(&path, true)?;
            block_on(probe(&config))?
        }
        Command::Repo(RepoCommand::Init) => {
            let config = load(&path, true)?;
            block_on(init(&config))?
        }
    }
}

/// Loads the configuration leniently, and begins the log if asked to.
fn load(path: &Path, log: bool) -> Result<CoordinatorConfig, Fault> {
    let (config, unknown) =
        config::load(path, Strictness::Lenient).map_err(|error| config_fault(&error))?;
    if log {
        logging::init(config.log.format, &config.log.filter)
            .map_err(|error| Fault::from_error(Code::Config, &error))?;
        for key in unknown {
            tracing::warn!(file = %path.display(), "{key}; it is ignored");
        }
    }
    Ok(config)
}

fn check(path: &Path) -> Result<ExitCode, Fault> {
    let (config, _) =
        config::load(path, Strictness::Strict).map_err(|error| config_fault(&error))?;
    config.check_files().map_err(|error| config_fault(&error))?;
    block_on(check_key(&config))??;
    say(&format!("{}: the configuration is valid", path.display()))
}

/// One line a check; what fails says why a repository needs it.
async fn probe(config: &CoordinatorConfig) -> Result<ExitCode, Fault> {
    let report = probe_place(config, SystemClock.now()).await?;
    for line in report.lines() {
        say(&line)?;
    }
    if let Err(refusal) = report.verdict() {
        return Err(Fault::new(
            Code::RepositoryForeign,
            format!(
                "{} can't hold a repository: {} of {} checks failed, as listed; grant the rights that are missing, or choose another place",
                report.store,
                refusal.failed.len(),
                report.checks.len()
            ),
        ));
    }
    say(&format!("{} can hold a repository", report.store))
}

async fn rebuild_catalog(config: &CoordinatorConfig) -> Result<ExitCode, Fault> {
    let repository = open(config, Creation::Never, SystemClock.now()).await?;
    let path = config.catalog_path();
    let done = rebuild(&path, &repository).await?;
    for (id, why) in &done.damaged {
        tracing::warn!(point = %id, reason = why, "a recovery point can't be read and is not listed");
    }
    for point in &done.missed {
        missed::tell(point);
    }
    say(&format!(
        "{}: {} recovery points listed, {} unreadable, {} jobs kept",
        path.display(),
        done.points,
        done.damaged.len(),
        done.jobs
    ))
}

async fn init(config: &CoordinatorConfig) -> Result<ExitCode, Fault> {
    let repository = open(config, Creation::Must, SystemClock.now()).await?;
    say(&format!("created the repository at {}", repository.place()))
}

async fn healthcheck(config: &CoordinatorConfig) -> Result<ExitCode, Fault> {
    let addr = config.health_listen.ok_or_else(|| {
        Fault::new(
            Code::Config,
            "the coordinator has no health endpoint: set health_listen",
        )
    })?;
    let probed = health::probe(reachable(addr)).await;
    probed.map_err(|error| Fault::from_error(Code::CoordinatorUnreachable, &error))?;
    say("ready")
}

/// The address under which a socket bound to `addr` answers on this machine.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, addr.port())
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::from_error(Code::Internal, &error))?;
    let output = runtime.block_on(future);
    // What still blocks (a write to a hung disk) must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    Ok(output)
}

fn say(text: &str) -> Result<ExitCode, Fault> {
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| Fault::from_error(Code::Internal, &error))?;
    Ok(ExitCode::Ok)
}

fn config_fault(error: &CoordinatorConfigError) -> Fault {
    Fault::from_error(Code::Config, error)
}

#[cfg(test)]
mod tests {
    use super::{Args, reachable};
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        for line in [
            "x --config c.toml",
            "x --config c.toml run",
            "x rebuild --config c.toml",
            "x --config c.toml config check",
            "x config default",
            "x --config c.toml repo init",
            "x --config c.toml healthcheck",
        ] {
            assert!(Args::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        assert!(Args::try_parse_from(["x", "frobnicate"]).is_err());
    }

    #[test]
    fn an_unspecified_address_is_asked_on_loopback() {
        for (bound, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
