//! The command line: names, options, help texts and examples. Parsing only; nothing is carried out here.

mod backup;
mod certs;
mod config;
mod connection;
mod copy;
mod demo;
mod diff;
mod jobs;
mod key;
mod nodes;
mod policy;
#[cfg(test)]
mod reference;
mod removal;
mod repo;
mod restore;

pub(crate) use backup::{
    BackupCommand, BackupCreateArgs, BackupExportArgs, BackupFilesArgs, BackupImportArgs,
    BackupListArgs, BackupShowArgs, Method,
};
pub(crate) use certs::{CertsCommand, RoleArg};
pub(crate) use config::{ConfigCheckArgs, ConfigCommand, ConfigKind};
pub(crate) use connection::ConnectionArgs;
pub(crate) use copy::{CopyCommand, CopyPromoteArgs};
pub(crate) use demo::{DemoArgs, ServerChoice};
pub(crate) use diff::DiffArgs;
pub(crate) use jobs::JobsCommand;
pub(crate) use key::{KeyCommand, NewKeyArgs};
pub(crate) use nodes::{
    NodeEnrolArgs, NodeReasonArgs, NodeRemoveArgs, NodeReplaceArgs, NodesArgs, NodesCommand,
    RevokeTokenArgs,
};
pub(crate) use policy::{PolicyCommand, PolicyDiffArgs, PolicyExplainArgs, PolicyShowArgs};
pub(crate) use removal::{
    DeleteArgs, HoldCommand, HoldPlaceArgs, HoldReleaseArgs, PinArgs, PointArgs, PruneArgs,
    UnpinArgs,
};
pub(crate) use repo::{DirectArgs, HealArgs, ProbeArgs, RebuildIndexArgs, RepoCommand, VerifyArgs};
pub(crate) use restore::{
    By, RestoreCommand, RestoreRunArgs, RestoreSelection, RestoreTicketArgs, To,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps a Qdrant deployment recoverable: backups, restores, and the proof that they work.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    about,
    max_term_width = 110,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Examples:
  holdfast demo                              see the whole cycle on this machine, in about two minutes
  holdfast status                            the coordinator and its repository at a glance
  holdfast backup create                     back up every collection
  holdfast restore run latest --collection products --as products_check

Exit codes: 0 success, 2 usage, 3 configuration, 4 certificates, 5 coordinator unreachable, 6 Qdrant,
7 repository, 8 storage full, 9 not found, 10 refused, 11 job failed, 12 proof failed, 13 not permitted,
130 interrupted, 1 anything else. The full table is in docs/reference/exit-codes.md."
)]
pub(crate) struct Cli {
    /// How results are printed on standard output.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text, help_heading = "Output")]
    pub(crate) output: OutputFormat,

    /// Print no progress on standard error (errors still are).
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Tables and sentences for people; may change between releases.
    Text,
    /// One JSON document with stable field names (docs/reference/json-output.md).
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a certificate authority, issue identities, look at certificates.
    Certs {
        #[command(subcommand)]
        command: CertsCommand,
    },
    /// Show the coordinator, its repository, running jobs, and what needs attention.
    #[command(after_help = "Examples:
  holdfast status
  holdfast status --output json | jq .warnings")]
    Status(ReadArgs),
    /// List the Qdrant nodes whose agents have reported; drain and remove nodes.
    #[command(after_help = "Examples:
  holdfast nodes
  holdfast nodes --shards                    what changes in which shard, as the agents watch it
  holdfast nodes --output json | jq '.nodes[] | select(.connected | not)'")]
    Nodes(NodesArgs),
    /// List the collections of all connected nodes and their newest recovery points.
    #[command(after_help = "Examples:
  holdfast collections
  holdfast collections --output json | jq '.collections[] | select(.newest_recovery_point == null)'")]
    Collections(ReadArgs),
    /// Create, list, show, export, import, protect and remove recovery points.
    Backup {
        #[command(flatten)]
        connection: ConnectionArgs,
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// Place, release and list legal holds: what they are on is never removed.
    Hold {
        #[command(flatten)]
        connection: ConnectionArgs,
        #[command(subcommand)]
        command: HoldCommand,
    },
    /// Plan or run a restore, or let a stopped node be restored.
    Restore {
        #[command(flatten)]
        connection: ConnectionArgs,
        #[command(subcommand)]
        command: RestoreCommand,
    },
    /// Show what was written to a collection between two instants, as far as its archived logs say.
    #[command(after_help = "Examples:
  holdfast diff products --from 2026-11-21T10:00:00Z --to 2026-11-21T10:30:00Z
  holdfast diff products --from 2026-11-21T10:00:00Z --to 2026-11-21T10:30:00Z --output json | jq '.largest[0]'
  holdfast diff products --from 2026-11-21T10:00:00Z --to 2026-11-21T10:30:00Z --ids 100000 --output json \\
    | jq -c '.points[] | select(.fate == \"removed\").ids'

It is what `restore run --to` the second instant would have and one to the first would not. Operations are shown with an instant just
before each, to restore to. An answer that is not complete says which time is lacking, and why; it exits with 0 all the same.
It names points and filters, so it takes an operator's certificate.")]
    Diff(DiffArgs),
    /// List, show, watch and cancel the coordinator's jobs.
    Jobs {
        #[command(flatten)]
        connection: ConnectionArgs,
        #[command(subcommand)]
        command: JobsCommand,
    },
    /// List what the coordinator does by itself: when each schedule runs next, how it ran last, and why it waits.
    #[command(after_help = "Examples:
  holdfast schedules
  holdfast schedules --output json | jq '.schedules[] | select(.late_secs)'")]
    Schedules(ReadArgs),
    /// Check, show, explain and compare policies: what is captured by itself, when, and why.
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Work on the repository itself. No coordinator is asked.
    Repo {
        #[command(subcommand)]
        command: RepoCommand,
    },
    /// Say who may unlock the repository: list, add, replace and remove keys. No coordinator is asked.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Check configuration files.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:
  holdfast completions bash > ~/.local/share/bash-completion/completions/holdfast
  holdfast completions zsh > \"${fpath[1]}/_holdfast\"
  holdfast completions fish > ~/.config/fish/completions/holdfast.fish")]
    Completions {
        /// The shell to print it for.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Show backup, loss, restore and proof on this machine, with real processes.
    Demo(DemoArgs),
}

/// Arguments of the commands that only read.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    /// As a script gives it whose variable is not set: it must not mean the original's own name.
    #[test]
    fn an_empty_name_is_no_name() {
        for flag in ["--as", "--collection", "--node"] {
            let mut line = vec!["holdfast", "restore", "run", "latest", flag, ""];
            if flag == "--as" {
                line.extend(["--collection", "docs"]);
            }
            assert!(Cli::try_parse_from(&line).is_err(), "{flag}");
            line[5] = "x";
            assert!(Cli::try_parse_from(&line).is_ok(), "{flag}");
        }
    }

    #[test]
    fn every_command_with_arguments_shows_examples() {
        fn walk(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let examples = command
                .get_after_help()
                .is_some_and(|text| text.to_string().starts_with("Examples:"));
            if !command.has_subcommands() && !examples {
                missing.push(path.clone());
            }
            for sub in command.get_subcommands() {
                walk(sub, &path, missing);
            }
        }
        let mut missing = Vec::new();
        walk(&Cli::command(), "", &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn connection_options_are_taken_before_and_after_the_subcommand() {
        for line in [
            "holdfast backup --coordinator https://h:1 list",
            "holdfast backup list --coordinator https://h:1",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
