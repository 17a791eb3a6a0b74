//! What a copy must not be, and what it must not do: each refused by name, with nothing changed.

use crate::copying::{Twins, check_alone, name, open_copy};
use crate::garbage::at;
use crate::place::TestStore;
use crate::support::{SMALL, capture, copy_of, create, files, kek, open, point_id, restore};
use bytes::Bytes;
use holdfast_archive::Kek;
use holdfast_repository::{KeysSynced, Repository, RepositoryError, RoleRefusal};
use holdfast_store::{
    FaultKind, FaultPlan, FaultStore, KeyPrefix, ObjectStore, PutMode, StoreError,
};
use holdfast_types::Epoch;
use std::collections::BTreeSet;
use std::sync::Arc;

async fn objects(store: &dyn ObjectStore) -> Vec<(String, Bytes)> {
    let mut objects = Vec::new();
    for found in store.list(&KeyPrefix::root()).await.unwrap() {
        objects.push((found.key.to_string(), store.get(&found.key).await.unwrap()));
    }
    objects
}

#[tokio::test]
async fn a_copy_is_made_where_nothing_is_and_nowhere_else() {
    let twins = Twins::new(1).await;
    let make = async |store: &dyn ObjectStore| {
        let before = objects(store).await;
        let refused = twins.primary.make_copy(store, &name(), at(1)).await;
        assert_eq!(objects(store).await, before, "something was changed");
        refused.unwrap_err()
    };
    // Another repository; something else; a repository of the same id under other keys.
    let other = Arc::new(TestStore::without_locks());
    create(other.clone()).await;
    assert!(matches!(
        make(other.as_ref()).await,
        RepositoryError::Foreign { .. }
    ));
    let notes = TestStore::new();
    let key = "notes.txt".parse().unwrap();
    let put = notes.put(&key, Bytes::from_static(b"hello"), PutMode::CreateNew);
    put.await.unwrap();
    assert!(matches!(
        make(&notes).await,
        RepositoryError::Foreign { .. }
    ));
    let description = twins
        .ours
        .get(&"holdfast.json".parse().unwrap())
        .await
        .unwrap();
    let alias = "holdfast.json".parse().unwrap();
    let forged = TestStore::new();
    forged
        .put(&alias, description, PutMode::CreateNew)
        .await
        .unwrap();
    assert!(matches!(
        make(&forged).await,
        RepositoryError::Foreign { .. }
    ));
    // The primary itself, under whatever address, and a duplicate of it.
    for itself in [twins.ours.clone(), copy_of(twins.ours.as_ref()).await] {
        let refused = make(itself.as_ref()).await;
        let no_copy = matches!(refused, RepositoryError::Role(RoleRefusal::NoCopy { .. }));
        assert!(no_copy, "{refused:?}");
    }
    // It is a copy already: of this name that is no error, of another it is.
    let new = twins
        .primary
        .make_copy(twins.theirs.as_ref(), &name(), at(1))
        .await;
    assert!(!new.unwrap());
    let other = "c".parse().unwrap();
    let refused = twins
        .primary
        .make_copy(twins.theirs.as_ref(), &other, at(1))
        .await;
    let other_name = matches!(
        refused,
        Err(RepositoryError::Role(RoleRefusal::OtherName { .. }))
    );
    assert!(other_name, "{refused:?}");
}

#[tokio::test]
async fn a_copy_is_no_primary() {
    let twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    let alone = open(twins.theirs.clone()).await;
    let refused = alone.claim_epoch().await.unwrap_err();
    let is_copy = matches!(refused, RepositoryError::Role(RoleRefusal::IsCopy { .. }));
    assert!(is_copy, "{refused:?}");
    assert!(alone.rotate_master(&kek(), at(1)).await.is_err());
    // The primary's coordinator goes on writing to it.
    capture(&twins.primary, twins.epoch, 2, &files(2))
        .await
        .unwrap();
    twins.bring(2).await.unwrap();
    check_alone(&twins.theirs, &[1, 2]).await;
}

#[tokio::test]
async fn a_detached_copy_is_left_as_it_is() {
    let twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    twins.copy.detach(&name(), at(1)).await.unwrap();
    let checked = twins.copy.check_copy(&name()).await;
    assert!(matches!(
        checked,
        Err(RepositoryError::Role(RoleRefusal::Detached { .. }))
    ));
    check_alone(&twins.theirs, &[1]).await;
    let again = twins
        .primary
        .make_copy(twins.theirs.as_ref(), &name(), at(2))
        .await;
    assert!(!again.unwrap());
    twins.copy.check_copy(&name()).await.unwrap();
}

/// A coordinator that was superseded on the primary is refused on the copy.
#[tokio::test]
async fn a_term_that_is_over_writes_nothing_to_a_copy() {
    let twins = Twins::new(2).await;
    let newer = open(twins.ours.clone()).await;
    let term = newer.claim_epoch().await.unwrap();
    let copy = open_copy(&newer, twins.theirs.clone()).await;
    copy.claim_copy(&newer, &name(), term).await.unwrap();
    // The same coordinator may come again.
    copy.claim_copy(&newer, &name(), term).await.unwrap();
    let before = objects(twins.theirs.as_ref()).await;
    let late = twins.bring(1).await.unwrap_err();
    assert!(
        matches!(late, RepositoryError::StaleEpoch { .. }),
        "{late:?}"
    );
    let late = twins
        .copy
        .claim_copy(&twins.primary, &name(), twins.epoch)
        .await
        .unwrap_err();
    assert!(
        matches!(late, RepositoryError::StaleEpoch { .. }),
        "{late:?}"
    );
    assert_eq!(objects(twins.theirs.as_ref()).await, before);
    assert_eq!(copy.newest_epoch().await.unwrap(), term);
    assert!(term > Epoch(1));
}

#[tokio::test]
async fn a_copy_follows_the_keys_and_refuses_newer_ones() {
    let twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    let stale = copy_of(twins.theirs.as_ref()).await;
    let new = Kek::from_hex(&"6b".repeat(32)).unwrap();
    let holder = "new".parse().unwrap();
    twins
        .primary
        .rotate_key(&new, &holder, at(1))
        .await
        .unwrap();
    let open_new =
        async |store: Arc<TestStore>| Repository::open_with(store, new.clone(), SMALL).await;
    let primary = open_new(twins.ours.clone()).await.unwrap();
    let copy = open_copy(&primary, twins.theirs.clone()).await;
    let keys = primary.sync_keys(&copy, None).await.unwrap();
    assert_eq!(keys.only_in_copy, ["first"]);
    primary.rotate_master(&new, at(2)).await.unwrap();
    let primary = open_new(twins.ours.clone()).await.unwrap();
    let term = primary.claim_epoch().await.unwrap();
    capture(&primary, term, 2, &files(2)).await.unwrap();

    let copy = open_copy(&primary, twins.theirs.clone()).await;
    copy.claim_copy(&primary, &name(), term).await.unwrap();
    let keys = primary.sync_keys(&copy, None).await.unwrap();
    assert!(keys.written > 0);
    // It is not a holder that the primary lacks.
    let older = "new (an older file: the key was replaced since)".to_owned();
    assert_eq!(keys.only_in_copy, ["first", older.as_str()]);
    let named = BTreeSet::from([older, "new".to_owned(), "first".to_owned()]);
    let released = primary.sync_keys(&copy, Some((at(3), &named))).await;
    assert_eq!(released.unwrap().written, 2);
    let keys = primary.sync_keys(&copy, None).await.unwrap();
    assert_eq!(keys, KeysSynced::default());
    primary.sync_point(&copy, term, &point_id(2)).await.unwrap();
    let alone = open_new(twins.theirs.clone()).await.unwrap();
    for n in 1..=2 {
        assert_eq!(restore(&alone, n).await.unwrap(), files(n.into()));
    }
    // A primary of before the rotation, as an old backup of it may be, does not know the new key.
    let old = open(stale).await;
    let refused = old.open_copy(twins.theirs.clone(), &name(), SMALL).await;
    let refused = refused.map(drop).unwrap_err();
    let other = matches!(
        refused,
        RepositoryError::Role(RoleRefusal::OtherMaster { .. })
    );
    assert!(other, "{refused:?}");
}

#[tokio::test]
async fn a_full_or_read_only_copy_is_named_and_gone_on_with() {
    let twins = Twins::new(2).await;
    let faulty = Arc::new(FaultStore::new(twins.theirs.clone(), FaultPlan::default()));
    let copy = open_copy(&twins.primary, faulty.clone()).await;
    for kind in [FaultKind::NoSpace, FaultKind::ReadOnly] {
        faulty.set_plan(FaultPlan {
            fail_per_mille: 1000,
            kind,
            ..FaultPlan::default()
        });
        let id = point_id(1);
        let refused = twins.primary.sync_point(&copy, twins.epoch, &id).await;
        let named = matches!(
            (kind, &refused),
            (
                FaultKind::NoSpace,
                Err(RepositoryError::Store(StoreError::NoSpace { .. }))
            ) | (
                FaultKind::ReadOnly,
                Err(RepositoryError::Store(StoreError::ReadOnly { .. }))
            )
        );
        assert!(named, "{refused:?}");
    }
    faulty.heal();
    for n in 1..=2 {
        let id = point_id(n);
        twins
            .primary
            .sync_point(&copy, twins.epoch, &id)
            .await
            .unwrap();
    }
    check_alone(&twins.theirs, &[1, 2]).await;
}
