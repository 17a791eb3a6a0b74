//! Copies: complete in themselves, never worse than what they were copied from, and able to take its place.

use crate::garbage::{GRACE, at, options, tombstone};
use crate::place::TestStore;
use crate::support::{
    Files, SMALL, capture, create, files, kek, noise, open, pack_of, point_id, restore, rot,
};
use holdfast_archive::{Codec, Extent, FileClass, FileRecipe};
use holdfast_decide::Hold;
use holdfast_repository::{Pin, PlacedHold, Repository, RepositoryError, SyncedPoint, VerifyLevel};
use holdfast_store::{CountingStore, KeyPrefix, ObjectStore, PutMode};
use holdfast_types::{ChunkId, CopyName, Epoch, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn name() -> CopyName {
    "b".parse().unwrap()
}

/// A primary with points 1 to `points`, and a copy of it without any.
pub(crate) struct Twins {
    pub(crate) ours: Arc<TestStore>,
    pub(crate) theirs: Arc<TestStore>,
    pub(crate) primary: Repository,
    pub(crate) epoch: Epoch,
    pub(crate) copy: Repository,
}

impl Twins {
    pub(crate) async fn new(points: u32) -> Self {
        let ours = Arc::new(TestStore::without_locks());
        let theirs = Arc::new(TestStore::without_locks());
        let primary = create(ours.clone()).await;
        let epoch = primary.claim_epoch().await.unwrap();
        for n in 1..=points {
            let files = files(n.into());
            capture(&primary, epoch, n, &files).await.unwrap();
        }
        let new = primary.make_copy(theirs.as_ref(), &name(), at(0)).await;
        assert!(new.unwrap());
        let copy = open_copy(&primary, theirs.clone()).await;
        copy.claim_copy(&primary, &name(), epoch).await.unwrap();
        Self {
            ours,
            theirs,
            primary,
            epoch,
            copy,
        }
    }

    pub(crate) async fn bring(&self, n: u32) -> Result<SyncedPoint, RepositoryError> {
        let id = point_id(n);
        self.primary.sync_point(&self.copy, self.epoch, &id).await
    }

    pub(crate) async fn reopen_copy(&mut self) {
        self.copy = open_copy(&self.primary, self.theirs.clone()).await;
        self.copy
            .claim_copy(&self.primary, &name(), self.epoch)
            .await
            .unwrap();
    }
}

pub(crate) async fn open_copy(primary: &Repository, store: Arc<dyn ObjectStore>) -> Repository {
    primary.open_copy(store, &name(), SMALL).await.unwrap()
}

/// What is there restores, with nothing but the store and the key.
pub(crate) async fn check_alone(store: &Arc<TestStore>, points: &[u32]) {
    let alone = open(store.clone()).await;
    assert!(
        alone.report().damaged.is_empty(),
        "{:?}",
        alone.report().damaged
    );
    assert_eq!(alone.list_points().await.unwrap().len(), points.len());
    for n in points {
        let restored = restore(&alone, *n).await.unwrap();
        assert_eq!(restored, files(u64::from(*n)), "point {n}");
    }
    let verified = alone.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

async fn empty(store: &TestStore) {
    for found in store.list(&KeyPrefix::root()).await.unwrap() {
        store.delete(&found.key).await.unwrap();
    }
}

fn hold(n: u32) -> PlacedHold {
    PlacedHold {
        hold: Hold {
            id: "case-7".parse().unwrap(),
            reason: "a lawsuit".to_owned(),
            owner: "legal".to_owned(),
            placed: at(0),
            expires: None,
        },
        points: [point_id(n)].into(),
        collections: Vec::new(),
    }
}

fn pin(n: u32) -> Pin {
    Pin {
        point: point_id(n),
        reason: "a release".to_owned(),
        by: "ops".to_owned(),
        at: at(0),
    }
}

#[tokio::test]
async fn a_copy_survives_the_loss_of_everything_else() {
    let twins = Twins::new(3).await;
    let (primary, epoch) = (&twins.primary, twins.epoch);
    primary.place_hold(epoch, &hold(1)).await.unwrap();
    primary.pin_point(epoch, &pin(2)).await.unwrap();
    let marks = primary.sync_marks(&twins.copy, epoch, None).await.unwrap();
    assert_eq!(marks.written, 2);
    for n in 1..=3 {
        assert!(twins.bring(n).await.unwrap().new);
    }
    empty(&twins.ours).await;
    check_alone(&twins.theirs, &[1, 2, 3]).await;
    let alone = open(twins.theirs.clone()).await;
    let marks = alone.read_marks().await.unwrap();
    assert_eq!((marks.holds.len(), marks.pins.len()), (1, 1));
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let twins = Twins::new(2).await;
    for n in 1..=2 {
        twins.bring(n).await.unwrap();
    }
    let counting = Arc::new(CountingStore::new(twins.theirs.clone()));
    let copy = open_copy(&twins.primary, counting.clone()).await;
    copy.claim_copy(&twins.primary, &name(), twins.epoch)
        .await
        .unwrap();
    let before = counting.counts();
    // Point 3 has the files of point 1: only its recipe and manifest are new.
    let files = files(1);
    capture(&twins.primary, twins.epoch, 3, &files)
        .await
        .unwrap();
    for n in 1..=3 {
        let id = point_id(n);
        let synced = twins.primary.sync_point(&copy, twins.epoch, &id).await;
        assert_eq!(synced.unwrap().new, n == 3);
    }
    assert_eq!(
        twins.primary.sync_keys(&copy, None).await.unwrap().written,
        0
    );
    let written = counting.counts().bytes_written - before.bytes_written;
    assert!(
        written < 64 << 10,
        "{written} bytes for a point without news"
    );
}

#[tokio::test]
async fn what_is_damaged_is_never_copied() {
    let twins = Twins::new(2).await;
    let pack = pack_of(&twins.ours, 1).await;
    rot(&twins.ours, &pack).await;
    let refused = twins.bring(1).await.unwrap_err();
    let damage = matches!(
        refused,
        RepositoryError::Damaged { .. } | RepositoryError::ChunkMissing { .. }
    );
    assert!(damage, "{refused:?}");
    twins.bring(2).await.unwrap();
    assert!(
        twins.theirs.get(&pack).await.is_err(),
        "the rotten pack came"
    );
    check_alone(&twins.theirs, &[2]).await;
    // Mended, it comes.
    rot(&twins.ours, &pack).await;
    let primary = open(twins.ours.clone()).await;
    let id = point_id(1);
    primary
        .sync_point(&twins.copy, twins.epoch, &id)
        .await
        .unwrap();
    check_alone(&twins.theirs, &[1, 2]).await;
}

/// Nothing of the pack's form is wrong, and its listing can be read: only its name tells.
#[tokio::test]
async fn one_flipped_bit_is_enough() {
    let twins = Twins::new(1).await;
    let pack = pack_of(&twins.ours, 1).await;
    let mut bytes = twins.ours.get(&pack).await.unwrap().to_vec();
    bytes[2000] ^= 1;
    let put = twins.ours.put(&pack, bytes.into(), PutMode::Overwrite);
    put.await.unwrap();
    let primary = open(twins.ours.clone()).await;
    let id = point_id(1);
    let synced = primary.sync_point(&twins.copy, twins.epoch, &id).await;
    assert!(synced.is_err(), "{synced:?}");
    assert!(twins.theirs.get(&pack).await.is_err(), "the pack came");
    check_alone(&twins.theirs, &[]).await;
}

/// A check has found a chunk whose seal is good and that is not what its name says. Its pack is sound as a whole.
#[tokio::test]
async fn what_quarantine_names_comes_neither_with_its_pack_nor_alone() {
    let twins = Twins::new(0).await;
    let (primary, epoch) = (&twins.primary, twins.epoch);
    let session = primary.begin(epoch).await.unwrap();
    let (_, len, data) = crate::support::chunk(primary, 4, 5000);
    let wrong = ChunkId::from_bytes([3; 32]);
    let put = session.put(wrong, Codec::Stored, len, data);
    put.await.unwrap();
    let files = files(1);
    let manifest = crate::support::store_files(primary, &session, 1, &files);
    primary
        .commit_point(&manifest.await.unwrap())
        .await
        .unwrap();
    let extents = vec![Extent::Chunk { id: wrong, len }];
    let size = u64::from(len);
    let recipe = FileRecipe {
        path: "f".into(),
        size,
        class: FileClass::InPlace,
        extents,
    };
    let namespace = primary.namespace();
    let named = crate::support::store_recipe(&namespace, primary, &session, 2, vec![recipe]);
    primary.commit_point(&named.await.unwrap()).await.unwrap();
    let full = primary.verify(VerifyLevel::Full).await.unwrap();
    assert_eq!(full.affected.len(), 1, "{full:?}");

    twins.bring(1).await.unwrap();
    let refused = twins.bring(2).await.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::ChunkMissing { .. }),
        "{refused:?}"
    );
    let alone = open(twins.theirs.clone()).await;
    assert!(!alone.has_chunk(&wrong), "it is trusted there");
    check_alone(&twins.theirs, &[1]).await;
}

/// One bad chunk costs the points that need it, not those that need its neighbours.
#[tokio::test]
async fn sound_chunks_of_a_damaged_pack_come_singly() {
    let twins = Twins::new(0).await;
    let wide = open_wide(&twins.ours).await;
    let epoch = wide.claim_epoch().await.unwrap();
    let one: Files = [("a".to_owned(), noise(1, 60_000))].into();
    let two: Files = [("b".to_owned(), noise(2, 60_000))].into();
    let session = wide.begin(epoch).await.unwrap();
    let first = crate::support::store_files(&wide, &session, 1, &one);
    first.await.unwrap();
    wide.commit_point(
        &crate::support::store_files(&wide, &session, 1, &one)
            .await
            .unwrap(),
    )
    .await
    .unwrap();
    capture(&wide, epoch, 2, &two).await.unwrap();
    twins.copy.claim_copy(&wide, &name(), epoch).await.unwrap();
    // The padding of every pack is damaged, and no chunk.
    for found in twins.ours.list(&"packs".parse().unwrap()).await.unwrap() {
        let mut bytes = twins.ours.get(&found.key).await.unwrap().to_vec();
        let last = bytes.len() - 1;
        let mode = holdfast_store::PutMode::Overwrite;
        bytes[last] ^= 1;
        twins
            .ours
            .put(&found.key, bytes.into(), mode)
            .await
            .unwrap();
    }
    for n in 1..=2 {
        let synced = wide
            .sync_point(&twins.copy, epoch, &point_id(n))
            .await
            .unwrap();
        assert!(synced.packs == 0 && synced.chunks > 0, "{synced:?}");
    }
    let alone = open(twins.theirs.clone()).await;
    assert!(alone.verify(VerifyLevel::Full).await.unwrap().is_sound());
    assert_eq!(restore(&alone, 1).await.unwrap(), one);
    assert_eq!(restore(&alone, 2).await.unwrap(), two);
}

async fn open_wide(store: &Arc<TestStore>) -> Repository {
    Repository::open(store.clone(), kek()).await.unwrap()
}

/// The sound one on the copy stays, and goes on keeping its point.
#[tokio::test]
async fn a_damaged_hold_is_named_and_not_copied() {
    let twins = Twins::new(1).await;
    let (primary, epoch) = (&twins.primary, twins.epoch);
    primary.place_hold(epoch, &hold(1)).await.unwrap();
    primary.sync_marks(&twins.copy, epoch, None).await.unwrap();
    rot(&twins.ours, &"holds/case-7".parse().unwrap()).await;
    let marks = primary.sync_marks(&twins.copy, epoch, None).await.unwrap();
    assert_eq!(marks.damaged, ["holds/case-7"]);
    assert_eq!((marks.written, marks.only_in_copy.len()), (0, 0));
    assert_eq!(twins.copy.read_marks().await.unwrap().holds.len(), 1);
}

#[tokio::test]
async fn what_the_primary_lost_stays_on_the_copy() {
    let twins = Twins::new(2).await;
    let (primary, epoch) = (&twins.primary, twins.epoch);
    primary.place_hold(epoch, &hold(1)).await.unwrap();
    let extra = holdfast_archive::Kek::from_hex(&"6b".repeat(32)).unwrap();
    let holder = "second".parse().unwrap();
    primary.add_key(&extra, &holder, at(0)).await.unwrap();
    primary.sync_keys(&twins.copy, None).await.unwrap();
    primary.sync_marks(&twins.copy, epoch, None).await.unwrap();
    for n in 1..=2 {
        twins.bring(n).await.unwrap();
    }
    for lost in ["points", "packs", "index", "holds"] {
        for found in twins.ours.list(&lost.parse().unwrap()).await.unwrap() {
            twins.ours.delete(&found.key).await.unwrap();
        }
    }
    primary.remove_key(&holder, at(1)).await.unwrap();
    let keys = primary.sync_keys(&twins.copy, None).await.unwrap();
    assert_eq!(keys.only_in_copy, ["second"]);
    let marks = primary.sync_marks(&twins.copy, epoch, None).await.unwrap();
    assert_eq!(marks.only_in_copy, ["holds/case-7"]);
    assert!(twins.bring(1).await.is_ok(), "there already");
    check_alone(&twins.theirs, &[1, 2]).await;
    Repository::open(twins.theirs.clone(), extra.clone())
        .await
        .unwrap();
    // Only when it is asked for.
    let other = ["key-of-nobody", "holds/case-8"].map(str::to_owned).into();
    let (keys, marks) = (Some((at(2), &other)), Some(&other));
    primary.sync_keys(&twins.copy, keys).await.unwrap();
    primary.sync_marks(&twins.copy, epoch, marks).await.unwrap();
    assert_eq!(twins.copy.read_marks().await.unwrap().holds.len(), 1);
    let named = ["second", "first", "holds/case-7"]
        .map(str::to_owned)
        .into();
    let (keys, marks) = (Some((at(2), &named)), Some(&named));
    primary.sync_keys(&twins.copy, keys).await.unwrap();
    primary.sync_marks(&twins.copy, epoch, marks).await.unwrap();
    let marks = twins.copy.read_marks().await.unwrap();
    assert!(marks.holds.is_empty());
    assert!(Repository::open(twins.theirs.clone(), extra).await.is_err());
    check_alone(&twins.theirs, &[1, 2]).await;
}

async fn remove(repository: &Repository, epoch: Epoch, n: u32, now: Timestamp) {
    let stone = tombstone(n, now);
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let (id, later) = (point_id(n), now.after(GRACE));
    repository.sweep_point(epoch, &id, later).await.unwrap();
}

/// The primary moves chunks into other packs and deletes the old ones. The copy keeps its own, and collects them itself.
#[tokio::test]
async fn both_collect_garbage_on_their_own() {
    let twins = Twins::new(0).await;
    let Twins {
        primary,
        copy,
        epoch,
        ..
    } = &twins;
    // Points 1 and 2 share all but one file, so that their packs are half needed when one of them goes.
    let content = |n: u64| -> Files {
        BTreeMap::from([
            ("own".to_owned(), noise(n, 90_000)),
            ("shared".to_owned(), noise(99, 90_000)),
        ])
    };
    for n in 1..=2 {
        capture(primary, *epoch, n, &content(n.into()))
            .await
            .unwrap();
    }
    twins.bring(1).await.unwrap();
    remove(primary, *epoch, 1, at(0)).await;
    for seconds in [1000, 2000, 3000] {
        let run = primary.collect_garbage(*epoch, options(at(seconds)));
        run.await.unwrap();
    }
    twins.bring(2).await.unwrap();
    // The copy has both still, whatever became of the primary's packs.
    let alone = open(twins.theirs.clone()).await;
    for n in 1..=2 {
        assert_eq!(restore(&alone, n).await.unwrap(), content(n.into()));
    }
    let before = copy.stats().stored_bytes;
    remove(copy, *epoch, 1, at(4000)).await;
    for seconds in [5000, 6000, 7000] {
        copy.collect_garbage(*epoch, options(at(seconds)))
            .await
            .unwrap();
    }
    assert!(copy.stats().stored_bytes < before - 60_000, "garbage stays");
    let alone = open(twins.theirs.clone()).await;
    assert_eq!(restore(&alone, 2).await.unwrap(), content(2));
    let verified = alone.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

/// A pack of which the copy's deletion has begun and not ended, because the copy died: it is wanted again.
#[tokio::test]
async fn a_pack_whose_deletion_is_under_way_is_not_put_back() {
    let mut twins = Twins::new(2).await;
    for n in 1..=2 {
        twins.bring(n).await.unwrap();
    }
    remove(&twins.copy, twins.epoch, 1, at(0)).await;
    let (copy, epoch) = (&twins.copy, twins.epoch);
    copy.collect_garbage(epoch, options(at(200))).await.unwrap();
    // It dies after the tombstone says swept, and after the first deletions.
    let mut deleted = 0;
    for mutation in 2..20 {
        let theirs = crate::support::copy_of(twins.theirs.as_ref()).await;
        let stop_at = Some(holdfast_store::StopAt {
            mutation,
            effect: holdfast_store::StopEffect::After,
        });
        let plan = holdfast_store::FaultPlan {
            stop_at,
            ..holdfast_store::FaultPlan::default()
        };
        let faulty = Arc::new(holdfast_store::FaultStore::new(theirs.clone(), plan));
        let dying = open_copy(&twins.primary, faulty.clone()).await;
        if dying.collect_garbage(epoch, options(at(400))).await.is_ok() {
            break;
        }
        deleted += 1;
        let copy = open_copy(&twins.primary, theirs.clone()).await;
        copy.claim_copy(&twins.primary, &name(), epoch)
            .await
            .unwrap();
        let id = point_id(1);
        twins.primary.sync_point(&copy, epoch, &id).await.unwrap();
        // What was to be deleted is deleted now, and what came stays.
        for seconds in [500, 700, 900] {
            copy.collect_garbage(epoch, options(at(seconds)))
                .await
                .unwrap();
        }
        check_alone(&theirs, &[1, 2]).await;
    }
    assert!(deleted >= 2, "it died only {deleted} times");
    twins.reopen_copy().await;
}

/// A pack that rotted on the copy is fetched again when a new point needs it.
#[tokio::test]
async fn what_rots_on_the_copy_comes_again() {
    let mut twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    let pack = pack_of(&twins.theirs, 1).await;
    rot(&twins.theirs, &pack).await;
    let verify = holdfast_repository::VerifyOptions {
        record: true,
        namespaces: vec![twins.copy.namespace()],
        ..holdfast_repository::VerifyOptions::read_only(VerifyLevel::Full, at(0))
    };
    let found = twins.copy.verify_with(&verify, &()).await.unwrap();
    assert!(found.needs_attention());
    twins.reopen_copy().await;
    let files = files(1);
    capture(&twins.primary, twins.epoch, 2, &files)
        .await
        .unwrap();
    let synced = twins.bring(2).await.unwrap();
    assert!(synced.packs > 0, "{synced:?}");
    let alone = open(twins.theirs.clone()).await;
    assert_eq!(restore(&alone, 1).await.unwrap(), files);
    let verified = alone.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    assert!(alone.report().quarantine.is_empty());
}
