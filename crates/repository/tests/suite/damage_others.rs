//! Damage to objects that the large matrix (`damage.rs`) leaves out, because no point needs them: what a store says that it is, parts of
//! archived logs, tombstones of packs, further holders' keys. Each in every way, and before and after the repository is opened.

use crate::copying::{Twins, name};
use crate::damage::harm::{HARMS, Harm};
use crate::garbage::{at, options, tombstone};
use crate::keys::{holder, open_by, raw, refusal_of, shared};
use crate::place::TestStore;
use crate::support::{capture, copy_of, create, files, kek, open, point_id, restore};
use crate::wal::{part, series};
use bytes::Bytes;
use holdfast_archive::Kek;
use holdfast_repository::{
    Repository, RepositoryError, RoleRefusal, VerifyLevel, VerifyReport, WalPart,
};
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::Timestamp;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

/// What is there after the damage; `None` if nothing.
fn harmed(harm: Harm, sound: &Bytes, other: &Bytes, stale: &Bytes) -> Option<Bytes> {
    let left = match harm {
        Harm::FlipHead | Harm::FlipMiddle | Harm::FlipTail | Harm::Cut => {
            harm.spoil(sound).unwrap()
        }
        Harm::Remove => return None,
        Harm::Swap => other.clone(),
        Harm::Stale => stale.clone(),
    };
    assert_ne!(left, *sound, "{harm:?}: no damage at all");
    Some(left)
}

async fn place(store: &TestStore, key: &ObjectKey, bytes: Option<Bytes>) {
    match bytes {
        Some(bytes) => store.put(key, bytes, PutMode::Overwrite).await.unwrap(),
        None => store.delete(key).await.unwrap(),
    }
}

async fn names(store: &TestStore, prefix: &str) -> Vec<ObjectKey> {
    let listed = store.list(&prefix.parse().unwrap()).await.unwrap();
    listed.into_iter().map(|found| found.key).collect()
}

fn damaged(report: &VerifyReport) -> Vec<String> {
    let objects = report.damaged.iter().map(|found| found.object.clone());
    objects.collect()
}

/// How a store is refused, in a word.
fn word(refused: RepositoryError) -> &'static str {
    if matches!(&refused, RepositoryError::Damaged { object, .. } if object == "copies/role") {
        return "damaged";
    }
    let RepositoryError::Role(role) = refused else {
        panic!("{refused:?}")
    };
    match role {
        RoleRefusal::NoCopy { .. } => "no copy",
        RoleRefusal::IsCopy { .. } => "copy",
        RoleRefusal::OtherName { .. } => "other name",
        RoleRefusal::Promoted { .. } => "promoted",
        RoleRefusal::Detached { .. } => "detached",
        RoleRefusal::Retired { .. } => "retired",
        RoleRefusal::OtherWriter { .. } => "other writer",
        RoleRefusal::OtherMaster { .. } => "other master",
    }
}

fn outcome<T>(outcome: Result<T, RepositoryError>) -> &'static str {
    outcome.map_or_else(word, |_| "ok")
}

/// What a store says that it is decides who may write to it. Damaged, nobody does; exchanged for another one that is authentic, it is
/// what that says. What it holds restores in any case.
#[tokio::test]
async fn a_role_in_every_way() {
    let (twins, b) = (Twins::new(1).await, name());
    twins.bring(1).await.unwrap();
    let key: ObjectKey = "copies/role".parse().unwrap();
    let sound = twins.theirs.get(&key).await.unwrap();
    let third = Arc::new(TestStore::without_locks());
    let other = "c".parse().unwrap();
    let made = twins.primary.make_copy(third.as_ref(), &other, at(0));
    assert!(made.await.unwrap());
    let swap = third.get(&key).await.unwrap();
    // It was detached once, and made a copy again.
    let detached = copy_of(twins.theirs.as_ref()).await;
    let once = twins
        .primary
        .open_copy(detached.clone(), &b, crate::support::SMALL);
    once.await.unwrap().detach(&b, at(1)).await.unwrap();
    let stale = detached.get(&key).await.unwrap();
    for harm in HARMS {
        let store = copy_of(twins.theirs.as_ref()).await;
        let before = twins
            .primary
            .open_copy(store.clone(), &b, crate::support::SMALL);
        let before = before.await.unwrap();
        before
            .claim_copy(&twins.primary, &b, twins.epoch)
            .await
            .unwrap();
        let present = harmed(harm, &sound, &swap, &stale);
        place(&store, &key, present.clone()).await;
        // Whoever had it open looks again before each run.
        let again = before.check_copy(&b).await;
        drop(before);
        let opened = twins
            .primary
            .open_copy(store.clone(), &b, crate::support::SMALL);
        let opened = opened.await.map(drop);
        let reader = open(store.clone()).await;
        assert_eq!(restore(&reader, 1).await.unwrap(), files(1), "{harm:?}");
        let found = reader.verify(VerifyLevel::Full).await.unwrap();
        let as_primary = reader.claim_epoch().await;
        let seen = (outcome(again), outcome(opened), outcome(as_primary));
        let want = match harm {
            Harm::FlipHead | Harm::FlipMiddle | Harm::FlipTail | Harm::Cut => {
                ("damaged", "damaged", "damaged")
            }
            // It is a duplicate, of which nothing tells that it was a copy.
            Harm::Remove => ("no copy", "no copy", "ok"),
            Harm::Swap => ("other name", "other name", "copy"),
            Harm::Stale => ("detached", "detached", "detached"),
        };
        assert_eq!(seen, want, "{harm:?}");
        let named: &[&str] = if harm.spoil(&sound).is_some() {
            &["copies/role"]
        } else {
            &[]
        };
        assert_eq!(damaged(&found), named, "{harm:?}");
        // Nobody has written it anew on the way.
        let left = store.get(&key).await.ok();
        assert_eq!(left, present, "{harm:?}");
    }
}

/// What can be read of the log: `0-6` or `0-2 ! 4-6`, where `!` is a part that is there and can't be.
async fn readable(repository: &Repository) -> String {
    let listings = repository.list_wal(&repository.namespace()).await.unwrap();
    let own = listings.into_iter().find(|found| found.series == series(1));
    let mut said = Vec::new();
    for stored in own.into_iter().flat_map(|own| own.parts.into_values()) {
        match repository.read_wal(&series(1), stored.part).await {
            Ok(found) => {
                let run = *found.unwrap().run();
                said.push(format!("{}-{}", run.first, run.next));
            }
            Err(RepositoryError::Damaged { .. }) => said.push("!".to_owned()),
            Err(error) => panic!("{error:?}"),
        }
    }
    said.join(" ")
}

/// A log of three parts, and the same log with one that was made of them, which they still stand beside or not.
async fn logs() -> [(Arc<TestStore>, &'static str); 3] {
    let store = Arc::new(TestStore::without_locks());
    let repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for timeline in 1..=2 {
        for indexes in [0..2, 2..4, 4..6] {
            let appended = repository.append_wal(epoch, part(timeline, indexes));
            appended.await.unwrap();
        }
    }
    let single = copy_of(store.as_ref()).await;
    let firsts = [0, 2, 4].map(WalPart::appended);
    for timeline in 1..=2 {
        let series = series(timeline);
        let merged = repository.merge_wal(epoch, &series, &firsts, 1 << 20);
        assert!(merged.await.unwrap().is_some());
    }
    let beside = copy_of(store.as_ref()).await;
    let listings = repository.list_wal(&repository.namespace()).await.unwrap();
    for listing in listings {
        let removed = repository.remove_wal(epoch, &listing.series, &listing.replaced);
        assert_eq!(removed.await.unwrap().objects, 3);
    }
    [(single, "single"), (beside, "beside"), (store, "merged")]
}

/// Entries are lost with their part and no others, and what is damaged or has a gap before it is named. A damaged merged part costs
/// nothing while those that it was made of are there.
#[tokio::test]
async fn a_part_of_a_log_in_every_way() {
    for (sound, what) in logs().await {
        let objects = names(&sound, "wal").await;
        let of = |timeline: u8| {
            let folder = format!("/{}/", format!("{timeline:02x}").repeat(16));
            objects
                .iter()
                .filter(move |key| key.as_str().contains(&folder))
                .collect::<Vec<_>>()
        };
        // Names of merged parts follow those of the parts that begin with the same entry.
        for (nth, (key, other)) in of(1).into_iter().zip(of(2)).enumerate() {
            let is_merged = key.name().contains('-');
            let (present, swap) = (
                sound.get(key).await.unwrap(),
                sound.get(other).await.unwrap(),
            );
            // None is ever replaced.
            for harm in HARMS.into_iter().filter(|harm| *harm != Harm::Stale) {
                let store = copy_of(sound.as_ref()).await;
                let before = open(store.clone()).await;
                place(&store, key, harmed(harm, &present, &swap, &present)).await;
                let after = open(store.clone()).await;
                let seen = readable(&before).await;
                assert_eq!(
                    seen,
                    readable(&after).await,
                    "nothing is remembered of logs"
                );
                let gone = harm == Harm::Remove;
                let want = match (what, nth, gone) {
                    ("single", 0, false) => "! 2-4 4-6",
                    ("single", 1, false) => "0-2 ! 4-6",
                    ("single", 2, false) => "0-2 2-4 !",
                    ("single", 0, true) => "2-4 4-6",
                    ("single", 1, true) => "0-2 4-6",
                    ("single", 2, true) => "0-2 2-4",
                    ("beside", _, true) if is_merged => "0-2 2-4 4-6",
                    ("beside", _, _) => "0-6",
                    ("merged", _, false) => "!",
                    ("merged", _, true) => "",
                    unknown => panic!("{unknown:?}"),
                };
                assert_eq!(seen, want, "{what} {key} {harm:?}");
                let found = after.verify(VerifyLevel::Full).await.unwrap();
                let counts = what != "beside" || is_merged;
                let named: Vec<String> = match (gone, counts) {
                    (false, true) => vec![key.to_string()],
                    // The part behind the gap.
                    (true, true) if what == "single" && nth == 1 => vec![of(1)[2].to_string()],
                    // Nothing is known of before the first, behind the last, or of parts that others stand for.
                    (true, true) | (_, false) => vec![],
                };
                assert_eq!(damaged(&found), named, "{what} {key} {harm:?}");
            }
        }
    }
}

/// Tombstones of packs, exchanged for one another and for older versions of themselves, while packs wait and while they are
/// gone, under a coordinator that runs and one that begins: nothing needed goes, and what nothing needs does in the end.
#[tokio::test]
async fn tombstones_of_packs_that_are_exchanged_or_stale() {
    let sound = Arc::new(TestStore::without_locks());
    let repository = create(sound.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=4 {
        capture(&repository, epoch, n, &files(n.into()))
            .await
            .unwrap();
    }
    // Two runs doom the packs of one point each.
    let mut worlds = Vec::new();
    let mut stones = Vec::new();
    for (n, now) in [(1, 200), (2, 240)] {
        let stone = tombstone(n, at(now - 150));
        repository.tombstone_point(epoch, &stone).await.unwrap();
        let swept = repository.sweep_point(epoch, &point_id(n), at(now)).await;
        swept.unwrap();
        let doomed = repository.collect_garbage(epoch, options(at(now))).await;
        assert!(doomed.unwrap().dead.packs > 0);
        stones = names(&sound, "tombstones/packs").await;
    }
    let [one, two] = &stones[..] else {
        panic!("each run writes a tombstone: {stones:?}")
    };
    let waiting = [sound.get(one).await.unwrap(), sound.get(two).await.unwrap()];
    worlds.push((copy_of(sound.as_ref()).await, 250, waiting.clone()));
    let swept = repository.collect_garbage(epoch, options(at(345))).await;
    assert!(swept.unwrap().swept.packs > 0);
    worlds.push((copy_of(sound.as_ref()).await, 350, waiting));
    for (world, now, older) in &worlds {
        let now = *now;
        for harm in [Harm::Swap, Harm::Stale] {
            for runs in [false, true] {
                if harm == Harm::Stale && now == 250 {
                    // None is written anew before that.
                    continue;
                }
                let what = format!("{harm:?} at {now}, running: {runs}");
                let store = copy_of(world.as_ref()).await;
                let running = if runs {
                    Some(open(store.clone()).await)
                } else {
                    None
                };
                if harm == Harm::Swap {
                    let [first, second] = [one, two].map(|key| store.get(key));
                    let (first, second) = (first.await.unwrap(), second.await.unwrap());
                    assert_ne!(first, second, "{what}");
                    place(&store, one, Some(second)).await;
                    place(&store, two, Some(first)).await;
                } else {
                    for (key, older) in [one, two].into_iter().zip(older) {
                        assert_ne!(store.get(key).await.unwrap(), older, "{what}");
                        place(&store, key, Some(older.clone())).await;
                    }
                }
                let repository = match running {
                    Some(running) => running,
                    None => open(store.clone()).await,
                };
                ends_well(repository, store, now, &what).await;
            }
        }
    }
}

/// A capture of what point 1 held, and garbage collections until nothing is left to do.
async fn ends_well(repository: Repository, store: Arc<TestStore>, now: u64, what: &str) {
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 5, &files(1)).await.unwrap();
    for n in 0..5 {
        let now = at(now + n * 150);
        let collected = repository.collect_garbage(epoch, options(now)).await;
        assert!(collected.is_ok(), "{what}: {collected:?}");
    }
    drop(repository);
    let again = open(store).await;
    for (n, content) in [(3, 3), (4, 4), (5, 1)] {
        let restored = restore(&again, n).await;
        assert_eq!(restored.unwrap(), files(content), "{what}: point {n}");
    }
    let report = again.verify(VerifyLevel::Full).await.unwrap();
    assert!(report.is_sound(), "{what}: {report:?}");
    let left = again.find_leftovers().await.unwrap();
    assert_eq!(left.orphan_packs.unwrap(), [], "{what}");
}

/// The key files of a further holder, main and copy: whatever becomes of one of the two, every holder opens, and the holder's own
/// next start mends it.
#[tokio::test]
async fn a_further_holder_s_key_in_every_way() {
    let sound = shared().await;
    let repository = open_by(sound.clone(), kek()).await;
    let own = |key: &&ObjectKey| key.as_str().ends_with("-b.json");
    let mut all = names(&sound, "keys").await;
    all.extend(names(&sound, "copy").await);
    let objects: Vec<ObjectKey> = all.iter().filter(own).cloned().collect();
    assert_eq!(objects.len(), 2, "{all:?}");
    let words = all.iter().find(|key| key.as_str().ends_with("-words.json"));
    let swap = sound.get(words.unwrap()).await.unwrap();
    // The holder had another key before.
    let earlier = copy_of(sound.as_ref()).await;
    let other = open_by(earlier.clone(), kek()).await;
    other.remove_key(&holder("b"), NOW).await.unwrap();
    other.add_key(&raw(5), &holder("b"), NOW).await.unwrap();
    drop((other, repository));
    for object in &objects {
        let present = sound.get(object).await.unwrap();
        let stale = earlier.get(object).await.unwrap();
        for harm in HARMS {
            for runs in [false, true] {
                let what = format!("{object} {harm:?}, running: {runs}");
                let store = copy_of(sound.as_ref()).await;
                let running = if runs {
                    Some(open_by(store.clone(), kek()).await)
                } else {
                    None
                };
                place(&store, object, harmed(harm, &present, &swap, &stale)).await;
                if let Some(running) = running {
                    let found = running.verify(VerifyLevel::Quick).await.unwrap();
                    assert!(!found.damaged.is_empty(), "{what}");
                    assert_eq!(restore(&running, 1).await.unwrap(), files(1), "{what}");
                }
                let mut keks = vec![kek(), raw(2)];
                if !runs {
                    keks.push(Kek::passphrase("correct horse").unwrap());
                }
                for kek in keks {
                    let opened = open_by(store.clone(), kek).await;
                    assert!(!opened.report().damaged.is_empty(), "{what}");
                    assert_eq!(restore(&opened, 1).await.unwrap(), files(1), "{what}");
                }
                let mending = open_by(store.clone(), raw(2)).await;
                mending.claim_epoch().await.unwrap();
                drop(mending);
                assert_eq!(store.get(object).await.unwrap(), present, "{what}");
                let again = open_by(store.clone(), raw(2)).await;
                assert!(again.report().damaged.is_empty(), "{what}");
                let stranger = refusal_of(&store, raw(5)).await;
                assert!(
                    matches!(stranger, RepositoryError::WrongKey { .. }),
                    "{what}"
                );
            }
        }
    }
}
