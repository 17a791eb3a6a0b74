//! `backup create`, `backup list` and `backup show`; `backup export` and `backup import` have modules of their own.

use super::{Context, coordinator, export, extras, import, removal};
use crate::args::{
    BackupCommand, BackupCreateArgs, BackupListArgs, BackupShowArgs, ConnectionArgs, Method,
};
use crate::client::Coordinator;
use crate::failure::{Action, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::job::{Finished, Follower};
use crate::output::Output;
use crate::progress::Progress;
use crate::view::{BackupDetailView, BackupPlanView, BackupResultView, BackupView, BackupsView};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use serde_json::Value;
use std::future::Future;

/// `holdfast backup …`.
pub(super) async fn run(
    context: Context,
    connection: &ConnectionArgs,
    command: BackupCommand,
) -> Outcome<()> {
    match command {
        BackupCommand::Create(args) => {
            create_command(context, &mut coordinator(connection).await?, args).await
        }
        BackupCommand::List(args) => list(context, &mut coordinator(connection).await?, args).await,
        BackupCommand::Show(args) => show(context, &mut coordinator(connection).await?, args).await,
        BackupCommand::Import(args) => {
            import::run(context, &mut coordinator(connection).await?, args).await
        }
        // May do without a coordinator.
        BackupCommand::Export(args) => match args.extra.clone() {
            Some(name) => extras::export(context, connection, &args, &name).await,
            None => export::run(context, connection, args).await,
        },
        BackupCommand::Files(args) => extras::files(context, connection, args).await,
        BackupCommand::Prune(args) => {
            removal::prune(context, &mut coordinator(connection).await?, &args).await
        }
        BackupCommand::Delete(args) => {
            removal::delete(context, &mut coordinator(connection).await?, args).await
        }
        BackupCommand::Undelete(args) => {
            removal::undelete(context, &mut coordinator(connection).await?, args).await
        }
        BackupCommand::Pin(args) => {
            removal::pin(context, &mut coordinator(connection).await?, args).await
        }
        BackupCommand::Unpin(args) => {
            removal::unpin(context, &mut coordinator(connection).await?, args).await
        }
    }
}

/// Starts a backup job and follows it to its end.
pub(crate) async fn create(
    coordinator: &mut Coordinator,
    request: v1::CreateBackupRequest,
    progress: &mut Progress,
    output: Output,
    interrupt: impl Future<Output = ()>,
) -> Outcome<BackupResultView> {
    let follower = Follower {
        action: Action::Backup,
        job: String::new(),
        progress,
        output,
    };
    let finished = follower
        .run(coordinator.create_backup(request), interrupt)
        .await?;
    result(finished)
}

/// What a finished job of this kind brought.
pub(super) fn result(finished: Finished) -> Outcome<BackupResultView> {
    let summary = finished.ended.backup.as_ref().ok_or_else(|| {
        Failure::new(
            Code::Internal,
            "the backup succeeded, but the coordinator sent no summary",
        )
        .todo("look: holdfast backup list")
    })?;
    Ok(BackupResultView {
        job: finished.job,
        backup: BackupView::from(summary),
    })
}

/// The wire's number of a way of capture.
pub(crate) fn wire_method(method: Method) -> v1::CaptureMethod {
    match method {
        Method::Auto => v1::CaptureMethod::Auto,
        Method::Direct => v1::CaptureMethod::Direct,
        Method::Partial => v1::CaptureMethod::Partial,
        Method::Stored => v1::CaptureMethod::Stored,
        Method::Stream => v1::CaptureMethod::Stream,
    }
}

async fn create_command(
    context: Context,
    coordinator: &mut Coordinator,
    args: BackupCreateArgs,
) -> Outcome<()> {
    let interrupt = Interrupt::listen()?;
    let mut progress = Progress::stderr(context.quiet);
    let request = v1::CreateBackupRequest {
        collections: args.collections,
        method: wire_method(args.method).into(),
        note: args.note,
        tags: args.tags,
        limits: args.limits.wire(),
    };
    if args.dry_run {
        let limits = request.limits;
        let plan = coordinator.plan_backup(request).await?;
        understood(limits, &plan)?;
        return context.output.show(&BackupPlanView::from(&plan));
    }
    if request.limits.is_some() {
        let plan = coordinator.plan_backup(request.clone()).await?;
        understood(request.limits, &plan)?;
    }
    let result = create(
        coordinator,
        request,
        &mut progress,
        context.output,
        interrupt.wait(),
    )
    .await?;
    context.output.show(&result)
}

/// A coordinator of before would leave the limits out, and say nothing.
fn understood(limits: Option<v1::BackupLimits>, plan: &v1::BackupPlan) -> Outcome<()> {
    // What is told is what was asked for, except that the usual delay is not named.
    let usual = |limits: v1::BackupLimits| v1::BackupLimits {
        max_delay_ms: 0,
        ..limits
    };
    if limits.is_none() || limits.map(usual) == plan.limits.map(usual) {
        return Ok(());
    }
    Err(Failure::new(
        Code::PlanBlocked,
        "this coordinator knows no limits of a backup: it would take as much from the database as it can",
    )
    .todo("update the coordinator, or leave the limits out"))
}

async fn list(
    context: Context,
    coordinator: &mut Coordinator,
    args: BackupListArgs,
) -> Outcome<()> {
    let collection = args.collection.unwrap_or_default();
    let mut coordinator = coordinator.clone().reading(args.from_copy.as_deref());
    let answer = coordinator
        .backups(args.limit.unwrap_or(0), &collection, args.deleted)
        .await?;
    context.output.show(&BackupsView::from(&answer))
}

async fn show(
    context: Context,
    coordinator: &mut Coordinator,
    args: BackupShowArgs,
) -> Outcome<()> {
    let mut coordinator = coordinator.clone().reading(args.from_copy.as_deref());
    let id = coordinator.resolve(&args.id, &[]).await?;
    let answer = coordinator.backup(id).await?;
    let summary = answer.summary.unwrap_or_default();
    let manifest: Value = serde_json::from_str(&answer.manifest_json).map_err(|error| {
        Failure::new(
            Code::Internal,
            "the coordinator sent a manifest that is no JSON",
        )
        .caused_by(&error)
    })?;
    context.output.show(&BackupDetailView {
        backup: BackupView::from(&summary),
        manifest,
    })
}
