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
    /// Show one job: who asked for it, how it stands or ended, how far each step is, and its log.
    #[command(after_help = "Examples:
  holdfast jobs show JOB
  holdfast jobs show JOB --output json | jq '.steps[] | select(.state != \"done\")'

`holdfast jobs list` shows the ids. Exits with 0 also if the job has failed.")]
    Show(JobArgs),
    /// Follow a job to its end, as the command that began it does. Ctrl-C leaves the job running.
    #[command(after_help = "Examples:
  holdfast jobs watch JOB
  holdfast jobs watch JOB --output json --events

A job that has ended is told from its beginning to its end. Exits as `backup create` or `restore run` would: with 0 if the job
succeeded, and with 130 if watching was interrupted. A check that found damage ends it with 7.")]
    Watch(JobArgs),
    /// Stop a running job. What a backup or restore had begun is undone; upkeep stops where it is safe, and goes on later.
    #[command(after_help = "Examples:
  holdfast jobs cancel JOB

`holdfast jobs list` shows the ids. Exits with 0 also if the job had already ended.")]
    Cancel(JobArgs),
}

/// Options of the commands about one job.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job's id, or the beginning of it, if no other begins so.
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
}
