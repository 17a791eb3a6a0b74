//! Objects of a newer program in a repository of this format: whole ones are named by whatever would have to read them, those that
//! it was half way through with are damage like any other. Neither loses what else is there.

use crate::garbage::{at, options, tombstone};
use crate::place::TestStore;
use crate::support::{capture, copy_of, create, files, kek, open, point_id, restore};
use crate::wal::{part, series};
use bytes::Bytes;
use holdfast_archive::{KeyFile, Keyring, ObjectKind, ShardRecipe, sealed};
use holdfast_decide::Hold;
use holdfast_repository::{PlacedHold, Repository, RepositoryError, VerifyLevel, WalPart};
use holdfast_store::{KeyPrefix, ObjectKey, ObjectStore, PutMode};
use holdfast_types::Epoch;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Objects that something reads by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
    Hold,
    PointTombstone,
    PackTombstone,
    Wal,
}

const KINDS: [Kind; 6] = [
    Kind::Index,
    Kind::Manifest,
    Kind::Hold,
    Kind::PointTombstone,
    Kind::PackTombstone,
    Kind::Wal,
];

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Manifest => "points",
            Self::Hold => "holds",
            Self::PointTombstone => "tombstones/points",
            Self::PackTombstone => "tombstones/packs",
            Self::Wal => "wal",
        }
    }

    fn sealed_as(self) -> ObjectKind {
        match self {
            Self::Index => ObjectKind::Index,
            Self::Manifest => ObjectKind::Manifest,
            Self::Hold => ObjectKind::Hold,
            Self::PointTombstone | Self::PackTombstone => ObjectKind::Tombstone,
            Self::Wal => ObjectKind::Wal,
        }
    }

    /// What a program would write that is one format ahead.
    fn newer_payload(self) -> Vec<u8> {
        match self {
            Self::Index | Self::Wal => [&2_u16.to_le_bytes()[..], b"other things"].concat(),
            Self::Manifest | Self::Hold | Self::PointTombstone | Self::PackTombstone => {
                let format = self.newer_format();
                format!(r#"{{"format": {format}, "other": "things"}}"#).into_bytes()
            }
        }
    }

    /// The format that comes after the newest that is known.
    fn newer_format(self) -> u32 {
        match self {
            // 2 is that of points with extras.
            Self::Manifest => 3,
            Self::Index | Self::Wal | Self::Hold | Self::PointTombstone | Self::PackTombstone => 2,
        }
    }
}

/// Points 2 and 3, the latter marked for removal, a hold on point 2, packs that are to be deleted and an archived log.
async fn world() -> Arc<TestStore> {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=3 {
        capture(&repository, epoch, n, &files(n.into()))
            .await
            .unwrap();
    }
    repository.append_wal(epoch, part(1, 0..5)).await.unwrap();
    let stone = tombstone(1, at(0));
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let swept = repository.sweep_point(epoch, &point_id(1), at(200)).await;
    swept.unwrap();
    let doomed = repository.collect_garbage(epoch, options(at(200))).await;
    assert!(doomed.unwrap().dead.packs > 0);
    let stone = tombstone(3, at(200));
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let placed = PlacedHold {
        hold: Hold {
            id: "case-1".parse().unwrap(),
            reason: "a dispute".to_owned(),
            owner: "legal".to_owned(),
            placed: at(0),
            expires: None,
        },
        points: BTreeSet::from([point_id(2)]),
        collections: Vec::new(),
    };
    repository.place_hold(epoch, &placed).await.unwrap();
    store
}

async fn names(store: &TestStore, prefix: &KeyPrefix) -> Vec<ObjectKey> {
    let listed = store.list(prefix).await.unwrap();
    listed.into_iter().map(|found| found.key).collect()
}

/// The last of its kind: of the manifests that of point 3.
async fn key_of(store: &TestStore, kind: Kind) -> ObjectKey {
    let found = names(store, &kind.folder().parse().unwrap()).await;
    found.into_iter().next_back().unwrap()
}

async fn put(store: &TestStore, key: &ObjectKey, bytes: Bytes) {
    store.put(key, bytes, PutMode::Overwrite).await.unwrap();
}

/// The object in an envelope of the next format, with a right checksum.
fn in_newer_envelope(sound: &Bytes) -> Bytes {
    let mut bytes = sound[..sound.len() - 32].to_vec();
    bytes[4] = 2;
    // BLAKE3 is what both are.
    let checksum = ShardRecipe::hash(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes.into()
}

async fn ring(store: &TestStore) -> Keyring {
    let key = names(store, &"keys".parse().unwrap()).await.remove(0);
    match KeyFile::from_json(&store.get(&key).await.unwrap()).unwrap() {
        KeyFile::Wrapped(keys) => keys.unwrap(&kek()).unwrap(),
        KeyFile::Removed(_) => panic!("the key is there"),
    }
}

/// What whoever needs the object is told.
async fn refusal(store: &Arc<TestStore>, kind: Kind) -> RepositoryError {
    let opened = Repository::open(store.clone(), kek()).await;
    let repository = match (kind, opened) {
        // What it says of packs may change how everything else is read.
        (Kind::Index | Kind::PackTombstone, opened) => return opened.err().unwrap(),
        (_, opened) => opened.unwrap(),
    };
    assert_eq!(restore(&repository, 2).await.unwrap(), files(2), "{kind:?}");
    match kind {
        Kind::Index | Kind::PackTombstone => panic!("it was not opened"),
        Kind::Manifest => {
            let listed = repository.list_points().await.unwrap();
            let readable: Vec<_> = listed
                .iter()
                .filter(|listing| listing.manifest.is_ok())
                .map(|listing| &listing.id)
                .collect();
            assert_eq!(readable, [&point_id(2)]);
            let epoch = repository.claim_epoch().await.unwrap();
            let collected = repository.collect_garbage(epoch, options(at(900))).await;
            assert!(
                matches!(collected, Err(RepositoryError::Unaccounted { .. })),
                "what it needs is not known: {collected:?}"
            );
            repository.read_point(&point_id(3)).await.err().unwrap()
        }
        Kind::Hold | Kind::PointTombstone => repository.read_marks().await.err().unwrap(),
        Kind::Wal => {
            let series = series(1);
            let read = repository.read_wal(&series, WalPart::appended(0)).await;
            read.err().unwrap()
        }
    }
}

#[tokio::test]
async fn what_is_whole_is_named_with_its_format() {
    let sound = world().await;
    let ring = ring(&sound).await;
    for kind in KINDS {
        let key = key_of(&sound, kind).await;
        let present = sound.get(&key).await.unwrap();
        let payload = kind.newer_payload();
        let sealed = sealed::seal(kind.sealed_as(), Epoch(1), [7; 32], ring.newest(), &payload);
        let newer = [
            (in_newer_envelope(&present), 2),
            (sealed.unwrap().into(), kind.newer_format()),
        ];
        for (newer, its_format) in newer {
            let store = copy_of(sound.as_ref()).await;
            put(&store, &key, newer.clone()).await;
            let error = refusal(&store, kind).await;
            assert!(
                matches!(&error, RepositoryError::NewerFormat { object, format } if object == key.as_str() && *format == its_format),
                "{kind:?}: {error:?}"
            );
            let told =
                format!("{key} was written by a newer version of Holdfast (format {its_format})");
            assert_eq!(error.to_string(), told);
            // The newer program finds everything as it left it.
            assert_eq!(store.get(&key).await.unwrap(), newer);
            put(&store, &key, present.clone()).await;
            for found in sound.list(&KeyPrefix::root()).await.unwrap() {
                let (before, after) = (sound.get(&found.key).await, store.get(&found.key).await);
                assert_eq!(before.unwrap(), after.unwrap(), "{kind:?}: {}", found.key);
            }
        }
    }
}

/// A newer program died, or its writes were cut off, where this one's objects are.
#[tokio::test]
async fn what_is_half_written_is_named_and_costs_nothing_else() {
    let sound = world().await;
    let pack = names(&sound, &"packs".parse().unwrap()).await.remove(0);
    let [index, manifest, wal] = [
        key_of(&sound, Kind::Index).await,
        key_of(&sound, Kind::Manifest).await,
        key_of(&sound, Kind::Wal).await,
    ];
    let digits = "ab".repeat(32);
    let beside = |key: &ObjectKey, name: String| -> ObjectKey {
        let (folder, _) = key.as_str().rsplit_once('/').unwrap();
        format!("{folder}/{name}").parse().unwrap()
    };
    let cases = [
        (&pack, format!("packs/ab/{digits}").parse().unwrap()),
        (&index, beside(&index, digits)),
        (&manifest, beside(&manifest, point_id(9).to_string())),
        (&wal, beside(&wal, format!("{:020}", 5))),
    ];
    for (like, key) in cases {
        let store = copy_of(sound.as_ref()).await;
        let newer = in_newer_envelope(&sound.get(like).await.unwrap());
        put(&store, &key, newer.slice(..newer.len() / 2)).await;
        let repository = open(store.clone()).await;
        for n in 2..=3 {
            assert_eq!(restore(&repository, n).await.unwrap(), files(n.into()));
        }
        let found = repository.verify(VerifyLevel::Full).await.unwrap();
        let named: Vec<_> = found.damaged.iter().map(|found| &found.object).collect();
        assert_eq!(named, [key.as_str()], "{found:?}");
        if *like == manifest {
            let unread = repository.read_point(&point_id(9)).await.unwrap_err();
            assert!(
                matches!(&unread, RepositoryError::Damaged { object, .. } if object == key.as_str()),
                "{unread:?}"
            );
        }
        let kept = repository.read_wal(&series(1), WalPart::appended(0)).await;
        assert_eq!(kept.unwrap(), Some(part(1, 0..5)));
        let epoch = repository.claim_epoch().await.unwrap();
        capture(&repository, epoch, 4, &files(4)).await.unwrap();
        let again = open(store).await;
        for n in 2..=4 {
            assert_eq!(restore(&again, n).await.unwrap(), files(n.into()), "{key}");
        }
    }
}
