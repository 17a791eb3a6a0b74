//! `repo check`, `repo rebuild-index`, `repo heal`: work on the repository as a whole.

use crate::args::{DirectArgs, HealArgs, RebuildIndexArgs};
use crate::command::{Context, direct};
use crate::failure::{Failure, Outcome};
use crate::view::{HealView, LeftoversView, RebuiltIndexView};
use holdfast_repository::{HealPlan, LostPoints, Repository, VerifyLevel, VerifyOptions};
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::failure::Code;
use holdfast_types::{Epoch, RecoveryPointId};
use std::collections::BTreeSet;

/// `holdfast repo check`.
pub(super) async fn check(context: Context, args: &DirectArgs) -> Outcome<()> {
    let repository = direct::open(&direct::load(args)?).await?;
    let found = repository.find_leftovers().await;
    let found = found.map_err(|error| direct::failed(&error))?;
    let view = LeftoversView::new(repository.place(), &found);
    context.output.show(&view)
}

/// `holdfast repo rebuild-index`.
pub(super) async fn rebuild_index(context: Context, args: &RebuildIndexArgs) -> Outcome<()> {
    let repository = direct::open(&direct::load(&args.direct)?).await?;
    let rebuilt = if args.confirm {
        let epoch = claim(&repository).await?;
        repository.rebuild_index(epoch).await
    } else {
        repository.plan_rebuild_index().await
    };
    let rebuilt = rebuilt.map_err(|error| direct::failed(&error))?;
    let view = RebuiltIndexView::new(repository.place(), &rebuilt, args.confirm);
    context.output.show(&view)?;
    if rebuilt.unreadable.is_empty() {
        return Ok(());
    }
    let lost = rebuilt.unreadable.len();
    let what = format!("{lost} packs are damaged and known to no index");
    Err(Failure::new(Code::RepositoryDamaged, what)
        .risking("what only these packs hold; `holdfast repo verify` names the recovery points")
        .todo("bring them back from a second copy: `holdfast repo heal`")
        .already_shown())
}

/// `holdfast repo heal`.
pub(super) async fn heal(context: Context, args: &HealArgs) -> Outcome<()> {
    let config = direct::load(&args.direct)?;
    let ours = direct::open(&config).await?;
    let copy = match (&args.from_config, &args.from_copy) {
        (Some(file), _) => direct::open(&direct::load_file(file)?).await?,
        (None, copy) => direct::open_copy(&config, copy.as_deref().unwrap_or_default()).await?,
    };
    let mut options = VerifyOptions::read_only(VerifyLevel::Quick, SystemClock.now());
    options.namespaces = vec![config.namespace.clone()];
    if args.full {
        options.level = VerifyLevel::Full;
    }
    let failed = |error| direct::failed(&error);
    let found = ours.verify_with(&options, &()).await.map_err(failed)?;
    let lost = lost_points(args);
    let plan = ours.plan_heal(&copy, &found, &lost).await;
    let plan = plan.map_err(failed)?;
    if let LostPoints::These(asked) = &lost {
        check_lost(asked, &plan, &copy.place())?;
    }
    let (healed, left) = if args.confirm {
        let epoch = claim(&ours).await?;
        let healed = ours.heal(&copy, epoch, &plan).await.map_err(failed)?;
        let again = ours.verify_with(&options, &()).await.map_err(failed)?;
        (Some(healed), again)
    } else {
        (None, found)
    };
    let view = HealView::new(&ours.place(), &copy.place(), &plan, healed.as_ref(), &left);
    context.output.show(&view)?;
    if !left.needs_attention() {
        return Ok(());
    }
    let failure = Failure::new(Code::RepositoryDamaged, view.headline());
    let todo = if healed.is_some() {
        "take a new backup, which stores anew what Qdrant still has; `holdfast repo verify` names what is left"
    } else {
        "carry it out with --confirm"
    };
    let risk = "recovery points that need what is damaged; `holdfast repo verify` names them";
    Err(failure.risking(risk).todo(todo).already_shown())
}

fn lost_points(args: &HealArgs) -> LostPoints {
    match (args.lost_points, args.lost_point.as_slice()) {
        (true, _) => LostPoints::All,
        (false, []) => LostPoints::None,
        (false, ids) => LostPoints::These(ids.iter().cloned().collect()),
    }
}

/// Whoever asks for a point wants just that one back.
fn check_lost(asked: &BTreeSet<RecoveryPointId>, plan: &HealPlan, copy: &str) -> Outcome<()> {
    let lost = |id: &RecoveryPointId| {
        let listed = plan.only_in_copy.iter();
        listed
            .filter_map(|object| object.rsplit('/').next())
            .any(|name| name == id.as_str())
    };
    let Some(id) = asked.iter().find(|id| !lost(id)) else {
        return Ok(());
    };
    let what = format!("{id} is no recovery point that only {copy} has");
    Err(Failure::new(Code::PointNotFound, what)
        .todo("without --lost-point, `holdfast repo heal` names those that only the copy has"))
}

/// Becomes the writer; refused while a coordinator runs on this machine, and fences one off elsewhere.
async fn claim(repository: &Repository) -> Outcome<Epoch> {
    let claimed = repository.claim_epoch().await;
    claimed.map_err(|error| direct::failed(&error))
}
