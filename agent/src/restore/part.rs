//! One part of a restore into a cluster of several nodes: prepare, upload, finish or discard.
//!
//! Which parts there are and in which order, is the coordinator's business; that a part acts on the very collection that was prepared, and uploads a
//! shard to a node that has it, is checked here, right before it acts: a shard of another number or key would be accepted by Qdrant, and an upload to
//! a node without a replica would add one. Whoever resumes a part asks the coordinator first, as every restore does.

use super::{EARLIER_REQUESTS, SETTLE_WITHIN, explained, failed, keys, may_begin, target};
use crate::attempts::Attempts;
use crate::commands::cleanup::same_settings;
use crate::commands::phase::{RestoreProgress, TargetMode};
use crate::failure::Failed;
use crate::job::Job;
use crate::order::{PartKind, RestoreOrder};
use crate::outcome::RestoreReport;
use holdfast_qdrant::CollectionCluster;
use holdfast_service::failure::Code;
use holdfast_types::ShardId;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at a replica that is being put in its place.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Carries out the part.
///
/// # Errors
/// Why it failed. What `prepare` has created is removed then.
pub async fn run(job: &Job, order: &RestoreOrder) -> Result<RestoreReport, Failed> {
    let began = Instant::now();
    let Some(part) = &order.part else {
        return Err(Failed::new(
            Code::Internal,
            "a part of a restore names none",
        ));
    };
    let carried_out = async {
        match may_begin(job, order).await {
            Ok(()) => {}
            Err(failed) => {
                super::distrust(job).await?;
                return Err(failed);
            }
        }
        match part.kind {
            PartKind::Prepare => prepare(job, order).await,
            PartKind::Upload(shard) => upload(job, order, shard).await,
            PartKind::Finish => finish(job, order).await,
            PartKind::Discard => discard(job, order).await,
        }
    };
    let mut report = carried_out
        .await
        .map_err(|failed| explained(job, order, failed))?;
    report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

async fn prepare(job: &Job, order: &RestoreOrder) -> Result<RestoreReport, Failed> {
    let (_, indexes) = super::prepare(job, order).await?;
    let uuid = job.site.qdrant.collection_uuid(&order.target).await;
    Ok(RestoreReport {
        indexes,
        collection_uuid: uuid.map_err(failed)?,
        ..RestoreReport::default()
    })
}

async fn upload(job: &Job, order: &RestoreOrder, id: ShardId) -> Result<RestoreReport, Failed> {
    let shard = order.entry.shards.iter().find(|s| s.shard_id == id);
    let shard = shard.ok_or_else(|| Failed::new(Code::Internal, "the shard is not described"))?;
    job.meter.restart(shard.logical_bytes);
    let uploaded_bytes = super::upload_shard(job, order, shard).await?;
    job.meter.stage("waiting for Qdrant");
    wait_active(job, order, id).await?;
    Ok(RestoreReport {
        uploaded_bytes,
        replayed_entries: order.spliced_entries(),
        ..RestoreReport::default()
    })
}

/// That an upload goes where it belongs: asked again before each attempt, since the shard may have been moved and the collection made anew in between.
///
/// # Errors
/// What is different, or that Qdrant can't be asked.
pub(super) async fn check_target(
    job: &Job,
    order: &RestoreOrder,
    id: ShardId,
) -> Result<(), Failed> {
    job.meter.stage("checking the shard's identity");
    check_collection(job, order).await?;
    check_shard(job, order, id).await
}

async fn finish(job: &Job, order: &RestoreOrder) -> Result<RestoreReport, Failed> {
    let qdrant = &job.site.qdrant;
    check_collection(job, order).await?;
    job.meter.stage("counting");
    let loaded = qdrant.wait_loaded(&order.target, SETTLE_WITHIN).await;
    loaded.map_err(failed)?;
    let points = qdrant.count_exact(&order.target).await.map_err(failed)?;
    let mut aliases = Vec::new();
    if order.with_aliases {
        let pointed = target::point_aliases(job, order, &no_progress()).await;
        aliases = pointed.map_err(failed)?;
    }
    Ok(RestoreReport {
        points,
        aliases,
        ..RestoreReport::default()
    })
}

async fn discard(job: &Job, order: &RestoreOrder) -> Result<RestoreReport, Failed> {
    let found = target::find(job, &order.target).await.map_err(failed)?;
    if found.is_some() {
        if order.part.as_ref().is_none_or(|part| part.uuid.is_none()) {
            return Err(Failed::new(
                Code::TargetExists,
                format!(
                    "Qdrant gave {} no identity when it was created: whether it is still the same can't be told, so it is left alone",
                    order.target
                ),
            ));
        }
        check_collection(job, order).await?;
        let deleted = job.site.qdrant.delete_collection(&order.target).await;
        deleted.map_err(failed)?;
    }
    Ok(RestoreReport::default())
}

/// That the collection is the one that was prepared.
async fn check_collection(job: &Job, order: &RestoreOrder) -> Result<(), Failed> {
    let (qdrant, name) = (&job.site.qdrant, &order.target);
    let Some(found) = target::find(job, name).await.map_err(failed)? else {
        return Err(Failed::new(
            Code::QdrantError,
            format!("{name} was deleted while it was being restored"),
        ));
    };
    let prepared = order.part.as_ref().and_then(|part| part.uuid.as_ref());
    let uuid = qdrant.collection_uuid(name).await.map_err(failed)?;
    if is_ours(prepared, uuid.as_ref(), || {
        same_settings(&order.entry.info, &found)
    }) {
        Ok(())
    } else {
        Err(Failed::new(
            Code::TargetExists,
            format!(
                "{name} is not the collection any more that was created for this restore: it is left alone"
            ),
        ))
    }
}

/// Where Qdrant told no identity, equal settings are the next best; one that it tells no more is none.
fn is_ours(
    prepared: Option<&String>,
    found: Option<&String>,
    alike: impl FnOnce() -> bool,
) -> bool {
    match (prepared, found) {
        (Some(prepared), Some(found)) => prepared == found,
        (Some(_), None) => false,
        (None, _) => alike(),
    }
}

/// That this node has a replica of the shard, and that it is the captured one by number and key.
async fn check_shard(job: &Job, order: &RestoreOrder, id: ShardId) -> Result<(), Failed> {
    let asked = job.site.qdrant.collection_cluster(&order.target).await;
    let cluster = asked.map_err(failed)?;
    let fits = fits(&cluster, order, id);
    fits.map_err(|why| Failed::new(Code::QdrantError, why))
}

fn fits(cluster: &CollectionCluster, order: &RestoreOrder, id: ShardId) -> Result<(), String> {
    let name = &order.target;
    if cluster.shard_count != order.entry.shard_count {
        return Err(format!(
            "{name} has {} shards here, {} were captured: nothing is uploaded",
            cluster.shard_count, order.entry.shard_count
        ));
    }
    let Some(replica) = cluster.local_shards.iter().find(|s| s.shard_id == id) else {
        return Err(format!(
            "this node has no replica of shard {id} of {name} any more: an upload would add one"
        ));
    };
    let captured = keys::key_of(&order.entry, id);
    if replica.shard_key != captured {
        let told = |key: &Option<serde_json::Value>| match key {
            Some(key) => key.to_string(),
            None => "none".to_owned(),
        };
        return Err(format!(
            "shard {id} of {name} has shard key {} here and had {} when it was captured: nothing is uploaded",
            told(&replica.shard_key),
            told(&captured)
        ));
    }
    Ok(())
}

/// Qdrant answers an upload a moment before the replica is in its place.
async fn wait_active(job: &Job, order: &RestoreOrder, id: ShardId) -> Result<(), Failed> {
    let began = Instant::now();
    let mut attempts = Attempts::new(EARLIER_REQUESTS);
    loop {
        let cluster = match job.site.qdrant.collection_cluster(&order.target).await {
            Ok(cluster) => cluster,
            Err(error) if error.is_retryable() => {
                attempts.pause(failed(error)).await?;
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        let replica = cluster.local_shards.iter().find(|s| s.shard_id == id);
        let state = replica.map_or("gone", |replica| replica.state.as_str());
        if state == "Active" {
            return Ok(());
        }
        if began.elapsed() > SETTLE_WITHIN {
            return Err(Failed::new(
                Code::QdrantNotReady,
                format!(
                    "the replica of shard {id} of {} is {state} {} s after its upload",
                    order.target,
                    SETTLE_WITHIN.as_secs()
                ),
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Aliases that a replaced collection had come with the order.
fn no_progress() -> RestoreProgress {
    RestoreProgress {
        target: TargetMode::Create,
        kept_aliases: Vec::new(),
        replaced: None,
        created: None,
        holds_data: false,
        uploaded: Vec::new(),
        replayed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{fits, is_ours};
    use crate::restore::tests::order;
    use holdfast_qdrant::CollectionCluster;
    use holdfast_types::ShardId;
    use serde_json::{Value, json};

    fn cluster(count: u32, local: &Value) -> CollectionCluster {
        serde_json::from_value(json!({"peer_id": 1, "shard_count": count, "local_shards": local}))
            .unwrap()
    }

    #[test]
    fn a_collection_is_ours_by_its_identity() {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert!(is_ours(Some(&a), Some(&a), || false));
        assert!(!is_ours(Some(&a), Some(&b), || true));
        assert!(!is_ours(Some(&a), None, || true), "it was told before");
        assert!(is_ours(None, Some(&b), || true));
        assert!(!is_ours(None, None, || false));
    }

    #[test]
    fn only_the_captured_shard_is_sent_and_only_to_an_owner() {
        let mut order = order(false);
        order.entry.shard_keys =
            serde_json::from_value(json!([{"key": "a", "shards": [0]}])).unwrap();
        let keyed = |key: Value| json!([{"shard_id": 0, "shard_key": key, "state": "Active"}]);
        let told = |cluster| fits(&cluster, &order, ShardId(0)).unwrap_err();
        assert!(fits(&cluster(1, &keyed(json!("a"))), &order, ShardId(0)).is_ok());
        assert!(
            told(cluster(1, &keyed(json!("b")))).contains(r#"has shard key "b" here and had "a""#)
        );
        assert!(told(cluster(1, &keyed(Value::Null))).contains("has shard key none here"));
        assert!(
            told(cluster(2, &keyed(json!("a")))).contains("has 2 shards here, 1 were captured")
        );
        assert!(told(cluster(1, &json!([]))).contains("an upload would add one"));
    }
}
