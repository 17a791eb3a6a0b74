//! From an order to a plan that its checker has approved. Nothing is recorded or done here.

use crate::config::LoadedPolicy;
use crate::core::Core;
use crate::fault::{Fault, blocked, chain};
use crate::instant;
use holdfast_archive::{CollectionEntry, Manifest};
use holdfast_decide::instant::Choice;
use holdfast_decide::{
    BackupPlan, BackupRequest, Blocker, CapturedCollection, Mapping, MethodWish, NamePattern,
    ParsePatternError, PointView, RecoveryOrder, RestorePlan, RestoreRequest, RestoreStep,
    Violation, check_backup, check_restore, plan_backup, plan_restore,
};
use holdfast_proto::convert::{BackupOrder, Method, RestoreFrom, RestoreOrder};
use holdfast_repository::{AffectedShard, RepositoryError};
use holdfast_service::failure::Code;
use holdfast_types::{CopyName, RecoveryPointId};
use std::collections::BTreeSet;

mod estimate;
pub(crate) mod past;

pub use estimate::{Estimate, estimate};

/// Plans a backup.
///
/// # Errors
/// What speaks against it.
pub async fn backup(core: &Core, order: &BackupOrder) -> Result<BackupPlan, Fault> {
    let request = BackupRequest {
        collections: order.collections.iter().cloned().collect(),
        patterns: patterns(order)?,
        method: match order.method {
            Method::Auto => MethodWish::Auto,
            Method::Direct => MethodWish::Direct,
            Method::Partial => MethodWish::Partial,
            Method::Stored => MethodWish::Stored,
            Method::Stream => MethodWish::Stream,
        },
        limits: order.limits,
    };
    let (mut seen, now) = (core.observe().await, core.clock.now());
    seen.past = past::past(core).await;
    let mut plan = plan_backup(&seen, &request, now).map_err(|blockers| blocked(&blockers))?;
    approved(&check_backup(&plan, &request, &seen, now))?;
    if order.by_rule {
        // The rule that named them would not name them again, were they dropped.
        let named = std::mem::take(&mut plan.asked.named);
        let patterns = named.iter().filter_map(|name| name.as_str().parse().ok());
        plan.asked.patterns.extend(patterns);
    }
    Ok(plan)
}

fn patterns(order: &BackupOrder) -> Result<BTreeSet<NamePattern>, Fault> {
    let parsed = order.patterns.iter().map(|text| text.parse());
    let parsed: Result<_, ParsePatternError> = parsed.collect();
    parsed.map_err(|error| Fault::from_error(Code::Usage, &error))
}

/// Plans a restore to be shown: what speaks against it stands in the plan.
///
/// # Errors
/// A repository that can't be read.
pub async fn restore_preview(core: &Core, order: &RestoreOrder) -> Result<RestorePlan, Fault> {
    let (request, point, manifest) = source_of(core, order).await?;
    let (seen, now) = (core.observe().await, core.clock.now());
    let mut plan = plan_restore(&seen, &point, &request, now);
    if let Some(manifest) = manifest {
        let copy = order.from_copy.as_ref();
        let damaged = damage(core, copy, &manifest, &plan.steps).await?;
        plan.blockers.extend(damaged);
        plan.warnings.extend(extras_stay(&manifest));
    }
    Ok(plan)
}

/// What a person should know who restores from a point with extras: they are not restored.
fn extras_stay(manifest: &Manifest) -> Option<String> {
    let nodes = manifest.nodes.iter();
    let all = nodes.flat_map(|node| node.extras.iter().map(move |extra| (node, extra)));
    let there = all.filter(|(_, extra)| extra.captured.is_some());
    let names: Vec<String> = there
        .map(|(node, extra)| format!("{} of {}", extra.name, node.node))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "the point also holds extra files ({}), which a restore leaves alone: see them with `holdfast backup files {}`, fetch them with `holdfast backup export`",
            names.join(", "),
            manifest.id
        )
    })
}

/// What of the source of these steps is known to be damaged: their recipes are read, and every chunk that
/// they name is looked up.
///
/// # Errors
/// A repository that can't be read.
pub(crate) async fn damage(
    core: &Core,
    copy: Option<&CopyName>,
    manifest: &Manifest,
    steps: &[RestoreStep],
) -> Result<Vec<Blocker>, Fault> {
    let (source, mut blockers) = (core.source(copy).await?, Vec::new());
    let sources = steps.iter().filter_map(|s| manifest.collection(&s.source));
    for collection in sources {
        let affected = source.check_collection(collection).await;
        let affected = affected.map_err(|error| core.read_failed(copy, &error))?;
        blockers.extend(affected.iter().map(|shard| damaged(manifest, shard)));
    }
    Ok(blockers)
}

/// Like [`damage`], but by reading and authenticating every chunk that will take the place of existing data: bit rot
/// must show before that is given up, not after.
///
/// # Errors
/// A repository that can't be read.
pub(crate) async fn hidden_damage(
    core: &Core,
    copy: Option<&CopyName>,
    manifest: &Manifest,
    steps: &[RestoreStep],
) -> Result<Vec<Blocker>, Fault> {
    let (source, mut blockers) = (core.source(copy).await?, Vec::new());
    let replacing = steps.iter().filter(|step| step.replaces);
    let sources = replacing.filter_map(|s| manifest.collection(&s.source));
    for collection in sources {
        let read = source.authenticate_collection(&manifest.namespace, collection);
        let affected = read.await.map_err(|error| core.read_failed(copy, &error))?;
        blockers.extend(affected.iter().map(|shard| damaged(manifest, shard)));
    }
    Ok(blockers)
}

fn damaged(manifest: &Manifest, shard: &AffectedShard) -> Blocker {
    let (collection, number) = (&shard.collection, shard.shard);
    let why = match &shard.recipe {
        Some(error) => chain(error),
        None => format!("{} chunks are missing or unreadable", shard.missing_chunks),
    };
    Blocker::PointDamaged {
        point: manifest.id.clone(),
        why: format!("collection {collection}, shard {number}: {why}"),
    }
}

/// Plans a restore to be carried out.
///
/// # Errors
/// What speaks against it.
pub async fn restore(core: &Core, order: &RestoreOrder) -> Result<RestorePlan, Fault> {
    let (request, point, _) = source_of(core, order).await?;
    let (seen, now) = (core.observe().await, core.clock.now());
    let plan = plan_restore(&seen, &point, &request, now);
    if !plan.is_runnable() {
        return Err(blocked(&plan.blockers));
    }
    approved(&check_restore(&plan, &request, &point, &seen, now))?;
    Ok(plan)
}

/// What is asked for, and what it is taken from: with a target, that is chosen here.
async fn source_of(
    core: &Core,
    order: &RestoreOrder,
) -> Result<(RestoreRequest, PointView, Option<Manifest>), Fault> {
    let chosen = instant::chosen(core, order).await?;
    let id = match (&chosen, &order.from) {
        (Some((choice, _)), _) => choice.point.clone(),
        (None, RestoreFrom::Point(point)) => point.clone(),
        (None, RestoreFrom::To(..)) => {
            return Err(Fault::new(Code::Internal, "a target was not looked at"));
        }
    };
    let (mut view, manifest) = point_view(core, order, &id).await?;
    if let (PointView::Found(captured), Some((choice, history))) = (&mut view, &chosen) {
        for collection in captured {
            let logs = choice.collection(&collection.name);
            let logs = logs.iter().flat_map(|logs| &logs.shards);
            let versions = logs.flat_map(|log| history.versions(log));
            collection.versions.extend(versions);
        }
    }
    let request = RestoreRequest {
        order: recovery_order(core, &view),
        ..request_of(order, id, chosen.map(|(choice, _)| choice))
    };
    Ok((request, view, manifest))
}

fn request_of(
    order: &RestoreOrder,
    point: RecoveryPointId,
    instant: Option<Choice>,
) -> RestoreRequest {
    let mappings = order.collections.iter().map(|mapping| Mapping {
        source: mapping.source.clone(),
        target: mapping.target.clone(),
    });
    RestoreRequest {
        point,
        collections: mappings.collect(),
        node: order.node.clone(),
        replication_factor: order.replication_factor,
        overwrite: order.overwrite,
        with_aliases: order.with_aliases,
        instant,
        order: None,
    }
}

/// What the policy says of the order; nothing without one.
fn recovery_order(core: &Core, view: &PointView) -> Option<RecoveryOrder> {
    let LoadedPolicy { path, policy, .. } = core.policy.as_ref()?;
    let captured = match view {
        PointView::Found(captured) => captured.as_slice(),
        PointView::Unknown | PointView::Damaged { .. } | PointView::Foreign { .. } => &[],
    };
    let from = format!("the policy {}", path.display());
    let names = captured.iter().map(|collection| &collection.name);
    Some(RecoveryOrder::of(policy, from, names))
}

async fn point_view(
    core: &Core,
    order: &RestoreOrder,
    id: &RecoveryPointId,
) -> Result<(PointView, Option<Manifest>), Fault> {
    let copy = order.from_copy.as_ref();
    let source = core.source(copy).await?;
    let view = match source.read_point(id).await {
        Ok(manifest) if manifest.namespace != core.namespace => PointView::Foreign {
            namespace: manifest.namespace.to_string(),
        },
        Ok(manifest) => return Ok((PointView::Found(contents(&manifest)), Some(manifest))),
        Err(RepositoryError::PointNotFound { .. }) => PointView::Unknown,
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. })) => {
            PointView::Damaged { why: chain(&error) }
        }
        Err(error) => return Err(core.read_failed(copy, &error)),
    };
    Ok((view, None))
}

fn contents(manifest: &Manifest) -> Vec<CapturedCollection> {
    manifest.collections.iter().map(captured).collect()
}

fn captured(entry: &CollectionEntry) -> CapturedCollection {
    let shards = &entry.shards;
    CapturedCollection {
        name: entry.name.clone(),
        versions: shards.iter().map(|s| s.server_version.clone()).collect(),
        shards: entry.shard_count,
        shard_sizes: shards
            .iter()
            .map(|s| (s.shard_id, s.logical_bytes))
            .collect(),
        keyed: !entry.shard_keys.is_empty() || parameter(entry, "sharding_method") == "custom",
        replication_factor: parameter(entry, "replication_factor")
            .as_u64()
            .and_then(|factor| u32::try_from(factor).ok())
            .unwrap_or(1),
        logical_bytes: shards.iter().map(|shard| shard.logical_bytes).sum(),
        aliases: entry.aliases.clone(),
        indexes: indexes(entry),
        points: entry.points,
    }
}

/// A setting of the collection; null if it is not described.
fn parameter<'a>(entry: &'a CollectionEntry, name: &str) -> &'a serde_json::Value {
    &entry.info["config"]["params"][name]
}

/// The payload fields that were indexed.
fn indexes(entry: &CollectionEntry) -> Vec<String> {
    let schema = entry.info.get("payload_schema");
    let fields = schema.and_then(serde_json::Value::as_object);
    fields.map_or_else(Vec::new, |fields| fields.keys().cloned().collect())
}

pub(crate) fn approved(violations: &[Violation]) -> Result<(), Fault> {
    if violations.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = violations.iter().map(Violation::to_string).collect();
    tracing::error!(
        violations = texts.join("; "),
        "a plan was refused by its checker"
    );
    Err(Fault::new(
        Code::Internal,
        format!(
            "the plan was refused by its checker ({}); nothing was done: try again, and report this if it stays",
            texts.join("; ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::{approved, contents};
    use crate::fixture::manifest;
    use holdfast_decide::Violation;

    #[test]
    fn a_manifest_is_reduced_to_what_planners_need() {
        let found = contents(&manifest("20261121t101530z-00000001", 1));
        assert_eq!(found[0].indexes, ["year"]);
        assert_eq!(found[0].logical_bytes, 1000);
        assert_eq!(found[0].versions.len(), 1);
        assert_eq!(found[0].points, Some(10));
    }

    #[test]
    fn a_violation_stops_everything() {
        assert!(approved(&[]).is_ok());
        assert_eq!(approved(&[Violation::Empty]).unwrap_err().code, "internal");
    }
}
