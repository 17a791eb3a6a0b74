//! What goes of logs, against single cases and against what restores to an instant need.

use super::{
    FOLLOWED_KEPT, LogFacts, LogPoint, LogReason, LogVerdict, PartFacts, UNNAMED_KEPT, check_logs,
    plan_logs,
};
use crate::fixture::{NOW, name};
use crate::instant::Base;
use crate::retention::fixture::{ago, failed, hold, point};
use crate::retention::{LogReach, LogRun, RetentionPolicy, Rule};
use holdfast_types::{ShardId, TimelineId};
use std::time::Duration;

const GRACE: Duration = Duration::from_hours(1);

fn line(n: u8) -> TimelineId {
    TimelineId::from_bytes([n; 16])
}

/// Every instant of the last so many hours.
fn within(hours: u64) -> RetentionPolicy {
    let rule = Rule {
        keep_last: 1,
        instants_within: Duration::from_hours(hours),
        ..Rule::default()
    };
    RetentionPolicy {
        rules: vec![rule],
        ..RetentionPolicy::staging()
    }
}

/// A point of `docs` so many hours old, whose shard goes on with `timeline` from `certain`.
fn based(hours: i64, timeline: u8, certain: u64) -> LogPoint {
    let mut facts = point("docs", hours);
    let run = LogRun {
        shard: ShardId(0),
        timeline: line(timeline),
        stretch: 0,
    };
    facts.logs = [(name("docs"), [(run, LogReach::until(ago(1)))].into())].into();
    let base = Base {
        shard: ShardId(0),
        node: "n1".parse().unwrap(),
        captured_at: facts.committed,
        next: Some(certain),
        certain: Some(certain),
        timeline: Some(line(timeline)),
    };
    LogPoint {
        facts,
        collections: [(name("docs"), vec![base])].into(),
        marked: false,
    }
}

/// A log with a part for every ten entries, one stored each hour, the last one an hour ago.
fn log(timeline: u8, parts: i64) -> LogFacts {
    let part = |nth: i64| PartFacts {
        first: u64::try_from(nth).unwrap() * 10,
        size: 100,
        stored: ago(parts - nth),
        merged: false,
    };
    LogFacts {
        timeline: line(timeline),
        shard: ShardId(0),
        collection: Some(name("docs")),
        followed: true,
        parts: (0..parts).map(part).collect(),
    }
}

fn judged(points: &[LogPoint], log: &LogFacts, policy: &RetentionPolicy) -> LogVerdict {
    let logs = std::slice::from_ref(log);
    let verdicts = plan_logs(points, logs, policy, GRACE, NOW);
    let wrong = check_logs(&verdicts, points, logs, policy, GRACE, NOW);
    assert!(wrong.is_empty(), "{wrong:?}");
    verdicts.into_iter().next().unwrap()
}

#[test]
fn what_the_window_needs_stays() {
    // By the hour of their capture; a day is kept, and an hour of grace.
    let points = [based(60, 1, 30), based(26, 1, 62), based(24, 1, 75)];
    let verdict = judged(&points, &log(1, 100), &within(24));
    // The one of 26 hours ago is the newest from before; entry 61 stays, since it says when the contained ones were written.
    let (from, point) = (62, points[1].facts.id.clone());
    assert_eq!(verdict.why, LogReason::Needed { point, from });
    assert_eq!(verdict.surplus, 6);
    let at_a_seam = [based(26, 1, 60)];
    assert_eq!(judged(&at_a_seam, &log(1, 100), &within(24)).surplus, 5);
    // Nothing is from before the window: everything that is there is used.
    assert_eq!(judged(&points, &log(1, 100), &within(100)).surplus, 3 - 1);
    // Without a window all points count.
    let policy = RetentionPolicy::production();
    assert_eq!(judged(&points, &log(1, 100), &policy).surplus, 2);
}

#[test]
fn what_can_not_be_gone_on_from_opens_no_window() {
    let policy = within(24);
    let old = || based(60, 1, 30);
    let mut marked = based(26, 1, 60);
    marked.marked = true;
    let mut safety = based(26, 1, 60);
    safety.facts.safety = true;
    let mut bad = based(26, 1, 60);
    bad.facts = failed(bad.facts);
    let mut without = based(26, 1, 60);
    without.facts.logs.clear();
    for other in [marked, safety, bad, without] {
        assert_eq!(judged(&[old(), other], &log(1, 100), &policy).surplus, 2);
    }
    // What is read, or under a legal hold, counts with all that follows.
    let newer = || based(26, 1, 60);
    let mut read = old();
    read.facts.in_use = true;
    let mut held = old();
    held.facts.holds = vec![hold(None)];
    for old in [read, held] {
        assert_eq!(judged(&[old, newer()], &log(1, 100), &policy).surplus, 2);
    }
    // What may still be taken back, as well.
    let mut taken_back = old();
    taken_back.marked = true;
    let points = [taken_back, newer()];
    assert_eq!(judged(&points, &log(1, 100), &policy).surplus, 2);
    let mut over = old();
    over.facts.holds = vec![hold(Some(ago(1)))];
    assert_eq!(judged(&[over, newer()], &log(1, 100), &policy).surplus, 5);
}

/// A point of another log takes the place of an older one only if its log reaches as far.
#[test]
fn a_broken_log_opens_no_window() {
    let policy = within(24);
    let until = |mut point: LogPoint, hours: i64| {
        let logs = point.facts.logs.get_mut(&name("docs")).unwrap();
        logs.values_mut()
            .for_each(|reach| *reach = LogReach::until(ago(hours)));
        point
    };
    let old = || based(60, 1, 30);
    let live = judged(&[old(), based(26, 2, 60)], &log(1, 100), &policy);
    assert_eq!((live.surplus, live.why), (0, LogReason::Waiting));
    // The other replica's agent has been away since.
    let broken = [old(), until(based(26, 2, 60), 20)];
    let kept = judged(&broken, &log(1, 100), &policy);
    let (from, point) = (30, broken[0].facts.id.clone());
    assert_eq!(
        (kept.surplus, kept.why),
        (2, LogReason::Needed { point, from })
    );
    // So was the old one's, before the window began: nothing in it is reached from there.
    let both = [until(old(), 26), until(based(26, 2, 60), 20)];
    let gone = judged(&both, &log(1, 100), &policy);
    assert_eq!(gone.why, LogReason::Waiting);
    // Damage lies between the two.
    let mut behind = based(26, 1, 60);
    let logs = behind.facts.logs.get_mut(&name("docs")).unwrap();
    let (mut run, reaches) = logs.pop_first().unwrap();
    run.stretch = 2;
    logs.insert(run, reaches);
    let damaged = [until(old(), 10), behind];
    assert_eq!(judged(&damaged, &log(1, 100), &policy).surplus, 5);
}

#[test]
fn a_log_that_no_point_goes_on_with_goes_after_a_week() {
    let policy = within(24);
    let points = [based(60, 1, 30), based(30, 2, 60), based(2, 2, 70)];
    // The timeline before the window's.
    let mut other = log(1, 20);
    other.followed = false;
    assert_eq!(judged(&points, &other, &policy).why, LogReason::Waiting);
    let week = i64::try_from(UNNAMED_KEPT.as_secs() / 3600).unwrap();
    for part in &mut other.parts {
        part.stored = ago(week + 1);
    }
    let gone = judged(&points, &other, &policy);
    assert_eq!((gone.surplus, gone.why), (20, LogReason::Unneeded));
    other.collection = None;
    let kept = judged(&points, &other, &policy);
    assert_eq!((kept.surplus, kept.why), (0, LogReason::Unknown));
    // A second replica's, which is followed: a base of it may come.
    let mut followed = log(9, 300);
    assert_eq!(judged(&points, &followed, &policy).surplus, 300 - 168);
    for part in &mut followed.parts {
        part.stored = ago(week + 1);
    }
    let kept = judged(&points, &followed, &policy);
    assert_eq!(kept.surplus, 300 - FOLLOWED_KEPT);
}

/// The checker finds a plan that takes one part more, whichever protection it was.
#[test]
fn one_part_more_is_refused() {
    let policy = within(24);
    let points = [based(60, 1, 30), based(26, 1, 62), based(24, 1, 75)];
    let week = i64::try_from(UNNAMED_KEPT.as_secs() / 3600).unwrap();
    let mut unnamed = log(7, 300);
    for part in &mut unnamed.parts {
        part.stored = ago(week + 1);
    }
    let mut young = unnamed.clone();
    young.followed = false;
    young.parts[150].stored = ago(week);
    for log in [log(1, 100), unnamed, young] {
        let logs = [log];
        let mut verdicts = plan_logs(&points, &logs, &policy, GRACE, NOW);
        verdicts[0].surplus += 1;
        let wrong = check_logs(&verdicts, &points, &logs, &policy, GRACE, NOW);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }
}
