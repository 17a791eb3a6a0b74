//! The damage matrix: every object of a repository, flipped, cut or removed. Opening succeeds, the
//! damage is named, and every recovery point that does not need the object comes back byte for byte.

use crate::support::{Files, capture, copy_of, create, files, open, point_id, restore};
use bytes::Bytes;
use holdfast_repository::{Repository, RepositoryError, VerifyLevel};
use holdfast_store::{KeyPrefix, MemoryStore, ObjectKey, ObjectStore, PutMode};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Every bit of the byte at this thousandth of the object.
    Flip(usize),
    /// Only this many thousandths are left.
    Cut(usize),
    Remove,
}

const HARMS: [Harm; 10] = [
    Harm::Flip(0),
    Harm::Flip(120),
    Harm::Flip(333),
    Harm::Flip(500),
    Harm::Flip(800),
    Harm::Flip(1000),
    Harm::Cut(0),
    Harm::Cut(500),
    Harm::Cut(999),
    Harm::Remove,
];

async fn harm(store: &MemoryStore, key: &ObjectKey, harm: Harm) {
    let sound = store.get(key).await.unwrap();
    let at = |thousandth: usize| (sound.len() - 1) * thousandth / 1000;
    let harmed: Bytes = match harm {
        Harm::Flip(place) => {
            let mut bytes = sound.to_vec();
            bytes[at(place)] ^= 0xff;
            bytes.into()
        }
        Harm::Cut(left) => sound.slice(..at(left)),
        Harm::Remove => return store.delete(key).await.unwrap(),
    };
    store.put(key, harmed, PutMode::Overwrite).await.unwrap();
}

/// Nothing of point 1 is shared with point 2.
fn shard(n: u32) -> Files {
    let mut files = files(n.into());
    files.remove("shared.json");
    files
}

/// Whether everything is named that should be: by opening, by a full check, or by reading.
async fn is_named(repository: &Repository, key: &ObjectKey) -> bool {
    let opened = repository.report().damaged.iter();
    if opened.into_iter().any(|found| found.object == key.as_str()) {
        return true;
    }
    let report = repository.verify(VerifyLevel::Full).await.unwrap();
    report
        .damaged
        .iter()
        .any(|found| found.object == key.as_str())
}

async fn check_points(repository: &Repository, key: &ObjectKey, what: &str) -> u32 {
    let mut lost = 0;
    for n in 1..=2 {
        match restore(repository, n).await {
            Ok(restored) => assert_eq!(restored, shard(n), "{what}: point {n} came back wrong"),
            Err(RepositoryError::Damaged { object, .. }) => {
                assert_eq!(object, key.as_str(), "{what}: the wrong object is named");
                lost += 1;
            }
            Err(RepositoryError::PointNotFound { id }) => {
                assert_eq!(id, point_id(n), "{what}");
                assert!(key.as_str().ends_with(id.as_str()), "{what}");
                lost += 1;
            }
            Err(other) => panic!("{what}: point {n}: {other}"),
        }
    }
    lost
}

#[tokio::test]
async fn every_object_in_every_way() {
    let sound = Arc::new(MemoryStore::without_locks());
    let repository = create(sound.clone()).await;
    for n in 1..=2 {
        let epoch = repository.claim_epoch().await.unwrap();
        capture(&repository, epoch, n, &shard(n)).await.unwrap();
    }
    let objects = sound.list(&KeyPrefix::root()).await.unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for object in objects {
        let key = object.key;
        let kind = key.as_str().split('/').next().unwrap().to_owned();
        for kind_of_harm in HARMS {
            let what = format!("{key} {kind_of_harm:?}");
            let store = copy_of(sound.as_ref()).await;
            harm(&store, &key, kind_of_harm).await;
            let repository = open(store.clone()).await;
            let removed = matches!(kind_of_harm, Harm::Remove);
            let lost = check_points(&repository, &key, &what).await;
            let (may_be_lost, must_be_named) = match kind.as_str() {
                "packs" => (1, true),
                // Nothing tells that there was such a point or index; no chunk is lost with the latter.
                "points" => (1, !removed),
                "index" => (0, !removed),
                // A claim is its name.
                "epochs" => (0, false),
                _ => (0, true),
            };
            assert!(lost <= may_be_lost, "{what}: {lost} points are lost");
            assert!(
                !removed || lost == may_be_lost,
                "{what}: the matrix misses something"
            );
            let named = is_named(&repository, &key).await;
            assert!(named || !must_be_named, "{what}: the damage is not named");
            // A new capture succeeds whatever happened, and brings back what it contains.
            let epoch = repository.claim_epoch().await.unwrap();
            capture(&repository, epoch, 3, &shard(1)).await.unwrap();
            drop(repository);
            let healed = open(store).await;
            assert_eq!(restore(&healed, 3).await.unwrap(), shard(1), "{what}");
            let still = healed.report().damaged.iter().any(|found| {
                !["packs/", "index/"]
                    .iter()
                    .any(|kind| found.object.starts_with(kind))
            });
            assert!(!still, "{what}: {:?}", healed.report().damaged);
        }
        kinds.insert(kind);
    }
    let want = [
        "copy",
        "epochs",
        "holdfast.json",
        "index",
        "keys",
        "packs",
        "points",
    ];
    assert!(kinds.iter().eq(want), "{kinds:?}");
}
