//! Shard keys of a collection with custom sharding: created so that every shard gets the number that it was captured under.
//!
//! Qdrant numbers the shards of a new key after the highest number there is, and places points within a key by these numbers. Where keys had
//! been removed before the capture, numbers are missing: placeholder keys take them, and are removed at the end. Only the numbers that Qdrant then reports
//! are believed; without a match nothing is uploaded.

use super::target::unsettled;
use crate::failure::Failed;
use crate::job::{Halt, Job};
use crate::order::RestoreOrder;
use holdfast_archive::CollectionEntry;
use holdfast_service::failure::Code;
use holdfast_types::ShardId;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Qdrant answers when a change is applied; the node that is asked may see it a moment later.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The number of the first shard of the first key.
const FIRST: u32 = 1;
/// What the names of placeholder keys begin with.
const PLACEHOLDER: &str = "holdfast-placeholder-";

/// A key and the numbers of its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: Value,
    pub(super) shards: BTreeSet<ShardId>,
}

/// A key to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Creation {
    pub(super) name: Value,
    pub(super) shards: u32,
    pub(super) placeholder: bool,
}

/// Creates the captured keys that are not there yet. May be repeated.
pub(super) async fn create(job: &Job, order: &RestoreOrder) -> Result<(), Halt> {
    let (qdrant, name) = (&job.site.qdrant, &order.target);
    let captured = captured(&order.entry);
    if captured.is_empty() {
        return Ok(());
    }
    let there = look(job, order).await?;
    for creation in missing(&captured, &there)? {
        let created = qdrant.create_shard_key(name, &creation.name, creation.shards);
        created.await.map_err(unsettled)?;
    }
    let began = Instant::now();
    loop {
        let there = look(job, order).await?;
        let (placeholders, real): (Vec<Key>, Vec<Key>) =
            there.into_iter().partition(is_placeholder);
        if let Some(wrong) = mismatch(&captured, &real) {
            if began.elapsed() > SEEN_WITHIN {
                return Err(Halt::Failed(Failed::new(Code::QdrantError, wrong)));
            }
        } else if placeholders.is_empty() {
            return Ok(());
        } else {
            for placeholder in &placeholders {
                let removed = qdrant.delete_shard_key(name, &placeholder.name);
                removed.await.map_err(unsettled)?;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(job: &Job, order: &RestoreOrder) -> Result<Vec<Key>, Halt> {
    let asked = job.site.qdrant.collection_cluster_raw(&order.target).await;
    Ok(read(&asked.map_err(unsettled)?.1))
}

/// The captured keys, by the first of their shards.
pub(super) fn captured(entry: &CollectionEntry) -> Vec<Key> {
    if entry.shard_keys.is_empty() {
        return entry.cluster.as_ref().map(read).unwrap_or_default();
    }
    let keys = entry.shard_keys.iter().map(|key| Key {
        name: key.key.clone(),
        shards: key.shards.iter().copied().collect(),
    });
    sorted(keys.collect())
}

/// The key of a captured shard.
pub(super) fn key_of(entry: &CollectionEntry, shard: ShardId) -> Option<Value> {
    let keys = captured(entry).into_iter();
    let mut of = keys.filter(|key| key.shards.contains(&shard));
    of.next().map(|key| key.name)
}

/// The keys in Qdrant's description of a collection's shards, by the first of their shards.
pub(super) fn read(cluster: &Value) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for list in ["local_shards", "remote_shards"] {
        let shards = cluster.get(list).and_then(Value::as_array);
        for shard in shards.into_iter().flatten() {
            let id = shard.get("shard_id").and_then(Value::as_u64);
            let id = id.and_then(|id| u32::try_from(id).ok()).map(ShardId);
            let name = shard.get("shard_key").filter(|key| !key.is_null());
            if let (Some(id), Some(name)) = (id, name) {
                match keys.iter_mut().find(|key| key.name == *name) {
                    Some(key) => drop(key.shards.insert(id)),
                    None => keys.push(Key {
                        name: name.clone(),
                        shards: [id].into(),
                    }),
                }
            }
        }
    }
    sorted(keys)
}

fn sorted(mut keys: Vec<Key>) -> Vec<Key> {
    keys.sort_by_key(|key| key.shards.first().copied());
    keys
}

fn is_placeholder(key: &Key) -> bool {
    key.name
        .as_str()
        .is_some_and(|name| name.starts_with(PLACEHOLDER))
}

/// What is still to be created, in this order.
pub(super) fn missing(captured: &[Key], there: &[Key]) -> Result<Vec<Creation>, Failed> {
    let is_there = |name: &Value| there.iter().any(|key| key.name == *name);
    let lowest = captured.iter().filter_map(|key| key.shards.first()).min();
    let mut next = lowest.map_or(FIRST, |lowest| lowest.0.min(FIRST));
    let mut creations = Vec::new();
    let mut waiting = Vec::new();
    for key in captured {
        let (Some(first), Some(last)) = (key.shards.first(), key.shards.last()) else {
            continue;
        };
        let count = last.0.saturating_sub(first.0).saturating_add(1);
        if first.0 < next || key.shards.len() != count as usize {
            return Err(Failed::new(
                Code::QdrantError,
                format!(
                    "shard key {} was captured with shards that Qdrant would not number so again: {:?}",
                    key.name,
                    key.shards.iter().map(|shard| shard.0).collect::<Vec<_>>()
                ),
            ));
        }
        if first.0 > next {
            let name = json!(format!("{PLACEHOLDER}{next}"));
            if !is_there(&name) {
                waiting.push(Creation {
                    name,
                    shards: first.0 - next,
                    placeholder: true,
                });
            }
        }
        if is_there(&key.name) {
            // Its numbers were taken in an earlier try, those before it too.
            waiting.clear();
        } else {
            creations.append(&mut waiting);
            creations.push(Creation {
                name: key.name.clone(),
                shards: count,
                placeholder: false,
            });
        }
        next = last.0.saturating_add(1);
    }
    Ok(creations)
}

/// In what the keys that are there differ from the captured ones.
pub(super) fn mismatch(captured: &[Key], there: &[Key]) -> Option<String> {
    let told = |keys: &[Key]| -> String {
        let one = |key: &Key| {
            let shards: Vec<String> = key.shards.iter().map(ToString::to_string).collect();
            format!("{}: {}", key.name, shards.join(", "))
        };
        keys.iter().map(one).collect::<Vec<_>>().join("; ")
    };
    (captured != there).then(|| {
        format!(
            "the shards of its keys have other numbers than in the recovery point, so that points would be looked for in wrong places: captured {}; created {}",
            told(captured),
            told(there)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Key, captured, mismatch, missing, read};
    use holdfast_types::ShardId;
    use serde_json::{Value, json};

    fn key(name: Value, shards: &[u32]) -> Key {
        Key {
            name,
            shards: shards.iter().copied().map(ShardId).collect(),
        }
    }

    fn names(captured: &[Key], there: &[Key]) -> Vec<(Value, u32)> {
        let creations = missing(captured, there).unwrap();
        creations.into_iter().map(|c| (c.name, c.shards)).collect()
    }

    #[test]
    fn keys_are_read_in_the_order_of_their_shards() {
        let cluster = json!({
            "local_shards": [{"shard_id": 3, "shard_key": "b"}, {"shard_id": 1, "shard_key": "z"}],
            "remote_shards": [{"shard_id": 4, "shard_key": 7}, {"shard_id": 2, "shard_key": "z"}, {"shard_id": 2, "shard_key": "z"}],
        });
        let want = [
            key(json!("z"), &[1, 2]),
            key(json!("b"), &[3]),
            key(json!(7), &[4]),
        ];
        assert_eq!(read(&cluster), want);
        assert_eq!(read(&json!({"local_shards": [{"shard_id": 0}]})), []);
    }

    #[test]
    fn numbers_of_removed_keys_are_taken_by_placeholders() {
        let all = [key(json!("a"), &[3]), key(json!("b"), &[6, 7])];
        let gap = |n: u32| json!(format!("holdfast-placeholder-{n}"));
        let want = [(gap(1), 2), (json!("a"), 1), (gap(4), 2), (json!("b"), 2)];
        assert_eq!(names(&all, &[]), want);
        // After a crash: what is there stays, and gaps before it are gone or as they were.
        assert_eq!(names(&all, &[key(gap(1), &[1, 2])]), want[1..]);
        assert_eq!(names(&all, &[all[0].clone()]), want[2..]);
        assert_eq!(
            names(&all, &[all[0].clone(), key(gap(4), &[4, 5])]),
            want[3..]
        );
        assert_eq!(names(&all, &all), []);
        let plain = [key(json!("a"), &[1, 2]), key(json!(7), &[3])];
        assert_eq!(names(&plain, &[]), [(json!("a"), 2), (json!(7), 1)]);
    }

    #[test]
    fn numbers_that_cannot_be_made_again_are_refused() {
        let torn = [key(json!("a"), &[1, 3]), key(json!("b"), &[2])];
        assert!(missing(&torn, &[]).is_err());
        let overlapping = [key(json!("a"), &[1, 2]), key(json!("b"), &[2])];
        assert!(missing(&overlapping, &[]).is_err());
    }

    #[test]
    fn swapped_keys_are_a_mismatch() {
        let ours = [key(json!("a"), &[1]), key(json!("b"), &[2])];
        let swapped = [key(json!("b"), &[1]), key(json!("a"), &[2])];
        assert_eq!(mismatch(&ours, &ours), None);
        let told = mismatch(&ours, &swapped).unwrap();
        assert!(
            told.contains(r#"captured "a": 1; "b": 2; created "b": 1; "a": 2"#),
            "{told}"
        );
        assert!(mismatch(&ours, &ours[..1]).is_some());
    }

    #[test]
    fn what_the_manifest_says_of_keys_counts_first() {
        let mut entry: holdfast_archive::CollectionEntry = serde_json::from_value(json!({
            "name": "docs", "info": {}, "shard_count": 1, "shards": [],
            "cluster": {"local_shards": [{"shard_id": 1, "shard_key": "a"}]},
        }))
        .unwrap();
        assert_eq!(captured(&entry), [key(json!("a"), &[1])]);
        entry.shard_keys = serde_json::from_value(json!([{"key": "b", "shards": [1]}])).unwrap();
        assert_eq!(captured(&entry), [key(json!("b"), &[1])]);
    }
}
