//! Write sessions: deduplication, many at once, back-pressure, failing packs.

use crate::place::{HookedStore, TestStore};
use crate::support::{
    Files, SMALL, capture, chunk, create, files, kek, noise, open, options, restore,
};
use bytes::Bytes;
use futures::FutureExt;
use holdfast_archive::Codec;
use holdfast_repository::{Repository, RepositoryError, Tuning};
use holdfast_store::{
    FaultKind, FaultPlan, FaultStore, ObjectStore, PutMode, StopAt, StopEffect, StoreError,
};
use std::sync::Arc;
use tokio::sync::Semaphore;

#[tokio::test]
async fn what_was_captured_comes_back_after_reopening() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    assert_eq!(restore(&repository, 1).await.unwrap(), files(1));
    let reopened = open(store).await;
    assert_eq!(restore(&reopened, 1).await.unwrap(), files(1));
    assert!(reopened.report().damaged.is_empty());
    assert_eq!(
        reopened.report().adopted_packs,
        0,
        "the index names every pack"
    );
    assert_eq!(reopened.stats(), repository.stats());
    assert!(reopened.stats().packs >= 4);
}

/// Over a server, packs of this size go in more than one part.
#[tokio::test]
async fn large_packs_come_back() {
    let store = Arc::new(TestStore::new());
    Repository::init(store.clone(), options()).await.unwrap();
    let large = Tuning {
        pack_bytes: 17 << 20,
        packs_in_flight: 2,
    };
    let repository = Repository::open_with(store.clone(), kek(), large).await;
    let repository = repository.unwrap();
    let epoch = repository.claim_epoch().await.unwrap();
    let content = Files::from([("vectors".to_owned(), noise(5, 40 << 20))]);
    capture(&repository, epoch, 1, &content).await.unwrap();
    let packs = store.list(&"packs".parse().unwrap()).await.unwrap();
    let largest = packs.iter().map(|pack| pack.size).max();
    assert!(largest > Some(16 << 20), "{largest:?}: no more than a part");
    let again = open(store).await;
    assert!(restore(&again, 1).await.unwrap() == content);
}

#[tokio::test]
async fn an_unchanged_capture_adds_no_pack() {
    let repository = create(Arc::new(TestStore::new())).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    let before = repository.stats();
    capture(&repository, epoch, 2, &files(1)).await.unwrap();
    assert_eq!(repository.stats(), before);
    assert_eq!(restore(&repository, 2).await.unwrap(), files(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_of_many_tasks_store_each_chunk_once() {
    let store = Arc::new(TestStore::new());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let tasks: Vec<_> = (0..8_u64)
        .map(|task| {
            let repository = repository.clone();
            tokio::spawn(async move {
                let session = repository.begin(epoch).await.unwrap();
                for n in 0..60 {
                    // Half of the chunks are everybody's.
                    let seed = if n % 2 == 0 { n } else { n + 1000 * (task + 1) };
                    let (id, len, data) = chunk(&repository, seed, 5000);
                    session.put(id, Codec::Stored, len, data).await.unwrap();
                    assert!(session.has(&id), "known from the moment it was taken");
                }
                session.flush().await.unwrap();
                session.stats()
            })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        let stats = task.await.unwrap();
        assert_eq!(stats.chunks, 60);
        stored += stats.stored_chunks;
    }
    assert_eq!(stored, 30 + 8 * 30);
    assert_eq!(open(store).await.stats().chunks, 30 + 8 * 30);
}

#[tokio::test]
async fn putting_waits_while_too_many_packs_are_on_their_way() {
    let permits = Arc::new(Semaphore::new(0));
    let packs = Arc::clone(&permits);
    let gate = Arc::new(HookedStore {
        inner: TestStore::new(),
        on_put: Box::new(move |key, data| {
            let is_pack = key.as_str().starts_with("packs/");
            let packs = Arc::clone(&packs);
            Box::pin(async move {
                if is_pack {
                    packs.acquire().await.unwrap().forget();
                }
                data
            })
        }),
    });
    let repository = create(gate.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let mut accepted = 0;
    loop {
        let (id, len, data) = chunk(&repository, accepted, 16 << 10);
        // Taking a chunk never waits but for this.
        let put = session.put(id, Codec::Stored, len, data);
        match put.now_or_never() {
            Some(outcome) => assert!(outcome.unwrap().stored),
            None => break,
        }
        accepted += 1;
        assert!(accepted < 1000, "nothing holds it back");
    }
    let per_pack = (SMALL.pack_bytes >> 14) as u64;
    assert_eq!(accepted, per_pack * (1 + SMALL.packs_in_flight as u64));
    permits.add_permits(100);
    let (id, len, data) = chunk(&repository, accepted, 16 << 10);
    assert!(
        session
            .put(id, Codec::Stored, len, data)
            .await
            .unwrap()
            .stored
    );
    session.flush().await.unwrap();
    assert_eq!(open(gate).await.stats().chunks, accepted + 1);
}

async fn faulty(kind: FaultKind) -> (Arc<FaultStore<TestStore>>, Repository) {
    let memory = TestStore::without_locks();
    let plan = FaultPlan {
        kind,
        // The four objects of init, the epoch, then the first pack.
        stop_at: Some(StopAt {
            mutation: 6,
            effect: StopEffect::Before,
        }),
        ..FaultPlan::default()
    };
    let store = Arc::new(FaultStore::new(memory, plan));
    let repository = create(store.clone()).await;
    (store, repository)
}

#[tokio::test]
async fn a_full_disk_is_named_and_the_next_capture_after_it_succeeds() {
    for kind in [FaultKind::NoSpace, FaultKind::ReadOnly] {
        let (store, repository) = faulty(kind).await;
        let epoch = repository.claim_epoch().await.unwrap();
        let error = capture(&repository, epoch, 1, &files(1)).await.unwrap_err();
        match kind {
            FaultKind::NoSpace => {
                assert!(matches!(
                    error,
                    RepositoryError::Store(StoreError::NoSpace { .. })
                ));
            }
            FaultKind::ReadOnly => {
                assert!(matches!(
                    error,
                    RepositoryError::Store(StoreError::ReadOnly { .. })
                ));
            }
            FaultKind::Unavailable => panic!("not tried"),
        }
        store.heal();
        let listed = repository.list_points().await.unwrap();
        assert!(listed.is_empty());
        capture(&repository, epoch, 1, &files(1)).await.unwrap();
        assert_eq!(restore(&repository, 1).await.unwrap(), files(1));
    }
}

#[tokio::test]
async fn whoever_was_told_yes_learns_that_the_pack_failed() {
    let (store, repository) = faulty(FaultKind::NoSpace).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let [first, second] = [
        repository.begin(epoch).await.unwrap(),
        repository.begin(epoch).await.unwrap(),
    ];
    let (id, len, data) = chunk(&repository, 1, 5000);
    first
        .put(id, Codec::Stored, len, data.clone())
        .await
        .unwrap();
    assert!(second.has(&id));
    first.flush().await.unwrap_err();
    assert!(!second.has(&id), "no longer");
    store.heal();
    second.flush().await.unwrap_err();
    second
        .put(id, Codec::Stored, len, data.clone())
        .await
        .unwrap_err();
    let third = repository.begin(epoch).await.unwrap();
    assert!(
        third
            .put(id, Codec::Stored, len, data)
            .await
            .unwrap()
            .stored
    );
    third.flush().await.unwrap();
    assert!(repository.has_chunk(&id));
}

#[tokio::test]
async fn an_impossible_chunk_is_refused_alone() {
    let repository = create(Arc::new(TestStore::new())).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let (id, len, data) = chunk(&repository, 1, 100);
    let too_long = Bytes::from(vec![0; (1 << 20) + 1]);
    for (plain_len, bytes) in [
        (0, data.clone()),
        ((1 << 20) + 1, data.clone()),
        (9, too_long),
        (99, data.clone()),
    ] {
        let error = session
            .put(id, Codec::Stored, plain_len, bytes)
            .await
            .unwrap_err();
        assert!(matches!(error, RepositoryError::Invalid { .. }), "{error}");
    }
    session.put(id, Codec::Stored, len, data).await.unwrap();
    session.flush().await.unwrap();
    assert!(repository.has_chunk(&id));
}

#[tokio::test]
async fn a_point_whose_chunks_are_not_durable_is_not_committed() {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let manifest = crate::support::store_files(&repository, &session, 1, &files(1))
        .await
        .unwrap();
    // A pack goes away underneath: a fresh listing shows it.
    let packs = store.list(&"packs".parse().unwrap()).await.unwrap();
    let bytes = store.get(&packs[0].key).await.unwrap();
    store.delete(&packs[0].key).await.unwrap();
    let error = repository.commit_point(&manifest).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::Incomplete { missing: 1.., .. }),
        "{error}"
    );
    assert!(repository.list_points().await.unwrap().is_empty());
    store
        .put(&packs[0].key, bytes, PutMode::CreateNew)
        .await
        .unwrap();
    repository.commit_point(&manifest).await.unwrap();
    let again = repository.commit_point(&manifest).await.unwrap_err();
    assert!(
        matches!(again, RepositoryError::PointExists { .. }),
        "{again}"
    );
    let elsewhere = Repository::open(store, kek()).await.unwrap();
    assert_eq!(restore(&elsewhere, 1).await.unwrap(), files(1));
}

#[tokio::test]
async fn a_recipe_that_lies_about_a_length_is_not_committed() {
    let repository = create(Arc::new(TestStore::new())).await;
    let epoch = repository.claim_epoch().await.unwrap();
    let session = repository.begin(epoch).await.unwrap();
    let small = files(1).into_iter().take(1).collect();
    let mut manifest = crate::support::store_files(&repository, &session, 1, &small)
        .await
        .unwrap();
    let shard = &mut manifest.collections[0].shards[0];
    let mut recipe = repository.read_shard_recipe(shard).await.unwrap();
    let (id, len, data) = chunk(&repository, 5, 5000);
    session.put(id, Codec::Stored, len, data).await.unwrap();
    recipe.files[0].extents = vec![holdfast_archive::Extent::Chunk { id, len: 4999 }];
    recipe.files[0].size = 4999;
    let encoded = recipe.encode().unwrap();
    shard.recipe_len = encoded.len() as u64;
    shard.recipe_hash = hex::encode(holdfast_archive::ShardRecipe::hash(&encoded));
    let key = repository.chunk_key(&repository.namespace());
    shard.recipe = session.put_recipe(key, encoded).await.unwrap();
    session.flush().await.unwrap();
    let error = repository.commit_point(&manifest).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Invalid { .. }), "{error}");
}
