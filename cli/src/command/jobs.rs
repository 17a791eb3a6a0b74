//! `jobs list` and `jobs cancel`.

use super::{Context, coordinator};
use crate::args::{ConnectionArgs, JobsCommand};
use crate::failure::Outcome;
use crate::view::{CancelView, JobsView};

/// `holdfast jobs …`.
pub(super) async fn run(
    context: Context,
    connection: &ConnectionArgs,
    command: JobsCommand,
) -> Outcome<()> {
    let mut coordinator = coordinator(connection).await?;
    match command {
        JobsCommand::List => {
            let answer = coordinator.status().await?;
            context.output.show(&JobsView::from(&answer))
        }
        JobsCommand::Cancel(args) => {
            let answer = coordinator.cancel(args.job.clone()).await?;
            let cancelled = answer.cancelled;
            context.output.show(&CancelView {
                job: args.job,
                cancelled,
            })
        }
    }
}
