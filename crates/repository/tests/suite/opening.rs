//! Making, opening and unlocking; adoption of packs that no index names.

use crate::place::TestStore;
use crate::support::{capture, copy_of, create, files, kek, open, options, restore};
use bytes::Bytes;
use holdfast_archive::Kek;
use holdfast_repository::{Repository, RepositoryError};
use holdfast_store::{
    CountingStore, FaultPlan, FaultStore, KeyPrefix, ObjectKey, ObjectStore, PutMode, StopAt,
    StopEffect,
};
use std::sync::Arc;

async fn error_of(store: &Arc<TestStore>, kek: Kek) -> RepositoryError {
    Repository::open(store.clone(), kek).await.err().unwrap()
}

async fn put(store: &TestStore, key: &str, bytes: &[u8]) {
    let key: ObjectKey = key.parse().unwrap();
    let bytes = Bytes::copy_from_slice(bytes);
    store.put(&key, bytes, PutMode::Overwrite).await.unwrap();
}

#[tokio::test]
async fn each_kind_of_place_is_told_apart() {
    let store = Arc::new(TestStore::new());
    assert!(matches!(
        error_of(&store, kek()).await,
        RepositoryError::NotFound { .. }
    ));
    put(&store, "photos/1", b"x").await;
    assert!(matches!(
        error_of(&store, kek()).await,
        RepositoryError::Foreign { .. }
    ));
    let init = Repository::init(store.clone(), options())
        .await
        .err()
        .unwrap();
    assert!(matches!(init, RepositoryError::Foreign { .. }), "{init}");

    let store = Arc::new(TestStore::new());
    put(&store, "holdfast.json", br#"{"name": "another program's"}"#).await;
    assert!(matches!(
        error_of(&store, kek()).await,
        RepositoryError::Foreign { .. }
    ));
    let newer = br#"{"repository": "holdfast", "format": 99}"#;
    put(&store, "holdfast.json", newer).await;
    let error = error_of(&store, kek()).await;
    assert!(
        matches!(error, RepositoryError::NewerFormat { format: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_second_init_changes_nothing() {
    let store = Arc::new(TestStore::new());
    let id = create(store.clone()).await.description().id.clone();
    let error = Repository::init(store.clone(), options())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, RepositoryError::AlreadyExists { .. }),
        "{error}"
    );
    assert_eq!(open(store).await.description().id, id);
}

#[tokio::test]
async fn the_wrong_key_is_named() {
    let store = Arc::new(TestStore::new());
    create(store.clone()).await;
    let other = Kek::from_hex(&"00".repeat(32)).unwrap();
    let passphrase = Kek::passphrase("correct horse").unwrap();
    for wrong in [other, passphrase] {
        let error = error_of(&store, wrong).await;
        assert!(matches!(error, RepositoryError::WrongKey { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_init_that_died_can_be_repeated() {
    for mutation in 1..=4 {
        let memory = Arc::new(TestStore::new());
        let stop_at = Some(StopAt {
            mutation,
            effect: StopEffect::Before,
        });
        let plan = FaultPlan {
            stop_at,
            ..FaultPlan::default()
        };
        let dying = Arc::new(FaultStore::new(memory.clone(), plan));
        assert!(Repository::init(dying, options()).await.is_err());
        let between = error_of(&memory, kek()).await;
        assert!(
            matches!(between, RepositoryError::NotFound { .. }),
            "{between}"
        );
        let repository = create(memory.clone()).await;
        let epoch = repository.claim_epoch().await.unwrap();
        capture(&repository, epoch, 1, &files(1)).await.unwrap();
        drop(repository);
        assert_eq!(restore(&open(memory).await, 1).await.unwrap(), files(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_inits_one_wins() {
    let store = Arc::new(TestStore::new());
    let racers: Vec<_> = (0..8)
        .map(|_| tokio::spawn(Repository::init(store.clone(), options())))
        .collect();
    let mut winners = Vec::new();
    for racer in racers {
        match racer.await.unwrap() {
            Ok(repository) => winners.push(repository.description().id.clone()),
            Err(RepositoryError::AlreadyExists { .. } | RepositoryError::Foreign { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(open(store).await.description().id, winners[0]);
}

#[tokio::test]
async fn opening_writes_nothing() {
    let memory = Arc::new(TestStore::without_locks());
    let repository = create(memory.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    let counting = Arc::new(CountingStore::new(memory));
    let reader = open(counting.clone()).await;
    restore(&reader, 1).await.unwrap();
    let counts = counting.counts();
    assert_eq!((counts.puts, counts.deletes), (0, 0));
}

#[tokio::test]
async fn packs_that_no_index_names_are_adopted() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    let packs = usize::try_from(repository.stats().packs).unwrap();
    let bare = copy_of(store.as_ref()).await;
    let indexes: KeyPrefix = "index".parse().unwrap();
    for index in bare.list(&indexes).await.unwrap() {
        bare.delete(&index.key).await.unwrap();
    }
    let adopting = open(bare.clone()).await;
    assert_eq!(adopting.report().adopted_packs, packs);
    assert_eq!(adopting.stats(), repository.stats());
    assert_eq!(restore(&adopting, 1).await.unwrap(), files(1));
    // The next commit indexes them, and stores nothing twice.
    let epoch = adopting.claim_epoch().await.unwrap();
    capture(&adopting, epoch, 2, &files(1)).await.unwrap();
    let after = open(bare).await;
    assert_eq!(after.report().adopted_packs, 0);
    assert_eq!(after.stats(), repository.stats());
}
