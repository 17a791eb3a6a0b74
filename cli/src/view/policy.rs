//! Policies in words: what is done by itself, when, and why.

use super::text::{list, pairs, short_time, table};
use crate::output::View;
use holdfast_decide::policy::{
    Explanation, Policy, PolicyChange, duration_text, retention_lines, schedule_lines, verify_line,
};
use holdfast_types::{CollectionName, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

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
