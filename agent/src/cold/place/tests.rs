//! How collections take their names, and what a run finds that goes on after a kill at any step of it.

use super::{OURS, PLACING, Storage};
use crate::cold::ledger::{Errand, Identity};
use holdfast_service::failure::Code;
use holdfast_types::CollectionName;
use std::path::{Path, PathBuf};

fn storage() -> (tempfile::TempDir, Storage) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path()).unwrap();
    (dir, storage)
}

fn docs() -> CollectionName {
    "docs".parse().unwrap()
}

fn errand(overwrite: bool) -> Errand {
    Errand {
        ticket: "a".to_owned(),
        point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
        overwrite,
    }
}

fn build(storage: &Storage, content: &str) -> PathBuf {
    let staged = storage.stage(&errand(false).point, &docs()).unwrap();
    let config = staged.join("config.json");
    storage.write(&config, content.as_bytes()).unwrap();
    staged
}

fn read(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("config.json")).unwrap()
}

/// Contents of what was moved aside.
fn aside(storage: &Storage) -> Vec<String> {
    let replaced = std::fs::read_dir(storage.ours("replaced"));
    let replaced = replaced.into_iter().flatten();
    replaced.map(|entry| read(&entry.unwrap().path())).collect()
}

#[test]
fn a_collection_takes_its_name_whole_and_what_had_it_is_moved_aside() {
    let (_dir, storage) = storage();
    let staged = build(&storage, "old");
    let first = storage.place(&errand(false), &staged, &docs()).unwrap();
    assert_eq!(first.moved_to, None);
    let staged = build(&storage, "new");
    let refused = storage.place(&errand(false), &staged, &docs());
    assert_eq!(refused.unwrap_err().code, Code::TargetExists);
    assert_eq!(read(&storage.collection(&docs())), "old");
    let second = storage.place(&errand(true), &staged, &docs()).unwrap();
    assert_eq!(read(&storage.collection(&docs())), "new");
    assert_eq!(read(&second.moved_to.unwrap()), "old");
    assert!(!staged.exists());
    storage.done("a").unwrap();
    assert!(!storage.ours(PLACING).exists());
}

/// The old collection has been placed by an earlier run, as it may be.
fn over_an_old_one() -> (tempfile::TempDir, Storage, PathBuf) {
    let (dir, storage) = storage();
    let staged = build(&storage, "old");
    let earlier = Errand {
        ticket: "earlier".to_owned(),
        ..errand(false)
    };
    storage.place(&earlier, &staged, &docs()).unwrap();
    storage.done("earlier").unwrap();
    let staged = build(&storage, "new");
    let built = Identity::of(&staged).unwrap();
    let ledger = storage.ledger();
    ledger.placing(&errand(true), built, &docs()).unwrap();
    (dir, storage, staged)
}

/// What a run that goes on finds built, and where what had the name is.
fn settled(storage: &Storage) -> (String, Option<PathBuf>) {
    let old = storage.settle(&docs()).unwrap();
    let staged = storage.stage(&errand(true).point, &docs()).unwrap();
    let built = std::fs::read_to_string(staged.join("config.json"));
    (built.unwrap_or_default(), old)
}

#[test]
fn a_run_that_is_killed_while_it_replaces_is_gone_on_with() {
    // Noted, and nothing more.
    let (_dir, storage, _staged) = over_an_old_one();
    assert_eq!(settled(&storage), ("new".to_owned(), None));

    // On its way.
    let (_dir, storage, staged) = over_an_old_one();
    storage.set_out(&staged, &docs()).unwrap();
    assert!(!storage.is_placed("a", &docs()).unwrap());
    assert_eq!(settled(&storage), ("new".to_owned(), None));
    assert_eq!(aside(&storage), [""; 0], "it is not among the old ones");
    assert_eq!(read(&storage.collection(&docs())), "old");
    let placed = storage.place(&errand(true), &staged, &docs()).unwrap();
    assert_eq!(read(&storage.collection(&docs())), "new");
    assert_eq!(read(&placed.moved_to.unwrap()), "old");

    // Where nothing can be exchanged, the old one is aside, and nothing has the name.
    let (_dir, storage, staged) = over_an_old_one();
    storage.set_out(&staged, &docs()).unwrap();
    let old = storage.aside(&docs()).unwrap();
    std::fs::rename(storage.collection(&docs()), old).unwrap();
    assert_eq!(settled(&storage), ("new".to_owned(), None));
    let placed = storage.place(&errand(true), &staged, &docs()).unwrap();
    assert_eq!(
        (placed.moved_to, aside(&storage)),
        (None, vec!["old".to_owned()])
    );

    let (_dir, storage, staged) = over_an_old_one();
    let placing = storage.set_out(&staged, &docs()).unwrap();
    let old = storage.one_after_the_other(&placing, &docs()).unwrap();
    assert_eq!(
        (settled(&storage), read(&old)),
        ((String::new(), None), "old".to_owned())
    );
    assert_eq!(read(&storage.collection(&docs())), "new");

    // It has its name, and the old one is in its place.
    let (_dir, storage, staged) = over_an_old_one();
    let placing = storage.set_out(&staged, &docs()).unwrap();
    storage.change_places(&placing, &docs()).unwrap();
    assert!(storage.is_placed("a", &docs()).unwrap());
    let (built, old) = settled(&storage);
    assert_eq!(
        (built.as_str(), read(&old.unwrap())),
        ("", "old".to_owned())
    );
    assert_eq!(read(&storage.collection(&docs())), "new");
    assert_eq!(settled(&storage).1, None);
}

/// Else a run that is killed in between would take its own collection for another's.
#[test]
fn a_collection_is_noted_before_it_takes_its_name() {
    for overwrite in [false, true] {
        let (dir, storage) = storage();
        if overwrite {
            let staged = build(&storage, "old");
            storage.place(&errand(false), &staged, &docs()).unwrap();
            std::fs::write(dir.path().join(OURS).join(PLACING), "").unwrap();
        }
        let staged = build(&storage, "new");
        let built = Identity::of(&staged).unwrap();
        if !overwrite {
            // A folder in which nothing can be made.
            let collections = dir.path().join("collections");
            std::os::unix::fs::symlink("/proc/self", collections).unwrap();
        }
        let failed = storage.place(&errand(overwrite), &staged, &docs());
        assert!(failed.is_err());
        let noted = storage.ledger().built(built, &docs()).unwrap();
        assert_eq!(noted, Some(errand(overwrite).point));
    }
}

#[test]
fn a_run_that_goes_on_knows_what_it_has_placed_and_nothing_else() {
    let (_dir, storage) = storage();
    let own = errand(false);
    assert!(!storage.is_placed("a", &docs()).unwrap());
    let staged = build(&storage, "new");
    storage.place(&own, &staged, &docs()).unwrap();
    assert!(storage.is_placed("a", &docs()).unwrap());
    let place = storage.collection(&docs());
    std::fs::rename(&place, place.with_extension("old")).unwrap();
    std::fs::create_dir(&place).unwrap();
    assert!(!storage.is_placed("a", &docs()).unwrap(), "made by another");
}

#[test]
fn a_directory_of_something_else_or_of_a_cluster_is_refused() {
    let (dir, storage) = storage();
    assert!(!storage.is_of_a_cluster().unwrap());
    let peers = r#"{"peer_address_by_id": {"1": "http://a", "2": "http://b"}}"#;
    std::fs::write(dir.path().join("raft_state.json"), peers).unwrap();
    assert!(storage.is_of_a_cluster().unwrap());
    assert_eq!(Storage::open(dir.path()).unwrap_err().code, Code::Config);
    assert_eq!(
        Storage::open(&dir.path().join("no")).unwrap_err().code,
        Code::Config
    );
    assert_eq!(
        storage.check_space(u64::MAX).unwrap_err().code,
        Code::DiskFull
    );
}
