//! Proofs: the last word on every collection, and none of what can't be read.

use crate::damage::verify;
use crate::garbage::{at, tombstone};
use crate::place::TestStore;
use crate::support::{capture, create, files, kek, open, point_id};
use bytes::Bytes;
use holdfast_archive::{KeyFile, ObjectKind, sealed};
use holdfast_repository::{
    LastProof, PointProofs, ProofOutcome, Repository, RepositoryError, VerifyLevel,
};
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::{CollectionName, Epoch};
use serde_json::json;
use std::sync::Arc;

fn name(text: &str) -> CollectionName {
    text.parse().unwrap()
}

fn restored(job: &str) -> LastProof {
    LastProof {
        at: at(5),
        job: job.parse().unwrap(),
        outcome: ProofOutcome::Restored,
    }
}

fn failed(job: &str) -> LastProof {
    LastProof {
        // The clock went back.
        at: at(2),
        outcome: ProofOutcome::Failed {
            why: "9 of 10 points".to_owned(),
        },
        ..restored(job)
    }
}

/// With points 1 and 2.
async fn captured() -> (Arc<TestStore>, Repository, Epoch) {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        capture(&repository, epoch, n, &files(n.into()))
            .await
            .unwrap();
    }
    (store, repository, epoch)
}

async fn try_record(
    repository: &Repository,
    epoch: Epoch,
    n: u32,
    proof: LastProof,
) -> Result<PointProofs, RepositoryError> {
    let id = point_id(n);
    repository
        .record_proof(epoch, &id, name("docs"), proof)
        .await
}

async fn record(repository: &Repository, epoch: Epoch, n: u32, proof: LastProof) -> PointProofs {
    try_record(repository, epoch, n, proof).await.unwrap()
}

fn key(n: u32) -> ObjectKey {
    format!("proofs/{}", point_id(n)).parse().unwrap()
}

async fn known(repository: &Repository) -> Vec<u32> {
    let marks = repository.read_marks().await.unwrap();
    (1..=9)
        .filter(|n| marks.proofs.contains_key(&point_id(*n)))
        .collect()
}

async fn put(store: &TestStore, n: u32, bytes: Bytes) {
    store.put(&key(n), bytes, PutMode::Overwrite).await.unwrap();
}

/// A note that a newer program wrote.
async fn newer(store: &TestStore, repository: &Repository, n: u32) -> Bytes {
    let file = format!("keys/{}.json", repository.description().id);
    let file = store.get(&file.parse().unwrap()).await.unwrap();
    let KeyFile::Wrapped(keys) = KeyFile::from_json(&file).unwrap() else {
        panic!("the key was not removed");
    };
    let ring = keys.unwrap(&kek()).unwrap();
    let note = json!({"format": 2, "point": point_id(n), "drills": []}).to_string();
    let kind = ObjectKind::Proof;
    let sealed = sealed::seal(kind, Epoch(1), [7; 32], ring.newest(), note.as_bytes());
    sealed.unwrap().into()
}

#[tokio::test]
async fn the_last_word_on_every_collection_is_kept() {
    let (store, repository, epoch) = captured().await;
    record(&repository, epoch, 1, restored("restore-1")).await;
    let (id, books) = (point_id(1), name("books"));
    let other = repository.record_proof(epoch, &id, books.clone(), restored("restore-2"));
    other.await.unwrap();
    // By order, not by clock.
    let told = record(&repository, epoch, 1, failed("restore-3")).await;
    let expected: PointProofs = [
        (books, restored("restore-2")),
        (name("docs"), failed("restore-3")),
    ]
    .into();
    assert_eq!(told, expected);
    let again = open(store.clone()).await;
    let marks = again.read_marks().await.unwrap();
    assert_eq!(marks.proofs, [(id, expected)].into());
    let listed = store.list(&"proofs".parse().unwrap()).await.unwrap();
    assert_eq!(listed.len(), 1, "one object for a point");
    let leftovers = again.find_leftovers().await.unwrap();
    assert!(leftovers.is_tidy(), "{leftovers:?}");
}

#[tokio::test]
async fn what_cant_be_read_counts_as_none_and_is_replaced() {
    let (store, repository, epoch) = captured().await;
    record(&repository, epoch, 1, restored("restore-1")).await;
    record(&repository, epoch, 2, restored("restore-2")).await;
    let sound = store.get(&key(1)).await.unwrap();
    let mut flipped = sound.to_vec();
    flipped[40] ^= 1;
    let cut = sound.slice(..sound.len() / 2);
    let of_another = store.get(&key(2)).await.unwrap();
    let later = newer(&store, &repository, 1).await;
    for bytes in [flipped.into(), cut, of_another, later.clone()] {
        put(&store, 1, bytes).await;
        assert_eq!(known(&repository).await, [2]);
        let told = record(&repository, epoch, 1, failed("restore-3")).await;
        assert_eq!(told, [(name("docs"), failed("restore-3"))].into());
        assert_eq!(known(&repository).await, [1, 2]);
    }
    // It is no damage, and stays for the program that can read it.
    put(&store, 1, later).await;
    let report = verify(&repository, VerifyLevel::Full).await;
    assert!(!report.needs_attention(), "{report:?}");
    assert_eq!(repository.tidy_proofs(epoch).await.unwrap(), 0);
}

#[tokio::test]
async fn what_tells_nothing_is_tidied_away() {
    let (store, repository, epoch) = captured().await;
    record(&repository, epoch, 1, restored("restore-1")).await;
    record(&repository, epoch, 2, restored("restore-2")).await;
    assert_eq!(repository.tidy_proofs(epoch).await.unwrap(), 0);
    let stone = tombstone(1, at(0));
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let swept = repository.sweep_point(epoch, &point_id(1), at(200)).await;
    swept.unwrap();
    let gone = try_record(&repository, epoch, 1, restored("restore-3")).await;
    let gone = gone.unwrap_err();
    assert!(
        matches!(gone, RepositoryError::PointNotFound { .. }),
        "{gone}"
    );
    put(&store, 7, Bytes::from_static(b"no note")).await;
    assert_eq!(repository.tidy_proofs(epoch).await.unwrap(), 2);
    let left = store.list(&"proofs".parse().unwrap()).await.unwrap();
    let left: Vec<_> = left.into_iter().map(|found| found.key).collect();
    assert_eq!(left, [key(2)]);
    assert_eq!(known(&repository).await, [2]);
}

#[tokio::test]
async fn who_was_deposed_records_nothing() {
    let (store, repository, epoch) = captured().await;
    open(store).await.claim_epoch().await.unwrap();
    let recorded = try_record(&repository, epoch, 1, restored("restore-1")).await;
    let refused = recorded.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::StaleEpoch { .. }),
        "{refused}"
    );
    assert_eq!(known(&repository).await, Vec::<u32>::new());
    let refused = repository.tidy_proofs(epoch).await.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::StaleEpoch { .. }),
        "{refused}"
    );
}
