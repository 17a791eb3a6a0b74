//! `repo copy …`: what the coordinator is asked of copies. `repo copy promote` has a module of its own, because it works without one.

use super::promote;
use crate::args::{ConnectionArgs, CopyCommand};
use crate::client::Coordinator;
use crate::command::{Context, coordinator};
use crate::failure::{Action, Failure, Outcome, from_failure};
use crate::view::{CopiesView, CopyAddedView, CopyChangeView, PruneView};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use std::time::Duration;

/// How often a run that is waited for is looked at.
const POLL: Duration = Duration::from_millis(500);

/// `holdfast repo copy …`.
pub(super) async fn run(
    context: Context,
    connection: &ConnectionArgs,
    command: CopyCommand,
) -> Outcome<()> {
    if let CopyCommand::Promote(args) = command {
        return Box::pin(promote::run(context, &args)).await;
    }
    let mut coordinator = coordinator(connection).await?;
    ask(context, &mut coordinator, command).await
}

async fn ask(context: Context, coordinator: &mut Coordinator, command: CopyCommand) -> Outcome<()> {
    let output = context.output;
    match command {
        CopyCommand::List => {
            let answer = coordinator.list_copies(v1::ListCopiesRequest {}).await?;
            output.show(&CopiesView::from(&answer))
        }
        CopyCommand::Add(args) => {
            let request = v1::AddCopyRequest {
                name: args.name.clone(),
                confirm: args.confirm,
                take_over: args.take_over,
            };
            let answer = coordinator.add_copy(request).await?;
            output.show(&CopyAddedView::new(args.name, answer))
        }
        CopyCommand::Sync(args) if args.release && !args.confirm => {
            let copy = settle(coordinator, &args.name, false, |_| true).await?;
            output.show(&CopyChangeView::would_release(&copy))
        }
        CopyCommand::Sync(args) => {
            let request = v1::SyncCopyRequest {
                name: args.name.clone(),
                release: args.release,
            };
            let answer = coordinator.sync_copy(request).await?;
            let ended = |copy: &v1::CopyStatus| !copy.run_asked && copy.open_run.is_none();
            let copy = settle(coordinator, &args.name, args.wait, ended).await?;
            output.show(&CopyChangeView::synced(&copy, args.wait, &answer))?;
            match &copy.trouble {
                Some(trouble) if args.wait => {
                    Err(from_failure(Action::Copy, trouble).already_shown())
                }
                Some(_) | None => Ok(()),
            }
        }
        CopyCommand::Verify(args) => {
            let (name, full) = (args.name.clone(), args.full);
            let request = v1::VerifyCopyRequest { name, full };
            let job = coordinator.verify_copy(request).await?.job_id;
            let ended = |copy: &v1::CopyStatus| !copy.check_asked;
            let copy = settle(coordinator, &args.name, args.wait, ended).await?;
            output.show(&CopyChangeView::verified(&copy, args.wait, &job))?;
            let damaged = copy.last_check.is_some_and(|check| check.needs_attention);
            if args.wait && damaged {
                let what = format!("copy {} is damaged", args.name);
                return Err(Failure::new(Code::RepositoryDamaged, what)
                    .risking("what of the copy its warnings name; the repository itself is not concerned")
                    .todo("see `holdfast repo copy list`; what the repository has sound was brought back already")
                    .already_shown());
            }
            Ok(())
        }
        CopyCommand::Prune(args) => {
            let (name, confirm) = (args.name.clone(), args.confirm);
            let request = v1::PruneCopyRequest { name, confirm };
            let report = coordinator.prune_copy(request).await?;
            output.show(&PruneView::of_copy(args.name, &report, confirm))
        }
        CopyCommand::Remove(args) => {
            let (name, confirm) = (args.name.clone(), args.confirm);
            let request = v1::RemoveCopyRequest { name, confirm };
            let removed = coordinator.remove_copy(request).await?.removed;
            output.show(&CopyChangeView::removed(args.name, removed))
        }
        CopyCommand::Promote(_) => Ok(()),
    }
}

/// How the copy stands: at once, or when what was asked for has ended.
async fn settle(
    coordinator: &mut Coordinator,
    name: &str,
    wait: bool,
    ended: impl Fn(&v1::CopyStatus) -> bool,
) -> Outcome<v1::CopyStatus> {
    loop {
        let listed = coordinator.list_copies(v1::ListCopiesRequest {}).await?;
        let found = listed.copies.into_iter().find(|copy| copy.name == name);
        let copy = found
            .ok_or_else(|| Failure::new(Code::CopyNotFound, format!("no copy is called {name}")))?;
        if !wait || ended(&copy) {
            return Ok(copy);
        }
        tokio::time::sleep(POLL).await;
    }
}
