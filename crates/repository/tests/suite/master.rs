//! A new master key: what was written stays readable, what is written is sealed anew, and nobody who was
//! dropped reads it.

use crate::keys::{holder, holders, open_by, raw, refusal_of, shared};
use crate::place::TestStore;
use crate::support::{capture, create, files, kek, restore};
use holdfast_archive::PackHeader;
use holdfast_repository::{KeyRefusal, KeyState, Repository, RepositoryError, VerifyLevel};
use holdfast_store::{KeyPrefix, LockAttempt, ObjectStore};
use holdfast_types::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

async fn fingerprints(store: &TestStore) -> BTreeSet<String> {
    let prefix: KeyPrefix = "packs".parse().unwrap();
    let mut found = BTreeSet::new();
    for pack in store.list(&prefix).await.unwrap() {
        let bytes = store.get(&pack.key).await.unwrap();
        found.insert(hex_of(&PackHeader::parse(&bytes).unwrap().fingerprint));
    }
    found
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn old_points_stay_readable_and_new_ones_are_sealed_anew() {
    let store = shared().await;
    let old = fingerprints(&store).await;
    let before = open_by(store.clone(), kek()).await;
    let chunk_key = *before.chunk_key(&before.namespace()).as_bytes();
    let done = before.rotate_master(&kek(), NOW).await.unwrap();
    assert_eq!(done.kept, holder("first"));
    assert_eq!(done.dropped, [holder("b"), holder("words")]);
    assert_eq!((done.generation, done.resumed), (2, false));

    let after = open_by(store.clone(), kek()).await;
    assert!(after.report().damaged.is_empty(), "{:?}", after.report());
    assert_eq!(*after.chunk_key(&after.namespace()).as_bytes(), chunk_key);
    let epoch = after.claim_epoch().await.unwrap();
    assert!(epoch > done.since);
    // What is there already is not stored again.
    let packs = after.stats().chunks;
    capture(&after, epoch, 2, &files(1)).await.unwrap();
    assert!(
        after.stats().chunks <= packs + 1,
        "{packs} {:?}",
        after.stats()
    );
    capture(&after, epoch, 3, &files(3)).await.unwrap();
    let both = fingerprints(&store).await;
    assert_eq!(both.len(), 2);
    assert!(both.is_superset(&old) && both.contains(&done.fingerprint));
    for (n, content) in [(1, 1), (2, 1), (3, 3)] {
        assert_eq!(restore(&after, n).await.unwrap(), files(content));
    }
    assert!(after.verify(VerifyLevel::Full).await.unwrap().is_sound());
}

#[tokio::test]
async fn who_was_dropped_is_out_and_who_is_added_again_reads_everything() {
    let store = shared().await;
    let first = open_by(store.clone(), kek()).await;
    first.rotate_master(&kek(), NOW).await.unwrap();
    let error = refusal_of(&store, raw(2)).await;
    assert!(matches!(error, RepositoryError::WrongKey { .. }), "{error}");
    let first = open_by(store.clone(), kek()).await;
    let epoch = first.claim_epoch().await.unwrap();
    capture(&first, epoch, 2, &files(2)).await.unwrap();
    first.add_key(&raw(2), &holder("b"), NOW).await.unwrap();
    let b = open_by(store.clone(), raw(2)).await;
    for n in 1..=2 {
        assert_eq!(restore(&b, n).await.unwrap(), files(n.into()));
    }
    // And again, by the other one.
    let done = b.rotate_master(&raw(2), NOW).await.unwrap();
    assert_eq!((done.generation, done.dropped), (3, vec![holder("first")]));
    let b = open_by(store.clone(), raw(2)).await;
    let epoch = b.claim_epoch().await.unwrap();
    capture(&b, epoch, 3, &files(3)).await.unwrap();
    for n in 1..=3 {
        assert_eq!(restore(&b, n).await.unwrap(), files(n.into()));
    }
    assert!(b.verify(VerifyLevel::Full).await.unwrap().is_sound());
    assert_eq!(holders(&b).await, [("b".to_owned(), KeyState::Sound, true)]);
}

/// The description's copy and all that is new must not open with the key that leaked.
#[tokio::test]
async fn the_old_master_key_opens_nothing_new() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    repository.rotate_master(&kek(), NOW).await.unwrap();
    let after = open_by(store.clone(), kek()).await;
    let epoch = after.claim_epoch().await.unwrap();
    capture(&after, epoch, 1, &files(1)).await.unwrap();
    let keys = after.list_keys().await.unwrap();
    let newest = &keys[0].fingerprint;
    for found in store.list(&KeyPrefix::root()).await.unwrap() {
        let bytes = store.get(&found.key).await.unwrap();
        if bytes.starts_with(b"HFOB") || bytes.starts_with(b"HFPK") {
            assert_eq!(hex_of(&bytes[16..24]), *newest, "{}", found.key);
        }
    }
    // A program of format 1 finds a key file that it refuses where it looks for the only one.
    let id = &after.description().id;
    for object in [format!("keys/{id}.json"), format!("copy/{id}/key.json")] {
        let text = store.get(&object.parse().unwrap()).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(
            text.contains("\"format\": 2") && !text.contains("wrapped"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn it_needs_the_lock_and_fences_off_other_writers() {
    let store = Arc::new(TestStore::new());
    let running = create(store.clone()).await;
    let epoch = running.claim_epoch().await.unwrap();
    let other = open_by(store.clone(), kek()).await;
    let error = other.rotate_master(&kek(), NOW).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Locked { .. }), "{error}");
    assert_eq!(holders(&running).await.len(), 1);
    capture(&running, epoch, 1, &files(1)).await.unwrap();
    drop(running);

    // A bucket has no lock: there the claim stops the other one.
    let bucket = Arc::new(TestStore::without_locks());
    assert!(matches!(
        bucket.try_lock("x").await.unwrap(),
        LockAttempt::Unsupported
    ));
    let running = create(bucket.clone()).await;
    let epoch = running.claim_epoch().await.unwrap();
    let other = open_by(bucket.clone(), kek()).await;
    other.rotate_master(&kek(), NOW).await.unwrap();
    let error = capture(&running, epoch, 1, &files(1)).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::StaleEpoch { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn it_needs_the_key_that_opened_the_repository() {
    let store = shared().await;
    let repository = open_by(store.clone(), kek()).await;
    for other in [raw(2), raw(99)] {
        let error = repository.rotate_master(&other, NOW).await.unwrap_err();
        assert!(
            matches!(error, RepositoryError::Keys(KeyRefusal::OtherKey)),
            "{error}"
        );
    }
    Repository::open(store, raw(2)).await.unwrap();
}
