//! Choices and windows against a simple model: a list of all operations with the times at which they were truly written.

mod between;
mod doubts;
mod model;
mod prune;

use self::model::{POINTS, Truth, history, point_id, t, truth};
use super::{
    ArchivedLog, Base, BasePoint, Choice, History, InstantRequest, InstantTarget, LogPart,
    PartView, ReplayWay, Standing, check_choice, choose, windows,
};
use crate::fixture::name;
use holdfast_types::{
    CollectionName, IncarnationId, RecoveryPointId, ShardId, TimelineId, Timestamp,
};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn to(target: InstantTarget) -> InstantRequest {
    InstantRequest {
        target,
        collections: vec![name("docs")],
        point: None,
        way: ReplayWay::Splice,
    }
}

/// What must be true of any choice, by the times at which things truly happened.
fn holds(choice: &Choice, truths: &[Truth]) -> Result<(), String> {
    for log in &choice.collections[0].shards {
        let truth = &truths[log.shard.0 as usize];
        let nth = (0..POINTS)
            .find(|nth| point_id(*nth) == choice.point)
            .unwrap();
        let contained = truth.base(log.shard.0, nth).next.unwrap();
        for (operation, written) in (0..).zip(&truth.written) {
            let inside = operation < log.until || operation < contained;
            if inside && t(*written) > choice.instant {
                return Err(format!("{operation} was written later, at {written}"));
            }
            if !inside && t(*written) < log.complete_before {
                return Err(format!("{operation} of {written} is not contained"));
            }
        }
        if log.until < contained {
            return Err(format!("{contained} may be contained, not {}", log.until));
        }
    }
    Ok(())
}

/// The choice by brute force: whether any recovery point will do, operation by operation.
fn possible(history: &History, instant: Timestamp) -> bool {
    history.points.iter().any(|point| {
        let bases = &point.collections[&name("docs")];
        bases
            .iter()
            .all(|base| shard_possible(history, base, instant))
    })
}

fn shard_possible(history: &History, base: &Base, instant: Timestamp) -> bool {
    let (Some(timeline), Some(certain), Some(next)) = (base.timeline, base.certain, base.next)
    else {
        return false;
    };
    // by of every archived operation of the timeline, and after of the look that found it
    let mut known = BTreeMap::new();
    for log in history.logs.iter().filter(|l| l.timeline == timeline) {
        for part in &log.parts {
            let PartView::Read(part) = part else { continue };
            for look in &part.looks {
                known.extend(
                    (look.first..look.next).map(|n| (n, (look.first, look.after, look.by))),
                );
            }
        }
    }
    let mut end = certain;
    while known.contains_key(&end) {
        end += 1;
    }
    let in_time = |n: u64| known.get(&n).is_some_and(|(.., by)| *by <= instant);
    let usable = base.captured_at <= instant
        && (certain..next).all(in_time)
        && known
            .iter()
            .filter(|(n, _)| **n < certain)
            .all(|(_, (_, after, _))| *after <= instant);
    let left_out = (certain..end).any(|n| !in_time(n));
    let last = end.checked_sub(1).filter(|last| *last >= certain);
    let reached = last
        .and_then(|last| known.get(&last))
        .is_some_and(|(.., by)| *by >= instant);
    let still = history.points.iter().any(|point| {
        let bases = &point.collections[&name("docs")];
        bases.iter().any(|other| {
            other.timeline == base.timeline
                && other.shard == base.shard
                && other.next.is_some_and(|next| next <= end)
                && other.captured_at >= instant
        })
    });
    usable && (left_out || reached || still)
}

proptest! {
    #![proptest_config(prop::test_runner::Config::with_cases(3000))]

    /// What is chosen contains nothing later and everything earlier, its checker agrees, and where nothing is chosen there is nothing.
    #[test]
    fn choices_keep_their_promises(
        truths in prop::collection::vec(truth(), 1..4),
        instants in prop::collection::vec(0..230_i64, 20),
    ) {
        let history = history(&truths);
        let window = windows(&history, None);
        for at in instants {
            let request = to(InstantTarget::Instant(t(at)));
            let chosen = choose(&history, &request);
            prop_assert_eq!(chosen.is_ok(), possible(&history, t(at)), "{} {:?}", at, chosen);
            let in_window = window[0].stretches.iter().any(|s| (s.from..=s.to).contains(&t(at)));
            prop_assert_eq!(chosen.is_ok(), in_window, "{} {:?}", at, window);
            if let Ok(choice) = chosen {
                prop_assert_eq!(check_choice(&choice, &request, &history), vec![]);
                prop_assert_eq!(holds(&choice, &truths), Ok(()), "{} {:?}", at, choice);
            } else if let Err(blocker) = chosen {
                nearest_is_possible(&history, &blocker.to_string())?;
            }
        }
    }

    #[test]
    fn the_latest_and_every_operation_are_reached(
        truths in prop::collection::vec(truth(), 1..4),
        number in 0..25_u64,
        spoil in any::<bool>(),
    ) {
        let mut history = history(&truths);
        if spoil && let Some(part) = history.logs.first_mut().and_then(|log| log.parts.last_mut()) {
            let (first, why) = (part.first(), "bit rot".to_owned());
            *part = PartView::Unreadable { first, why };
        }
        let request = to(InstantTarget::Latest);
        if let Ok(choice) = choose(&history, &request) {
            prop_assert_eq!(check_choice(&choice, &request, &history), vec![]);
            prop_assert_eq!(holds(&choice, &truths), Ok(()), "{:?}", choice);
        }
        let request = to(InstantTarget::Operation(number));
        let chosen = choose(&history, &request);
        if let Ok(choice) = &chosen {
            prop_assert_eq!(check_choice(choice, &request, &history), vec![]);
            prop_assert_eq!(holds(choice, &truths), Ok(()), "{:?}", choice);
            prop_assert_eq!(choice.collections[0].shards[0].until, number + 1);
            prop_assert_eq!(truths.len(), 1);
        }
    }
}

/// Instants that a refusal names can be had.
fn nearest_is_possible(
    history: &History,
    text: &str,
) -> Result<(), proptest::test_runner::TestCaseError> {
    for named in text.split("--to ").skip(1) {
        let named = named.split([';', ' ']).next().unwrap_or_default();
        prop_assert!(
            possible(history, named.parse().unwrap()),
            "{}: {}",
            named,
            text
        );
    }
    Ok(())
}

/// One shard with an operation every 10 from 10 to 100, looked at every 5, and captured at 32.
fn simple() -> Truth {
    Truth {
        written: (1..=10).map(|n| n * 10).collect(),
        looks: (1..=24).map(|n| (n * 5, n * 5 + 1)).collect(),
        lost: None,
        restart: None,
        captures: vec![(32, 0, 0), (62, 21, 1), (95, 1, 0)],
        other: None,
    }
}

fn only(history: &History, target: InstantTarget) -> (RecoveryPointId, u64, u64, Timestamp) {
    let choice = choose(history, &to(target)).unwrap();
    let log = &choice.collections[0].shards[0];
    (
        choice.point.clone(),
        log.from,
        log.until,
        choice.complete_before,
    )
}

#[test]
fn a_capture_that_may_hold_what_came_later_is_not_used() {
    let history = history(&[simple()]);
    // The second was captured at 62, and while its snapshot was made 70 and 80 were written: the look that found 80 ended at 86.
    let at = |instant| only(&history, InstantTarget::Instant(t(instant)));
    assert_eq!(at(64), (point_id(0), 3, 5, t(60)));
    assert_eq!(at(85), (point_id(0), 3, 7, t(80)));
    assert_eq!(at(86), (point_id(1), 5, 8, t(86)));
    assert_eq!(at(95), (point_id(2), 9, 9, t(95)));
}

#[test]
fn the_width_is_that_of_the_first_look_that_is_left_out() {
    let history = history(&[simple()]);
    // 50 was written at 50 and found by the look of 55 to 56, after the one that began at 50.
    assert_eq!(
        only(&history, InstantTarget::Instant(t(55))),
        (point_id(0), 3, 4, t(50))
    );
    assert_eq!(
        only(&history, InstantTarget::Operation(4)),
        (point_id(0), 3, 5, t(56))
    );
}

#[test]
fn refusals_name_the_instants_next_to_it() {
    let mut truth = simple();
    truth.lost = Some((4, 5));
    truth.captures = vec![(32, 0, 0), (65, 0, 0)];
    let history = history(&[truth]);
    let refused = choose(&history, &to(InstantTarget::Instant(t(60)))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "1970-01-01T01:00:00Z can't be restored (the log of shard 0 of docs is known until 1970-01-01T00:46:00Z: \
         operations 4 to 4 are missing); the nearest before it: --to 1970-01-01T00:46:00Z; the nearest after it: --to \
         1970-01-01T01:05:00Z; `holdfast restore window` shows every instant that can"
    );
    let window = &windows(&history, None)[0];
    let gaps: Vec<_> = window
        .gaps
        .iter()
        .map(|gap| (gap.after, gap.before))
        .collect();
    assert_eq!(gaps, [(t(46), Some(t(65))), (t(106), None)]);
    assert_eq!(
        window.gaps[0].why,
        ["shard 0: operations 4 to 4 are missing"]
    );
}

#[test]
fn what_was_not_written_to_is_known_by_the_next_capture_or_by_its_agent() {
    let mut truth = simple();
    truth.written.truncate(3);
    truth.captures = vec![(34, 0, 0), (62, 0, 0)];
    let mut history = history(&[truth]);
    assert_eq!(
        only(&history, InstantTarget::Instant(t(50))),
        (point_id(0), 3, 3, t(50))
    );
    assert!(choose(&history, &to(InstantTarget::Instant(t(63)))).is_err());
    let said = Standing {
        timeline: TimelineId::from_bytes([1; 16]),
        shard: ShardId(0),
        at: t(90),
        next: 3,
    };
    history.standings = vec![said];
    assert_eq!(
        only(&history, InstantTarget::Instant(t(90))),
        (point_id(1), 3, 3, t(90))
    );
    // It says that there is an operation which is not archived.
    history.standings = vec![Standing { next: 4, ..said }];
    assert!(choose(&history, &to(InstantTarget::Instant(t(90)))).is_err());
}

#[test]
fn the_latest_says_which_log_is_behind() {
    let (mut behind, ahead) = (simple(), simple());
    behind.looks.truncate(8);
    behind.captures = vec![(32, 0, 0)];
    let history = history(&[behind, ahead]);
    let choice = choose(&history, &to(InstantTarget::Latest)).unwrap();
    assert_eq!((choice.instant, choice.complete_before), (t(106), t(32)));
    let untils: Vec<u64> = choice.collections[0]
        .shards
        .iter()
        .map(|log| log.until)
        .collect();
    assert_eq!(untils, [3, 10]);
    assert_eq!(choice.warnings.len(), 1, "{:?}", choice.warnings);
}

#[test]
fn each_refusal_of_an_operation_says_what_can_be() {
    let refused = |history: &History, number| {
        let request = to(InstantTarget::Operation(number));
        choose(history, &request).unwrap_err().to_string()
    };
    let one = history(&[simple()]);
    assert!(
        refused(&one, 1).contains("these can: 8 to 9, 7 to 9, 2 to 9"),
        "{}",
        refused(&one, 1)
    );
    assert!(refused(&history(&[simple(), simple()]), 5).contains("has 2 shards"));
    let mut twice = simple();
    twice.captures = vec![(32, 0, 0), (65, 0, 0), (95, 0, 0)];
    let mut ambiguous = history(&[twice]);
    // Another timeline counts the same numbers.
    let mut other = ambiguous.logs[0].clone();
    other.timeline = TimelineId::from_bytes([77; 16]);
    ambiguous.logs.push(other);
    let newest = ambiguous.points[0]
        .collections
        .get_mut(&name("docs"))
        .unwrap();
    newest[0].timeline = Some(TimelineId::from_bytes([77; 16]));
    assert!(
        refused(&ambiguous, 9).contains("several logs"),
        "{}",
        refused(&ambiguous, 9)
    );
    let all = InstantRequest {
        collections: vec![],
        ..to(InstantTarget::Operation(9))
    };
    assert!(choose(&one, &all).is_ok(), "the only collection is meant");
}

#[test]
fn several_collections_share_one_point_or_are_restored_one_by_one() {
    let mut history = history(&[simple()]);
    let books: CollectionName = name("books");
    let second = history.points[1].clone();
    let mut only_books = BasePoint {
        id: point_id(9),
        ..second.clone()
    };
    let bases = only_books.collections.remove(&name("docs")).unwrap();
    only_books.collections.insert(books.clone(), bases);
    for log in history.logs.clone() {
        let owner = Some((books.clone(), "n1".parse().unwrap()));
        let timeline = TimelineId::from_bytes([50; 16]);
        history.logs.push(ArchivedLog {
            owner,
            timeline,
            ..log
        });
    }
    only_books.collections.get_mut(&books).unwrap()[0].timeline =
        Some(TimelineId::from_bytes([50; 16]));
    history.points.insert(0, only_books);
    let request = InstantRequest {
        collections: vec![name("docs"), books.clone()],
        ..to(InstantTarget::Instant(t(90)))
    };
    let refused = choose(&history, &request).unwrap_err().to_string();
    assert!(
        refused.contains("holdfast restore run --to 1970-01-01T01:30:00Z --collection books"),
        "{refused}"
    );
    let all = InstantRequest {
        collections: vec![],
        ..request
    };
    let choice = choose(&history, &all).unwrap();
    assert_eq!((choice.point, choice.collections.len()), (point_id(9), 1));
    assert!(
        choice.warnings[0].to_string().contains("has no docs"),
        "{:?}",
        choice.warnings
    );
}

#[test]
fn each_way_to_spoil_a_choice_is_found() {
    type Spoil = fn(&mut Choice, &mut History);
    let ways: &[(&str, Spoil)] = &[
        ("another instant", |choice, _| choice.instant = t(87)),
        ("another point", |choice, _| choice.point = point_id(0)),
        ("no such point", |choice, _| choice.point = point_id(5)),
        ("no shard", |choice, _| choice.collections[0].shards.clear()),
        ("no collection", |choice, _| choice.collections.clear()),
        ("begins late", |choice, _| {
            choice.collections[0].shards[0].from += 1
        }),
        ("ends early", |choice, _| {
            choice.collections[0].shards[0].until -= 1
        }),
        ("ends late", |choice, _| {
            choice.collections[0].shards[0].until += 1
        }),
        ("too complete", |choice, _| {
            choice.collections[0].shards[0].complete_before = t(88)
        }),
        ("another timeline", |choice, _| {
            choice.collections[0].shards[0].timeline = TimelineId::from_bytes([3; 16]);
        }),
        ("another life", |choice, _| {
            choice.collections[0].shards[0].incarnation = Some(IncarnationId::from_bytes([1; 16]));
        }),
        ("a part is lost", |_, history| {
            history.logs[0].parts.retain(|part| part.first() != 6);
        }),
        ("a part is damaged", |_, history| {
            let why = String::new();
            history.logs[0].parts[6] = PartView::Unreadable { first: 6, why };
        }),
        ("a part does not follow", |_, history| {
            if let PartView::Read(part) = &mut history.logs[0].parts[6] {
                Arc::make_mut(part).before = Some(99);
            }
        }),
        ("captured later", |_, history| {
            history.points[1]
                .collections
                .get_mut(&name("docs"))
                .unwrap()[0]
                .captured_at = t(87);
        }),
        ("may hold more", |_, history| {
            history.points[1]
                .collections
                .get_mut(&name("docs"))
                .unwrap()[0]
                .next = Some(9);
        }),
    ];
    let history = history(&[simple()]);
    let request = to(InstantTarget::Instant(t(86)));
    let choice = choose(&history, &request).unwrap();
    assert_eq!(check_choice(&choice, &request, &history), []);
    for (what, spoil) in ways {
        let (mut choice, mut history) = (choice.clone(), history.clone());
        spoil(&mut choice, &mut history);
        let found = check_choice(&choice, &request, &history);
        assert!(!found.is_empty(), "{what}");
    }
}

#[test]
fn a_capture_without_a_place_in_a_log_is_a_single() {
    let mut history = history(&[simple()]);
    for point in &mut history.points {
        point.collections.get_mut(&name("docs")).unwrap()[0].timeline = None;
    }
    let window = &windows(&history, None)[0];
    assert!(window.stretches.is_empty() && window.gaps.is_empty());
    assert_eq!(window.singles.len(), 3);
    assert!(
        window.singles[0].why[0].contains("was not archived"),
        "{window:?}"
    );
    let refused = choose(&history, &to(InstantTarget::Latest)).unwrap_err();
    assert!(
        refused.to_string().contains("restore run latest"),
        "{refused}"
    );
}

fn change(history: &mut History, nth: usize, change: impl FnOnce(&mut LogPart)) {
    let PartView::Read(part) = &mut history.logs[0].parts[nth] else {
        panic!("it can be read");
    };
    change(Arc::make_mut(part));
}

#[test]
fn a_log_that_contradicts_itself_ends_there() {
    let mut history = history(&[simple()]);
    history.points.remove(0);
    history.points.remove(0);
    change(&mut history, 5, |part| part.before = Some(77));
    assert!(choose(&history, &to(InstantTarget::Instant(t(66)))).is_err());
    let window = &windows(&history, None)[0];
    assert!(
        window.gaps[0].why[0].contains("does not follow"),
        "{window:?}"
    );
    // The log of another replica under its name.
    let (collection, _) = history.logs[0].owner.clone().unwrap();
    history.logs[0].owner = Some((collection, "n2".parse().unwrap()));
    let window = &windows(&history, None)[0];
    assert!(window.singles[0].why[0].contains("not that of its replica"));
}

#[test]
fn instants_that_go_back_between_parts_reorder_nothing() {
    let mut truth = simple();
    truth.captures = vec![(32, 0, 0), (75, 0, 0)];
    let mut history = history(&[truth]);
    // The clock was set back by 30 after the look of 65 to 66.
    for nth in 6..10 {
        change(&mut history, nth, |part| {
            for look in &mut part.looks {
                let back = Duration::from_mins(30);
                (look.after, look.by) = (look.after.before(back), look.by.before(back));
            }
        });
    }
    // The second capture was stamped so, too: it can't be used for instants of before.
    history.points[0]
        .collections
        .get_mut(&name("docs"))
        .unwrap()[0]
        .captured_at = t(45);
    let at = |instant| only(&history, InstantTarget::Instant(t(instant)));
    assert_eq!(at(50), (point_id(0), 3, 4, t(50)));
    // What shares a stamp is contained as a whole or not at all.
    assert_eq!(at(65).2, 5);
    assert_eq!((at(66).0, at(66).2), (point_id(1), 9));
    assert!(choose(&history, &to(InstantTarget::Instant(t(60)))).is_ok());
}
