//! Policies as people write them.

use super::{Policy, RawPolicy, diff, explain, select, validate};
use crate::fixture::{NOW, collection, name, node, seen, server};
use holdfast_types::ScheduleName;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

fn read(text: &str) -> Result<Policy, String> {
    let raw: RawPolicy = toml::from_str(text).map_err(|error| error.to_string())?;
    validate(raw, &|zone| TimeZone::get(zone).ok()).map_err(|error| error.to_string())
}

fn policy(text: &str) -> Policy {
    read(text).unwrap()
}

fn schedule(text: &str) -> ScheduleName {
    text.parse().unwrap()
}

const OWN: &str = r#"
preset = "production"
time_zone = "Europe/Berlin"
nodes = ["n1"]
[limits]
max_nodes = 1
[[schedules]]
name = "nightly"
cron = "0 2 * * *"
[[schedules]]
name = "quarter-hourly"
every = "30m"
[[rules]]
collections = ["docs*"]
schedules = ["nightly"]
rpo = "26h"
recovery_order = 1
[[rules]]
collections = ["docs-big-*", "docs"]
schedules = ["quarter-hourly"]
[[rules]]
collections = ["scratch-*"]
priority = 5
schedules = []
"#;

#[test]
fn presets_can_be_meant_and_stand_below_the_file() {
    for preset in ["development", "staging", "production"] {
        let policy = policy(&format!("preset = \"{preset}\""));
        assert!(!policy.schedules.is_empty() && policy.advice().is_empty());
        assert!(policy.retention.is_some() && policy.verify.is_some());
        assert!(policy.rpo_of(&name("x"), NOW).is_some());
    }
    let own = policy(OWN);
    let names: Vec<&str> = own.schedules.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["weekly-full", "nightly", "quarter-hourly"]);
    let replaced = own.schedule(&schedule("quarter-hourly")).unwrap();
    assert_eq!(replaced.timing.to_string(), "every 30m");
    assert_eq!(replaced.limits.max_nodes.map(u32::from), Some(1));
    assert_eq!(replaced.zone.iana_name(), Some("Europe/Berlin"));
}

#[test]
fn the_most_specific_rule_wins_and_says_why() {
    let own = policy(OWN);
    let rule = |text: &str| own.rule_of(&name(text)).unwrap().rule.origin.to_string();
    assert_eq!(rule("docs-small"), "rule 1");
    assert_eq!(rule("docs"), "rule 2", "a name before a pattern");
    assert_eq!(rule("docs-big-1"), "rule 2", "more letters");
    assert_eq!(rule("scratch-1"), "rule 3");
    assert_eq!(rule("other"), "the preset's rule");
    let chosen = own.rule_of(&name("docs")).unwrap();
    assert_eq!(
        chosen.beaten,
        [
            "rule 1 names it, too: docs* is less specific",
            &format!(
                "the preset's rule names it, too: its priority is {} and not 0",
                i32::MIN
            ),
        ]
    );
    let places = ["a", "docs", "docs-2"].map(|text| own.recovery_place(&name(text)));
    assert_eq!(places, [1000, 1000, 1]);
}

#[test]
fn what_can_not_be_meant_is_named() {
    let schedule = |lines: &str| format!("[[schedules]]\nname = \"s\"\n{lines}");
    for (text, says) in [
        (
            "time_zone = \"Middle/Earth\"".to_owned(),
            "time-zone database",
        ),
        ("preset = \"prod\"".to_owned(), "unknown variant"),
        ("cluster = \"De mo\"".to_owned(), "cluster"),
        (schedule(""), "either cron or every"),
        (
            schedule("cron = \"@daily\"\nevery = \"1h\""),
            "either cron or every",
        ),
        (schedule("every = \"500ms\""), "between 1s"),
        (
            schedule("every = \"1h\"\nkind = \"big\""),
            "kind \"big\" is unknown",
        ),
        (schedule("every = \"1h\"\nfull_every = 1"), "at least 2"),
        (
            schedule("every = \"1h\"\nkind = \"full\"\nfull_every = 3"),
            "don't go together",
        ),
        (schedule("every = \"1h\"\njitter = \"13h\""), "12h at most"),
        (
            schedule("every = \"1h\"\nwindows = [\"late\"]"),
            "window \"late\"",
        ),
        (schedule("every = \"1h\"\ncatch_up = \"twice\""), "catch_up"),
        (schedule("cron = \"61 * * * *\""), "no minute"),
        (
            schedule("every = \"1h\"\n") + &schedule("every = \"2h\""),
            "stands twice",
        ),
        ("[[rules]]\nschedules = []".to_owned(), "names nothing"),
        (
            "[[rules]]\ncollections = [\"*\"]\nschedules = [\"x\"]".to_owned(),
            "no schedule \"x\"",
        ),
        (
            "[[rules]]\ncollections = [\"*\"]\nrpo = \"0s\"".to_owned(),
            "rpo",
        ),
        (
            "[retention]\nmin_proven = 1".to_owned(),
            "give either preset",
        ),
        ("[verify]\nsample_percent = 101".to_owned(), "at most 100"),
        (
            "[limits]\nmax_nodes = 10001".to_owned(),
            "limits: max_nodes may be",
        ),
        (
            schedule("every = \"1h\"\nlimits = { max_query_latency = \"11m\" }"),
            "max_query_latency must be",
        ),
        (
            "[limits]\nmax_delay = \"0s\"".to_owned(),
            "max_delay must be",
        ),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn what_is_hardly_meant_is_advised_against() {
    let advice = policy("[[schedules]]\nname = \"s\"\nevery = \"5s\"").advice();
    assert!(advice[0].contains("is for tests"), "{advice:?}");
    let advice = policy("").advice();
    assert!(
        advice[0].contains("nothing is captured by itself"),
        "{advice:?}"
    );
}

#[test]
fn what_can_not_be_meant_of_runs_that_adapt_is_named() {
    let schedule = |lines: &str| format!("[[schedules]]\nname = \"s\"\n{lines}");
    for (text, says) in [
        (
            schedule("every = \"1h\"\nunchanged = \"no\""),
            "capture or skip",
        ),
        (schedule("every = \"1h\"\nearly_after = 0"), "1 operation"),
        (
            schedule("every = \"1h\"\nearly_apart = \"5m\""),
            "without early_after",
        ),
        (
            schedule("every = \"1h\"\nearly_after = 9\nearly_apart = \"5s\""),
            "1m at least",
        ),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn without_rules_everything_follows_every_schedule() {
    let policy = policy("[[schedules]]\nname = \"s\"\nevery = \"1h\"");
    let chosen = policy.rule_of(&name("docs")).unwrap();
    assert_eq!(chosen.rule.schedules, [schedule("s")]);
    // An hour and half an hour of patience.
    assert_eq!(
        policy.rpo_of(&name("docs"), NOW),
        Some((Duration::from_mins(90), false))
    );
}

#[test]
fn a_run_takes_what_is_whole_and_names_the_rest() {
    let policy = policy(
        "nodes = [\"n9\"]\n[[schedules]]\nname = \"s\"\nevery = \"1h\"\n[[rules]]\ncollections = [\"*\"]\nexcept = [\"tmp-*\"]",
    );
    let mut obs = seen([
        node(
            "n1",
            Some(1),
            [collection("docs", 2, &[0, 1]), collection("tmp-1", 1, &[0])],
        ),
        node(
            "n2",
            Some(2),
            [collection("docs", 2, &[0]), collection("books", 1, &[0])],
        ),
        node("n3", Some(3), [collection("half", 2, &[1])]),
    ]);
    server(&mut obs, "n1").unusable_collections = vec!["collection \"a\\n\"".into()];
    obs.nodes.get_mut(&"n2".parse().unwrap()).unwrap().connected = false;
    let selection = select(&policy, &schedule("s"), &obs, NOW);
    assert_eq!(selection.capture, [name("docs")].into());
    assert_eq!(
        selection.left_out,
        [
            "books: node n2 is not connected: check that its holdfast-agent runs and reaches the coordinator",
            "half: only 1 of 2 shards have an active replica",
            "collection \"a\\n\" on node n1: its name can't be captured",
            "what is on node n9: it has not connected since the coordinator started",
        ]
    );
}

#[test]
fn an_explanation_says_which_rule_and_the_next_runs() {
    let own = policy(OWN);
    let told = explain(&own, &name("docs-small"), &BTreeMap::new(), NOW);
    assert_eq!(told.rule.as_deref(), Some("rule 1 (docs*)"));
    assert_eq!(told.rpo, "1d 2h");
    assert_eq!(told.schedules.len(), 1);
    let runs: Vec<String> = told.schedules[0]
        .runs
        .iter()
        .map(|(start, ..)| start.to_string())
        .collect();
    assert_eq!(runs.len(), 5);
    assert!(runs[0].ends_with("T01:00:00Z"), "02:00 in Berlin: {runs:?}");
    assert!(
        told.retention[0].starts_with("keeps the last 5, all within 2d, 72 hourly"),
        "{:?}",
        told.retention
    );
    let nothing = explain(&own, &name("scratch-1"), &BTreeMap::new(), NOW);
    assert!(nothing.schedules.is_empty() && nothing.why[0].contains("nothing captures it"));
}

#[test]
fn a_difference_is_told_for_what_exists() {
    let before = policy("preset = \"staging\"");
    let collections = [name("docs"), name("books")].into();
    assert_eq!(diff(&before, &before, &collections, NOW), []);
    let after = policy(
        "preset = \"staging\"\n[[rules]]\ncollections = [\"docs\"]\nrpo = \"1h\"\nschedules = []",
    );
    let changes = diff(&before, &after, &collections, NOW);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].about, "collection docs");
    assert!(changes[0].before[0].contains("captured by six-hourly"));
    assert_eq!(changes[0].after[0], "nothing captures it by itself");
}
