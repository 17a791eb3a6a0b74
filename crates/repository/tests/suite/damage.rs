//! The damage matrix: an object of every kind, damaged in every way, before the repository is opened and
//! after. For each cell: what still restores, what opening and the checks name, which points are said
//! to be affected, and how things stand after the next capture and a restart.

pub(crate) mod harm;
mod world;

use crate::garbage::{at, options, tombstone};
use crate::place::TestStore;
use crate::support::{Files, capture, copy_of, open, point_id, restore};
use harm::{HARMS, Harm};
use holdfast_repository::{Repository, VerifyLevel, VerifyOptions, VerifyReport};
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::Timestamp;
use std::sync::Arc;
use world::{KINDS, Kind, World, shard};

/// When the damage is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    /// The index is in memory, the packs' headers are not.
    After,
}

const MOMENTS: [Moment; 2] = [Moment::Before, Moment::After];

/// Opens a copy of the world that is damaged before or after; `None` if the damage can't be.
async fn damaged(
    world: &World,
    kind: Kind,
    harm: Harm,
    moment: Moment,
) -> Option<(Arc<TestStore>, Repository)> {
    let store = copy_of(world.store.as_ref()).await;
    let before = match moment {
        Moment::Before => None,
        Moment::After => Some(open(store.clone()).await),
    };
    if !world.harm(&store, kind, harm).await {
        return None;
    }
    let repository = match before {
        Some(repository) => repository,
        None => open(store.clone()).await,
    };
    Some((store, repository))
}

/// Points that don't come back byte for byte. None comes back wrong.
async fn lost(repository: &Repository, points: &[u32], content: fn(u32) -> Files) -> Vec<u32> {
    let mut lost = Vec::new();
    for n in points {
        match restore(repository, *n).await {
            Ok(restored) => assert_eq!(restored, content(*n), "point {n} came back wrong"),
            Err(_) => lost.push(*n),
        }
    }
    lost
}

fn content(n: u32) -> Files {
    // Point 3 captures again what point 1 did.
    shard(if n == 3 { 1 } else { n })
}

pub(crate) async fn verify(repository: &Repository, level: VerifyLevel) -> VerifyReport {
    let mut options = VerifyOptions::read_only(level, Timestamp::from_micros(3));
    options.record = true;
    repository.verify_with(&options, &()).await.unwrap()
}

fn names(report: &VerifyReport, key: &ObjectKey) -> bool {
    let mut damaged = report.damaged.iter();
    damaged.any(|found| found.object == key.as_str())
}

fn affected(report: &VerifyReport) -> Vec<u32> {
    let is = |n: &u32| report.affected.iter().any(|point| point.id == point_id(*n));
    (1..=3).filter(is).collect()
}

fn list(points: &[u32]) -> String {
    let texts: Vec<_> = points.iter().map(ToString::to_string).collect();
    if texts.is_empty() {
        "-".to_owned()
    } else {
        texts.join("+")
    }
}

/// One cell, as a line: each observation is made on a fresh copy, so that none helps another.
async fn observe(world: &World, kind: Kind, harm: Harm, moment: Moment) -> Option<String> {
    let key = world.key(kind);
    let (_, repository) = damaged(world, kind, harm, moment).await?;
    let mut opened = repository.report().damaged.iter();
    let opened = opened.any(|found| found.object == key.as_str());
    let believed = repository.has_chunk(&world.bad);
    let lost_now = lost(&repository, &[1, 2], content).await;

    let (_, repository) = damaged(world, kind, harm, moment).await?;
    let quick = names(&verify(&repository, VerifyLevel::Quick).await, key);

    let (store, repository) = damaged(world, kind, harm, moment).await?;
    let full = verify(&repository, VerifyLevel::Full).await;
    assert!(!repository.has_chunk(&world.bad), "a full check finds it");
    // The next capture, by the process that knows; then a restart.
    let epoch = repository.claim_epoch().await.unwrap();
    assert!(epoch.0 > 2, "the epoch went back");
    capture(&repository, epoch, 3, &shard(1)).await.unwrap();
    drop(repository);
    let restarted = open(store).await;
    restarted.claim_epoch().await.unwrap();
    let then = verify(&restarted, VerifyLevel::Full).await;
    let still_lost = lost(&restarted, &[1, 2, 3], content).await;

    let named = [
        (opened, "open"),
        (quick, "quick"),
        (names(&full, key), "full"),
    ];
    let named: Vec<_> = named
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, by)| *by)
        .collect();
    let named = if named.is_empty() {
        "-".to_owned()
    } else {
        named.join(" ")
    };
    let (affected, lost_now) = (list(&affected(&full)), list(&lost_now));
    let outcome = if then.needs_attention() {
        "open"
    } else {
        "quiet"
    };
    let believed = if believed { ", bad chunk believed" } else { "" };
    Some(format!(
        "lost {lost_now}; named {named}; affected {affected}{believed} | {outcome}, lost {}",
        list(&still_lost)
    ))
}

#[tokio::test]
async fn every_kind_in_every_way() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    let mut cells = 0;
    for kind in KINDS {
        for harm in HARMS {
            for moment in MOMENTS {
                let seen = observe(&world, kind, harm, moment).await;
                let want = expected(kind, harm, moment);
                cells += usize::from(seen.is_some());
                if seen.as_deref() != want {
                    wrong.push(format!(
                        "{kind:?} {harm:?} {moment:?}: {seen:?}\n      not {want:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // 13 kinds, 7 harms, 2 moments, without the 7 pairs that can't be.
    assert_eq!(cells, (13 * 7 - 7) * 2);
}

/// The matrix. Before the bar: what is seen at once; behind it: whether anything still needs a person
/// after a capture of point 1's content and a restart, and what is lost then. `None`: can't be.
fn expected(kind: Kind, harm: Harm, moment: Moment) -> Option<&'static str> {
    use Harm::{Cut, FlipHead, FlipMiddle, FlipTail, Remove, Stale, Swap};
    use Kind as K;
    use Moment::{After, Before};
    /// Objects of which the other copy serves; the next writer mends them.
    const MENDED: &str = "lost -; named open quick full; affected - | quiet, lost -";
    const MENDED_LATER: &str = "lost -; named quick full; affected - | quiet, lost -";
    /// Nothing needs it, or nothing tells that it was there.
    const UNSEEN: &str = "lost -; named -; affected - | quiet, lost -";
    /// Named until a person does something about it, and nothing is lost.
    const STAYS: &str = "lost -; named quick full; affected - | open, lost -";
    Some(match (kind, harm, moment) {
        // None of them is ever replaced, the key files and a few notes apart.
        (K::Description | K::DescriptionCopy | K::Index | K::Pack, Stale, _)
        | (K::Manifest | K::Epoch | K::Hold, Stale, _) => return None,

        // It opens, so nothing is wrong until it is compared with its copy.
        (K::Key, Stale, Before) => MENDED_LATER,
        (K::Description | K::DescriptionCopy | K::Key | K::KeyCopy, _, Before) => MENDED,
        (K::Description | K::DescriptionCopy | K::Key | K::KeyCopy, _, After) => MENDED_LATER,

        // The packs say it, too. A damaged one is left for `repo rebuild-index`.
        (K::Index, FlipHead | FlipMiddle | FlipTail | Cut, Before) => {
            "lost -; named open quick full; affected - | open, lost -"
        }
        (K::Index, Remove, _) => UNSEEN,
        (K::Index, _, _) => STAYS,

        // A flipped bit shows when it is read, a wrong size at once; what is stored anew heals the point.
        (K::Pack, FlipHead | FlipMiddle, _) => "lost 1; named full; affected 1 | quiet, lost -",
        // Its footer is hit: every chunk can be read, by the index alone, so none is stored anew.
        (K::Pack, FlipTail, _) => "lost -; named full; affected - | open, lost -",
        (K::Pack, Cut | Remove, Before) => {
            "lost 1; named open quick full; affected 1 | quiet, lost -"
        }
        (K::Pack, Cut | Remove, After) => "lost 1; named quick full; affected 1 | quiet, lost -",
        // The other one holds what only point 2 has.
        (K::Pack, Swap, _) => "lost 1+2; named full; affected 1+2 | open, lost 2",

        // No capture brings a manifest back, but nobody else's point is concerned.
        (K::Manifest, FlipHead | FlipMiddle | FlipTail | Cut, _) => {
            "lost 1; named quick full; affected 1 | open, lost 1"
        }
        // Nothing tells that there was such a point.
        (K::Manifest, Remove, _) => "lost 1; named -; affected - | quiet, lost 1",
        (K::Manifest, Swap, _) => "lost 1+2; named quick full; affected 1+2 | open, lost 1+2",

        // A claim is its name, and a removed one is remembered by what was written under it.
        (K::Epoch, _, _) => UNSEEN,

        // It costs the knowledge of what is bad, until the next full check.
        (K::Quarantine, Remove | Stale, Before) => {
            "lost -; named -; affected -, bad chunk believed | quiet, lost -"
        }
        (K::Quarantine, _, Before) => {
            "lost -; named open quick full; affected -, bad chunk believed | quiet, lost -"
        }
        (K::Quarantine, Remove | Stale, After) => UNSEEN,
        (K::Quarantine, _, After) => MENDED_LATER,

        // Nothing tells that they were there, and of two exchanged ones both are still there.
        (K::Hold | K::Pin | K::Proof, Remove | Swap | Stale, _)
        | (K::Tombstone, Remove | Stale, _) => UNSEEN,
        (K::Hold | K::Pin | K::Proof | K::Tombstone, _, _) => STAYS,
    })
}

/// The matrix replaces key files by those of a repository with another key. One passphrase for two
/// repositories makes it worse: then the wrong key file opens, too.
#[tokio::test]
async fn a_key_file_of_another_repository_with_the_same_passphrase() {
    let world = World::new().await;
    let other = Arc::new(TestStore::without_locks());
    let theirs = crate::support::create(other.clone()).await;
    let theirs = format!("keys/{}.json", theirs.description().id);
    let theirs = other.get(&theirs.parse().unwrap()).await.unwrap();
    for kind in [Kind::Key, Kind::KeyCopy] {
        let store = copy_of(world.store.as_ref()).await;
        let key = world.key(kind);
        let put = store.put(key, theirs.clone(), PutMode::Overwrite);
        put.await.unwrap();
        let repository = open(store.clone()).await;
        repository.claim_epoch().await.unwrap();
        assert_eq!(
            lost(&repository, &[1, 2], content).await,
            Vec::<u32>::new(),
            "{kind:?}"
        );
        let again = open(store).await;
        assert_eq!(
            lost(&again, &[1, 2], content).await,
            Vec::<u32>::new(),
            "{kind:?}"
        );
    }
}

/// Tombstones of packs are no objects that anything is restored from: whatever becomes of one, nothing needed goes, and what
/// nothing needs goes in the end.
#[tokio::test]
async fn a_tombstone_of_packs_in_every_way() {
    let sound = Arc::new(TestStore::without_locks());
    let repository = crate::support::create(sound.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    for n in 1..=2 {
        capture(&repository, epoch, n, &shard(n)).await.unwrap();
    }
    let stone = tombstone(1, at(0));
    repository.tombstone_point(epoch, &stone).await.unwrap();
    let swept = repository.sweep_point(epoch, &point_id(1), at(200)).await;
    swept.unwrap();
    let doomed = repository.collect_garbage(epoch, options(at(200))).await;
    assert!(doomed.unwrap().dead.packs > 0);
    let listed = sound.list(&"tombstones/packs".parse().unwrap()).await;
    let key = listed.unwrap().remove(0).key;
    let bytes = sound.get(&key).await.unwrap();
    for harm in [
        Harm::FlipHead,
        Harm::FlipMiddle,
        Harm::FlipTail,
        Harm::Cut,
        Harm::Remove,
    ] {
        let store = copy_of(sound.as_ref()).await;
        let mut harmed = bytes.to_vec();
        let (middle, last) = (harmed.len() / 2, harmed.len() - 1);
        match harm {
            Harm::FlipHead => harmed[0] ^= 0xff,
            Harm::FlipMiddle => harmed[middle] ^= 0xff,
            Harm::FlipTail => harmed[last] ^= 0xff,
            Harm::Cut => harmed.truncate(middle),
            Harm::Remove | Harm::Swap | Harm::Stale => harmed.clear(),
        }
        store.delete(&key).await.unwrap();
        if harm != Harm::Remove {
            let put = store.put(&key, harmed.into(), PutMode::CreateNew);
            put.await.unwrap();
        }
        let repository = open(store.clone()).await;
        let epoch = repository.claim_epoch().await.unwrap();
        capture(&repository, epoch, 3, &shard(1)).await.unwrap();
        for n in 0..5 {
            let now = at(300 + n * 150);
            let collected = repository.collect_garbage(epoch, options(now)).await;
            assert!(collected.is_ok(), "{harm:?}: {collected:?}");
        }
        let again = open(store).await;
        let lost = lost(&again, &[2, 3], content).await;
        assert_eq!(lost, Vec::<u32>::new(), "{harm:?}");
        let report = verify(&again, VerifyLevel::Full).await;
        assert!(report.affected.is_empty(), "{harm:?}: {report:?}");
    }
}
