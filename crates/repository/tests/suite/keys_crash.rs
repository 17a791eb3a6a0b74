//! Whoever changes keys dies before or after each of its writes: a key that is at hand opens the repository,
//! the point comes back, and the same command ends what was begun.

use crate::keys::{holder, holders, open_by, raw, shared};
use crate::place::TestStore;
use crate::support::{SMALL, capture, copy_of, files, kek, restore};
use holdfast_archive::Kek;
use holdfast_repository::{KeyState, Repository, RepositoryError};
use holdfast_store::{FaultKind, FaultPlan, FaultStore, StopAt, StopEffect, StoreError};
use holdfast_types::Timestamp;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
    RemoveFirst,
    Rotate,
    RotateMaster,
}

const CHANGES: [Change; 5] = [
    Change::Add,
    Change::Remove,
    Change::RemoveFirst,
    Change::Rotate,
    Change::RotateMaster,
];

impl Change {
    /// The key that the repository is opened with for it.
    fn opens(self) -> Kek {
        match self {
            Self::Add | Self::Remove | Self::Rotate | Self::RotateMaster => kek(),
            Self::RemoveFirst => raw(2),
        }
    }

    /// The keys of which one must open the repository at every moment: those at hand.
    fn at_hand(self) -> Vec<Kek> {
        match self {
            Self::Rotate => vec![kek(), raw(7)],
            Self::Add | Self::Remove | Self::RemoveFirst | Self::RotateMaster => vec![self.opens()],
        }
    }

    async fn carry_out(self, repository: &Repository) -> Result<(), RepositoryError> {
        match self {
            Self::Add => repository.add_key(&raw(7), &holder("c"), NOW).await,
            Self::Remove => repository.remove_key(&holder("b"), NOW).await,
            Self::RemoveFirst => repository.remove_key(&holder("first"), NOW).await,
            Self::Rotate => {
                let (new, name) = (raw(7), holder("c"));
                let done = repository.rotate_key(&new, &name, NOW).await;
                done.map(drop)
            }
            Self::RotateMaster => repository.rotate_master(&kek(), NOW).await.map(drop),
        }
    }

    fn remaining(self) -> &'static [&'static str] {
        match self {
            Self::Add => &["first", "b", "c", "words"],
            Self::Remove => &["first", "words"],
            Self::RemoveFirst => &["b", "words"],
            Self::Rotate => &["b", "c", "words"],
            Self::RotateMaster => &["first"],
        }
    }
}

/// Carries the change out on a store that dies; whether it died.
async fn dies(memory: &Arc<TestStore>, change: Change, stop_at: StopAt) -> bool {
    let plan = FaultPlan {
        stop_at: Some(stop_at),
        ..FaultPlan::default()
    };
    let dying = Arc::new(FaultStore::new(memory.clone(), plan));
    let repository = Repository::open_with(dying, change.opens(), SMALL)
        .await
        .unwrap();
    change.carry_out(&repository).await.is_err()
}

async fn opened(memory: &Arc<TestStore>, change: Change) -> Repository {
    for kek in change.at_hand() {
        if let Ok(repository) = Repository::open_with(memory.clone(), kek, SMALL).await {
            return repository;
        }
    }
    panic!("{change:?}: no key at hand opens the repository");
}

/// Ends the change as an operator would: by the same command, or by removing what was to be replaced.
async fn ended(memory: &Arc<TestStore>, change: Change) {
    let repository = opened(memory, change).await;
    let names = holders(&repository).await;
    let known = |name: &str| names.iter().any(|(found, ..)| found == name);
    let done = match change {
        Change::Add if known("c") => Ok(()),
        Change::Rotate if known("c") => {
            let new = open_by(memory.clone(), raw(7)).await;
            match known("first") {
                true => new.remove_key(&holder("first"), NOW).await,
                false => Ok(()),
            }
        }
        Change::Remove if !known("b") => Ok(()),
        Change::RemoveFirst if !known("first") => Ok(()),
        Change::Add
        | Change::Rotate
        | Change::Remove
        | Change::RemoveFirst
        | Change::RotateMaster => change.carry_out(&repository).await,
    };
    done.unwrap();
}

#[tokio::test]
async fn every_change_at_every_write() {
    let sound = shared().await;
    for change in CHANGES {
        for effect in [StopEffect::Before, StopEffect::After] {
            let mut writes = 0;
            loop {
                let memory = copy_of(sound.as_ref()).await;
                let mutation = writes + 1;
                if !dies(&memory, change, StopAt { mutation, effect }).await {
                    break;
                }
                writes += 1;
                check(
                    &memory,
                    change,
                    &format!("{change:?} {effect:?} {mutation}"),
                )
                .await;
            }
            assert!(writes >= 2, "{change:?}: {writes} writes");
        }
    }
}

#[tokio::test]
async fn a_store_that_fills_up_or_turns_read_only_at_every_write() {
    let sound = shared().await;
    for change in CHANGES {
        for kind in [FaultKind::NoSpace, FaultKind::ReadOnly] {
            let mut writes = 0;
            loop {
                let memory = copy_of(sound.as_ref()).await;
                let plan = FaultPlan {
                    kind,
                    refuse_from: Some(writes + 1),
                    ..FaultPlan::default()
                };
                let what = format!("{change:?} {kind:?} {}", writes + 1);
                let store = Arc::new(FaultStore::new(memory.clone(), plan));
                let repository = Repository::open_with(store, change.opens(), SMALL).await;
                let Err(error) = change.carry_out(&repository.unwrap()).await else {
                    break;
                };
                let expected = matches!(
                    (&error, kind),
                    (
                        RepositoryError::Store(StoreError::NoSpace { .. }),
                        FaultKind::NoSpace
                    ) | (
                        RepositoryError::Store(StoreError::ReadOnly { .. }),
                        FaultKind::ReadOnly
                    )
                );
                assert!(expected, "{what}: {error:?}");
                writes += 1;
                check(&memory, change, &what).await;
            }
            assert!(writes >= 1, "{change:?} {kind:?} wrote nothing");
        }
    }
}

async fn check(memory: &Arc<TestStore>, change: Change, what: &str) {
    let between = opened(memory, change).await;
    assert_eq!(restore(&between, 1).await.unwrap(), files(1), "{what}");
    // A coordinator starts, mends and writes before anybody ends the change.
    let epoch = between.claim_epoch().await.unwrap();
    capture(&between, epoch, 2, &files(2)).await.unwrap();
    drop(between);
    ended(memory, change).await;
    let after = opened(memory, change).await;
    after.claim_epoch().await.unwrap();
    drop(after);
    let after = opened(memory, change).await;
    assert!(
        after.report().damaged.is_empty(),
        "{what}: {:?}",
        after.report()
    );
    for n in 1..=2 {
        assert_eq!(restore(&after, n).await.unwrap(), files(n.into()), "{what}");
    }
    let keys = holders(&after).await;
    let names: Vec<_> = keys.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, change.remaining(), "{what}");
    assert!(
        keys.iter().all(|(_, state, _)| *state == KeyState::Sound),
        "{what}: {keys:?}"
    );
}
