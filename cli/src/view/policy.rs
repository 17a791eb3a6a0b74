//! What is done by itself: policies in words, and how their schedules stand.

use super::some;
use super::text::{list, pairs, short_time, table};
use crate::output::View;
use holdfast_decide::policy::{
    Explanation, Policy, PolicyChange, duration_text, retention_lines, schedule_lines, verify_line,
};
use holdfast_proto::v1;
use holdfast_types::{CollectionName, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// `policy check`, of a file that the coordinator would take.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyCheckView {
    file: String,
    /// Always true: an invalid file is a failure with exit code 3.
    valid: bool,
    /// What is allowed and hardly meant.
    advice: Vec<String>,
}

/// `policy show`.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyView {
    /// Where it stands.
    policy: String,
    schedules: Vec<ScheduleLinesView>,
    rules: Vec<RuleView>,
    nodes: Vec<String>,
    retention: Vec<String>,
    checks: String,
}

#[derive(Debug, Serialize)]
struct ScheduleLinesView {
    name: String,
    lines: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RuleView {
    /// Where it stands in the file, or that it is the preset's.
    rule: String,
    collections: Vec<String>,
    except: Vec<String>,
    priority: i32,
    schedules: Vec<String>,
    /// As it says itself.
    rpo: Option<String>,
    recovery_order: u32,
}

/// `policy explain`.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyExplainView {
    policy: String,
    collection: String,
    rule: Option<String>,
    why: Vec<String>,
    schedules: Vec<ScheduleExplainedView>,
    rpo: String,
    recovery_order: u32,
    retention: Vec<String>,
    checks: String,
}

#[derive(Debug, Serialize)]
struct ScheduleExplainedView {
    name: String,
    lines: Vec<String>,
    runs: Vec<NextRunView>,
}

#[derive(Debug, Serialize)]
struct NextRunView {
    begins: Timestamp,
    /// The planned instant, before jitter and windows.
    planned: Timestamp,
    full: bool,
}

/// `policy diff`.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyDiffView {
    from: String,
    to: String,
    collections: Vec<String>,
    changes: Vec<ChangeView>,
}

#[derive(Debug, Serialize)]
struct ChangeView {
    about: String,
    before: Vec<String>,
    after: Vec<String>,
}

/// `schedules`.
#[derive(Debug, Serialize)]
pub(crate) struct SchedulesView {
    /// Whether the coordinator has a policy.
    configured: bool,
    schedules: Vec<ScheduleView>,
}

#[derive(Debug, Serialize)]
struct ScheduleView {
    name: String,
    lines: Vec<String>,
    collections: Vec<String>,
    next_start: Option<Timestamp>,
    /// Why nothing is begun now.
    waits: String,
    job: Option<String>,
    last_run: Option<RunView>,
    last_success: Option<RunView>,
    failures: u32,
    /// How late it is; `None` if it is not.
    late_secs: Option<u64>,
    /// The oldest planned instant without a success.
    late_since: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct RunView {
    planned: Timestamp,
    begun: Timestamp,
    ended: Timestamp,
    job: Option<String>,
    full: bool,
    outcome: String,
    reasons: Vec<String>,
}

impl PolicyCheckView {
    pub(crate) fn new(file: &Path, policy: &Policy) -> Self {
        Self {
            file: file.display().to_string(),
            valid: true,
            advice: policy.advice(),
        }
    }
}

impl View for PolicyCheckView {
    const KIND: &'static str = "policy-check";

    fn text(&self) -> String {
        let mut lines = vec![format!("{}: valid policy", self.file)];
        lines.extend(
            self.advice
                .iter()
                .map(|advice| format!("  advice: {advice}")),
        );
        lines.join("\n")
    }
}

impl PolicyView {
    pub(crate) fn new(place: &str, policy: &Policy) -> Self {
        let schedules = policy.schedules.iter().map(|schedule| ScheduleLinesView {
            name: schedule.name.to_string(),
            lines: schedule_lines(schedule),
        });
        let rules = policy.rules.iter().map(|rule| RuleView {
            rule: rule.origin.to_string(),
            collections: rule
                .collections
                .iter()
                .map(|p| p.as_str().to_owned())
                .collect(),
            except: rule.except.iter().map(|p| p.as_str().to_owned()).collect(),
            priority: rule.priority,
            schedules: rule.schedules.iter().map(ToString::to_string).collect(),
            rpo: rule.rpo.map(duration_text),
            recovery_order: rule.recovery_order,
        });
        Self {
            policy: place.to_owned(),
            schedules: schedules.collect(),
            rules: rules.collect(),
            nodes: policy.nodes.iter().map(ToString::to_string).collect(),
            retention: retention_lines(policy.retention.as_ref(), None),
            checks: verify_line(policy.verify.as_ref()),
        }
    }
}

impl View for PolicyView {
    const KIND: &'static str = "policy";

    fn text(&self) -> String {
        let schedules = self
            .schedules
            .iter()
            .map(|schedule| vec![schedule.name.clone(), schedule.lines.join("; ")]);
        let rules = self.rules.iter().map(|rule| {
            let except = match rule.except.is_empty() {
                true => String::new(),
                false => format!(" except {}", rule.except.join(", ")),
            };
            vec![
                rule.rule.clone(),
                rule.collections.join(", ") + &except,
                list(&rule.schedules, "nothing"),
                rule.rpo.clone().unwrap_or_default(),
                rule.priority.to_string(),
                rule.recovery_order.to_string(),
            ]
        });
        let header = [
            "RULE",
            "COLLECTIONS",
            "CAPTURED BY",
            "RPO",
            "PRIORITY",
            "RECOVERY ORDER",
        ];
        [
            pairs([("Policy", self.policy.clone())]),
            table(&["SCHEDULE", "WHEN AND HOW"], schedules),
            table(&header, rules),
            pairs([
                ("Nodes", list(&self.nodes, "whichever are there")),
                ("Retention", self.retention.join("; ")),
                ("Checks", self.checks.clone()),
            ]),
        ]
        .join("\n\n")
    }
}

impl PolicyExplainView {
    pub(crate) fn new(place: &str, collection: &CollectionName, told: &Explanation) -> Self {
        let schedules = told.schedules.iter().map(|schedule| ScheduleExplainedView {
            name: schedule.name.to_string(),
            lines: schedule.lines.clone(),
            runs: schedule
                .runs
                .iter()
                .map(|(begins, planned, full)| NextRunView {
                    begins: *begins,
                    planned: *planned,
                    full: *full,
                })
                .collect(),
        });
        Self {
            policy: place.to_owned(),
            collection: collection.to_string(),
            rule: told.rule.clone(),
            why: told.why.clone(),
            schedules: schedules.collect(),
            rpo: told.rpo.clone(),
            recovery_order: told.recovery_order,
            retention: told.retention.clone(),
            checks: told.verify.clone(),
        }
    }
}

impl View for PolicyExplainView {
    const KIND: &'static str = "policy-explanation";

    fn text(&self) -> String {
        let mut parts = vec![pairs([
            ("Policy", self.policy.clone()),
            ("Collection", self.collection.clone()),
            (
                "Rule",
                self.rule.clone().unwrap_or_else(|| "none".to_owned()),
            ),
            ("Why", self.why.join("; ")),
            ("RPO", self.rpo.clone()),
            ("Recovery order", self.recovery_order.to_string()),
            ("Retention", self.retention.join("; ")),
            ("Checks", self.checks.clone()),
        ])];
        for schedule in &self.schedules {
            let runs = schedule.runs.iter().map(|run| {
                let how = if run.full { "full" } else { "" };
                format!("  {}  {how}", short_time(run.begins))
                    .trim_end()
                    .to_owned()
            });
            let mut lines = vec![format!("{}: {}", schedule.name, schedule.lines.join("; "))];
            lines.extend(runs);
            parts.push(lines.join("\n"));
        }
        parts.join("\n\n")
    }
}

impl PolicyDiffView {
    pub(crate) fn new(
        from: &str,
        to: &str,
        collections: &BTreeSet<CollectionName>,
        changes: &[PolicyChange],
    ) -> Self {
        let changes = changes.iter().map(|change| ChangeView {
            about: change.about.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
        });
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            collections: collections.iter().map(ToString::to_string).collect(),
            changes: changes.collect(),
        }
    }
}

impl View for PolicyDiffView {
    const KIND: &'static str = "policy-diff";

    fn text(&self) -> String {
        let mut lines = vec![format!("--- {}", self.from), format!("+++ {}", self.to)];
        for change in &self.changes {
            lines.push(format!("@ {}", change.about));
            lines.extend(change.before.iter().map(|line| format!("- {line}")));
            lines.extend(change.after.iter().map(|line| format!("+ {line}")));
        }
        if self.changes.is_empty() {
            lines.push("nothing changes".to_owned());
        }
        lines.push(format!(
            "compared for {}",
            list(&self.collections, "no collection: name some with -c")
        ));
        lines.join("\n")
    }
}

impl From<&v1::ListSchedulesResponse> for SchedulesView {
    fn from(wire: &v1::ListSchedulesResponse) -> Self {
        Self {
            configured: wire.configured,
            schedules: wire.schedules.iter().map(ScheduleView::from).collect(),
        }
    }
}

fn instant(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}

impl From<&v1::ScheduleStatus> for ScheduleView {
    fn from(wire: &v1::ScheduleStatus) -> Self {
        Self {
            name: wire.name.clone(),
            lines: wire.lines.clone(),
            collections: wire.collections.clone(),
            next_start: instant(wire.next_start_us),
            waits: wire.waits.clone(),
            job: some(&wire.job_id),
            last_run: wire.last_run.as_ref().map(RunView::from),
            last_success: wire.last_success.as_ref().map(RunView::from),
            failures: wire.failures,
            late_secs: (wire.late_secs != 0).then_some(wire.late_secs),
            late_since: instant(wire.late_since_us),
        }
    }
}

impl From<&v1::ScheduleRun> for RunView {
    fn from(wire: &v1::ScheduleRun) -> Self {
        Self {
            planned: Timestamp::from_micros(wire.planned_us),
            begun: Timestamp::from_micros(wire.begun_us),
            ended: Timestamp::from_micros(wire.ended_us),
            job: some(&wire.job_id),
            full: wire.full,
            outcome: wire.outcome.clone(),
            reasons: wire.reasons.clone(),
        }
    }
}

impl ScheduleView {
    fn row(&self) -> Vec<String> {
        let state = match (self.late_secs, &self.job) {
            (Some(late), _) => format!("LATE by {}", duration_text(Duration::from_secs(late))),
            (None, Some(_)) => "running".to_owned(),
            (None, None) => "in time".to_owned(),
        };
        let last = self.last_run.as_ref().map_or_else(
            || "none yet".to_owned(),
            |run| format!("{} {}", short_time(run.ended), run.outcome),
        );
        vec![
            self.name.clone(),
            state,
            self.next_start
                .map_or_else(|| "never".to_owned(), short_time),
            last,
            list(&self.collections, "none of now"),
            self.waits.clone(),
        ]
    }
}

impl View for SchedulesView {
    const KIND: &'static str = "schedules";

    fn text(&self) -> String {
        if !self.configured {
            return "The coordinator follows no policy: nothing is captured by itself (docs/reference/policy.md).".to_owned();
        }
        let header = [
            "SCHEDULE",
            "STATE",
            "NEXT RUN",
            "LAST RUN",
            "COLLECTIONS",
            "NOW",
        ];
        table(&header, self.schedules.iter().map(ScheduleView::row))
    }
}
