//! Single plans.

mod property;

use super::{BackupRequest, Method, MethodWish, plan_backup};
use crate::blocker::Blocker;
use crate::fixture::{NOW, busy, collection, names, node, seen, server, single};
use crate::observation::ServerView;
use holdfast_types::CaptureLimits;

pub(super) fn request(collections: &[&str], method: MethodWish) -> BackupRequest {
    BackupRequest {
        collections: names(collections).into_iter().collect(),
        patterns: [].into(),
        method,
        limits: CaptureLimits::default(),
    }
}

pub(super) fn everything() -> BackupRequest {
    request(&[], MethodWish::Auto)
}

pub(super) fn lines(plan: &super::BackupPlan) -> Vec<String> {
    plan.captures.iter().map(ToString::to_string).collect()
}

#[test]
fn names_that_can_not_be_captured_are_never_passed_over() {
    let mut obs = single(&["docs"]);
    server(&mut obs, "n1").unusable_aliases = vec![r#"alias "x\n""#.into()];
    let plan = plan_backup(&obs, &everything(), NOW).unwrap();
    assert_eq!(
        plan.reasons,
        [r#"alias "x\n" on node n1 is left out: its name can't be captured"#]
    );
    server(&mut obs, "n1").unusable_collections = vec![r#"collection "a\n""#.into()];
    let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
    assert!(
        blockers[0]
            .to_string()
            .starts_with(r#"collection "a\n" on node n1 can't be captured"#)
    );
    // Who names others gets them.
    assert!(plan_backup(&obs, &request(&["docs"], MethodWish::Auto), NOW).is_ok());
}

#[test]
fn one_node_is_captured_whole_in_order() {
    let plan = plan_backup(&single(&["docs", "books"]), &everything(), NOW).unwrap();
    assert_eq!(
        lines(&plan),
        [
            "capture books/0 on n1 through the quickest way that its agent has",
            "capture docs/0 on n1 through the quickest way that its agent has",
        ]
    );
    assert_eq!(plan.nodes.len(), 1);
    assert_eq!(plan.reasons, [""; 0]);
}

#[test]
fn replicas_of_a_cluster_share_the_work() {
    let obs = seen([
        node("n1", Some(1), [collection("docs", 4, &[0, 1, 2, 3])]),
        node("n2", Some(2), [collection("docs", 4, &[0, 1, 2, 3])]),
    ]);
    let plan = plan_backup(&obs, &everything(), NOW).unwrap();
    assert_eq!(
        lines(&plan),
        [
            "capture docs/0 on n1 through the quickest way that its agent has",
            "capture docs/1 on n2 through the quickest way that its agent has",
            "capture docs/2 on n1 through the quickest way that its agent has",
            "capture docs/3 on n2 through the quickest way that its agent has",
        ]
    );
}

#[test]
fn a_green_replica_comes_before_a_yellow_one() {
    let mut yellow = collection("docs", 1, &[0]);
    yellow.1.status = "yellow".into();
    let obs = seen([
        node("n1", Some(1), [yellow]),
        node("n2", Some(2), [collection("docs", 1, &[0])]),
    ]);
    let plan = plan_backup(&obs, &everything(), NOW).unwrap();
    assert_eq!(
        lines(&plan),
        ["capture docs/0 on n2 through the quickest way that its agent has"]
    );
    assert_eq!(plan.reasons.len(), 1);
}

#[test]
fn without_a_shared_volume_nothing_is_stored() {
    let mut obs = single(&["docs"]);
    crate::fixture::server(&mut obs, "n1").snapshots_shared = false;
    let plan = plan_backup(&obs, &everything(), NOW).unwrap();
    assert_eq!(plan.captures[0].method, Method::Auto);
    let refused = plan_backup(&obs, &request(&["docs"], MethodWish::Stored), NOW);
    assert!(matches!(
        refused.unwrap_err()[..],
        [Blocker::MethodUnavailable { .. }]
    ));
}

#[test]
fn a_missing_shard_blocks() {
    let obs = seen([node("n1", Some(1), [collection("docs", 3, &[0, 2])])]);
    let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
    assert!(matches!(
        blockers[..],
        [Blocker::ShardsMissing {
            found: 2,
            expected: 3,
            ..
        }]
    ));
}

#[test]
fn unknown_collections_are_named_with_what_there_is() {
    let blockers = plan_backup(
        &single(&["docs"]),
        &request(&["dogs"], MethodWish::Auto),
        NOW,
    )
    .unwrap_err();
    assert_eq!(
        blockers[0].to_string(),
        "collection dogs is on no node that can be seen; there are: docs"
    );
}

#[test]
fn a_failing_node_blocks_everything_but_not_what_lives_elsewhere() {
    let mut obs = seen([
        node("n1", None, [collection("docs", 1, &[0])]),
        node("n2", None, [collection("books", 1, &[0])]),
    ]);
    let n2 = obs.nodes.values_mut().nth(1).unwrap();
    n2.server = ServerView::Failing {
        code: "qdrant-unreachable".into(),
        message: "no answer".into(),
    };
    let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
    assert!(
        matches!(blockers[..], [Blocker::Server { .. }]),
        "{blockers:?}"
    );
    assert!(plan_backup(&obs, &request(&["docs"], MethodWish::Auto), NOW).is_ok());
    let blockers = plan_backup(&obs, &request(&["books"], MethodWish::Auto), NOW).unwrap_err();
    assert!(
        matches!(
            blockers[..],
            [Blocker::Server { .. }, Blocker::CollectionUnknown { .. }]
        ),
        "{blockers:?}"
    );
}

#[test]
fn nobody_connected_nothing_there_and_independent_copies_block() {
    let none = plan_backup(&seen([]), &everything(), NOW).unwrap_err();
    assert_eq!(none, [Blocker::NoNode]);
    let empty = plan_backup(&single(&[]), &everything(), NOW).unwrap_err();
    assert_eq!(empty, [Blocker::NothingToCapture]);
    let twins = seen([
        node("n1", None, [collection("docs", 1, &[0])]),
        node("n2", None, [collection("docs", 1, &[0])]),
    ]);
    let blockers = plan_backup(&twins, &everything(), NOW).unwrap_err();
    assert!(matches!(blockers[..], [Blocker::IndependentCopies { .. }]));
}

#[test]
fn a_running_job_and_a_stale_report_block() {
    let obs = busy(single(&["docs"]));
    let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
    assert!(matches!(blockers[..], [Blocker::JobRunning { .. }]));
    let later = NOW.after(std::time::Duration::from_secs(61));
    let blockers = plan_backup(&single(&["docs"]), &everything(), later).unwrap_err();
    assert!(matches!(blockers[..], [Blocker::NodeSilent { .. }]));
}

#[test]
fn an_old_server_blocks() {
    let mut obs = single(&["docs"]);
    crate::fixture::server(&mut obs, "n1").version = "1.17.0".parse().unwrap();
    let blockers = plan_backup(&obs, &everything(), NOW).unwrap_err();
    assert!(matches!(blockers[..], [Blocker::ServerTooOld { .. }]));
}
