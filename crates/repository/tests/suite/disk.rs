//! The whole way on a real disk.

use crate::support::{SMALL, capture, files, kek, options, restore};
use holdfast_repository::{Repository, RepositoryError, VerifyLevel};
use holdfast_store::{DiskStore, ObjectStore};
use std::path::Path;
use std::sync::Arc;

fn disk(path: &Path) -> Arc<dyn ObjectStore> {
    Arc::new(DiskStore::open(path).unwrap())
}

#[tokio::test]
async fn a_repository_lives_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Repository::init(disk(dir.path()), options()).await.unwrap();
    let epoch = first.claim_epoch().await.unwrap();
    capture(&first, epoch, 1, &files(1)).await.unwrap();
    let second = Repository::open_with(disk(dir.path()), kek(), SMALL)
        .await
        .unwrap();
    assert_eq!(restore(&second, 1).await.unwrap(), files(1));
    let error = second.claim_epoch().await.unwrap_err();
    assert!(matches!(error, RepositoryError::Locked { .. }), "{error}");
    drop(first);
    let epoch = second.claim_epoch().await.unwrap();
    capture(&second, epoch, 2, &files(2)).await.unwrap();
    let verified = second.verify(VerifyLevel::Full).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    assert_eq!(verified.points, 2);
}
