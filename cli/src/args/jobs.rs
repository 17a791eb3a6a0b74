//! `holdfast jobs …`

use clap::{Args, Subcommand};

/// What to do about jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List running and recent jobs.
    #[command(after_help = "Examples:
  holdfast jobs list
  holdfast jobs list --output json | jq '.jobs[] | select(.state == \"running\")'")]
    List,
    /// Stop a running job. What it had begun is undone.
    #[command(after_help = "Examples:
  holdfast jobs cancel JOB

`holdfast jobs list` shows the ids. Exits with 0 also if the job had already ended.")]
    Cancel(JobsCancelArgs),
}

/// Options of `jobs cancel`.
#[derive(Debug, Args)]
pub(crate) struct JobsCancelArgs {
    /// The job's id.
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
}
