//! The target collection: how it comes about, its indexes, its aliases.

use crate::commands::cleanup::same_settings;
use crate::commands::phase::{Phase, RestoreProgress, TargetMode};
use crate::failure::Failed;
use crate::job::{Halt, Job, qdrant_failed};
use crate::order::RestoreOrder;
use holdfast_qdrant::{QdrantError, config_differences, payload_indexes};
use holdfast_service::failure::Code;
use holdfast_types::{AliasName, CollectionName};
use serde_json::{Value, json};
use std::time::Duration;

/// A new, empty collection is ready almost at once.
const CREATED_WITHIN: Duration = Duration::from_secs(60);

/// Brings about the collection that shards can be uploaded into; goes on where a killed agent stopped.
/// [`Halt::Broken`] is what Qdrant may answer while it is still busy with the requests of an earlier life of the process;
/// calling again then is safe.
pub(super) async fn prepare(job: &Job, order: &RestoreOrder) -> Result<RestoreProgress, Halt> {
    job.meter.stage("preparing the collection");
    let existing = find(job, &order.target).await.map_err(unsettled)?;
    let mut progress = match job.phase() {
        Phase::Restoring(progress) => {
            resume(job, order, &progress, existing.as_ref()).await?;
            progress
        }
        Phase::Accepted
        | Phase::Hooked
        | Phase::AskingSnapshot(_)
        | Phase::Snapshot(_)
        // What is being replayed begins anew first.
        | Phase::Replaying(_) => {
            begin(job, order, existing.as_ref()).await?
        }
    };
    let qdrant = &job.site.qdrant;
    match (progress.target, existing, progress.holds_data) {
        (TargetMode::Replace, ..) | (_, Some(_), true) => {}
        (TargetMode::Create | TargetMode::Recreate, Some(found), false) => {
            if is_replaced(&progress, &found) {
                let deleted = qdrant.delete_collection(&order.target).await;
                deleted.map_err(unsettled)?;
                create(job, order, &mut progress).await?;
            } else {
                complete(job, order, &mut progress).await?;
            }
        }
        (TargetMode::Create | TargetMode::Recreate, None, false) => {
            create(job, order, &mut progress).await?;
        }
        (TargetMode::Create | TargetMode::Recreate, None, true) => {
            return Err(Halt::Failed(Failed::new(
                Code::QdrantError,
                format!("{} was deleted while it was being restored", order.target),
            )));
        }
    }
    Ok(progress)
}

/// Refuses to go on with what may be somebody else's collection by now.
async fn resume(
    job: &Job,
    order: &RestoreOrder,
    progress: &RestoreProgress,
    existing: Option<&Value>,
) -> Result<(), Halt> {
    let points = match existing {
        Some(_) => match job.site.qdrant.count_exact(&order.target).await {
            Ok(points) => points,
            Err(error) if error.is_retryable() => return Err(unsettled(error)),
            // Where it matters, not knowing is as good as not being empty.
            Err(_) => u64::MAX,
        },
        None => 0,
    };
    if is_still_ours(progress, existing, points, &order.entry.info) {
        return Ok(());
    }
    // It must not be cleaned up as ours either.
    job.advance(Phase::Accepted).await?;
    Err(Halt::Failed(exists(&order.target)))
}

/// Decides for a command that has done nothing yet, and makes the decision durable.
async fn begin(
    job: &Job,
    order: &RestoreOrder,
    existing: Option<&Value>,
) -> Result<RestoreProgress, Halt> {
    let target = decide(order, existing)?;
    let aliases = job.site.qdrant.aliases().await.map_err(unsettled)?;
    if let Some((_, other)) = aliases
        .iter()
        .find(|(alias, _)| alias.as_str() == order.target.as_str())
    {
        return Err(Halt::Failed(Failed::new(
            Code::TargetExists,
            format!(
                "{} is an alias of {other}: restore under another name, or delete the alias",
                order.target
            ),
        )));
    }
    let kept_aliases = aliases
        .into_iter()
        .filter(|(_, collection)| *collection == order.target)
        .map(|(alias, _)| alias)
        .collect();
    let replaced = match target {
        TargetMode::Recreate => existing.map(essence),
        TargetMode::Create | TargetMode::Replace => None,
    };
    let progress = RestoreProgress {
        target,
        kept_aliases,
        replaced,
        created: None,
        holds_data: false,
        uploaded: Vec::new(),
        replayed: None,
    };
    job.advance(Phase::Restoring(progress.clone())).await?;
    tracing::info!(collection = %order.target, mode = ?target, "restoring");
    Ok(progress)
}

/// How the target comes about, from what is there.
pub(super) fn decide(order: &RestoreOrder, existing: Option<&Value>) -> Result<TargetMode, Failed> {
    let Some(found) = existing else {
        return Ok(TargetMode::Create);
    };
    if !order.overwrite {
        return Err(exists(&order.target));
    }
    // Uploading leaves settings and indexes as they are, so only an equal collection may stay. In a cluster none may: over replicas
    // that are in use, old data and new writes would be mixed.
    if order.part.is_none() && config_differences(&order.entry.info, found).is_empty() {
        Ok(TargetMode::Replace)
    } else {
        Ok(TargetMode::Recreate)
    }
}

/// After a restart: whether what is there now can be what this command left. `points` is the exact
/// number in what exists.
pub(super) fn is_still_ours(
    progress: &RestoreProgress,
    existing: Option<&Value>,
    points: u64,
    captured: &Value,
) -> bool {
    match (progress.target, existing) {
        (TargetMode::Create | TargetMode::Recreate, None) => true,
        (TargetMode::Create | TargetMode::Recreate, Some(found)) => {
            let made = progress.created.as_ref().unwrap_or(captured);
            let ours = same_settings(made, found) && (progress.holds_data || points == 0);
            // Overwriting was allowed for the very collection that was there, not for a later one.
            ours || is_replaced(progress, found)
        }
        (TargetMode::Replace, found) => found.is_some_and(|found| same_settings(captured, found)),
    }
}

/// Whether this is the collection that is to be deleted and has not been yet.
fn is_replaced(progress: &RestoreProgress, found: &Value) -> bool {
    let replaced = progress.replaced.as_ref();
    progress.created.is_none()
        && replaced.is_some_and(|replaced| config_differences(replaced, found).is_empty())
}

/// What tells a collection from others of its name.
pub(super) fn essence(description: &Value) -> Value {
    let part = |name: &str| description.get(name).cloned().unwrap_or_default();
    json!({"config": part("config"), "payload_schema": part("payload_schema")})
}

pub(super) async fn find(job: &Job, name: &CollectionName) -> Result<Option<Value>, QdrantError> {
    if !job.site.qdrant.exists(name).await? {
        return Ok(None);
    }
    job.site.qdrant.collection(name).await.map(Some)
}

async fn create(
    job: &Job,
    order: &RestoreOrder,
    progress: &mut RestoreProgress,
) -> Result<(), Halt> {
    let qdrant = &job.site.qdrant;
    qdrant
        .create_collection(&order.entry.info, &order.target)
        .await
        .map_err(unsettled)?;
    note_created(job, order, progress).await?;
    complete(job, order, progress).await
}

/// What belongs to creating beside the request itself. May be repeated.
async fn complete(
    job: &Job,
    order: &RestoreOrder,
    progress: &mut RestoreProgress,
) -> Result<(), Halt> {
    let (qdrant, name) = (&job.site.qdrant, &order.target);
    qdrant
        .set_fan_out_from(&order.entry.info, name)
        .await
        .map_err(unsettled)?;
    super::keys::create(job, order).await?;
    qdrant
        .wait_loaded(name, CREATED_WITHIN)
        .await
        .map_err(unsettled)?;
    // One that was only found, empty, is used but never claimed.
    if progress.created.is_some() {
        note_created(job, order, progress).await?;
    }
    Ok(())
}

/// Records the created collection as Qdrant describes it, with settings of its own release.
async fn note_created(
    job: &Job,
    order: &RestoreOrder,
    progress: &mut RestoreProgress,
) -> Result<(), Failed> {
    let described = job.site.qdrant.collection(&order.target).await;
    let created = described.as_ref().unwrap_or(&order.entry.info);
    progress.created = Some(essence(created));
    job.advance(Phase::Restoring(progress.clone())).await
}

/// Creates the payload indexes that were captured. Those that exist already stay as they are.
pub(super) async fn create_indexes(job: &Job, order: &RestoreOrder) -> Result<Vec<String>, Halt> {
    let indexes = payload_indexes(&order.entry.info).map_err(|error| unsettled(error.into()))?;
    let (qdrant, mut created) = (&job.site.qdrant, Vec::new());
    for index in indexes {
        let asked = qdrant.create_payload_index(&order.target, &index).await;
        asked.map_err(unsettled)?;
        created.push(index.field);
    }
    Ok(created)
}

/// Points the captured aliases at the collection, and those that a replaced collection had. An alias
/// that belongs to another collection by now is left to it.
pub(super) async fn point_aliases(
    job: &Job,
    order: &RestoreOrder,
    progress: &RestoreProgress,
) -> Result<Vec<String>, QdrantError> {
    let qdrant = &job.site.qdrant;
    let mut wanted = progress.kept_aliases.clone();
    if order.with_aliases {
        wanted.extend(order.entry.aliases.iter().cloned());
    }
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let taken = qdrant.aliases().await?;
    let collections = qdrant.collections().await?;
    wanted.retain(|alias| {
        let free = is_free(alias, &order.target, &taken, &collections);
        if !free {
            tracing::warn!(%alias, collection = %order.target, "the alias is in use elsewhere and stays there");
        }
        free
    });
    qdrant.set_aliases(&order.target, &wanted).await?;
    Ok(wanted.iter().map(AliasName::to_string).collect())
}

fn is_free(
    alias: &AliasName,
    target: &CollectionName,
    taken: &[(AliasName, CollectionName)],
    collections: &[CollectionName],
) -> bool {
    let elsewhere = taken
        .iter()
        .any(|(other, collection)| other == alias && collection != target);
    let a_collection = collections
        .iter()
        .any(|collection| collection.as_str() == alias.as_str());
    !elsewhere && !a_collection
}

fn exists(name: &CollectionName) -> Failed {
    Failed::new(
        Code::TargetExists,
        format!("collection {name} exists: restore under another name, or allow to overwrite it"),
    )
}

/// What a later try may not meet: the server was busy, or a creation that an earlier life of the process asked for took
/// effect only now. Whose the collection is, the next try asks again.
pub(super) fn unsettled(error: QdrantError) -> Halt {
    let failed = qdrant_failed(&error);
    if error.is_retryable() || matches!(error, QdrantError::AlreadyExists { .. }) {
        Halt::Broken(failed)
    } else {
        Halt::Failed(failed)
    }
}
