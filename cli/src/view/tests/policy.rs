//! What commands about schedules and policies show.

use crate::output::View;
use crate::view::{PolicyCheckView, PolicyDiffView, PolicyExplainView, PolicyView, SchedulesView};
use holdfast_coordinator::config::{LoadedPolicy, parse_policy};
use holdfast_decide::policy::{Policy, diff, explain};
use holdfast_proto::v1;
use holdfast_types::{CollectionName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

fn policy(text: &str) -> Policy {
    let read = parse_policy(Path::new("policy.toml"), text.to_owned(), None);
    let LoadedPolicy { policy, .. } = read.unwrap();
    policy
}

fn products() -> CollectionName {
    "products".parse().unwrap()
}

fn nightly() -> Policy {
    policy(
        "[[schedules]]\nname = \"nightly\"\ncron = \"0 2 * * *\"\nfull_every = 7\n\
         [[rules]]\ncollections = [\"*\"]\nexcept = [\"scratch-*\"]\nschedules = [\"nightly\"]\nrpo = \"26h\"\n",
    )
}

pub(super) fn standing() -> v1::ListSchedulesResponse {
    let run = |outcome: &str, reasons: &[&str]| v1::ScheduleRun {
        planned_us: 1_794_981_600_000_000,
        begun_us: 1_794_981_601_000_000,
        ended_us: 1_794_981_631_000_000,
        job_id: "backup-7".into(),
        full: true,
        outcome: outcome.into(),
        reasons: reasons.iter().map(ToString::to_string).collect(),
    };
    v1::ListSchedulesResponse {
        configured: true,
        schedules: vec![v1::ScheduleStatus {
            name: "nightly".into(),
            lines: vec!["0 2 * * * in UTC".into()],
            collections: vec!["products".into()],
            next_start_us: 1_795_068_000_000_000,
            waits: "another attempt follows".into(),
            job_id: String::new(),
            last_run: Some(run("failed", &["node n1 is not connected"])),
            last_success: Some(run("succeeded", &[])),
            failures: 2,
            late_secs: 5400,
            late_since_us: 1_794_981_600_000_000,
        }],
    }
}

pub(super) fn views() -> (
    PolicyCheckView,
    PolicyView,
    PolicyExplainView,
    PolicyDiffView,
) {
    let (old, new) = (nightly(), policy("preset = \"production\""));
    let compared = BTreeSet::from([products()]);
    let told = explain(&old, &products(), &BTreeMap::new(), NOW);
    let changes = diff(&old, &new, &compared, NOW);
    (
        PolicyCheckView::new(Path::new("policy.toml"), &old),
        PolicyView::new("policy.toml", &old),
        PolicyExplainView::new("policy.toml", &products(), &told),
        PolicyDiffView::new("old.toml", "new.toml", &compared, &changes),
    )
}

#[test]
fn a_late_schedule_stands_out() {
    let text = SchedulesView::from(&standing()).text();
    for part in [
        "nightly",
        "LATE by",
        "failed",
        "products",
        "another attempt follows",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let none = SchedulesView::from(&v1::ListSchedulesResponse::default()).text();
    assert!(none.contains("no policy"), "{none}");
}

#[test]
fn policies_in_words() {
    let (check, shown, explained, diff) = views();
    assert_eq!(check.text(), "policy.toml: valid policy");
    for (text, parts) in [
        (
            shown.text(),
            &[
                "nightly",
                "0 2 * * * in UTC",
                "every 7th run",
                "* except scratch-*",
                "whichever are there",
            ][..],
        ),
        (
            explained.text(),
            &[
                "products",
                "rule 1",
                "2026-11-19 02:00:00Z  full",
                "2026-11-20 02:00:00Z\n",
            ],
        ),
        (
            diff.text(),
            &[
                "@ collection products",
                "- captured by nightly",
                "+ captured by quarter-hourly",
                "@ retention",
            ],
        ),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
