//! Holders of keys: each unlocks alone, none is locked out by another's damage, and whatever dies in the
//! middle leaves a repository that opens.

use crate::place::TestStore;
use crate::support::{SMALL, capture, copy_of, create, files, kek, options, restore};
use holdfast_archive::recovery_sheet::RecoverySheet;
use holdfast_archive::{Kek, KeyHint};
use holdfast_repository::{KeyRefusal, KeyState, Repository, RepositoryError, VerifyLevel};
use holdfast_store::{KeyPrefix, ObjectKey, ObjectStore, PutMode};
use holdfast_types::{KeyHolder, Timestamp};
use std::sync::Arc;

const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

pub(crate) fn raw(byte: u8) -> Kek {
    Kek::from_bytes(&[byte; 32], KeyHint::KeyFile)
}

pub(crate) fn holder(name: &str) -> KeyHolder {
    name.parse().unwrap()
}

pub(crate) async fn open_by(store: Arc<TestStore>, kek: Kek) -> Repository {
    Repository::open_with(store, kek, SMALL).await.unwrap()
}

pub(crate) async fn refusal_of(store: &Arc<TestStore>, kek: Kek) -> RepositoryError {
    Repository::open(store.clone(), kek).await.err().unwrap()
}

pub(crate) async fn holders(repository: &Repository) -> Vec<(String, KeyState, bool)> {
    let keys = repository.list_keys().await.unwrap();
    keys.into_iter()
        .map(|key| (key.holder.to_string(), key.state, key.is_own))
        .collect()
}

async fn key_objects(store: &TestStore) -> Vec<ObjectKey> {
    let all = store.list(&KeyPrefix::root()).await.unwrap();
    let keys = all.into_iter().map(|found| found.key);
    keys.filter(|key| key.as_str().ends_with(".json") && key.as_str() != "holdfast.json")
        .collect()
}

/// A repository with one point and the keys of `first` (the usual one), `b` (raw) and `words`.
pub(crate) async fn shared() -> Arc<TestStore> {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    repository
        .add_key(&raw(2), &holder("b"), NOW)
        .await
        .unwrap();
    let words = Kek::passphrase("correct horse").unwrap();
    repository
        .add_key(&words, &holder("words"), NOW)
        .await
        .unwrap();
    store
}

#[tokio::test]
async fn every_holder_unlocks_alone() {
    let store = shared().await;
    let words = Kek::passphrase("correct horse").unwrap();
    for (kek, own) in [(kek(), "first"), (raw(2), "b"), (words, "words")] {
        let repository = open_by(store.clone(), kek).await;
        assert!(repository.report().damaged.is_empty());
        assert_eq!(restore(&repository, 1).await.unwrap(), files(1));
        let expected = ["first", "b", "words"].map(|name| {
            let name = name.to_owned();
            let is_own = name == own;
            (name, KeyState::Sound, is_own)
        });
        assert_eq!(holders(&repository).await, expected);
    }
    let keys = open_by(store.clone(), kek())
        .await
        .list_keys()
        .await
        .unwrap();
    let hints: Vec<_> = keys.iter().map(|key| key.hint.as_str()).collect();
    assert_eq!(hints, ["key-file", "key-file", "passphrase"]);
    assert_eq!(keys[1].created, Some(NOW));
    for wrong in [raw(9), Kek::passphrase("wrong").unwrap()] {
        let error = refusal_of(&store, wrong).await;
        assert!(matches!(error, RepositoryError::WrongKey { .. }), "{error}");
    }
}

#[tokio::test]
async fn damage_of_one_holder_locks_out_nobody() {
    let sound = shared().await;
    for object in key_objects(&sound).await {
        for harm in 0..3 {
            let store = copy_of(sound.as_ref()).await;
            let bytes = store.get(&object).await.unwrap();
            let half = match harm {
                0 => bytes.slice(..bytes.len() / 2),
                1 => bytes.slice(..0),
                _ => {
                    // A flipped digit of what is wrapped: only its own KEK can tell.
                    let mut bytes = bytes.to_vec();
                    let at = bytes.len() - 10;
                    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
                    bytes.into()
                }
            };
            store.put(&object, half, PutMode::Overwrite).await.unwrap();
            let words = Kek::passphrase("correct horse").unwrap();
            for kek in [kek(), raw(2), words] {
                let repository = open_by(store.clone(), kek).await;
                let named = repository.report().damaged.iter();
                let named = named.into_iter().any(|found| {
                    // Of two that differ, only the holder knows which one is right.
                    let twin =
                        found.object.rsplit('/').next() == object.as_str().rsplit('/').next();
                    found.object == object.as_str()
                        || harm == 2 && twin
                        || harm == 2 && found.object.ends_with("key.json")
                });
                assert!(named, "{object} {harm}");
                let report = repository.verify(VerifyLevel::Quick).await.unwrap();
                assert!(!report.damaged.is_empty(), "{object} {harm}");
            }
            // Its own holder mends it, or anybody where a copy makes no sense at all.
            let words = Kek::passphrase("correct horse").unwrap();
            for kek in [kek(), raw(2), words] {
                open_by(store.clone(), kek)
                    .await
                    .claim_epoch()
                    .await
                    .unwrap();
            }
            let healed = open_by(store.clone(), raw(2)).await;
            assert!(healed.report().damaged.is_empty(), "{object} {harm}");
            assert_eq!(store.get(&object).await.unwrap(), bytes);
        }
    }
}

#[tokio::test]
async fn lost_key_objects_are_written_anew() {
    let sound = shared().await;
    for object in key_objects(&sound).await {
        let store = copy_of(sound.as_ref()).await;
        store.delete(&object).await.unwrap();
        let repository = open_by(store.clone(), raw(2)).await;
        let damaged = &repository.report().damaged;
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert_eq!(damaged[0].object, object.as_str());
        repository.claim_epoch().await.unwrap();
        assert!(open_by(store, kek()).await.report().damaged.is_empty());
    }
}

#[tokio::test]
async fn a_removed_key_opens_nothing_and_is_gone() {
    for (name, removed, remover) in [("b", raw(2), kek()), ("first", kek(), raw(2))] {
        let store = shared().await;
        let repository = open_by(store.clone(), remover.clone()).await;
        repository.remove_key(&holder(name), NOW).await.unwrap();
        let error = refusal_of(&store, removed.clone()).await;
        assert!(matches!(error, RepositoryError::WrongKey { .. }), "{error}");
        let again = open_by(store.clone(), remover).await;
        assert!(again.report().damaged.is_empty());
        assert!(again.verify(VerifyLevel::Full).await.unwrap().is_sound());
        assert!(
            !holders(&again)
                .await
                .iter()
                .any(|(found, ..)| found == name)
        );
        assert_eq!(
            key_objects(&store).await.len(),
            if name == "b" { 4 } else { 6 }
        );
        // Nothing of what was wrapped is left anywhere.
        for object in key_objects(&store).await {
            let text = store.get(&object).await.unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            let own = text.contains(&format!("\"holder\": \"{name}\""));
            assert!(!own || !text.contains("wrapped"), "{object}");
        }
        // The name is free again.
        again.add_key(&removed, &holder(name), NOW).await.unwrap();
        open_by(store, removed).await;
    }
}

#[tokio::test]
async fn what_would_lock_out_or_confuse_is_refused() {
    let store = shared().await;
    let repository = open_by(store.clone(), raw(2)).await;
    let before = key_objects(&store).await;
    let own = repository.remove_key(&holder("b"), NOW).await;
    let own = own.unwrap_err();
    assert!(
        matches!(own, RepositoryError::Keys(KeyRefusal::InUse { .. })),
        "{own}"
    );
    let none = repository.remove_key(&holder("c"), NOW).await.unwrap_err();
    assert!(
        matches!(none, RepositoryError::Keys(KeyRefusal::NotFound { .. })),
        "{none}"
    );
    for name in ["first", "b", "words"] {
        let taken = repository
            .add_key(&raw(3), &holder(name), NOW)
            .await
            .unwrap_err();
        assert!(
            matches!(taken, RepositoryError::Keys(KeyRefusal::NameTaken { .. })),
            "{taken}"
        );
    }
    let words = Kek::passphrase("correct horse").unwrap();
    for (known, by) in [(kek(), "first"), (raw(2), "b"), (words, "words")] {
        let held = repository
            .add_key(&known, &holder("c"), NOW)
            .await
            .unwrap_err();
        let expected = KeyRefusal::KeyHeld { holder: holder(by) };
        let foreseen = repository.check_new_key(&known, &holder("c")).await;
        for held in [held, foreseen.unwrap_err()] {
            assert!(
                matches!(&held, RepositoryError::Keys(found) if *found == expected),
                "{held}"
            );
        }
    }
    let (new, name) = (raw(3), holder("c"));
    repository.check_new_key(&new, &name).await.unwrap();
    assert_eq!(key_objects(&store).await, before);
    for n in 0..29 {
        let name = holder(&format!("h{n}"));
        repository.add_key(&raw(100 + n), &name, NOW).await.unwrap();
    }
    let full = repository
        .add_key(&raw(3), &holder("c"), NOW)
        .await
        .unwrap_err();
    assert!(
        matches!(full, RepositoryError::Keys(KeyRefusal::TooMany { .. })),
        "{full}"
    );
}

#[tokio::test]
async fn a_key_in_the_place_of_another() {
    let store = shared().await;
    let repository = open_by(store.clone(), kek()).await;
    let replaced = repository
        .rotate_key(&raw(7), &holder("first-2"), NOW)
        .await
        .unwrap();
    assert_eq!(replaced, holder("first"));
    assert!(matches!(
        refusal_of(&store, kek()).await,
        RepositoryError::WrongKey { .. }
    ));
    let new = open_by(store.clone(), raw(7)).await;
    assert_eq!(restore(&new, 1).await.unwrap(), files(1));
    let replaced = new
        .rotate_key(&raw(8), &holder("first"), NOW)
        .await
        .unwrap();
    assert_eq!(replaced, holder("first-2"));
    assert!(open_by(store, raw(8)).await.report().damaged.is_empty());
}

/// Each removes the other at the same moment: at most one may succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_remove_each_other_are_not_both_locked_out() {
    for _ in 0..50 {
        let store = Arc::new(TestStore::without_locks());
        let repository = create(store.clone()).await;
        repository
            .add_key(&raw(2), &holder("b"), NOW)
            .await
            .unwrap();
        let other = open_by(store.clone(), raw(2)).await;
        let one = tokio::spawn(async move { repository.remove_key(&holder("b"), NOW).await });
        let two = tokio::spawn(async move { other.remove_key(&holder("first"), NOW).await });
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        assert!(one.is_err() || two.is_err());
        let opens = [kek(), raw(2)].map(|kek| Repository::open(store.clone(), kek));
        let [first, b] = opens;
        assert!(first.await.is_ok() || b.await.is_ok(), "{one:?} {two:?}");
    }
}

/// A coordinator that opened while a copy was damaged must not bring back a key that was removed since.
#[tokio::test]
async fn a_repair_does_not_undo_a_removal() {
    let store = shared().await;
    let main = key_objects(&store).await.into_iter();
    let main = main
        .into_iter()
        .find(|key| key.as_str().starts_with("keys/") && key.as_str().ends_with("-b.json"));
    store.delete(&main.unwrap()).await.unwrap();
    let writer = open_by(store.clone(), kek()).await;
    assert_eq!(writer.report().damaged.len(), 1);
    let admin = open_by(store.clone(), kek()).await;
    admin.remove_key(&holder("b"), NOW).await.unwrap();
    writer.claim_epoch().await.unwrap();
    assert!(matches!(
        refusal_of(&store, raw(2)).await,
        RepositoryError::WrongKey { .. }
    ));
    assert_eq!(holders(&open_by(store, kek()).await).await.len(), 2);
}

/// Nothing but the store and a printed page: what is typed from it opens the repository.
#[tokio::test]
async fn a_recovery_sheet_alone_is_enough() {
    let store = shared().await;
    let repository = open_by(store.clone(), kek()).await;
    let key = std::array::from_fn(|i| u8::try_from(7 * i).unwrap());
    let sheet = RecoverySheet {
        repository: &repository.description().id,
        cluster: &repository.description().cluster,
        place: &repository.place(),
        holder: &holder("safe"),
        created: NOW,
        program: "test",
        config: "",
    };
    let page = sheet.print(&key);
    let printed = Kek::from_bytes(&key, KeyHint::RecoverySheet);
    repository
        .add_key(&printed, &holder("safe"), NOW)
        .await
        .unwrap();
    drop(repository);
    let copy = copy_of(store.as_ref()).await;
    let typed: Vec<_> = page
        .lines()
        .filter(|line| line.as_bytes().get(1) == Some(&b':'))
        .collect();
    let typed = typed.join("\n").to_lowercase().replace('-', " ");
    for text in [page.as_str(), &typed] {
        let kek = Kek::from_recovery_sheet(text).unwrap();
        let opened = open_by(copy.clone(), kek).await;
        assert_eq!(restore(&opened, 1).await.unwrap(), files(1));
        let keys = opened.list_keys().await.unwrap();
        let own = keys.iter().find(|key| key.is_own).unwrap();
        assert_eq!(
            (own.holder.as_str(), own.hint.as_str()),
            ("safe", "recovery-sheet")
        );
    }
    // One wrong character is found before anything is opened.
    let slip = typed.replacen(|c: char| c.is_ascii_alphabetic(), "0", 1);
    assert!(Kek::from_recovery_sheet(&slip).is_err());
}

#[tokio::test]
async fn a_repository_made_by_a_program_that_knows_more_is_refused() {
    let store = Arc::new(TestStore::new());
    let repository = Repository::init(store.clone(), options()).await.unwrap();
    drop(repository);
    for object in key_objects(&store).await {
        let newer = br#"{"format": 3, "secrets": []}"#;
        store
            .put(&object, newer.as_slice().into(), PutMode::Overwrite)
            .await
            .unwrap();
    }
    let error = refusal_of(&store, kek()).await;
    assert!(
        matches!(&error, RepositoryError::NewerFormat { object, format: 3 } if object.starts_with("keys/")),
        "{error}"
    );
}
