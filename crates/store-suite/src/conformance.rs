//! What [`ObjectStore`] promises, tried on one implementation.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a failed expectation is a failed test"
)]

use bytes::Bytes;
use holdfast_store::{
    KeyPrefix, LockAttempt, MAX_OBJECT_BYTES, ObjectKey, ObjectStore, PutMode, StoreError,
};
use std::sync::Arc;
use tokio::sync::Barrier;

type Store = Arc<dyn ObjectStore>;

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn names(store: &Store, prefix: &KeyPrefix) -> Vec<String> {
    let listed = store.list(prefix).await.unwrap();
    listed.iter().map(|meta| meta.key.to_string()).collect()
}

async fn reads_what_was_written(store: &Store) {
    let big: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for (name, data) in [("empty", Bytes::new()), ("deep/er/big", big)] {
        let key = key(name);
        store
            .put(&key, data.clone(), PutMode::CreateNew)
            .await
            .unwrap();
        assert_eq!(store.get(&key).await.unwrap(), data, "{name}");
        let meta = store.head(&key).await.unwrap().unwrap();
        assert_eq!((meta.size, meta.key), (data.len() as u64, key));
    }
}

async fn missing_objects_are_named(store: &Store) {
    let absent = key("nowhere/absent");
    let is_absent = |error: StoreError| matches!(error, StoreError::NotFound { key } if key.as_str() == "nowhere/absent");
    assert!(is_absent(store.get(&absent).await.unwrap_err()));
    assert!(is_absent(store.get_range(&absent, 0, 1).await.unwrap_err()));
    assert_eq!(store.head(&absent).await.unwrap(), None);
    store.delete(&absent).await.unwrap();
    // A folder is not an object.
    store
        .put(&key("folder/x"), Bytes::new(), PutMode::CreateNew)
        .await
        .unwrap();
    assert_eq!(store.head(&key("folder")).await.unwrap(), None);
    let folder = store.get(&key("folder")).await.unwrap_err();
    assert!(matches!(folder, StoreError::NotFound { .. }), "{folder}");
}

async fn ranges_are_exact(store: &Store) {
    let key = key("ranges/r");
    store
        .put(&key, body("0123456789"), PutMode::CreateNew)
        .await
        .unwrap();
    for (offset, len, want) in [
        (0, 10, "0123456789"),
        (3, 4, "3456"),
        (9, 1, "9"),
        (10, 0, ""),
    ] {
        assert_eq!(store.get_range(&key, offset, len).await.unwrap(), want);
    }
    for (offset, len) in [(0, 11), (9, 2), (11, 0), (u64::MAX, 2)] {
        let error = store.get_range(&key, offset, len).await.unwrap_err();
        assert!(
            matches!(error, StoreError::OutOfRange { size: 10, .. }),
            "{offset}+{len}: {error}"
        );
    }
}

async fn create_new_never_replaces(store: &Store) {
    let key = key("once/k");
    store
        .put(&key, body("first"), PutMode::CreateNew)
        .await
        .unwrap();
    let error = store
        .put(&key, body("second"), PutMode::CreateNew)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
    assert_eq!(store.get(&key).await.unwrap(), "first");
    store
        .put(&key, body("third"), PutMode::Overwrite)
        .await
        .unwrap();
    assert_eq!(store.get(&key).await.unwrap(), "third");
    store.delete(&key).await.unwrap();
    store
        .put(&key, body("fourth"), PutMode::CreateNew)
        .await
        .unwrap();
    assert_eq!(store.get(&key).await.unwrap(), "fourth");
}

async fn what_could_not_be_read_back_is_not_written(store: &Store) {
    let key = key("large/k");
    let zeros = vec![0; usize::try_from(MAX_OBJECT_BYTES).unwrap() + 1];
    let error = store
        .put(&key, zeros.into(), PutMode::CreateNew)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert_eq!(store.head(&key).await.unwrap(), None);
}

/// Twenty racers per key, released at once, on several keys one after another.
async fn one_of_twenty_racers_wins(store: &Store, rounds: u32) {
    for round in 0..rounds {
        let key = key(&format!("race/{round}/k"));
        let gate = Arc::new(Barrier::new(20));
        let racers: Vec<_> = (0..20)
            .map(|racer| {
                let (store, key, gate) = (store.clone(), key.clone(), gate.clone());
                tokio::spawn(async move {
                    gate.wait().await;
                    let ours = body(&format!("racer {racer}"));
                    store
                        .put(&key, ours.clone(), PutMode::CreateNew)
                        .await
                        .map(|()| ours)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            match racer.await.unwrap() {
                Ok(ours) => winners.push(ours),
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(store.get(&key).await.unwrap(), winners[0]);
    }
}

/// A reader beside a writer that replaces an object sees one whole version or the other.
async fn replacing_is_atomic(store: &Store) {
    let key = key("swap/k");
    let versions = [b'a', b'b'].map(|byte| Bytes::from(vec![byte; 200_000]));
    store
        .put(&key, versions[0].clone(), PutMode::Overwrite)
        .await
        .unwrap();
    let writer = tokio::spawn({
        let (store, key, versions) = (store.clone(), key.clone(), versions.clone());
        async move {
            for round in 0..30 {
                let next = versions[round % 2].clone();
                store.put(&key, next, PutMode::Overwrite).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        let seen = store.get(&key).await.unwrap();
        assert!(versions.contains(&seen), "a mixture of two versions");
    }
    writer.await.unwrap();
}

async fn lists_a_folder_sorted_and_whole(store: &Store) {
    for name in ["list/b/2", "list/a", "list/b/1", "list2/x"] {
        store
            .put(&key(name), body(name), PutMode::CreateNew)
            .await
            .unwrap();
    }
    let list: KeyPrefix = "list".parse().unwrap();
    assert_eq!(
        names(store, &list).await,
        ["list/a", "list/b/1", "list/b/2"]
    );
    let nested: KeyPrefix = "list/b".parse().unwrap();
    assert_eq!(names(store, &nested).await, ["list/b/1", "list/b/2"]);
    store.delete(&key("list/b/1")).await.unwrap();
    assert_eq!(names(store, &list).await, ["list/a", "list/b/2"]);
    assert!(names(store, &"list3".parse().unwrap()).await.is_empty());
    let all = names(store, &KeyPrefix::root()).await;
    assert!(all.contains(&"list2/x".to_owned()) && all.is_sorted());
    let sizes = store.list(&list).await.unwrap();
    assert_eq!(sizes[0].size, "list/a".len() as u64);
}

async fn at_most_one_holds_the_lock(store: &Store) {
    match store.try_lock("first").await.unwrap() {
        LockAttempt::Unsupported => {}
        LockAttempt::Busy { holder } => panic!("held by {holder} before anyone took it"),
        LockAttempt::Held(lock) => {
            let second = store.try_lock("second").await.unwrap();
            assert!(matches!(second, LockAttempt::Busy { holder } if holder == "first"));
            drop(lock);
            let third = store.try_lock("third").await.unwrap();
            assert!(matches!(third, LockAttempt::Held(_)));
        }
    }
}

/// Tries every promise on a store that is empty at first. Panics at the first that is broken.
pub async fn conforms(store: impl ObjectStore) {
    conforms_in(store, 10).await;
}

/// The same with another number of races: a server may take seconds to settle each.
pub async fn conforms_in(store: impl ObjectStore, races: u32) {
    let store: Store = Arc::new(store);
    assert!(!store.describe().is_empty());
    assert!(names(&store, &KeyPrefix::root()).await.is_empty());
    assert!(store.is_empty().await.unwrap());
    reads_what_was_written(&store).await;
    assert!(!store.is_empty().await.unwrap());
    missing_objects_are_named(&store).await;
    ranges_are_exact(&store).await;
    create_new_never_replaces(&store).await;
    what_could_not_be_read_back_is_not_written(&store).await;
    one_of_twenty_racers_wins(&store, races).await;
    replacing_is_atomic(&store).await;
    lists_a_folder_sorted_and_whole(&store).await;
    at_most_one_holds_the_lock(&store).await;
}
