//! Archived logs whose parts are merged and removed: what can be read stays the same, whatever happens in between.

use crate::place::{HookedStore, TestStore};
use crate::support::{create, kek, open};
use crate::wal::{part, parts, series};
use holdfast_archive::WalObject;
use holdfast_repository::{
    RemovedParts, Repository, RepositoryError, StoredPart, VerifyLevel, WalListing, WalPart,
};
use holdfast_store::{FaultPlan, FaultStore, ObjectStore, PutMode, StopAt, StopEffect};
use holdfast_types::Epoch;
use std::ops::Range;
use std::sync::Arc;

const PLENTY: u64 = 1 << 20;

async fn append(repository: &Repository, epoch: Epoch, runs: &[Range<u64>]) {
    for run in runs {
        let run = part(1, run.clone());
        repository.append_wal(epoch, run).await.unwrap();
    }
}

fn names(firsts: &[u64]) -> Vec<WalPart> {
    firsts
        .iter()
        .map(|first| WalPart::appended(*first))
        .collect()
}

async fn merge(
    repository: &Repository,
    epoch: Epoch,
    parts: &[WalPart],
    max_data: u64,
) -> Result<Option<WalPart>, RepositoryError> {
    let series = series(1);
    repository.merge_wal(epoch, &series, parts, max_data).await
}

async fn remove(
    repository: &Repository,
    epoch: Epoch,
    parts: &[StoredPart],
) -> Result<RemovedParts, RepositoryError> {
    let series = series(1);
    repository.remove_wal(epoch, &series, parts).await
}

fn merged(run: Range<u64>) -> WalPart {
    WalPart {
        first: run.start,
        merged: Some(run.end),
    }
}

async fn listing(repository: &Repository) -> WalListing {
    let namespace = repository.namespace();
    let all = repository.list_wal(&namespace).await.unwrap();
    let own = all.into_iter().find(|found| found.series == series(1));
    own.unwrap()
}

/// Index, CRC and data of every entry that can be read, in order; each part continues the one before.
async fn entries(repository: &Repository) -> Vec<(u64, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut before: Option<WalObject> = None;
    for stored in listing(repository).await.parts.values() {
        let part = repository.read_wal(&series(1), stored.part).await;
        let part = part.unwrap().unwrap();
        if let Some(before) = &before {
            part.follows(before).unwrap();
        }
        let frames = part.frames();
        all.extend(frames.map(|(index, _, frame)| (index, frame.crc, frame.data.clone())));
        before = Some(part);
    }
    all
}

#[tokio::test]
async fn a_merged_part_stands_for_those_that_it_was_made_of() {
    let store = Arc::new(TestStore::new());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    append(&repository, epoch, &[0..5, 5..6, 6..9, 9..20]).await;
    let before = entries(&repository).await;
    let wanted = names(&[0, 5, 6]);
    let made = merge(&repository, epoch, &wanted, PLENTY).await;
    assert_eq!(made.unwrap(), Some(merged(0..9)));

    let listed = listing(&repository).await;
    let counted: Vec<_> = listed.parts.values().map(|stored| stored.part).collect();
    assert_eq!(counted, [merged(0..9), WalPart::appended(9)]);
    let replaced: Vec<_> = listed.replaced.iter().map(|stored| stored.part).collect();
    assert_eq!(replaced, wanted);
    assert_eq!(entries(&repository).await, before);

    let removed = remove(&repository, epoch, &listed.replaced).await;
    let removed = removed.unwrap();
    let bytes: u64 = listed.replaced.iter().map(|stored| stored.size).sum();
    assert_eq!(
        (removed.objects, removed.bytes, removed.refused),
        (3, bytes, 0)
    );
    append(&repository, epoch, std::slice::from_ref(&(20..22))).await;

    // A second merge takes the first one in.
    let all = [merged(0..9), WalPart::appended(9), WalPart::appended(20)];
    let made = merge(&repository, epoch, &all, PLENTY).await;
    assert_eq!(made.unwrap(), Some(merged(0..22)));
    let reader = open(store.clone()).await;
    assert_eq!(parts(&reader, 1).await, [0]);
    assert_eq!(listing(&reader).await.replaced.len(), 3);
    assert_eq!(entries(&reader).await[..20], before);
    let last = reader.last_wal(&series(1)).await.unwrap().unwrap();
    assert_eq!((last.run().first, last.run().next), (0, 22));
    let verified = reader.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    let leftovers = reader.find_leftovers().await.unwrap();
    assert!(leftovers.is_tidy(), "{leftovers:?}");
}

/// What does not belong together is not put together: the first parts that do are.
#[tokio::test]
async fn a_merge_ends_where_parts_do_not_follow() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    append(&repository, epoch, &[0..2, 2..4, 4..6, 8..10, 10..12]).await;
    let made = async |firsts: &[u64], max_data: u64| {
        let made = merge(&repository, epoch, &names(firsts), max_data).await;
        made.unwrap()
    };
    // An entry has eight bytes.
    assert_eq!(made(&[0, 2, 4], 2 * 8).await, None, "no room for two");
    assert_eq!(made(&[0, 2, 4], 5 * 8).await, Some(merged(0..4)), "for two");
    assert_eq!(made(&[4, 8, 10], PLENTY).await, None, "a gap");
    assert_eq!(made(&[4, 6], PLENTY).await, None, "it is gone");
    assert_eq!(made(&[8, 10], PLENTY).await, Some(merged(8..12)));

    let listed = store.list(&"wal".parse().unwrap()).await.unwrap();
    let damaged = listed.into_iter().find(|o| o.key.as_str().ends_with("010"));
    let key = damaged.unwrap().key;
    let mut bytes = store.get(&key).await.unwrap().to_vec();
    bytes[100] ^= 1;
    let put = store.put(&key, bytes.into(), PutMode::Overwrite).await;
    put.unwrap();
    append(&repository, epoch, std::slice::from_ref(&(12..14))).await;
    assert_eq!(made(&[8, 10, 12], PLENTY).await, None, "damage behind it");
    let begins = names(&[10, 12]);
    let made = merge(&repository, epoch, &begins, PLENTY).await;
    let error = made.unwrap_err();
    assert!(matches!(error, RepositoryError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_superseded_writer_neither_merges_nor_removes() {
    let store = Arc::new(TestStore::without_locks());
    let old = create(store.clone()).await;
    let old_epoch = old.claim_epoch().await.unwrap();
    append(&old, old_epoch, &[0..2, 2..4]).await;
    let new = open(store.clone()).await;
    new.claim_epoch().await.unwrap();
    let made = merge(&old, old_epoch, &names(&[0, 2]), PLENTY).await;
    let refused = made.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::StaleEpoch { .. }),
        "{refused}"
    );
    let all: Vec<StoredPart> = listing(&new).await.parts.into_values().collect();
    let removed = remove(&old, old_epoch, &all).await;
    let refused = removed.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::StaleEpoch { .. }),
        "{refused}"
    );
    assert_eq!(parts(&new, 1).await, [0, 2]);
}

/// The store fails before or after each change of a merge and of the removal that follows: every entry can be read, and doing it again ends it.
#[tokio::test]
async fn whatever_fails_every_entry_can_be_read() {
    for effect in [StopEffect::Before, StopEffect::After] {
        for mutation in 1..=4 {
            let memory = Arc::new(TestStore::without_locks());
            let creator = create(memory.clone()).await;
            let epoch = creator.claim_epoch().await.unwrap();
            append(&creator, epoch, &[0..2, 2..4, 4..6]).await;
            let before = entries(&creator).await;
            let plan = FaultPlan {
                stop_at: Some(StopAt { mutation, effect }),
                ..FaultPlan::default()
            };
            let store = Arc::new(FaultStore::new(memory.clone(), plan));
            let repository = Repository::open(store.clone(), kek()).await.unwrap();
            let compact = async || -> Result<(), RepositoryError> {
                let wanted = names(&[0, 2, 4]);
                let made = merge(&repository, epoch, &wanted, PLENTY).await;
                made?;
                let replaced = listing(&repository).await.replaced;
                let removed = remove(&repository, epoch, &replaced).await;
                removed.map(drop)
            };
            assert!(compact().await.is_err(), "{effect:?} {mutation}");
            assert_eq!(entries(&creator).await, before, "{effect:?} {mutation}");
            store.heal();
            let listed = listing(&repository).await;
            if listed.parts.len() > 1 {
                compact().await.unwrap();
            } else {
                let removed = remove(&repository, epoch, &listed.replaced).await;
                removed.unwrap();
            }
            assert_eq!(entries(&creator).await, before, "{effect:?} {mutation}");
            let left = memory.list(&"wal".parse().unwrap()).await.unwrap();
            assert_eq!(left.len(), 1, "{effect:?} {mutation}");
        }
    }
}

/// The name says how far a merged part reaches, and is believed only if it is true: else a short one would hide what follows.
#[tokio::test]
async fn a_merged_part_that_says_more_than_it_holds_is_refused() {
    let store = Arc::new(TestStore::new());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    append(&repository, epoch, &[0..2, 2..4]).await;
    let made = merge(&repository, epoch, &names(&[0, 2]), PLENTY).await;
    made.unwrap();
    let listed = store.list(&"wal".parse().unwrap()).await.unwrap();
    let whole = listed
        .iter()
        .find(|object| object.key.as_str().contains('-'));
    let from = &whole.unwrap().key;
    let to = from
        .as_str()
        .replace("-00000000000000000004", "-00000000000000000009");
    let bytes = store.get(from).await.unwrap();
    let to = to.parse().unwrap();
    store.put(&to, bytes, PutMode::CreateNew).await.unwrap();
    let error = repository.read_wal(&series(1), merged(0..9)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, RepositoryError::Damaged { .. }), "{error}");
    let found = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(!found.is_sound());
}

/// While the small ones are there, damage of the merged one loses nothing; but it is damage, and proves nothing.
#[tokio::test]
async fn behind_a_damaged_merged_part_the_others_are_read() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    append(&repository, epoch, &[0..2, 2..4, 4..6, 6..8]).await;
    let before = entries(&repository).await;
    for wanted in [&names(&[0, 2])[..], &[merged(0..4), WalPart::appended(4)]] {
        let made = merge(&repository, epoch, wanted, PLENTY).await;
        made.unwrap().unwrap();
    }
    let whole = merged(0..6);
    assert!(repository.prove_wal(&series(1), whole).await.unwrap());
    let absent = repository.prove_wal(&series(1), merged(0..5)).await;
    assert!(!absent.unwrap());
    let flip = async |name: &str| {
        let listed = store.list(&"wal".parse().unwrap()).await.unwrap();
        let found = listed.into_iter().find(|o| o.key.as_str().ends_with(name));
        let key = found.unwrap().key;
        let mut bytes = store.get(&key).await.unwrap().to_vec();
        bytes[100] ^= 1;
        let put = store.put(&key, bytes.into(), PutMode::Overwrite);
        put.await.unwrap();
    };
    flip("0-00000000000000000006").await;
    assert_eq!(entries(&repository).await, before);
    let proven = repository.prove_wal(&series(1), whole).await;
    assert!(matches!(proven, Err(RepositoryError::Damaged { .. })));
    let found = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(!found.is_sound());
    // Of two that begin alike the sound one serves.
    flip("0-00000000000000000004").await;
    assert_eq!(entries(&repository).await, before);
    let replaced = listing(&repository).await.replaced;
    remove(&repository, epoch, &replaced[..1]).await.unwrap();
    flip("2").await;
    let read = repository.read_wal(&series(1), whole).await;
    assert!(matches!(read, Err(RepositoryError::Damaged { .. })));
}

#[tokio::test]
async fn a_merged_part_that_comes_back_otherwise_does_not_stay() {
    let store = Arc::new(HookedStore {
        inner: TestStore::without_locks(),
        on_put: Box::new(|key, data| {
            let name = key.as_str().rsplit('/').next();
            let is_merged = name.is_some_and(|name| name.len() == 41);
            let mut bytes = data.to_vec();
            if is_merged {
                bytes[100] ^= 1;
            }
            Box::pin(async move { bytes.into() })
        }),
    });
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    append(&repository, epoch, &[0..2, 2..4]).await;
    let before = entries(&repository).await;
    let made = merge(&repository, epoch, &names(&[0, 2]), PLENTY).await;
    let error = made.unwrap_err();
    assert!(matches!(error, RepositoryError::Damaged { .. }), "{error}");
    assert_eq!(listing(&repository).await.parts.len(), 2);
    assert_eq!(entries(&repository).await, before);
}

/// A coordinator that was superseded may have been about to merge parts, and its successor merged others: no entry seems to be missing, and none goes
/// for which nothing else stands.
#[tokio::test]
async fn merged_parts_that_overlap_hide_nothing() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    append(&repository, epoch, &[0..2, 2..4, 4..6, 6..8, 8..10]).await;
    let before = entries(&repository).await;
    for (wanted, made) in [(&[0, 2, 4][..], 0..6), (&[4, 6], 4..8)] {
        let wanted = names(wanted);
        let part = merge(&repository, epoch, &wanted, PLENTY).await;
        assert_eq!(part.unwrap(), Some(merged(made)));
    }
    let counted = async || {
        let listed = listing(&repository).await;
        let parts = listed.parts.into_values().map(|stored| stored.part);
        parts.collect::<Vec<WalPart>>()
    };
    let appended = WalPart::appended;
    let expected = [merged(0..6), appended(6), appended(8)];
    assert_eq!(counted().await, expected);
    assert_eq!(entries(&repository).await, before);
    let verified = repository.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");

    // What may go is what a part stands for that counts: not the other merged one.
    let listed = listing(&repository).await;
    let is_stood_for = |stored: &&StoredPart| {
        let mut parts = listed.parts.values();
        parts.any(|whole| whole.part.stands_for(stored.part))
    };
    let replaced = listed.replaced.iter().filter(is_stood_for);
    let replaced: Vec<StoredPart> = replaced.copied().collect();
    let firsts: Vec<WalPart> = replaced.iter().map(|stored| stored.part).collect();
    assert_eq!(firsts, names(&[0, 2, 4]));

    // Earlier versions may have deleted what the other one stands for: then that one counts.
    let parts: Vec<StoredPart> = listed.parts.values().copied().collect();
    let six: Vec<StoredPart> = parts
        .into_iter()
        .filter(|p| p.part == appended(6))
        .collect();
    remove(&repository, epoch, &six).await.unwrap();
    let expected = [appended(0), appended(2), merged(4..8), appended(8)];
    assert_eq!(counted().await, expected);
    assert_eq!(entries(&repository).await, before);

    // With both gone nothing is put aside.
    remove(&repository, epoch, &replaced).await.unwrap();
    let both = [merged(0..6), merged(4..8), appended(8)];
    assert_eq!(counted().await, both);
}
