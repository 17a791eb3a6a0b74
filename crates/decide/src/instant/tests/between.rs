//! What is told to have been written between two instants, against the model's truth.

mod lacking;

use super::model::{Truth, history, t, truth};
use super::simple;
use crate::fixture::name;
use crate::instant::{Between, History, Listed, between};
use holdfast_types::Timestamp;
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

/// With a listing of the replicas that captures and logs are of.
fn told(history: &History, from: i64, to: i64) -> Between {
    let mut listed = Listed::new();
    let captured = history
        .points
        .iter()
        .flat_map(|p| &p.collections[&name("docs")]);
    let captured = captured.map(|base| (base.shard, &base.node));
    let logs = history
        .logs
        .iter()
        .filter_map(|log| Some((log.shard, &log.owner.as_ref()?.1)));
    for (shard, node) in captured.chain(logs) {
        listed.entry(shard).or_default().insert(Some(node.clone()));
    }
    between(history, &listed, &name("docs"), t(from), t(to))
}

/// The operations that count, in order.
fn counted(told: &Between, shard: u32) -> Vec<u64> {
    let pieces = told.pieces.iter().filter(|p| p.log.shard.0 == shard);
    pieces.flat_map(|p| p.log.from..p.log.until).collect()
}

fn gaps(told: &Between) -> Vec<(u32, Timestamp, Timestamp, &str)> {
    let gaps = told.gaps.iter();
    gaps.map(|gap| {
        let shard = gap.shard.map_or(u32::MAX, |shard| shard.0);
        (shard, gap.after, gap.before, gap.why.as_str())
    })
    .collect()
}

fn in_a_gap(told: &Between, shard: u32, at: Timestamp) -> bool {
    told.gaps.iter().any(|gap| {
        gap.shard.is_some_and(|known| known.0 == shard) && (gap.after..=gap.before).contains(&at)
    })
}

proptest! {
    #![proptest_config(prop::test_runner::Config::with_cases(3000))]

    /// Every operation that was written and seen between the instants is told or lies in a gap; where one agent has seen everything, nothing else is told.
    #[test]
    fn nothing_is_left_out_in_silence(
        truths in prop::collection::vec(truth(), 1..3),
        spans in prop::collection::vec((0..230_i64, 1..120_i64), 20),
    ) {
        let history = history(&truths);
        for (from, width) in spans {
            let (from, to) = (from, from + width);
            let told = told(&history, from, to);
            for (truth, shard) in truths.iter().zip(0..) {
                let counted = counted(&told, shard);
                for operation in 0..truth.written.len() as u64 {
                    let seen = truth.seen(operation);
                    let inside = |at: &Option<Timestamp>| at.is_some_and(|at| t(from) < at && at <= t(to));
                    let written = t(truth.written[usize::try_from(operation).unwrap()]);
                    let is_needed = seen.iter().all(inside) && t(from) <= written;
                    let is_told = counted.contains(&operation)
                        || seen.iter().flatten().chain([&written]).any(|at| in_a_gap(&told, shard, *at));
                    prop_assert!(!is_needed || is_told, "{operation} {from} {to} {told:?}");
                    let outside = !seen.iter().any(inside);
                    prop_assert!(!outside || !counted.contains(&operation), "{operation} {from} {to} {told:?}");
                }
                if truth.other.is_none() {
                    let mut once = counted.clone();
                    once.dedup();
                    prop_assert_eq!(&once, &counted);
                }
                lies_within(&told, from, to)?;
            }
        }
    }

    /// One agent that misses nothing leaves no gap before its last look.
    #[test]
    fn a_whole_log_has_no_gaps(mut truth in truth(), from in 0..200_i64, width in 1..100_i64) {
        (truth.lost, truth.restart, truth.other) = (None, None, None);
        let seen = (0..truth.written.len() as u64).filter_map(|operation| truth.seen(operation)[0]);
        let last = seen.max();
        let history = history(std::slice::from_ref(&truth));
        let told = told(&history, from, from + width);
        if last.is_some_and(|last| t(from + width) < last) {
            prop_assert_eq!(gaps(&told), vec![]);
        }
    }
}

fn lies_within(
    told: &Between,
    from: i64,
    to: i64,
) -> Result<(), proptest::test_runner::TestCaseError> {
    for gap in &told.gaps {
        prop_assert!(
            t(from) <= gap.after && gap.after < gap.before && gap.before <= t(to),
            "{:?}",
            told
        );
    }
    for piece in &told.pieces {
        let first = piece.looks.first().map(|look| look.first);
        prop_assert_eq!(Some(piece.log.from), first);
        for index in piece.log.from..piece.log.until {
            let look = piece.look_of(index).copied();
            prop_assert!(
                look.is_some_and(
                    |look| (look.first..look.next).contains(&index) && look.by <= t(to)
                )
            );
        }
    }
    Ok(())
}

#[test]
fn it_is_what_one_restore_has_and_the_other_has_not() {
    let history = history(&[simple()]);
    // Operation 1 of 20 was seen by 26, 5 of 60 by 66; of 70 by 76.
    let found = told(&history, 25, 75);
    assert_eq!(counted(&found, 0), [1, 2, 3, 4, 5]);
    assert_eq!(gaps(&found), []);
    assert_eq!((found.perhaps_earlier, found.perhaps_later), (1, 1));
    let found = told(&history, 26, 76);
    assert_eq!(counted(&found, 0), [2, 3, 4, 5, 6]);
    assert_eq!((found.perhaps_earlier, found.perhaps_later), (0, 0));
    assert_eq!(found.pieces[0].log.node.as_str(), "n1");
    assert_eq!(
        found.pieces[0].look_of(3).map(|l| (l.after, l.by)),
        Some((t(40), t(46)))
    );
}

#[test]
fn where_a_log_begins_with_its_first_operation_nothing_came_before() {
    let history = history(&[simple()]);
    let found = told(&history, 0, 30);
    assert_eq!(counted(&found, 0), [0, 1]);
    assert_eq!(gaps(&found), []);
    assert_eq!(
        found.notes,
        [
            "the log of shard 0 begins with operation 0, known from 1970-01-01T00:16:00Z on: nothing is known to have come before"
        ]
    );
    let mut cut = simple();
    (cut.lost, cut.captures) = (Some((0, 2)), vec![]);
    let found = told(&super::history(&[cut]), 0, 40);
    assert_eq!(counted(&found, 0), [2]);
    assert_eq!(
        gaps(&found),
        [(
            0,
            t(0),
            t(36),
            "what is archived of its log begins with operation 2, known from 1970-01-01T00:36:00Z on (first seen)"
        )]
    );
}

#[test]
fn the_model_sees_what_the_log_says() {
    let truth: Truth = simple();
    assert_eq!(truth.seen(4), [Some(t(56))]);
    assert_eq!(truth.seen(99), [None]);
}
