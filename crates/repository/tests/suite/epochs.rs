//! I3: a writer with an older epoch than the newest is refused.

use crate::place::TestStore;
use crate::support::{capture, chunk, create, files, open, point_id, restore, store_files};
use holdfast_archive::Codec;
use holdfast_repository::RepositoryError;
use holdfast_store::{KeyPrefix, ObjectStore};
use holdfast_types::Epoch;
use std::collections::BTreeSet;
use std::sync::Arc;

fn is_stale(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::StaleEpoch { .. })
}

#[tokio::test]
async fn a_superseded_writer_is_refused_everywhere() {
    let store = Arc::new(TestStore::without_locks());
    let old = create(store.clone()).await;
    let old_epoch = old.claim_epoch().await.unwrap();
    let flushed = old.begin(old_epoch).await.unwrap();
    let manifest = store_files(&old, &flushed, 1, &files(1)).await.unwrap();
    let unflushed = old.begin(old_epoch).await.unwrap();
    let (id, len, data) = chunk(&old, 1, 5000);
    unflushed.put(id, Codec::Stored, len, data).await.unwrap();

    let new = open(store.clone()).await;
    let new_epoch = new.claim_epoch().await.unwrap();
    assert!(new_epoch > old_epoch);
    assert!(is_stale(&unflushed.flush().await.unwrap_err()));
    assert!(is_stale(&old.commit_point(&manifest).await.unwrap_err()));
    assert!(is_stale(&old.begin(old_epoch).await.err().unwrap()));
    assert!(
        store
            .head(&format!("points/{}", point_id(1)).parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );

    capture(&new, new_epoch, 1, &files(1)).await.unwrap();
    assert_eq!(
        restore(&old, 1).await.unwrap(),
        files(1),
        "reading needs no epoch"
    );
}

/// A volume that is not mounted any more, or an emptied bucket: nothing may seem to be committed there.
#[tokio::test]
async fn a_writer_whose_repository_is_gone_is_refused_everywhere() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let manifest = store_files(&repository, &session, 1, &files(1))
        .await
        .unwrap();
    for found in store.list(&KeyPrefix::root()).await.unwrap() {
        store.delete(&found.key).await.unwrap();
    }
    let gone = |error: RepositoryError| {
        assert!(matches!(error, RepositoryError::Vanished { .. }), "{error}");
    };
    gone(repository.commit_point(&manifest).await.unwrap_err());
    gone(repository.begin(epoch).await.err().unwrap());
    let (id, len, data) = chunk(&repository, 1, 5000);
    session.put(id, Codec::Stored, len, data).await.unwrap();
    gone(session.flush().await.unwrap_err());
    for prefix in ["points", "index"] {
        let listed = store.list(&prefix.parse().unwrap()).await.unwrap();
        assert!(listed.is_empty(), "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_claims_all_differ() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store).await;
    let claims: Vec<_> = (0..20)
        .map(|_| {
            let repository = repository.clone();
            tokio::spawn(async move { repository.claim_epoch().await.unwrap() })
        })
        .collect();
    let mut epochs = BTreeSet::new();
    for claim in claims {
        epochs.insert(claim.await.unwrap());
    }
    assert_eq!(epochs, (1..=20).map(Epoch).collect());
    assert_eq!(repository.newest_epoch().await.unwrap(), Epoch(20));
}

#[tokio::test]
async fn lost_claims_do_not_turn_the_epoch_back() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    for _ in 0..3 {
        repository.claim_epoch().await.unwrap();
    }
    capture(&repository, Epoch(3), 1, &files(1)).await.unwrap();
    let claims: KeyPrefix = "epochs".parse().unwrap();
    for claim in store.list(&claims).await.unwrap() {
        store.delete(&claim.key).await.unwrap();
    }
    let reopened = open(store).await;
    assert_eq!(reopened.claim_epoch().await.unwrap(), Epoch(4));
}

#[tokio::test]
async fn a_living_writer_of_the_same_machine_locks_others_out() {
    let store = Arc::new(TestStore::new());
    let first = create(store.clone()).await;
    first.claim_epoch().await.unwrap();
    assert_eq!(
        first.claim_epoch().await.unwrap(),
        Epoch(2),
        "it may claim again"
    );
    let second = open(store.clone()).await;
    let error = second.claim_epoch().await.unwrap_err();
    assert!(matches!(&error, RepositoryError::Locked { holder, .. } if holder.contains("process")));
    drop(first);
    assert_eq!(second.claim_epoch().await.unwrap(), Epoch(3));
}

#[tokio::test]
async fn a_claim_finds_what_the_outgoing_writer_wrote_meanwhile() {
    let store = Arc::new(TestStore::without_locks());
    let old = create(store.clone()).await;
    let old_epoch = old.claim_epoch().await.unwrap();
    let new = open(store.clone()).await;
    capture(&old, old_epoch, 1, &files(1)).await.unwrap();
    let manifest = old.read_point(&point_id(1)).await.unwrap();
    let collection = &manifest.collections[0];
    assert!(
        !new.check_collection(collection).await.unwrap().is_empty(),
        "not known before the claim"
    );
    new.claim_epoch().await.unwrap();
    assert!(new.check_collection(collection).await.unwrap().is_empty());
    assert_eq!(restore(&new, 1).await.unwrap(), files(1));
}

#[tokio::test]
async fn a_check_finds_a_pack_that_went_away_since() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    let manifest = repository.read_point(&point_id(1)).await.unwrap();
    let collection = &manifest.collections[0];
    let affected = repository.check_collection(collection).await.unwrap();
    assert!(affected.is_empty(), "{affected:?}");
    let packs: KeyPrefix = "packs".parse().unwrap();
    for pack in store.list(&packs).await.unwrap() {
        store.delete(&pack.key).await.unwrap();
    }
    let affected = repository.check_collection(collection).await.unwrap();
    assert!(affected[0].missing_chunks > 0, "{affected:?}");
}
