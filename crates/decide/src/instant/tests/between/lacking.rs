//! What is lacking, and why. Each of these answers would be called complete without the reason that is asserted.

use super::{counted, gaps, told};
use crate::fixture::name;
use crate::instant::tests::model::{history, t};
use crate::instant::tests::{change, simple};
use crate::instant::{ArchivedLog, Between, History, Listed, PartView, Standing, between};
use holdfast_types::{IncarnationId, ShardId, TimelineId, Timestamp};
use std::sync::Arc;

fn line(n: u8) -> TimelineId {
    TimelineId::from_bytes([n; 16])
}

fn shift(history: &mut History, log: usize, minutes: i64) {
    let shifted = |at: Timestamp| Timestamp::from_micros(at.as_micros() + t(minutes).as_micros());
    for part in &mut history.logs[log].parts {
        let PartView::Read(part) = part else {
            panic!("it can be read");
        };
        for look in &mut Arc::make_mut(part).looks {
            (look.after, look.by) = (shifted(look.after), shifted(look.by));
        }
    }
}

fn unreadable(first: u64) -> PartView {
    let why = "bit rot".to_owned();
    PartView::Unreadable { first, why }
}

#[test]
fn gaps_are_named_with_their_reason() {
    let mut lost = simple();
    lost.lost = Some((4, 6));
    let mut damaged = history(&[lost]);
    let found = told(&damaged, 20, 90);
    assert_eq!(counted(&found, 0), [1, 2, 3, 6, 7]);
    let why = "operations 4 to 5 are missing";
    assert_eq!(gaps(&found), [(0, t(40), t(76), why)]);
    let last = damaged.logs[0].parts.last_mut().unwrap();
    *last = unreadable(last.first());
    let found = told(&damaged, 76, 120);
    let why = "the part from operation 9 on can't be read (bit rot)";
    assert_eq!(gaps(&found), [(0, t(95), t(120), why)]);
    assert_eq!(counted(&found, 0), [7, 8]);

    let mut restarted = simple();
    (restarted.restart, restarted.captures) = (Some(5), vec![(32, 0, 0)]);
    let found = told(&history(&[restarted]), 20, 90);
    assert_eq!(counted(&found, 0), [1, 2, 3, 4, 5, 6, 7]);
    let why = "nothing more of its log is archived; its log begins anew with operation 5, known from 1970-01-01T01:06:00Z on (first seen)";
    assert_eq!(gaps(&found), [(0, t(50), t(66), why)]);
    assert_eq!(
        found.notes,
        [
            "the log of shard 0 begins anew at 1970-01-01T01:06:00Z (first seen): the operations that were there then (1) count as of then; \
             they may be older, and some may count twice"
        ]
    );
}

/// The end of one log and the beginning of the next have one instant, which is the one that is asked for.
#[test]
fn one_look_may_find_two_logs() {
    let mut restarted = simple();
    restarted.restart = Some(5);
    restarted.looks = [15, 25, 35, 45, 65].map(|n| (n, n + 1)).into();
    // Also if a capture says more of the next.
    for (captured, since) in [(32, "01:06"), (61, "01:01")] {
        restarted.captures = vec![(captured, 0, 0)];
        let found = told(&history(&[restarted.clone()]), 20, 66);
        assert_eq!(counted(&found, 0), [1, 2, 3, 4, 5]);
        let why = format!(
            "nothing more of its log is archived; its log begins anew with operation 5, known from 1970-01-01T{since}:00Z on (first seen)"
        );
        assert_eq!(gaps(&found), [(0, t(45), t(66), why.as_str())]);
    }
    // If the next is lost nobody knows that there was one, unless somebody says that the first went on.
    let mut lost = history(&[restarted]);
    (lost.logs, lost.points) = (lost.logs[..1].to_vec(), vec![]);
    let found = told(&lost, 20, 66);
    let why = "its log is known until 1970-01-01T01:06:00Z only";
    assert_eq!(gaps(&found), [(0, t(45), t(66), why)]);
    lost.standings = vec![standing(66, 5)];
    assert_eq!(gaps(&told(&lost, 20, 66)), []);
}

#[test]
fn what_is_not_known_yet_is_a_gap_until_somebody_says_that_nothing_was_written() {
    let mut quiet = simple();
    (quiet.written, quiet.captures) = (vec![10, 20], vec![(12, 0, 0)]);
    let mut history = history(&[quiet]);
    let found = told(&history, 15, 90);
    let why = "its log is known until 1970-01-01T00:26:00Z only";
    assert_eq!(gaps(&found), [(0, t(20), t(90), why)]);
    history.standings = vec![standing(90, 2)];
    let found = told(&history, 15, 90);
    assert_eq!((counted(&found, 0), gaps(&found)), (vec![0, 1], vec![]));
    let found = told(&history, 30, 89);
    assert_eq!((counted(&found, 0), gaps(&found)), (vec![], vec![]));
}

fn standing(at: i64, next: u64) -> Standing {
    Standing {
        timeline: line(1),
        shard: ShardId(0),
        at: t(at),
        next,
    }
}

/// Of a shard to which nothing was written since its capture, or ever, no entry is archived.
#[test]
fn a_shard_to_which_nothing_was_written_lacks_nothing() {
    let mut quiet = simple();
    (quiet.written, quiet.captures) = (vec![10, 20], vec![(30, 0, 0)]);
    let mut history = history(&[quiet]);
    history.logs.clear();
    history.standings = vec![standing(90, 2)];
    let found = told(&history, 40, 90);
    assert_eq!((gaps(&found), found.has_log), (vec![], true));
    let why =
        "what is archived of its log begins with operation 2, known from 1970-01-01T00:30:00Z on";
    assert_eq!(gaps(&told(&history, 15, 90)), [(0, t(15), t(30), why)]);
    let why = "its log is known until 1970-01-01T01:30:00Z only";
    assert_eq!(gaps(&told(&history, 40, 95)), [(0, t(90), t(95), why)]);
    // It says that something is on its way.
    history.standings = vec![standing(90, 3)];
    let why = "no log of it that can be read is archived";
    assert_eq!(gaps(&told(&history, 40, 90)), [(0, t(40), t(90), why)]);
    // What the snapshot may hold was written nobody knows when.
    history.standings = vec![standing(90, 2)];
    let bases = history.points[0].collections.get_mut(&name("docs"));
    bases.unwrap()[0].certain = Some(1);
    assert_eq!(gaps(&told(&history, 40, 90)), [(0, t(40), t(90), why)]);

    let mut never = simple();
    (never.written, never.captures) = (vec![], vec![(30, 0, 0)]);
    let mut history = super::history(&[never]);
    history.standings = vec![standing(90, 0)];
    let found = told(&history, 10, 90);
    assert_eq!(gaps(&found), []);
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
}

/// A log is known from a capture on with which it goes on, also where its first archived entry came later.
#[test]
fn a_log_is_known_from_the_capture_with_which_it_goes_on() {
    let mut cut = simple();
    (cut.lost, cut.captures) = (Some((0, 3)), vec![(34, 0, 0)]);
    let history = history(&[cut]);
    let found = told(&history, 35, 60);
    assert_eq!((counted(&found, 0), gaps(&found)), (vec![3, 4], vec![]));
    let why = "what is archived of its log begins with operation 3, known from 1970-01-01T00:34:00Z on (first seen)";
    assert_eq!(gaps(&told(&history, 20, 60)), [(0, t(20), t(34), why)]);
}

#[test]
fn shards_of_which_nothing_is_archived_are_named() {
    let both = history(&[simple(), simple()]);
    let mut one = both.clone();
    one.logs.retain(|log| log.shard.0 == 0);
    let why = "no log of it that can be read is archived";
    let lacking = [(1, t(40), t(60), why)];
    let found = told(&one, 40, 60);
    assert_eq!(
        (gaps(&found), counted(&found, 0)),
        (lacking.to_vec(), vec![3, 4])
    );

    let told =
        |history: &History, listed: &Listed| between(history, listed, &name("docs"), t(40), t(60));
    // Known by a point of before, by one of afterwards alone, or by what nodes list.
    let nobody = Listed::new();
    let mut history = one.clone();
    history.points.drain(..2);
    let found = told(&history, &nobody);
    assert_eq!(gaps(&found), lacking);
    assert_eq!(
        found.notes,
        [
            "no node lists docs now: its shards are those of recovery point 19700101t000000z-00000007 of 1970-01-01T00:32:00Z"
        ]
    );
    let mut history = one.clone();
    history.points.truncate(1);
    let found = told(&history, &nobody);
    assert_eq!((gaps(&found), found.notes.len()), (lacking.to_vec(), 0));
    history.points.clear();
    let listed: Listed = [0, 1].map(|n| (ShardId(n), [None].into())).into();
    assert_eq!(gaps(&told(&history, &listed)), lacking);
    // Known by nobody.
    let found = told(&history, &nobody);
    let why = "no recovery point holds docs and no node lists it now: whether it had other shards than those that are named here is not known";
    assert_eq!(gaps(&found), [(u32::MAX, t(40), t(60), why)]);
    assert_eq!(counted(&found, 0), [3, 4]);

    // A shard that a point in between had and the others have not.
    let mut history = both;
    history.logs.retain(|log| log.shard.0 == 0);
    for point in [0, 2] {
        let bases = history.points[point].collections.get_mut(&name("docs"));
        bases.unwrap().truncate(1);
    }
    let found = between(&history, &nobody, &name("docs"), t(40), t(90));
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    // A collection of another name is another's.
    let found = between(&history, &nobody, &name("books"), t(40), t(60));
    assert_eq!(
        (found.has_log, found.pieces, found.gaps.len()),
        (false, vec![], 1)
    );
}

#[test]
fn a_log_that_can_not_be_read_is_lacking() {
    let mut damaged = history(&[simple()]);
    damaged.logs[0].parts = vec![unreadable(3)];
    let found = told(&damaged, 40, 60);
    let why = "no log of it that can be read is archived; an archived log of node n1 can't be read (timeline 01010101010101010101010101010101): bit rot";
    assert_eq!(gaps(&found), [(0, t(40), t(60), why)]);
    // Nobody knows whose it is.
    damaged.logs[0].owner = None;
    let why = "no log of it that can be read is archived; an archived log can't be read that may be one of docs (timeline 01010101010101010101010101010101): bit rot";
    assert_eq!(gaps(&told(&damaged, 40, 60)), [(0, t(40), t(60), why)]);
    // Also of a shard that no point has: it may be one of them.
    damaged.points.clear();
    let listed: Listed = [(ShardId(1), [None].into())].into();
    let found = between(&damaged, &listed, &name("docs"), t(40), t(60));
    let shards: Vec<u32> = gaps(&found).iter().map(|gap| gap.0).collect();
    assert_eq!((shards, found.has_log), (vec![0, 1], false));

    // Beside one that tells everything it is of no matter, but nothing is first of all.
    let mut beside = history(&[simple()]);
    let other = ArchivedLog {
        timeline: line(70),
        owner: None,
        parts: vec![unreadable(3)],
        ..beside.logs[0].clone()
    };
    beside.logs.push(other);
    let found = told(&beside, 40, 60);
    assert_eq!(gaps(&found), []);
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    let found = told(&beside, 5, 60);
    assert_eq!(found.gaps.len(), 1);
    let why = &found.gaps[0].why;
    assert!(why.contains("may be one of docs"), "{why}");
    // The first part of a log that goes on.
    let mut begin = history(&[simple()]);
    begin.logs[0].parts[0] = unreadable(0);
    let why = "what is archived of its log begins with operation 1, known from 1970-01-01T00:26:00Z on (first seen); the part from operation 0 on can't be read (bit rot)";
    assert_eq!(gaps(&told(&begin, 5, 60)), [(0, t(5), t(26), why)]);
}

/// A replica that was moved begins with operation 0, too, and so does a collection that was made anew.
#[test]
fn operation_0_is_not_the_first_of_all_if_something_speaks_of_an_earlier_history() {
    let whole = history(&[simple()]);
    assert_eq!(gaps(&told(&whole, 5, 60)), []);
    let doubt = |history: &History, listed: Option<&Listed>| {
        let found = match listed {
            Some(listed) => between(history, listed, &name("docs"), t(5), t(60)),
            None => told(history, 5, 60),
        };
        assert_eq!(counted(&found, 0), [0, 1, 2, 3, 4]);
        let gap = gaps(&found)[0];
        assert_eq!((gap.1, gap.2, found.gaps.len()), (t(5), t(16), 1));
        let why = "what is archived of its log begins with operation 0, known from 1970-01-01T00:16:00Z on (first seen), but there may have been others before: ";
        gap.3.strip_prefix(why).unwrap_or(gap.3).to_owned()
    };
    for timeline in [Some(line(90)), None] {
        let mut captured = whole.clone();
        let bases = captured.points[2].collections.get_mut(&name("docs"));
        let base = &mut bases.unwrap()[0];
        (base.captured_at, base.timeline) = (t(3), timeline);
        assert_eq!(
            doubt(&captured, None),
            "recovery point 19700101t000000z-00000007 holds it as of 1970-01-01T00:03:00Z, of another log"
        );
        // Nothing was in it.
        let bases = captured.points[2].collections.get_mut(&name("docs"));
        let base = &mut bases.unwrap()[0];
        (base.next, base.certain) = (Some(0), Some(0));
        assert_eq!(gaps(&told(&captured, 5, 60)), []);
    }
    let mut elsewhere = whole.clone();
    let mut log = whole.logs[0].clone();
    log.owner = Some((name("docs"), "n2".parse().unwrap()));
    log.timeline = line(60);
    log.parts.remove(0);
    elsewhere.logs.push(log);
    assert_eq!(
        doubt(&elsewhere, None),
        "what is archived of node n2 begins with operation 1"
    );
    let n1 = whole.points[0].collections[&name("docs")][0].node.clone();
    let strangers = [
        (
            Some("n3".parse().unwrap()),
            "the log of its replica on node n3 is not archived",
        ),
        (None, "it has a replica on a node without an agent"),
    ];
    for (stranger, why) in strangers {
        let listed = [(ShardId(0), [Some(n1.clone()), stranger].into())].into();
        assert_eq!(doubt(&whole, Some(&listed)), why);
    }
}

/// The archive begins just after the time in question.
#[test]
fn what_begins_later_is_told_apart_from_what_is_not_there() {
    let history = history(&[simple()]);
    let found = told(&history, 2, 9);
    assert_eq!((gaps(&found), counted(&found, 0)), (vec![], vec![]));
    assert_eq!(found.notes.len(), 1);
    let mut cut = simple();
    (cut.lost, cut.captures) = (Some((0, 3)), vec![]);
    let found = told(&super::history(&[cut]), 5, 40);
    let why = "what is archived of its log begins with operation 3, known from 1970-01-01T00:46:00Z on (first seen)";
    assert_eq!(gaps(&found), [(0, t(5), t(40), why)]);
}

/// Dropped and made anew: the second log begins with its first operation, and says nothing of the first.
#[test]
fn another_life_does_not_stand_for_the_one_before() {
    let mut history = history(&[simple()]);
    let mut second = history.logs[0].clone();
    (second.timeline, second.incarnation) = (line(50), IncarnationId::from_bytes([51; 16]));
    second.because = Some("made anew".to_owned());
    history.logs[0].parts.truncate(4);
    history.logs.push(second);
    shift(&mut history, 1, 100);
    let found = told(&history, 30, 200);
    assert_eq!(counted(&found, 0), [2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let why = "nothing more of its log is archived; its log begins anew with operation 0, known from 1970-01-01T01:56:00Z on (made anew)";
    assert_eq!(gaps(&found), [(0, t(40), t(116), why)]);
    // However well the instants fit: an agent that says how far the first was known.
    history.standings = vec![standing(150, 4)];
    let found = told(&history, 30, 200);
    let gap = gaps(&found)[0];
    assert_eq!((found.gaps.len(), gap.3), (1, why));
}

/// One replica's log ends, another's goes on.
fn two_replicas(minutes: i64) -> Between {
    let mut first = history(&[simple()]);
    let mut log = first.logs[0].clone();
    first.logs[0].parts.truncate(6);
    log.timeline = line(60);
    log.owner = Some((name("docs"), "n2".parse().unwrap()));
    log.parts.drain(..4);
    first.logs.push(log);
    first.points.clear();
    shift(&mut first, 1, minutes);
    told(&first, 20, 70)
}

#[test]
fn where_another_replica_goes_on_its_clock_is_another() {
    let found = two_replicas(0);
    let why = "the log of node n1 is known until 1970-01-01T01:06:00Z, that of node n2 from 1970-01-01T00:56:00Z on: \
        as their clocks may differ, what was written about then may count twice, or not at all";
    assert_eq!(gaps(&found), [(0, t(60), t(66), why)]);
    assert_eq!(counted(&found, 0), [1, 2, 3, 4, 5, 5]);
    let nodes: Vec<_> = found.pieces.iter().map(|p| p.log.node.as_str()).collect();
    assert_eq!(nodes, ["n1", "n2"]);
    // The clock of n2 is behind: it had seen operation 6 before n1's log ended, as it seems, and n1 never.
    let found = two_replicas(-20);
    assert_eq!(counted(&found, 0), [1, 2, 3, 4, 5, 7]);
    let gap = gaps(&found)[0];
    assert_eq!((found.gaps.len(), gap.1, gap.2), (1, t(60), t(66)));
}

/// Instants that fit prove nothing where operations are missing: the clock was set back, or an agent has said something else.
#[test]
fn within_a_log_the_numbers_count() {
    let mut lost = simple();
    (lost.lost, lost.captures) = (Some((4, 6)), vec![]);
    let mut history = history(&[lost]);
    history.standings = vec![standing(80, 4)];
    let found = told(&history, 20, 90);
    assert_eq!(counted(&found, 0), [1, 2, 3, 6, 7]);
    let why = "operations 4 to 5 are missing";
    assert_eq!(gaps(&found).len(), 1);
    assert_eq!(gaps(&found)[0].3, why);
    // A part that can't be read and of which nothing is needed.
    let mut spare = super::history(&[simple()]);
    spare.logs[0].parts.insert(5, unreadable(5));
    spare.standings = vec![standing(61, 5)];
    let found = told(&spare, 20, 90);
    assert_eq!(
        (counted(&found, 0), gaps(&found)),
        ((1..8).collect(), vec![])
    );
    // One that contradicts the one before it is no continuation.
    change(&mut spare, 6, |part| part.before = Some(99));
    spare.logs[0].parts.remove(5);
    let found = told(&spare, 20, 90);
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert!(found.gaps[0].why.contains("does not follow"), "{found:?}");
}
