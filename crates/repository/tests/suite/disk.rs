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

/// A file that grew to a terabyte (sparse, as after a bad copy) is named, and not read into memory.
#[tokio::test]
async fn an_object_of_absurd_size_is_damage_of_that_object() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::init(disk(dir.path()), options()).await.unwrap();
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    drop(repository);
    // Of a grown pack the part is read that was written; of an index nothing is needed but its packs.
    for (folder, is_lost) in [("packs", false), ("index", false), ("points", true)] {
        let store = disk(dir.path());
        let listed = store.list(&folder.parse().unwrap()).await.unwrap();
        let (key, sound_size) = (&listed[0].key, listed[0].size);
        let resize = |size| {
            let path = dir.path().join(key.as_str());
            let file = std::fs::OpenOptions::new().write(true).open(path);
            file.unwrap().set_len(size).unwrap();
        };
        resize(1 << 40);
        let repository = Repository::open_with(store, kek(), SMALL).await.unwrap();
        let report = repository.verify(VerifyLevel::Full).await.unwrap();
        let mut damaged = report.damaged.iter();
        let named = damaged.find(|found| found.object == key.as_str()).unwrap();
        assert!(named.to_string().contains("1099511627776 bytes"), "{named}");
        if is_lost {
            let error = restore(&repository, 1).await.unwrap_err();
            assert!(matches!(error, RepositoryError::Damaged { .. }), "{error}");
        } else {
            assert_eq!(restore(&repository, 1).await.unwrap(), files(1), "{folder}");
        }
        resize(sound_size);
    }
}
