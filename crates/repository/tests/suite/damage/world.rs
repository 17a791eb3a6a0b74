//! A small repository that holds an object of every kind, and the ways to damage them.

use super::harm::Harm;
use crate::place::TestStore;
use crate::support::{
    Files, SMALL, capture, chunk, create, files, kek, open, options, pack_of, point_id,
};
use bytes::Bytes;
use holdfast_archive::{Codec, Kek, KeyFile, WrappedKeys};
use holdfast_decide::{Hold, Tombstone};
use holdfast_repository::{
    LastProof, Pin, PlacedHold, PointTombstone, ProofOutcome, QuarantineState, Repository,
    RepositoryOptions, VerifyLevel, VerifyOptions,
};
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::{ChunkId, Epoch, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Description,
    DescriptionCopy,
    Key,
    KeyCopy,
    /// One of several.
    Index,
    /// Chunks of files that only point 1 needs.
    Pack,
    /// The manifest of point 1.
    Manifest,
    /// The newest claim.
    Epoch,
    /// The record of a pack that nothing needs, of which two chunks are bad.
    Quarantine,
    Hold,
    /// Of point 1.
    Pin,
    /// Of point 1.
    Proof,
    /// Of point 2.
    Tombstone,
}

pub(super) const KINDS: [Kind; 13] = [
    Kind::Description,
    Kind::DescriptionCopy,
    Kind::Key,
    Kind::KeyCopy,
    Kind::Index,
    Kind::Pack,
    Kind::Manifest,
    Kind::Epoch,
    Kind::Quarantine,
    Kind::Hold,
    Kind::Pin,
    Kind::Proof,
    Kind::Tombstone,
];

/// One object and what else there is of its kind.
struct Target {
    key: ObjectKey,
    other: Other,
    /// An older version, if one can exist: most objects are never replaced.
    stale: Option<Bytes>,
}

enum Other {
    Here(ObjectKey),
    Elsewhere(Bytes),
}

pub(super) struct World {
    pub(super) store: Arc<TestStore>,
    targets: BTreeMap<Kind, Target>,
    /// A chunk that is recorded as bad; the older version of the record does not know of it.
    pub(super) bad: ChunkId,
}

/// What point `n` holds; nothing of it is shared.
pub(super) fn shard(n: u32) -> Files {
    let mut files = files(n.into());
    files.remove("shared.json");
    files
}

impl World {
    pub(super) async fn new() -> Self {
        let store = Arc::new(TestStore::without_locks());
        let repository = create(store.clone()).await;
        let mut targets = descriptions(&store, &repository).await;
        for n in 1..=2 {
            let epoch = repository.claim_epoch().await.unwrap();
            capture(&repository, epoch, n, &shard(n)).await.unwrap();
        }
        let mut target = |kind, key: String, other: Other| {
            let (key, stale) = (key.parse().unwrap(), None);
            targets.insert(kind, Target { key, other, stale });
        };
        let here = |key: String| Other::Here(key.parse().unwrap());
        let point = |n| format!("points/{}", point_id(n));
        target(Kind::Manifest, point(1), here(point(2)));
        let claim = |n: u32| format!("epochs/{n:020}");
        target(Kind::Epoch, claim(2), here(claim(1)));
        let packs = [pack_of(&store, 1).await, pack_of(&store, 2).await];
        let [first, second] = packs;
        target(Kind::Pack, first.to_string(), Other::Here(second));
        marks(&store, &repository, &mut targets).await;
        // Before there is one of packs that nothing needs.
        let mut indexes = names(&store, "index").await.into_iter();
        let index = Target {
            key: indexes.next().unwrap(),
            other: Other::Here(indexes.next().unwrap()),
            stale: None,
        };
        targets.insert(Kind::Index, index);
        let bad = quarantine(&store, &mut targets).await;
        assert!(targets.keys().eq(KINDS.iter()));
        Self {
            store,
            targets,
            bad,
        }
    }

    pub(super) fn key(&self, kind: Kind) -> &ObjectKey {
        &self.targets[&kind].key
    }

    /// Damages the object in a copy of the world. Returns whether that can be at all.
    pub(super) async fn harm(&self, store: &TestStore, kind: Kind, harm: Harm) -> bool {
        let target = &self.targets[&kind];
        let key = &target.key;
        let sound = store.get(key).await.unwrap();
        let harmed = match (harm, &target.other, &target.stale) {
            (Harm::FlipHead | Harm::FlipMiddle | Harm::FlipTail | Harm::Cut, ..) => {
                harm.spoil(&sound).unwrap()
            }
            (Harm::Remove, ..) => {
                store.delete(key).await.unwrap();
                assert!(store.head(key).await.unwrap().is_none());
                return true;
            }
            (Harm::Swap, Other::Here(other), _) => {
                let exchanged = store.get(other).await.unwrap();
                put(store, other, sound.clone()).await;
                exchanged
            }
            (Harm::Swap, Other::Elsewhere(other), _) => other.clone(),
            (Harm::Stale, _, Some(stale)) => stale.clone(),
            (Harm::Stale, _, None) => return false,
        };
        assert_ne!(harmed, sound, "{kind:?} {harm:?}: no damage at all");
        put(store, key, harmed.clone()).await;
        assert_eq!(store.get(key).await.unwrap(), harmed);
        true
    }
}

async fn put(store: &TestStore, key: &ObjectKey, bytes: Bytes) {
    store.put(key, bytes, PutMode::Overwrite).await.unwrap();
}

async fn names(store: &TestStore, prefix: &str) -> Vec<ObjectKey> {
    let listed = store.list(&prefix.parse().unwrap()).await.unwrap();
    listed.into_iter().map(|found| found.key).collect()
}

/// Description and key, in both copies. Another repository has another of each; and a key file is
/// replaced when its passphrase changes.
async fn descriptions(store: &TestStore, repository: &Repository) -> BTreeMap<Kind, Target> {
    let other = Arc::new(TestStore::without_locks());
    let foreign = RepositoryOptions {
        kek: Kek::from_hex(&"77".repeat(32)).unwrap(),
        ..options()
    };
    let kek_of_other = foreign.kek.clone();
    Repository::init(other.clone(), foreign).await.unwrap();
    let theirs = Repository::open_with(other.clone(), kek_of_other, SMALL);
    let theirs = theirs.await.unwrap().description().id.clone();
    let ours = &repository.description().id;
    let names = |id: &str| {
        [
            (Kind::Description, "holdfast.json".to_owned()),
            (Kind::DescriptionCopy, format!("copy/{id}/description")),
            (Kind::Key, format!("keys/{id}.json")),
            (Kind::KeyCopy, format!("copy/{id}/key.json")),
        ]
    };
    let mut targets = BTreeMap::new();
    for ((kind, ours), (_, theirs)) in names(ours).into_iter().zip(names(&theirs)) {
        let key: ObjectKey = ours.parse().unwrap();
        let is_key = matches!(kind, Kind::Key | Kind::KeyCopy);
        let present = store.get(&key).await.unwrap();
        let stale = is_key.then(|| wrapped_before(&present));
        let other = Other::Elsewhere(other.get(&theirs.parse().unwrap()).await.unwrap());
        targets.insert(kind, Target { key, other, stale });
    }
    targets
}

/// The same master key as it was wrapped earlier.
fn wrapped_before(key_file: &[u8]) -> Bytes {
    let KeyFile::Wrapped(keys) = KeyFile::from_json(key_file).unwrap() else {
        panic!("the key was not removed");
    };
    let ring = keys.unwrap(&kek()).unwrap();
    let earlier = WrappedKeys::wrap(&ring, &kek(), keys.holder, Timestamp::EPOCH, [9; 32]);
    let earlier = KeyFile::Wrapped(earlier.unwrap());
    earlier.to_json().unwrap().into()
}

async fn marks(store: &TestStore, repository: &Repository, targets: &mut BTreeMap<Kind, Target>) {
    let epoch = repository.newest_epoch().await.unwrap();
    let pin = |n, reason: &str| Pin {
        point: point_id(n),
        reason: reason.to_owned(),
        by: "test".to_owned(),
        at: Timestamp::EPOCH,
    };
    for n in 1..=2 {
        repository.pin_point(epoch, &pin(n, "once")).await.unwrap();
    }
    let mut pins = names(store, "pins").await.into_iter();
    let key = pins.next().unwrap();
    let stale = Some(store.get(&key).await.unwrap());
    repository.pin_point(epoch, &pin(1, "since")).await.unwrap();
    let other = Other::Here(pins.next().unwrap());
    targets.insert(Kind::Pin, Target { key, other, stale });
    targets.insert(Kind::Proof, proofs(store, repository, epoch).await);

    for id in ["case-1", "case-2"] {
        let placed = PlacedHold {
            hold: Hold {
                id: id.parse().unwrap(),
                reason: "a dispute".to_owned(),
                owner: "legal".to_owned(),
                placed: Timestamp::EPOCH,
                expires: None,
            },
            points: BTreeSet::from([point_id(1)]),
            collections: Vec::new(),
        };
        repository.place_hold(epoch, &placed).await.unwrap();
    }
    let mut holds = names(store, "holds").await.into_iter();
    let hold = Target {
        key: holds.next().unwrap(),
        other: Other::Here(holds.next().unwrap()),
        stale: None,
    };
    targets.insert(Kind::Hold, hold);

    let stone = tombstones(store, repository, epoch).await;
    targets.insert(Kind::Tombstone, stone);
}

/// Point 2 is marked for removal, for the second time.
async fn tombstones(store: &TestStore, repository: &Repository, epoch: Epoch) -> Target {
    let stone = |since| PointTombstone {
        point: point_id(2),
        tombstone: Tombstone {
            since: Timestamp::from_micros(since),
            grace: Duration::from_secs(100),
        },
        reasons: Vec::new(),
        by: "test".to_owned(),
        despite_floor: false,
        swept: false,
        marked: Epoch(0),
    };
    let mark = async |store: &TestStore, repository: &Repository, epoch, since| {
        let marked = repository.tombstone_point(epoch, &stone(since)).await;
        marked.unwrap();
        let key = names(store, "tombstones").await.remove(0);
        let bytes = store.get(&key).await.unwrap();
        (key, bytes)
    };
    let (_, stale) = mark(store, repository, epoch, 0).await;
    repository
        .undelete_point(epoch, &point_id(2))
        .await
        .unwrap();
    let (key, _) = mark(store, repository, epoch, 1).await;

    let elsewhere = Arc::new(TestStore::without_locks());
    let theirs = create(elsewhere.clone()).await;
    let claimed = theirs.claim_epoch().await.unwrap();
    capture(&theirs, claimed, 2, &shard(2)).await.unwrap();
    let (same, bytes) = mark(&elsewhere, &theirs, claimed, 1).await;
    assert_eq!(same, key);
    Target {
        key,
        other: Other::Elsewhere(bytes),
        stale: Some(stale),
    }
}

async fn proofs(store: &TestStore, repository: &Repository, epoch: Epoch) -> Target {
    let proof = async |n, job: &str| {
        let proof = LastProof {
            at: Timestamp::EPOCH,
            job: job.parse().unwrap(),
            outcome: ProofOutcome::Restored,
        };
        let (id, docs) = (point_id(n), "docs".parse().unwrap());
        let recorded = repository.record_proof(epoch, &id, docs, proof).await;
        recorded.unwrap();
    };
    proof(1, "restore-1").await;
    proof(2, "restore-1").await;
    let mut proofs = names(store, "proofs").await.into_iter();
    let key = proofs.next().unwrap();
    let stale = Some(store.get(&key).await.unwrap());
    proof(1, "restore-2").await;
    let other = Other::Here(proofs.next().unwrap());
    Target { key, other, stale }
}

/// Two packs that nothing needs, one chunk in the first of which is found bad, then all of both. Returns
/// a chunk that was found bad the second time.
async fn quarantine(store: &Arc<TestStore>, targets: &mut BTreeMap<Kind, Target>) -> ChunkId {
    let known = names(store, "packs").await;
    let mut packs = Vec::new();
    let mut ids = Vec::new();
    let repository = open(store.clone()).await;
    let epoch = repository.newest_epoch().await.unwrap();
    for seed in [50, 60] {
        let session = repository.begin(epoch).await.unwrap();
        for n in 0..2 {
            let (id, len, data) = chunk(&repository, seed + n, 5000);
            session.put(id, Codec::Stored, len, data).await.unwrap();
            ids.push(id);
        }
        session.flush().await.unwrap();
        let mut new = names(store, "packs").await;
        new.retain(|key| !known.contains(key) && !packs.contains(key));
        packs.append(&mut new);
    }
    let [first, second] = &packs[..] else {
        panic!("each flush writes a pack: {packs:?}");
    };
    let verify = async |at| {
        let mut options = VerifyOptions::read_only(VerifyLevel::Full, Timestamp::from_micros(at));
        options.record = true;
        let repository = open(store.clone()).await;
        repository.verify_with(&options, &()).await.unwrap()
    };
    let sound = store.get(first).await.unwrap();
    // The first chunk begins at byte 56.
    let mut bytes = sound.to_vec();
    bytes[60] ^= 1;
    put(store, first, bytes.into()).await;
    verify(1).await;
    let record = names(store, "quarantine").await.remove(0);
    let stale = store.get(&record).await.unwrap();
    for pack in [first, second] {
        let rotten: Bytes = sound.iter().map(|byte| byte ^ 1).collect();
        put(store, pack, rotten).await;
    }
    let report = verify(2).await;
    assert!(!report.needs_attention(), "{report:?}");
    let states: Vec<_> = report.quarantine.iter().map(|r| r.state).collect();
    assert_eq!(states, [QuarantineState::Superseded; 2]);
    let mut records = names(store, "quarantine").await;
    records.retain(|key| *key != record);
    let target = Target {
        key: record,
        other: Other::Here(records.remove(0)),
        stale: Some(stale),
    };
    targets.insert(Kind::Quarantine, target);
    let old = open(store.clone()).await.report().quarantine.clone();
    let of_first = old.iter().find(|record| record.object == first.as_str());
    let places = &of_first.unwrap().places;
    assert_eq!(places.len(), 2);
    places[1].chunk
}
