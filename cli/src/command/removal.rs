//! `backup prune`, `delete`, `undelete`, `pin`, `unpin`, and `hold …`.

use super::{Context, coordinator};
use crate::args::{
    ConnectionArgs, DeleteArgs, HoldCommand, HoldPlaceArgs, HoldReleaseArgs, PinArgs, PointArgs,
    PruneArgs, UnpinArgs,
};
use crate::client::Coordinator;
use crate::failure::{Failure, Outcome};
use crate::view::{HoldView, HoldsView, MarkedView, PruneView};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::RecoveryPointId;

/// `holdfast hold …`.
pub(super) async fn hold(
    context: Context,
    connection: &ConnectionArgs,
    command: HoldCommand,
) -> Outcome<()> {
    let mut coordinator = coordinator(connection).await?;
    match command {
        HoldCommand::Place(args) => place(context, &mut coordinator, args).await,
        HoldCommand::Release(args) => release(context, &mut coordinator, args).await,
        HoldCommand::List => {
            let answer = coordinator.list_holds(v1::ListHoldsRequest {}).await?;
            context.output.show(&HoldsView::from(&answer))
        }
    }
}

async fn place(
    context: Context,
    coordinator: &mut Coordinator,
    args: HoldPlaceArgs,
) -> Outcome<()> {
    let hold = v1::Hold {
        id: args.name,
        reason: args.reason,
        owner: args.owner,
        expires_us: args.expires.map_or(0, holdfast_types::Timestamp::as_micros),
        recovery_points: args.points,
        collections: args.collections,
        ..v1::Hold::default()
    };
    let request = v1::PlaceHoldRequest { hold: Some(hold) };
    let answer = coordinator.place_hold(request).await?;
    let hold = answer.hold.unwrap_or_default();
    context
        .output
        .show(&HoldView::placed(&hold, answer.undeleted))
}

async fn release(
    context: Context,
    coordinator: &mut Coordinator,
    args: HoldReleaseArgs,
) -> Outcome<()> {
    let id = args.name;
    if !args.confirm {
        let holds = coordinator.list_holds(v1::ListHoldsRequest {}).await?.holds;
        let Some(hold) = holds.iter().find(|hold| hold.id == id) else {
            return Err(Failure::new(Code::Usage, format!("there is no hold {id}"))
                .risking("nothing: nothing was changed")
                .todo("see which there are: `holdfast hold list`"));
        };
        return context.output.show(&HoldView::to_be_released(hold));
    }
    let answer = coordinator
        .release_hold(v1::ReleaseHoldRequest { id })
        .await?;
    let hold = answer.hold.unwrap_or_default();
    context.output.show(&HoldView::released(&hold))
}

/// `holdfast backup prune`.
pub(super) async fn prune(
    context: Context,
    coordinator: &mut Coordinator,
    args: &PruneArgs,
) -> Outcome<()> {
    let report = coordinator.prune(args.confirm).await?;
    let view = PruneView::new(&report, args.confirm);
    context.output.show(&view)?;
    match view.refused.len() {
        0 => Ok(()),
        refused => Err(Failure::new(
            Code::ReadOnly,
            format!("the store refuses to delete {refused} recovery points; everything else was done"),
        )
        .risking("nothing: they are only kept for longer than the rules ask for")
        .todo("wait for their locks to end, or allow the coordinator's access key to delete; the next run tries again")
        .already_shown()),
    }
}

/// `holdfast backup delete`.
pub(super) async fn delete(
    context: Context,
    coordinator: &mut Coordinator,
    args: DeleteArgs,
) -> Outcome<()> {
    let recovery_point = exact(&args.id)?;
    let request = v1::DeleteBackupRequest {
        recovery_point: recovery_point.clone(),
        reason: args.reason,
        despite_floor: args.even_the_last,
        dry_run: !args.confirm,
    };
    let answer = coordinator.delete_backup(request).await?;
    let view = if answer.gone_before {
        MarkedView::gone(recovery_point, args.confirm)
    } else {
        MarkedView::deleted(recovery_point, answer.mark.as_ref())
    };
    context.output.show(&view)
}

/// `holdfast backup undelete`.
pub(super) async fn undelete(
    context: Context,
    coordinator: &mut Coordinator,
    args: PointArgs,
) -> Outcome<()> {
    let recovery_point = exact(&args.id)?;
    let request = v1::UndeleteBackupRequest {
        recovery_point: recovery_point.clone(),
    };
    let undeleted = coordinator.undelete_backup(request).await?.undeleted;
    let said = if undeleted {
        "is undeleted"
    } else {
        "was not marked for removal"
    };
    context
        .output
        .show(&MarkedView::said(recovery_point, undeleted, said))
}

/// `holdfast backup pin`.
pub(super) async fn pin(
    context: Context,
    coordinator: &mut Coordinator,
    args: PinArgs,
) -> Outcome<()> {
    let recovery_point = coordinator.resolve(&args.id, &[]).await?;
    let request = v1::PinBackupRequest {
        recovery_point: recovery_point.clone(),
        reason: args.reason,
    };
    let undeleted = coordinator.pin_backup(request).await?.undeleted;
    let said = if undeleted {
        "is pinned, and no longer marked for removal"
    } else {
        "is pinned"
    };
    context
        .output
        .show(&MarkedView::said(recovery_point, true, said))
}

/// `holdfast backup unpin`.
pub(super) async fn unpin(
    context: Context,
    coordinator: &mut Coordinator,
    args: UnpinArgs,
) -> Outcome<()> {
    let recovery_point = exact(&args.id)?;
    if !args.confirm {
        let said = "would be unpinned, and judged by the rules: repeat it with --confirm";
        return context
            .output
            .show(&MarkedView::said(recovery_point, false, said));
    }
    let request = v1::UnpinBackupRequest {
        recovery_point: recovery_point.clone(),
    };
    let unpinned = coordinator.unpin_backup(request).await?.unpinned;
    let said = if unpinned {
        "is no longer pinned"
    } else {
        "was not pinned"
    };
    context
        .output
        .show(&MarkedView::said(recovery_point, unpinned, said))
}

/// An id in full: what is removed is never found by a word like `latest`.
fn exact(id: &str) -> Outcome<String> {
    match id.parse::<RecoveryPointId>() {
        Ok(id) => Ok(id.to_string()),
        Err(error) => Err(Failure::new(Code::Usage, error.to_string())
            .risking("nothing: nothing was changed")
            .todo("name it in full, as `holdfast backup list` shows it")),
    }
}
