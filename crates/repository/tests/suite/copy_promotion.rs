//! A copy takes the place of the primary: the old one is fenced off as far as it can be reached, an interruption can be repeated
//! or given up, and what the copy lacks is not pretended to be there.

use crate::copying::{Twins, check_alone, name, open_copy};
use crate::garbage::at;
use crate::place::TestStore;
use crate::support::{SMALL, capture, copy_of, files, open, pack_of, point_id, rot};
use holdfast_repository::{Repository, RepositoryError, RoleRefusal, StoreRole, VerifyLevel};
use holdfast_store::{FaultPlan, FaultStore, ObjectStore as _, PutMode, StopAt, StopEffect};
use holdfast_types::Epoch;
use std::sync::Arc;

#[tokio::test]
async fn a_promoted_copy_fences_the_old_primary_off() {
    let twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    let alone = open(twins.theirs.clone()).await;
    let epoch = alone.promote(&name(), Epoch(0), at(5)).await.unwrap();
    assert!(epoch.0 > twins.epoch.0 + 1_000_000, "{epoch}");
    let role = alone.role().await.unwrap().unwrap();
    assert_eq!((role.role, role.name), (StoreRole::Promoted, name()));

    // The old coordinator goes on for a while, and starts anew.
    capture(&twins.primary, twins.epoch, 2, &files(2))
        .await
        .unwrap();
    let stale = twins.bring(2).await.unwrap_err();
    assert!(
        matches!(stale, RepositoryError::StaleEpoch { .. }),
        "{stale:?}"
    );
    let again = open(twins.ours.clone()).await;
    let term = again.claim_epoch().await.unwrap();
    let refused = again.open_copy(twins.theirs.clone(), &name(), SMALL).await;
    assert!(matches!(refused, Err(RepositoryError::Role(_))));
    let stale = twins
        .copy
        .claim_copy(&again, &name(), term)
        .await
        .unwrap_err();
    assert!(matches!(stale, RepositoryError::Role(_)), "{stale:?}");

    // The new primary is one, and the old one can be told.
    let epoch = alone.claim_epoch().await.unwrap();
    capture(&alone, epoch, 3, &files(3)).await.unwrap();
    again.retire(&name(), at(6)).await.unwrap();
    again.retire(&name(), at(6)).await.unwrap();
    let refused = capture(&again, term, 4, &files(4)).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::StaleEpoch { .. }));
    let refused = open(twins.ours.clone()).await.claim_epoch().await;
    assert!(
        matches!(refused, Err(RepositoryError::Role(_))),
        "{refused:?}"
    );

    // And serve as a copy with what it has.
    let new = alone.make_copy(twins.ours.as_ref(), &name(), at(7)).await;
    assert!(!new.unwrap());
    let epoch = alone.claim_epoch().await.unwrap();
    let old = open_copy(&alone, twins.ours.clone()).await;
    old.claim_copy(&alone, &name(), epoch).await.unwrap();
    alone.sync_point(&old, epoch, &point_id(3)).await.unwrap();
    check_alone(&twins.ours, &[1, 2, 3]).await;
}

/// The jump is ahead of all terms that the primary gave out while it could not reach the copy.
#[tokio::test]
async fn a_promotion_is_newer_than_terms_that_the_copy_never_saw() {
    let twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    let mut last = twins.epoch;
    for _ in 0..40 {
        last = open(twins.ours.clone()).await.claim_epoch().await.unwrap();
    }
    let alone = open(twins.theirs.clone()).await;
    let term = alone.promote(&name(), Epoch(0), at(1)).await.unwrap();
    assert!(term.0 >= last.0 + 1_000_000, "{term} after {last}");
    // What is known of the primary counts, however far it is.
    let known = Epoch(term.0 + 5_000_000);
    let term = alone.promote(&name(), known, at(1)).await.unwrap();
    assert!(term > known, "{term}");
}

/// It dies before or after each put of a promotion.
#[tokio::test]
async fn a_promotion_that_died_is_repeated_or_given_up() {
    let twins = Twins::new(2).await;
    twins.bring(1).await.unwrap();
    let mut crashes = 0;
    for effect in [StopEffect::Before, StopEffect::After] {
        for mutation in 1.. {
            let theirs = copy_of(twins.theirs.as_ref()).await;
            let stop_at = Some(StopAt { mutation, effect });
            let plan = FaultPlan {
                stop_at,
                ..FaultPlan::default()
            };
            let faulty = Arc::new(FaultStore::new(theirs.clone(), plan));
            let dying = open(faulty.clone()).await;
            let promoted = dying.promote(&name(), Epoch(0), at(1)).await;
            if !faulty.is_stopped() {
                promoted.unwrap();
                break;
            }
            crashes += 1;
            let is_promoted = is_promoted(&theirs).await;
            if !is_promoted {
                give_up(&twins, copy_of(theirs.as_ref()).await).await;
            }
            let alone = open(theirs.clone()).await;
            let term = alone.promote(&name(), Epoch(0), at(2)).await.unwrap();
            assert!(term.0 > 1_000_000, "{term}");
            let epoch = open(theirs.clone()).await.claim_epoch().await.unwrap();
            assert!(epoch > term);
            capture(&open(theirs.clone()).await, epoch, 3, &files(3))
                .await
                .unwrap();
            check_alone(&theirs, &[1, 3]).await;
        }
    }
    assert!(crashes >= 4, "only {crashes} places to die at");
}

async fn is_promoted(store: &Arc<TestStore>) -> bool {
    let role = open(store.clone()).await.role().await.unwrap().unwrap();
    role.role == StoreRole::Promoted
}

/// The primary was not lost after all: its coordinator goes on, in a term above the one that was claimed on the copy.
async fn give_up(twins: &Twins, theirs: Arc<TestStore>) {
    let primary = open(copy_of(twins.ours.as_ref()).await).await;
    let copy = open_copy(&primary, theirs.clone()).await;
    let claimed = copy.newest_epoch().await.unwrap();
    let term = primary.claim_epoch_above(claimed).await.unwrap();
    assert!(term > claimed);
    copy.claim_copy(&primary, &name(), term).await.unwrap();
    let id = point_id(2);
    primary.sync_point(&copy, term, &id).await.unwrap();
    check_alone(&theirs, &[1, 2]).await;
}

/// It is damaged, and one point was still under way.
#[tokio::test]
async fn what_a_promoted_copy_lacks_is_named() {
    let twins = Twins::new(3).await;
    twins.bring(1).await.unwrap();
    twins.bring(2).await.unwrap();
    let dying = Arc::new(FaultStore::new(
        twins.theirs.clone(),
        FaultPlan {
            stop_at: Some(StopAt {
                mutation: 3,
                effect: StopEffect::After,
            }),
            ..FaultPlan::default()
        },
    ));
    let copy = open_copy(&twins.primary, dying.clone()).await;
    let half = twins
        .primary
        .sync_point(&copy, twins.epoch, &point_id(3))
        .await;
    assert!(half.is_err() && dying.is_stopped());
    let pack = pack_of(&twins.theirs, 1).await;
    rot(&twins.theirs, &pack).await;

    let alone = open(twins.theirs.clone()).await;
    alone.promote(&name(), Epoch(0), at(1)).await.unwrap();
    let ids = alone.list_point_ids().await.unwrap();
    assert_eq!(ids.len(), 2, "half a point is none");
    let verified = alone.verify(VerifyLevel::Full).await.unwrap();
    let affected: Vec<_> = verified.affected.iter().map(|found| &found.id).collect();
    assert_eq!(affected, [&point_id(1)]);
    let restored = crate::support::restore(&alone, 2).await.unwrap();
    assert_eq!(restored, files(2));
    assert!(crate::support::restore(&alone, 1).await.is_err());
}

/// A duplicate of the primary, brought up beside it, has the same number of a term, and another claim.
#[tokio::test]
async fn two_primaries_do_not_write_to_one_copy() {
    let twins = Twins::new(1).await;
    let twin: Repository = open(copy_of(twins.ours.as_ref()).await).await;
    let theirs = twin.claim_epoch().await.unwrap();
    let ours = open(twins.ours.clone()).await;
    let term = ours.claim_epoch().await.unwrap();
    assert_eq!(term, theirs);
    let copy = open_copy(&ours, twins.theirs.clone()).await;
    copy.claim_copy(&ours, &name(), term).await.unwrap();
    let other = twin.open_copy(twins.theirs.clone(), &name(), SMALL).await;
    let refused = other.unwrap().claim_copy(&twin, &name(), theirs).await;
    let is_other = matches!(
        refused,
        Err(RepositoryError::Role(RoleRefusal::OtherWriter { .. }))
    );
    assert!(is_other, "{refused:?}");
    ours.sync_point(&copy, term, &point_id(1)).await.unwrap();
}

/// Neither itself, under whatever address, nor a duplicate that was made of it in this term.
#[tokio::test]
async fn a_repository_does_not_retire_itself() {
    let twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    let name = name();
    for itself in [twins.ours.clone(), copy_of(twins.ours.as_ref()).await] {
        let taken = twins
            .primary
            .take_over(itself.clone(), &name, twins.epoch, at(1));
        let refused = taken.await.unwrap_err();
        let is_itself = matches!(refused, RepositoryError::Role(RoleRefusal::NoCopy { .. }));
        assert!(is_itself, "{refused:?}");
        assert!(open(itself).await.role().await.unwrap().is_none());
    }
    // A copy stays what it is.
    let theirs = twins.theirs.clone();
    let taken = twins.primary.take_over(theirs, &name, twins.epoch, at(1));
    taken.await.unwrap();
    twins.copy.check_copy(&name).await.unwrap();

    // The old primary of a promoted copy is told.
    let alone = open(copy_of(twins.theirs.as_ref()).await).await;
    alone.promote(&name, Epoch(0), at(2)).await.unwrap();
    let term = alone.claim_epoch().await.unwrap();
    let old = twins.ours.clone();
    alone
        .take_over(old.clone(), &name, term, at(3))
        .await
        .unwrap();
    let role = open(old).await.role().await.unwrap().unwrap();
    assert_eq!(role.role, StoreRole::Retired);
}

/// The old primary comes back, and its coordinator is told to take the promoted store over.
#[tokio::test]
async fn a_stale_primary_does_not_retire_the_one_that_replaced_it() {
    let twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    let promoted = open(twins.theirs.clone()).await;
    let prepared = promoted.prepare_promotion(&name()).await.unwrap();
    let epoch = promoted.promote(&name(), prepared, at(5)).await.unwrap();
    capture(&promoted, epoch, 2, &files(2)).await.unwrap();
    // It goes on, with terms of its own.
    let stale = open(twins.ours.clone()).await;
    let mut term = Epoch(0);
    for _ in 0..5 {
        term = stale.claim_epoch().await.unwrap();
    }
    let other = "other".parse().unwrap();
    let taken = stale.take_over(twins.theirs.clone(), &other, term, at(6));
    let refused = taken.await.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::StaleEpoch { .. }),
        "{refused}"
    );
    let role = promoted.role().await.unwrap().unwrap();
    assert_eq!(role.role, StoreRole::Promoted);
    capture(&promoted, epoch, 3, &files(3)).await.unwrap();
}

/// Whatever stands in the place of the primary's own key file, the copy stays open to it.
#[tokio::test]
async fn the_key_that_opened_the_primary_is_not_replaced_on_the_copy() {
    let twins = Twins::new(1).await;
    twins.bring(1).await.unwrap();
    twins.primary.sync_keys(&twins.copy, None).await.unwrap();
    let other = Arc::new(TestStore::without_locks());
    let theirs = crate::support::create(other.clone()).await;
    let (id, foreign) = (
        twins.primary.description().id.clone(),
        theirs.description().id.clone(),
    );
    for (ours, theirs) in [
        (format!("keys/{id}.json"), format!("keys/{foreign}.json")),
        (
            format!("copy/{id}/key.json"),
            format!("copy/{foreign}/key.json"),
        ),
    ] {
        let bytes = other.get(&theirs.parse().unwrap()).await.unwrap();
        let ours = ours.parse().unwrap();
        let put = twins.ours.put(&ours, bytes, PutMode::Overwrite);
        put.await.unwrap();
    }
    twins.primary.sync_keys(&twins.copy, None).await.unwrap();
    check_alone(&twins.theirs, &[1]).await;
}
