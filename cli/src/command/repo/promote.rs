//! `repo copy promote`: a copy takes the place of the primary, with no coordinator between.
//!
//! What the copy lacks is looked for in every way there is: the primary itself if it can be reached, else the catalogue of its
//! coordinator. First the copy claims a term far ahead of any that the primary can have given out, which proves that it can be written to.
//! Then the primary, if it can be reached, is told: from then on nobody writes to it. Then the copy says that it is the primary.

use crate::args::CopyPromoteArgs;
use crate::command::{Context, direct};
use crate::failure::{Failure, Outcome};
use crate::view::{Known, Promoted, PromotionView};
use holdfast_coordinator::catalog::Catalog;
use holdfast_coordinator::config::{CoordinatorConfig, CopySection};
use holdfast_coordinator::repository::{self, Creation};
use holdfast_coordinator::start::COUNTS_AS_AWAY;
use holdfast_repository::{Repository, StoreRole, VerifyLevel, VerifyOptions};
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::failure::Code;
use holdfast_types::{Epoch, RecoveryPointId};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long the primary may take to answer; it is supposed to be lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// `holdfast repo copy promote`.
pub(super) async fn run(context: Context, args: &CopyPromoteArgs) -> Outcome<()> {
    let config = direct::load(&args.direct)?;
    let section = direct::copy_section(&config, &args.name)?;
    let copy = repository::open_copy_alone(&config, section).await;
    let copy = copy.map_err(|fault| direct::told(&fault))?;
    let role = copy.role().await.map_err(|error| direct::failed(&error))?;
    let is_ours = |role: &StoreRole| matches!(role, StoreRole::Copy | StoreRole::Promoted);
    if !role
        .as_ref()
        .is_some_and(|found| is_ours(&found.role) && found.name == section.name)
    {
        let what = format!("{} is not the copy {}", copy.place(), section.name);
        return Err(Failure::new(Code::RepositoryRole, what)
            .risking("nothing: nothing was changed")
            .todo("check the place of this copy in the configuration"));
    }
    let primary = primary(&config).await;
    let mut options = VerifyOptions::read_only(VerifyLevel::Quick, SystemClock.now());
    options.namespaces = vec![config.namespace.clone()];
    if args.full {
        options.level = VerifyLevel::Full;
    }
    let checked = copy.verify_with(&options, &()).await;
    let checked = checked.map_err(|error| direct::failed(&error))?;
    let points = copy.list_points().await;
    let points = points.map_err(|error| direct::failed(&error))?;
    let promoted = if args.confirm {
        Some(promote(&copy, section, primary.as_ref()).await?)
    } else {
        None
    };
    // Now that nobody writes to the primary any more: what came to it while the copy was checked is missing, too.
    let known = known(&config, &copy, primary.as_ref()).await?;
    let view = PromotionView::new(section, &copy.place(), &points, &checked, known, promoted);
    context.output.show(&view)
}

/// The primary, or why it can't be reached.
async fn primary(config: &CoordinatorConfig) -> Result<Repository, String> {
    let opening = repository::open(config, Creation::Never, SystemClock.now());
    match tokio::time::timeout(PATIENCE, opening).await {
        Ok(Ok(primary)) => Ok(primary),
        Ok(Err(fault)) => Err(fault.message),
        Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
    }
}

/// What the primary is known to hold that the copy does not.
async fn known(
    config: &CoordinatorConfig,
    copy: &Repository,
    primary: Result<&Repository, &String>,
) -> Outcome<Known> {
    let there = copy.list_point_ids().await;
    let there = there.map_err(|error| direct::failed(&error))?;
    let there: BTreeSet<RecoveryPointId> = there.into_iter().collect();
    let missing = |ids: Vec<RecoveryPointId>| -> Vec<RecoveryPointId> {
        ids.into_iter().filter(|id| !there.contains(id)).collect()
    };
    let catalog = Catalog::open(&config.catalog_path(), &copy.description().id);
    let listed = match catalog {
        Ok(catalog) => catalog.points().await,
        Err(error) => Err(error),
    };
    let why = match primary {
        Ok(primary) => match primary.list_point_ids().await {
            // A primary that has lost points lists what it has left: the catalogue may remember the others.
            Ok(mut ids) => {
                let others = listed.into_iter().flatten().map(|point| point.id);
                ids.extend(others);
                ids.sort();
                ids.dedup();
                return Ok(Known::Primary(missing(ids)));
            }
            Err(error) => error.to_string(),
        },
        Err(why) => why.clone(),
    };
    Ok(match listed {
        Ok(points) => Known::Catalog {
            why,
            missing: missing(points.into_iter().map(|point| point.id).collect()),
        },
        Err(error) => Known::Nothing {
            why,
            catalog: error.to_string(),
        },
    })
}

/// The copy's own claim first, which fails where it can't be written to; then the old primary, if it can be reached: a moment without
/// any writer does no harm, one with two would.
async fn promote(
    copy: &Repository,
    section: &CopySection,
    primary: Result<&Repository, &String>,
) -> Outcome<Promoted> {
    let (name, now) = (&section.name, SystemClock.now());
    let failed = |error: holdfast_repository::RepositoryError| {
        direct::failed(&error).risking("nothing: the copy is a copy still")
    };
    let last_written = copy.last_written().await.map_err(failed)?;
    let prepared = copy.prepare_promotion(name).await.map_err(failed)?;
    let retired = match primary {
        Ok(primary) => Some(primary.retire(name, now).await.map_err(failed)?),
        Err(_) => None,
    };
    let above = retired.unwrap_or(Epoch(0)).max(prepared);
    let half = |error: holdfast_repository::RepositoryError| {
        let risk = match retired {
            Some(_) => {
                "no backup is taken until this has succeeded: the primary was told that it is replaced, and takes no more writes"
            }
            None => "nothing: the copy is a copy still",
        };
        direct::failed(&error)
            .risking(risk)
            .todo("mend what is said above, then repeat this command: it goes on where it was")
    };
    let epoch = copy.promote(name, above, now).await.map_err(half)?;
    // Nobody could take a mark back while nobody wrote to it: that time does not count.
    let away = last_written.map_or(Duration::ZERO, |last| now.since(last));
    if away >= COUNTS_AS_AWAY {
        let postponed = copy.postpone_removals(epoch, away, now).await;
        postponed.map_err(half)?;
    }
    Ok(Promoted {
        epoch,
        retired: retired.is_some(),
    })
}
