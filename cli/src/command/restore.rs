//! `restore plan` and `restore run`: plan, show, confirm, run. `restore window`. `restore ticket` has a module of its own.

use super::{Context, coordinator, ticket};
use crate::args::{By, ConnectionArgs, RestoreCommand, RestoreRunArgs, RestoreSelection, To};
use crate::client::{Coordinator, LATEST};
use crate::failure::{Action, Failure, Outcome, from_failure};
use crate::interrupt::Interrupt;
use crate::job::{Finished, Follower};
use crate::output::{Output, View};
use crate::progress::Progress;
use crate::view::{PlanView, RestoreView, WindowsView};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use std::future::Future;
use std::io::{self, IsTerminal, Write};

/// `holdfast restore …`.
pub(super) async fn run(
    context: Context,
    connection: &ConnectionArgs,
    command: RestoreCommand,
) -> Outcome<()> {
    match command {
        RestoreCommand::Plan(args) => {
            let mappings = mappings(&args.selection)?;
            let copy = args.selection.from_copy.clone();
            let mut coordinator = coordinator(connection).await?.reading(copy.as_deref());
            let request = request(&mut coordinator, args.selection, mappings).await?;
            let plan = plan(&mut coordinator, request).await?;
            show_plan(context.output, &plan)
        }
        RestoreCommand::Run(args) => {
            let mappings = mappings(&args.selection)?;
            let copy = args.selection.from_copy.clone();
            let mut coordinator = coordinator(connection).await?.reading(copy.as_deref());
            run_command(context, &mut coordinator, args, mappings).await
        }
        RestoreCommand::Window(args) => {
            let mut coordinator = coordinator(connection).await?;
            let collection = args.collection.unwrap_or_default();
            let window = coordinator.restore_window(collection).await?;
            context.output.show(&WindowsView::from(&window))
        }
        RestoreCommand::Ticket(args) => {
            let coordinator = coordinator(connection).await?;
            let mut coordinator = coordinator.reading(args.from_copy.as_deref());
            ticket::run(context, &mut coordinator, args).await
        }
    }
}

/// Starts a restore job and follows it to its end.
pub(crate) async fn restore(
    coordinator: &mut Coordinator,
    request: v1::RestoreRequest,
    progress: &mut Progress,
    output: Output,
    interrupt: impl Future<Output = ()>,
) -> Outcome<RestoreView> {
    let follower = Follower {
        action: Action::Restore,
        job: String::new(),
        progress,
        output,
    };
    let finished = follower
        .run(coordinator.run_restore(request), interrupt)
        .await?;
    result(finished)
}

/// What a finished job of this kind brought.
pub(super) fn result(finished: Finished) -> Outcome<RestoreView> {
    let summary = finished.ended.restore.as_ref().ok_or_else(|| {
        Failure::new(
            Code::Internal,
            "the restore succeeded, but the coordinator sent no summary",
        )
        .todo("look: holdfast collections")
    })?;
    Ok(RestoreView::new(finished.job, summary))
}

/// Pairs `--collection` with `--as`.
fn mappings(selection: &RestoreSelection) -> Outcome<Vec<v1::CollectionMapping>> {
    let dropped = selection.before_drop.iter();
    let sources: Vec<&String> = selection.collections.iter().chain(dropped).collect();
    let targets = &selection.targets;
    if !targets.is_empty() && targets.len() != sources.len() {
        let counts = format!(
            "{} --collection but {} --as were given",
            sources.len(),
            targets.len()
        );
        return Err(Failure::new(Code::Usage, counts)
            .risking("nothing: the coordinator was not asked")
            .todo("give --as once for each --collection, in the same order, or not at all"));
    }
    let target = |i: usize| targets.get(i).cloned().unwrap_or_default();
    let pair = |(i, source): (usize, &String)| v1::CollectionMapping {
        source: source.clone(),
        target: target(i),
    };
    Ok(sources.into_iter().enumerate().map(pair).collect())
}

async fn request(
    coordinator: &mut Coordinator,
    selection: RestoreSelection,
    collections: Vec<v1::CollectionMapping>,
) -> Outcome<v1::RestoreRequest> {
    let to = target(&selection);
    if to.is_none() && selection.by == By::Requests {
        return Err(Failure::new(
            Code::Usage,
            "--by says how archived operations get into the collection, and none are asked for",
        )
        .risking("nothing: the coordinator was not asked")
        .todo("add --to, --to-op or --before-drop, or leave out --by"));
    }
    let recovery_point = match selection.id.as_deref() {
        // The coordinator knows which one leads there.
        None | Some(LATEST) if to.is_some() => String::new(),
        Some(id) => coordinator.resolve(id, &selection.collections).await?,
        None => String::new(),
    };
    let mut request = v1::RestoreRequest {
        recovery_point,
        without_aliases: false,
        collections,
        node: selection.node.clone().unwrap_or_default(),
        overwrite: selection.overwrite,
        from_copy: coordinator.copy(),
        to,
        replication_factor: selection.replication_factor.unwrap_or(0),
    };
    if let Some(prefix) = &selection.prefix {
        request.collections = prefixed(coordinator, &request, prefix).await?;
    }
    request.without_aliases = without_aliases(&selection, &request.collections);
    Ok(request)
}

/// The collections that are meant, each with the prefix before its name. Without names the coordinator tells which there are.
async fn prefixed(
    coordinator: &mut Coordinator,
    request: &v1::RestoreRequest,
    prefix: &str,
) -> Outcome<Vec<v1::CollectionMapping>> {
    let mut sources: Vec<String> = request
        .collections
        .iter()
        .map(|m| m.source.clone())
        .collect();
    if sources.is_empty() {
        let plan = coordinator.plan_restore(request.clone()).await?;
        sources = plan
            .steps
            .into_iter()
            .map(|step| step.source_collection)
            .collect();
    }
    let pair = |source: String| v1::CollectionMapping {
        target: format!("{prefix}{source}"),
        source,
    };
    Ok(sources.into_iter().map(pair).collect())
}

fn target(selection: &RestoreSelection) -> Option<v1::RestoreTarget> {
    use v1::restore_target::Target;
    let target = match (selection.to, selection.to_op) {
        _ if selection.before_drop.is_some() => Target::BeforeDrop(true),
        (Some(To::Instant(instant)), _) => Target::InstantUs(instant.as_micros()),
        (Some(To::Latest), _) => Target::Latest(true),
        (None, Some(operation)) => Target::Operation(operation),
        (None, None) => return None,
    };
    Some(v1::RestoreTarget {
        target: Some(target),
        by_requests: selection.by == By::Requests,
    })
}

/// Asks for a plan, and makes sure that the coordinator has understood what was asked for.
async fn plan(
    coordinator: &mut Coordinator,
    request: v1::RestoreRequest,
) -> Outcome<v1::RestorePlan> {
    let (to, replicas) = (request.to, request.replication_factor);
    let plan = coordinator.plan_restore(request).await?;
    understood(to, &plan)?;
    if replicas != 0 && plan.blockers.is_empty() && plan.nodes.is_empty() {
        return Err(Failure::new(
            Code::VersionMismatch,
            "the coordinator is older than this program and can't change the number of replicas",
        )
        .risking("nothing: the restore was not started")
        .todo("upgrade the coordinator, and the agents"));
    }
    Ok(plan)
}

/// One that does not know `--to` would restore the recovery point as it was captured.
fn understood(to: Option<v1::RestoreTarget>, plan: &v1::RestorePlan) -> Outcome<()> {
    if plan.instant.as_ref().and_then(|instant| instant.target) == to {
        return Ok(());
    }
    Err(Failure::new(
        Code::VersionMismatch,
        "the coordinator is older than this program and can't restore to an instant",
    )
    .risking("nothing: the restore was not started")
    .todo("upgrade the coordinator, and the agents"))
}

/// A copy under a new name must not take the alias away from the original, unless that is wanted.
fn without_aliases(selection: &RestoreSelection, mappings: &[v1::CollectionMapping]) -> bool {
    let renamed = |m: &v1::CollectionMapping| !m.target.is_empty() && m.target != m.source;
    let all_renamed = !mappings.is_empty() && mappings.iter().all(renamed);
    selection.without_aliases || (all_renamed && !selection.with_aliases)
}

/// Shows a plan; one that can't be run is a failure with the code of the first thing that forbids it.
fn show_plan(output: Output, plan: &v1::RestorePlan) -> Outcome<()> {
    output.show(&PlanView::from(plan))?;
    blocked(plan).map_or(Ok(()), |failure| Err(failure.already_shown()))
}

fn blocked(plan: &v1::RestorePlan) -> Option<Failure> {
    let first = plan.blockers.first()?;
    let failure = from_failure(Action::Read, first);
    let rest = plan.blockers.iter().skip(1);
    Some(rest.fold(failure, |failure, blocker| {
        failure.because(format!("also {}: {}", blocker.code, blocker.message))
    }))
}

async fn run_command(
    context: Context,
    coordinator: &mut Coordinator,
    args: RestoreRunArgs,
    mappings: Vec<v1::CollectionMapping>,
) -> Outcome<()> {
    let request = request(coordinator, args.selection, mappings).await?;
    let plan = plan(coordinator, request.clone()).await?;
    let mut progress = Progress::stderr(context.quiet);
    let view = PlanView::from(&plan);
    progress.say(&format!("{}\n", view.text()));
    if let Some(failure) = blocked(&plan) {
        return Err(failure);
    }
    confirm(&view, args.yes)?;
    // What is run is what was shown: the plan has resolved the node and the recovery point.
    let request = v1::RestoreRequest {
        node: plan.node,
        recovery_point: plan.recovery_point,
        ..request
    };
    let interrupt = Interrupt::listen()?;
    let result = restore(
        coordinator,
        request,
        &mut progress,
        context.output,
        interrupt.wait(),
    )
    .await?;
    context.output.show(&result)
}

/// Asks the person at the terminal. Without one, only a restore that replaces nothing may go on.
fn confirm(plan: &PlanView, yes: bool) -> Outcome<()> {
    let replaced = plan.replaced();
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if yes || (!terminal && replaced.is_empty()) {
        return Ok(());
    }
    if !terminal {
        return Err(Failure::new(
            Code::Usage,
            format!("replacing {} needs a confirmation", replaced.join(", ")),
        )
        .exiting(holdfast_service::exit::ExitCode::Refused)
        .risking("nothing: the restore was not started")
        .todo("add --yes if this is what you want"));
    }
    let question = match replaced.as_slice() {
        [] => "Go on?".to_owned(),
        names => format!("REPLACE {}?", names.join(", ")),
    };
    let mut answer = String::new();
    // If the terminal is gone the answer stays empty, which is a no.
    let _ = write!(io::stderr(), "{question} Type yes: ");
    let _ = io::stdin().read_line(&mut answer);
    if answer.trim().eq_ignore_ascii_case("yes") {
        return Ok(());
    }
    Err(Failure::new(Code::Cancelled, "not confirmed")
        .exiting(holdfast_service::exit::ExitCode::Refused)
        .risking("nothing: the restore was not started")
        .todo("answer with yes, or add --yes"))
}

#[cfg(test)]
mod tests {
    use super::{blocked, mappings, target, understood, without_aliases};
    use crate::args::{By, RestoreSelection, To};
    use holdfast_proto::v1;
    use holdfast_service::exit::ExitCode;

    fn selection(collections: &[&str], targets: &[&str]) -> RestoreSelection {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        RestoreSelection {
            id: Some("latest".into()),
            to: None,
            to_op: None,
            by: By::Splice,
            before_drop: None,
            collections: owned(collections),
            targets: owned(targets),
            prefix: None,
            node: None,
            replication_factor: None,
            overwrite: false,
            without_aliases: false,
            with_aliases: false,
            from_copy: None,
        }
    }

    #[test]
    fn names_are_paired_in_order_or_refused() {
        let paired = mappings(&selection(&["a", "b"], &["x", "y"])).expect("paired");
        assert_eq!(
            (paired[1].source.as_str(), paired[1].target.as_str()),
            ("b", "y")
        );
        assert!(mappings(&selection(&["a", "b"], &[])).is_ok());
        let failure = mappings(&selection(&["a", "b"], &["x"])).expect_err("unclear");
        assert_eq!(failure.exit(), ExitCode::Usage);
        let mut dropped = selection(&[], &["x"]);
        assert!(mappings(&dropped).is_err());
        dropped.before_drop = Some("a".into());
        let paired = mappings(&dropped).expect("paired");
        assert_eq!(
            (paired[0].source.as_str(), paired[0].target.as_str()),
            ("a", "x")
        );
    }

    #[test]
    fn an_older_coordinator_is_not_taken_at_its_word() {
        let mut choice = selection(&["a"], &[]);
        assert_eq!(target(&choice), None);
        choice.to = Some(
            "2026-11-21T12:15:30+02:00"
                .parse::<To>()
                .expect("an instant"),
        );
        let to = target(&choice);
        let instant = "2026-11-21T10:15:30Z".parse().expect("an instant");
        assert_eq!(choice.to, Some(To::Instant(instant)));
        assert!("now".parse::<To>().is_err());
        // It leaves out what it does not know, and plans to restore the recovery point as it was captured.
        let mut plan = v1::RestorePlan::default();
        let failure = understood(to, &plan).expect_err("not understood");
        assert_eq!(failure.exit(), ExitCode::Refused);
        assert!(understood(None, &plan).is_ok());
        plan.instant = Some(v1::PlannedInstant {
            target: to,
            ..Default::default()
        });
        assert!(understood(to, &plan).is_ok());
        assert!(understood(None, &plan).is_err());
    }

    #[test]
    fn a_renamed_copy_takes_no_alias_unless_told_to() {
        let mut choice = selection(&["a"], &["b"]);
        let renamed = mappings(&choice).expect("paired");
        assert!(without_aliases(&choice, &renamed));
        choice.with_aliases = true;
        assert!(!without_aliases(&choice, &renamed));
        let same = selection(&["a"], &[]);
        assert!(!without_aliases(&same, &mappings(&same).expect("paired")));
    }

    #[test]
    fn a_blocked_plan_fails_with_its_first_reason() {
        let blocker = |code: &str, message: &str| v1::Failure {
            code: code.into(),
            message: message.into(),
            retryable: false,
        };
        let plan = v1::RestorePlan {
            blockers: vec![
                blocker("target-exists", "collection products exists on n1"),
                blocker("version-mismatch", "captured on 1.18.3, n1 runs 1.20.0"),
            ],
            ..Default::default()
        };
        let failure = blocked(&plan).expect("blocked");
        assert_eq!(failure.exit(), ExitCode::Refused);
        insta::assert_snapshot!(failure.render(), @r"
error: collection products exists on n1
  because  also version-mismatch: captured on 1.18.3, n1 runs 1.20.0
  at risk  nothing: this command only reads
  to do    restore under another name (--as NAME), or replace it with --overwrite (it is captured first)
");
    }
}
