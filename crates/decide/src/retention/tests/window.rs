//! Which points the instants of a window need, at its very edge too.

use super::{ago, failed, judged, kept, last, only, point};
use crate::fixture::{NOW, name};
use crate::retention::{LogReach, LogRun, PointFacts, RetentionPolicy, Rule};
use holdfast_types::{ShardId, TimelineId};
use jiff::tz::TimeZone;
use std::time::Duration;

/// Every instant of the last ten hours.
fn ten_hours() -> RetentionPolicy {
    only(Rule {
        instants_within: Duration::from_hours(10),
        ..last(0)
    })
}

/// A point of docs from which one log goes on, until so many hours ago.
fn with_log(hours_ago: i64, log: u8, until: i64) -> PointFacts {
    let mut point = point("docs", hours_ago);
    let run = LogRun {
        shard: ShardId(0),
        timeline: TimelineId::from_bytes([log; 16]),
        stretch: 0,
    };
    let reach = LogReach::until(ago(until));
    point.logs = [(name("docs"), [(run, reach)].into())].into();
    point
}

fn is_replaced(older: &PointFacts, newer: &PointFacts) -> bool {
    older.is_replaced_by(newer, &name("docs"), ago(10))
}

#[test]
fn the_newest_point_before_the_window_stays() {
    let points = [2, 8, 12, 20].map(|hours| with_log(hours, 1, 0));
    // the newest of all is the floor's; one of the same log in the window is not needed
    assert_eq!(kept(&points, &ten_hours()), [2, 12]);
}

#[test]
fn a_point_as_old_as_the_window_opens_it() {
    // 10 hours old: every later instant is reached from it, and no earlier one is wanted
    let points = [5, 10, 11].map(|hours| with_log(hours, 1, 0));
    assert_eq!(kept(&points, &ten_hours()), [5, 10]);
}

#[test]
fn each_side_of_a_change_of_logs_stays() {
    let logs = [(1, 3), (2, 3), (4, 2), (6, 2), (8, 1), (12, 1)];
    let points = logs.map(|(hours, log)| with_log(hours, log, 0));
    assert_eq!(kept(&points, &ten_hours()), [1, 2, 4, 6, 8, 12]);
    let points = [1, 2, 4, 6].map(|hours| with_log(hours, 1, 0));
    // the last and the first of a log
    assert_eq!(kept(&points, &ten_hours()), [1, 6]);
}

#[test]
fn a_log_of_a_collection_that_is_not_in_the_point_opens_nothing() {
    let mut stray = with_log(4, 2, 0);
    stray.collections = [name("books")].into();
    let points = [
        with_log(2, 1, 0),
        with_log(3, 1, 0),
        stray,
        with_log(5, 1, 0),
        with_log(12, 1, 0),
    ];
    // were it one of docs, both its neighbours would stay
    assert_eq!(kept(&points, &ten_hours()), [2, 4, 12]);
    judged(&points, &ten_hours(), &TimeZone::UTC, NOW);
}

#[test]
fn only_a_later_good_point_before_the_window_replaces() {
    let older = with_log(20, 1, 0);
    assert!(is_replaced(&older, &with_log(12, 1, 0)));
    assert!(is_replaced(&older, &with_log(10, 1, 0)));
    assert!(!is_replaced(&older, &with_log(9, 1, 0)), "in the window");
    assert!(!is_replaced(&older, &with_log(21, 1, 0)), "older");
    assert!(!is_replaced(&older, &older), "itself");
    assert!(!is_replaced(&older, &failed(with_log(12, 1, 0))), "failed");
    let mut safety = with_log(12, 1, 0);
    safety.safety = true;
    assert!(!is_replaced(&older, &safety), "a safety capture");
}

#[test]
fn a_point_of_another_log_replaces_what_leads_nowhere_new() {
    let newer = with_log(12, 2, 9);
    assert!(!is_replaced(&with_log(20, 1, 8), &newer), "leads farther");
    assert!(is_replaced(&with_log(20, 1, 9), &newer), "leads as far");
    let stops_early = with_log(12, 2, 11);
    assert!(is_replaced(&with_log(20, 1, 11), &stops_early));
    // its last instant is the first of the window
    assert!(!is_replaced(&with_log(20, 1, 10), &stops_early));
    let mut none = with_log(12, 1, 0);
    none.logs.clear();
    assert!(!is_replaced(&with_log(20, 1, 0), &none));
}
