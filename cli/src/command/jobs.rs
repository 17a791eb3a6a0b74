//! `jobs list`, `jobs show`, `jobs watch` and `jobs cancel`.

use super::{Context, backup, coordinator, restore};
use crate::args::{ConnectionArgs, JobsCommand};
use crate::client::Coordinator;
use crate::failure::{Action, Outcome};
use crate::interrupt::Interrupt;
use crate::job::{Finished, Follower};
use crate::progress::Progress;
use crate::view::{CancelView, JobDetailView, JobsView, UpkeepEndView, UpkeepView, action_of};

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
        JobsCommand::Show(args) => {
            let answer = coordinator.show_job(args.job).await?;
            context.output.show(&JobDetailView::from(&answer))
        }
        JobsCommand::Watch(args) => watch(context, &mut coordinator, args.job).await,
        JobsCommand::Cancel(args) => {
            let answer = coordinator.cancel(args.job.clone()).await?;
            let cancelled = answer.cancelled;
            // A coordinator of before does not say which it was.
            let job = match answer.job_id {
                id if id.is_empty() => args.job,
                id => id,
            };
            context.output.show(&CancelView { job, cancelled })
        }
    }
}

/// Follows a job as the command that began it does, and ends like that one.
async fn watch(context: Context, coordinator: &mut Coordinator, job: String) -> Outcome<()> {
    let interrupt = Interrupt::listen()?;
    let shown = coordinator.show_job(job).await?.job.unwrap_or_default();
    let (job, action) = (shown.job_id, action_of(&shown.kind));
    let mut progress = Progress::stderr(context.quiet);
    let follower = Follower {
        action,
        job: job.clone(),
        progress: &mut progress,
        output: context.output,
    };
    let finished = follower
        .run(coordinator.watch_job(job), interrupt.wait())
        .await?;
    match action {
        Action::Restore => context.output.show(&restore::result(finished)?),
        Action::Backup => context.output.show(&backup::result(finished)?),
        Action::Read
        | Action::Cancel
        | Action::Copy
        | Action::Verify
        | Action::Remove
        | Action::Member => context.output.show(&upkeep(finished)),
    }
}

/// What a run of upkeep brought.
pub(super) fn upkeep(finished: Finished) -> UpkeepEndView {
    let summary = finished.ended.upkeep.unwrap_or_default();
    UpkeepEndView {
        job: finished.job,
        upkeep: UpkeepView::from(&summary),
    }
}
