//! I2: garbage collection deletes what nothing needs, and nothing else.

use crate::late::{Arrival, LateStore};
use crate::place::{TestStore, beginning};
use crate::support::{
    Files, SMALL, capture, create, files, noise, open, point_id, restore, store_files,
};
use holdfast_decide::{NotYet, Tombstone};
use holdfast_repository::{
    Absence, GarbageOptions, PointTombstone, Repository, RepositoryError, VerifyLevel,
};
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::{ChunkId, Epoch, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const GRACE: Duration = Duration::from_secs(100);

pub(crate) fn at(seconds: u64) -> Timestamp {
    beginning().after(Duration::from_secs(seconds))
}

pub(crate) fn options(now: Timestamp) -> GarbageOptions {
    GarbageOptions {
        now,
        grace: GRACE,
        small_pack_bytes: 16 << 10,
        ..GarbageOptions::default()
    }
}

pub(crate) fn tombstone(n: u32, since: Timestamp) -> PointTombstone {
    PointTombstone {
        point: point_id(n),
        tombstone: Tombstone {
            since,
            grace: GRACE,
        },
        reasons: vec!["no rule keeps it".to_owned()],
        by: "test".to_owned(),
        despite_floor: false,
        swept: false,
        marked: Epoch(0),
    }
}

async fn remove(repository: &Repository, epoch: Epoch, n: u32, now: Timestamp) {
    let stone = tombstone(n, now);
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let later = now.after(GRACE);
    repository
        .sweep_point(epoch, &point_id(n), later)
        .await
        .unwrap();
}

async fn count(store: &TestStore, prefix: &str) -> usize {
    store.list(&prefix.parse().unwrap()).await.unwrap().len()
}

async fn sound(store: &Arc<TestStore>, points: &[u32]) {
    let repository = open(store.clone()).await;
    assert!(
        repository.report().damaged.is_empty(),
        "{:?}",
        repository.report()
    );
    let verified = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    for n in points {
        assert_eq!(
            restore(&repository, *n).await.unwrap(),
            files(u64::from(*n))
        );
    }
}

/// Nobody could take the mark back while no coordinator ran.
#[tokio::test]
async fn a_postponed_removal_waits_for_longer() {
    let store = Arc::new(TestStore::new());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        let files = files(n.into());
        capture(&repository, epoch, n, &files).await.unwrap();
        let stone = tombstone(n, at(10 + u64::from(n)));
        repository.tombstone_point(epoch, &stone).await.unwrap();
    }
    let by = Duration::from_secs(400);
    let postponed = repository.postpone_removals(epoch, by, at(412)).await;
    assert_eq!(postponed.unwrap(), 2);
    for (n, begins) in [(1, 411), (2, 412)] {
        let end = begins + GRACE.as_secs();
        let early = repository
            .sweep_point(epoch, &point_id(n), at(end - 1))
            .await;
        assert!(
            matches!(early, Err(RepositoryError::NotYet { .. })),
            "{early:?}"
        );
        repository
            .sweep_point(epoch, &point_id(n), at(end))
            .await
            .unwrap();
    }
}

/// A start may end between its claim and this, and others may claim in between: no absence is lost, and none counts twice.
#[tokio::test]
async fn a_removal_is_postponed_once_for_each_absence() {
    let store = Arc::new(TestStore::new());
    let repository = create(store.clone()).await;
    let first = repository.claim_epoch().await.unwrap();
    capture(&repository, first, 1, &files(1)).await.unwrap();
    let stone = tombstone(1, at(10));
    repository.tombstone_point(first, &stone).await.unwrap();
    let absences = repository
        .absences(Timestamp::EPOCH, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(absences, [], "nothing was there before the first claim");

    let second = repository.claim_epoch().await.unwrap();
    let third = repository.claim_epoch().await.unwrap();
    let absences = repository
        .absences(Timestamp::EPOCH, Duration::ZERO)
        .await
        .unwrap();
    let epochs: Vec<Epoch> = absences.iter().map(|absence| absence.epoch).collect();
    assert_eq!(epochs, [second, third]);
    let long = absences.iter().map(|absence| absence.lasted).max();
    assert!(long < Some(Duration::from_secs(60)), "{absences:?}");
    let later = absences[1].ended.after(Duration::from_micros(1));
    assert_eq!(
        repository.absences(later, Duration::ZERO).await.unwrap(),
        []
    );

    let minute = Duration::from_mins(1);
    let long = repository.absences(Timestamp::EPOCH, minute).await.unwrap();
    assert_eq!(long, []);

    let since = async |repository: &Repository| {
        let marks = repository.read_marks().await.unwrap();
        marks.tombstones[&point_id(1)].tombstone.since
    };
    let of = |epoch, seconds| Absence {
        epoch,
        ended: at(0),
        lasted: Duration::from_secs(seconds),
    };
    let known = [of(first, 1000), of(second, 400), of(third, 30)];
    let postpone = async |epoch, known: &[Absence]| {
        let postponed = repository.postpone_for(epoch, known, at(10_000)).await;
        postponed.unwrap()
    };
    assert_eq!(postpone(third, &known).await, 1);
    assert_eq!(since(&repository).await, at(440));
    assert_eq!(postpone(third, &known).await, 0);
    let fourth = repository.claim_epoch().await.unwrap();
    assert_eq!(postpone(fourth, &known).await, 0);
    assert_eq!(since(&repository).await, at(440));
    assert_eq!(postpone(fourth, &[of(third, 30), of(fourth, 20)]).await, 1);
    assert_eq!(since(&repository).await, at(460));
}

/// Of tiny chunks a pack holds more about them than of them: that doesn't make it sparse.
#[tokio::test]
async fn a_pack_of_tiny_chunks_is_not_rewritten_for_ever() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let tiny = (0..3000_u64).map(|n| (format!("{n:04}.json"), noise(n, 16)));
    capture(&repository, epoch, 1, &tiny.collect())
        .await
        .unwrap();
    let options = GarbageOptions {
        rewrite_below_percent: 75,
        small_pack_bytes: 0,
        ..options(at(0))
    };
    let report = repository.collect_garbage(epoch, options).await.unwrap();
    assert_eq!(report.points, 1);
    // A small last pack is mostly padding, and may be rewritten.
    assert!(report.rewritten.bytes * 4 < report.kept.bytes, "{report:?}");
}

#[tokio::test]
async fn what_only_a_swept_point_needed_goes_after_the_grace() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        capture(&repository, epoch, n, &files(u64::from(n)))
            .await
            .unwrap();
    }
    let before = repository.stats();
    let idle = repository
        .collect_garbage(epoch, options(at(0)))
        .await
        .unwrap();
    assert_eq!((idle.points, idle.dead.packs, idle.swept.packs), (2, 0, 0));

    let stone = tombstone(1, at(0));
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let early = repository.sweep_point(epoch, &point_id(1), at(99)).await;
    let Err(RepositoryError::NotYet { source, .. }) = early else {
        panic!("{early:?}");
    };
    assert_eq!(source, NotYet::Grace { until: at(100) });
    // A tombstoned point still counts.
    let report = repository
        .collect_garbage(epoch, options(at(50)))
        .await
        .unwrap();
    assert_eq!((report.points, report.dead.packs), (2, 0));
    repository
        .sweep_point(epoch, &point_id(1), at(100))
        .await
        .unwrap();

    let preview = repository.preview_garbage(options(at(100))).await.unwrap();
    let marked = repository
        .collect_garbage(epoch, options(at(100)))
        .await
        .unwrap();
    assert!(marked.dead.packs >= 3, "{marked:?}");
    assert_eq!(preview.dead, marked.dead);
    assert_eq!(marked.next_sweep, Some(at(200)));
    assert_eq!(
        repository.stats().packs,
        before.packs + marked.rewritten.packs.min(1)
    );
    let waiting = repository
        .collect_garbage(epoch, options(at(199)))
        .await
        .unwrap();
    assert_eq!((waiting.swept.packs, waiting.waiting), (0, marked.waiting));
    let swept = repository
        .collect_garbage(epoch, options(at(200)))
        .await
        .unwrap();
    assert_eq!(swept.swept, marked.waiting);
    assert!(repository.stats().stored_bytes < before.stored_bytes * 6 / 10);
    assert_eq!(restore(&repository, 2).await.unwrap(), files(2));
    sound(&store, &[2]).await;
    // The tombstone itself goes after another grace.
    assert_eq!(count(&store, "tombstones").await, 1);
    repository
        .collect_garbage(epoch, options(at(300)))
        .await
        .unwrap();
    assert_eq!(count(&store, "tombstones").await, 0);
}

#[tokio::test]
async fn undelete_works_until_the_sweep() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    repository
        .tombstone_point(epoch, &tombstone(1, at(0)))
        .await
        .unwrap();
    assert_eq!(repository.read_marks().await.unwrap().tombstones.len(), 1);
    // After the grace, too, as long as nobody has swept.
    assert!(
        repository
            .undelete_point(epoch, &point_id(1))
            .await
            .unwrap()
    );
    assert!(
        !repository
            .undelete_point(epoch, &point_id(1))
            .await
            .unwrap()
    );
    let live = repository.sweep_point(epoch, &point_id(1), at(1000)).await;
    assert!(
        matches!(
            live,
            Err(RepositoryError::NotYet {
                source: NotYet::Live,
                ..
            })
        ),
        "{live:?}"
    );
    remove(&repository, epoch, 1, at(0)).await;
    let gone = repository.undelete_point(epoch, &point_id(1)).await;
    assert!(
        matches!(gone, Err(RepositoryError::PointNotFound { .. })),
        "{gone:?}"
    );
}

/// The chunks of a capture that is under way are named by no manifest.
#[tokio::test]
async fn a_capture_under_way_loses_nothing() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    // Told that everything of point 1 is there, it stores nothing.
    let session = repository.begin(epoch).await.unwrap();
    let again = store_files(&repository, &session, 2, &files(1))
        .await
        .unwrap();
    assert_eq!(session.stats().stored_chunks, 0, "deduplicated");
    let before = repository.stats().packs;
    let third = store_files(&repository, &session, 3, &files(3))
        .await
        .unwrap();

    remove(&repository, epoch, 1, at(0)).await;
    let doomed = repository
        .collect_garbage(epoch, options(at(0)))
        .await
        .unwrap();
    assert_eq!(
        doomed.dead.packs, before,
        "point 1's, and none that is being written"
    );
    let held_up = repository
        .collect_garbage(epoch, options(at(5000)))
        .await
        .unwrap();
    assert_eq!(held_up.swept.packs, 0, "the capture began before");
    repository.commit_point(&again).await.unwrap();
    repository.commit_point(&third).await.unwrap();
    drop(session);
    let spared = repository
        .collect_garbage(epoch, options(at(5000)))
        .await
        .unwrap();
    assert_eq!((spared.spared, spared.swept.packs), (doomed.dead, 0));
    let restored = restore(&repository, 2).await.unwrap();
    assert_eq!(restored, files(1));
    sound(&store, &[3]).await;
}

#[tokio::test]
async fn a_doomed_chunk_is_stored_again() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    remove(&repository, epoch, 1, at(0)).await;
    repository
        .collect_garbage(epoch, options(at(0)))
        .await
        .unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let manifest = store_files(&repository, &session, 2, &files(1))
        .await
        .unwrap();
    assert!(session.stats().stored_chunks > 0, "sent again");
    repository.commit_point(&manifest).await.unwrap();
    drop(session);
    let swept = repository
        .collect_garbage(epoch, options(at(5000)))
        .await
        .unwrap();
    assert!(swept.swept.packs > 0);
    assert_eq!(restore(&repository, 2).await.unwrap(), files(1));
    sound(&store, &[]).await;
}

/// Files that share nothing with one another but one long file.
fn mostly_shared(seed: u64) -> Files {
    BTreeMap::from([
        ("shared".to_owned(), noise(7, 100_000)),
        ("own".to_owned(), noise(seed + 50, 400_000)),
    ])
}

#[tokio::test]
async fn sparse_packs_are_rewritten() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &mostly_shared(1))
        .await
        .unwrap();
    capture(&repository, epoch, 2, &mostly_shared(2))
        .await
        .unwrap();
    remove(&repository, epoch, 1, at(0)).await;
    let mut sizes = Vec::new();
    for round in 0..3 {
        let now = at(round * 1000);
        let report = repository
            .collect_garbage(epoch, options(now))
            .await
            .unwrap();
        sizes.push((report.rewritten.packs, repository.stats().stored_bytes));
        assert_eq!(restore(&repository, 2).await.unwrap(), mostly_shared(2));
    }
    let (_, last) = sizes[2];
    assert!(
        last < 600_000,
        "500,000 bytes are needed, in packs of one chunk each: {sizes:?}"
    );
    let verified = open(store).await.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

#[tokio::test]
async fn nothing_is_deleted_while_a_point_cant_be_read() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        capture(&repository, epoch, n, &files(u64::from(n)))
            .await
            .unwrap();
    }
    remove(&repository, epoch, 1, at(0)).await;
    let key = format!("points/{}", point_id(2)).parse().unwrap();
    let good = store.get(&key).await.unwrap();
    let half = good.slice(..good.len() / 2);
    store.put(&key, half, PutMode::Overwrite).await.unwrap();
    let packs = count(&store, "packs").await;
    let refused = repository.collect_garbage(epoch, options(at(0))).await;
    let Err(RepositoryError::Unaccounted { id, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(id, point_id(2));
    assert_eq!(count(&store, "packs").await, packs);
    assert_eq!(count(&store, "tombstones").await, 0);
    // Either its manifest is put back, or the point is given up by name.
    remove(&repository, epoch, 2, at(0)).await;
    let report = repository
        .collect_garbage(epoch, options(at(0)))
        .await
        .unwrap();
    assert_eq!(report.kept.packs, 0);
}

#[tokio::test]
async fn another_coordinator_goes_on_where_the_first_was() {
    let store = Arc::new(TestStore::without_locks());
    let first = create(store.clone()).await;
    let old = first.claim_epoch().await.unwrap();
    for n in 1..=2 {
        capture(&first, old, n, &files(u64::from(n))).await.unwrap();
    }
    remove(&first, old, 1, at(0)).await;
    let doomed = first.collect_garbage(old, options(at(0))).await.unwrap();

    let second = open(store.clone()).await;
    let new = second.claim_epoch().await.unwrap();
    let stale = first.collect_garbage(old, options(at(1000))).await;
    assert!(
        matches!(stale, Err(RepositoryError::StaleEpoch { .. })),
        "{stale:?}"
    );
    let early = second.collect_garbage(new, options(at(99))).await.unwrap();
    assert_eq!(early.swept.packs, 0);
    let swept = second.collect_garbage(new, options(at(100))).await.unwrap();
    assert_eq!(
        swept.swept, doomed.waiting,
        "the wait goes on, it does not begin again"
    );
    sound(&store, &[2]).await;
}

/// A deposed writer's last put may take effect at any moment within the grace, even during the sweep.
#[tokio::test]
async fn a_manifest_that_lands_during_the_sweep_keeps_its_chunks() {
    let memory = Arc::new(TestStore::without_locks());
    let old = create(memory.clone()).await;
    let old_epoch = old.claim_epoch().await.unwrap();
    capture(&old, old_epoch, 1, &files(1)).await.unwrap();
    let key: ObjectKey = format!("points/{}", point_id(1)).parse().unwrap();
    let bytes = memory.get(&key).await.unwrap();
    memory.delete(&key).await.unwrap();

    let store = Arc::new(LateStore::new(memory.clone()));
    let new = open(store.clone()).await;
    let epoch = new.claim_epoch().await.unwrap();
    let doomed = new.collect_garbage(epoch, options(at(0))).await.unwrap();
    assert!(
        doomed.dead.packs > 0 && doomed.kept.packs == 0,
        "{doomed:?}"
    );
    // The first listing is the mark's, the second the sweep's.
    let prefix = "points".parse().unwrap();
    let nth = 2;
    store.expect(Arrival {
        prefix,
        nth,
        key,
        bytes,
    });
    let report = new.collect_garbage(epoch, options(at(500))).await.unwrap();
    assert!(!store.is_waiting(), "it has landed");
    assert_eq!((report.swept.packs, report.spared), (0, doomed.dead));
    assert_eq!(restore(&new, 1).await.unwrap(), files(1));
    sound(&memory, &[1]).await;
}

#[tokio::test]
async fn indexes_don_t_pile_up() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=40 {
        let own = BTreeMap::from([("own".to_owned(), noise(u64::from(n), 70_000))]);
        capture(&repository, epoch, n, &own).await.unwrap();
    }
    remove(&repository, epoch, 40, at(0)).await;
    for round in 0..4 {
        let now = at(round * 1000);
        repository
            .collect_garbage(epoch, options(now))
            .await
            .unwrap();
    }
    let (indexes, packs) = (count(&store, "index").await, count(&store, "packs").await);
    assert!(indexes <= 3, "{indexes} indexes, {packs} packs");
    assert!(packs < 60, "2,730,000 bytes in packs of 64 KiB: {packs}");
    let again = open(store).await;
    assert!(again.report().damaged.is_empty());
    assert_eq!(again.report().adopted_packs, 0);
}

/// What a coordinator before us has doomed is copied, the copies stay, and then it goes.
#[tokio::test]
async fn what_another_doomed_and_is_needed_moves_once() {
    let memory = Arc::new(TestStore::without_locks());
    let old = create(memory.clone()).await;
    let old_epoch = old.claim_epoch().await.unwrap();
    capture(&old, old_epoch, 1, &files(1)).await.unwrap();
    let key: ObjectKey = format!("points/{}", point_id(1)).parse().unwrap();
    let bytes = memory.get(&key).await.unwrap();
    memory.delete(&key).await.unwrap();
    let doomed = old
        .collect_garbage(old_epoch, options(at(0)))
        .await
        .unwrap();
    // Its last commit lands late.
    memory.put(&key, bytes, PutMode::CreateNew).await.unwrap();

    let new = open(memory.clone()).await;
    let epoch = new.claim_epoch().await.unwrap();
    let copied = new.collect_garbage(epoch, options(at(50))).await.unwrap();
    assert_eq!((copied.dead.packs, copied.rewritten.packs), (0, 0));
    assert_eq!(copied.swept.packs, 0);
    let packs = new.stats().packs;
    let swept = new.collect_garbage(epoch, options(at(500))).await.unwrap();
    assert_eq!(swept.swept, doomed.dead);
    assert_eq!(new.stats().packs, packs - doomed.dead.packs, "copied once");
    assert_eq!(restore(&new, 1).await.unwrap(), files(1));
    sound(&memory, &[1]).await;
}

#[tokio::test]
async fn a_damaged_chunk_is_never_copied_and_stops_nothing_else() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &mostly_shared(1))
        .await
        .unwrap();
    capture(&repository, epoch, 2, &mostly_shared(2))
        .await
        .unwrap();
    remove(&repository, epoch, 1, at(0)).await;
    // Every pack loses a byte: those that point 2 needs are damaged now.
    // Those that are full of data: the recipes can still be read.
    for found in store.list(&"packs".parse().unwrap()).await.unwrap() {
        if found.size < SMALL.pack_bytes as u64 {
            continue;
        }
        let mut bytes = store.get(&found.key).await.unwrap().to_vec();
        bytes[1000] ^= 1;
        store
            .put(&found.key, bytes.into(), PutMode::Overwrite)
            .await
            .unwrap();
    }
    let repository = open(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    assert!(
        !repository
            .verify(VerifyLevel::Full)
            .await
            .unwrap()
            .is_sound()
    );
    let manifest = repository.read_point(&point_id(2)).await.unwrap();
    let (_, shard) = manifest.shards().next().unwrap();
    let recipe = repository.read_shard_recipe(shard).await.unwrap();
    let bad: Vec<_> = recipe
        .chunks()
        .map(|(id, _)| id)
        .filter(|id| !repository.has_chunk(id))
        .collect();
    assert!(!bad.is_empty(), "point 2 is damaged");
    // Every pack that is not damaged would rather be rewritten.
    let all = GarbageOptions {
        rewrite_below_percent: 101,
        ..options(at(0))
    };
    let report = repository.collect_garbage(epoch, all).await.unwrap();
    assert!(report.dead.packs > 0, "{report:?}");
    assert!(report.rewritten.packs > 0, "the others are: {report:?}");
    let copied = |id: &&ChunkId| repository.has_chunk(id);
    assert_eq!(
        bad.iter().filter(copied).count(),
        0,
        "none became one that is trusted"
    );
    let full = SMALL.pack_bytes as u64;
    assert!(
        report.rewritten.bytes < full,
        "no damaged pack is rewritten: {report:?}"
    );
}

/// A job outlives its coordinator: what its captures were told to be there was doomed before the restart.
#[tokio::test]
async fn a_commit_copies_what_another_has_doomed() {
    let store = Arc::new(TestStore::without_locks());
    let first = create(store.clone()).await;
    let old = first.claim_epoch().await.unwrap();
    capture(&first, old, 1, &files(1)).await.unwrap();
    let session = first.begin(old).await.unwrap();
    let mut told = store_files(&first, &session, 2, &files(1)).await.unwrap();
    assert_eq!(session.stats().stored_chunks, 0, "deduplicated");
    remove(&first, old, 1, at(0)).await;
    let doomed = first.collect_garbage(old, options(at(0))).await.unwrap();
    assert!(doomed.dead.packs > 0, "{doomed:?}");
    drop((session, first));

    let second = open(store.clone()).await;
    let new = second.claim_epoch().await.unwrap();
    told.epoch = new;
    second.commit_point(&told).await.unwrap();
    let swept = second
        .collect_garbage(new, options(at(5000)))
        .await
        .unwrap();
    assert_eq!(swept.swept, doomed.dead, "they go all the same");
    assert_eq!(restore(&second, 2).await.unwrap(), files(1));
    let verified = open(store).await.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

/// What is gone can't be copied: the commit says so, and nothing half is there.
#[tokio::test]
async fn a_commit_of_what_is_swept_is_refused() {
    let store = Arc::new(TestStore::without_locks());
    let first = create(store.clone()).await;
    let old = first.claim_epoch().await.unwrap();
    let session = first.begin(old).await.unwrap();
    let mut told = store_files(&first, &session, 1, &files(1)).await.unwrap();
    drop((session, first));
    let second = open(store.clone()).await;
    let new = second.claim_epoch().await.unwrap();
    for seconds in [0, 500] {
        let now = options(at(seconds));
        second.collect_garbage(new, now).await.unwrap();
    }
    told.epoch = new;
    let refused = second.commit_point(&told).await;
    assert!(
        matches!(refused, Err(RepositoryError::Incomplete { .. })),
        "{refused:?}"
    );
    assert_eq!(count(&store, "points").await, 0);
}
