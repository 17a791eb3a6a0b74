//! What is remembered of checks, across restarts.

use super::{Affected, schedule};
use crate::catalog::Catalog;
use crate::config::VerifySection;
use holdfast_repository::{AffectedPoint, VerifyCheckpoint, VerifyLevel, VerifyReport};
use holdfast_types::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Affected recovery points and damaged objects that are named one by one.
const NAMED: usize = 10;

/// What is remembered of checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyMemory {
    /// Spreads packs over samples.
    pub seed: u64,
    /// Where the next sample begins.
    pub next_slot: u8,
    /// Since when this memory exists.
    pub since: Option<Timestamp>,
    /// The last check that ended.
    pub last: Option<Ended>,
    /// When everything was last read in one check.
    pub last_full: Option<Timestamp>,
    /// Why no check ended since the last one did.
    pub failure: Option<Trouble>,
    /// How far a check is that gave way to a job, or to the end of the process.
    pub interrupted: Option<VerifyCheckpoint>,
    /// When somebody cancelled a check: for a while after that none begins by itself.
    #[serde(default)]
    pub cancelled: Option<Timestamp>,
}

/// A check that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// What it looked at, as a phrase.
    pub covered: String,
    /// Whether somebody should do something.
    pub needs_attention: bool,
    /// What it found, as warnings, most urgent first.
    pub warnings: Vec<String>,
    /// What can't be restored.
    #[serde(default)]
    pub affected: Affected,
}

/// A check that did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub message: String,
}

impl VerifyMemory {
    /// Nothing was checked yet.
    #[must_use]
    pub fn new(seed: u64, now: Timestamp) -> Self {
        Self {
            seed,
            next_slot: 0,
            since: Some(now),
            last: None,
            last_full: None,
            failure: None,
            interrupted: None,
            cancelled: None,
        }
    }

    pub(crate) fn ended(&mut self, now: Timestamp, report: &VerifyReport) {
        match report.level {
            VerifyLevel::Quick => {}
            VerifyLevel::Sample(sample) => self.next_slot = sample.next(),
            VerifyLevel::Full => self.last_full = Some(now),
        }
        self.failure = None;
        self.cancelled = None;
        // A quick look that somebody asked for leaves a long one where it was.
        if self
            .interrupted
            .as_ref()
            .is_some_and(|open| open.level == report.level)
        {
            self.interrupted = None;
        }
        self.last = Some(Ended {
            at: now,
            covered: covered(report),
            needs_attention: report.needs_attention(),
            warnings: warnings(report),
            affected: Affected::of(&report.affected, now),
        });
    }

    pub(crate) fn failed(&mut self, now: Timestamp, level: VerifyLevel, message: String) {
        tracing::debug!(?level, "will be tried again");
        self.failure = Some(Trouble { at: now, message });
    }

    /// What the last check found that can't be restored.
    #[must_use]
    pub fn affected(&self) -> Affected {
        let last = self.last.as_ref();
        last.map(|last| last.affected.clone()).unwrap_or_default()
    }

    /// What a person should know of now, most urgent first.
    #[must_use]
    pub fn warnings(
        &self,
        section: &VerifySection,
        started: Timestamp,
        now: Timestamp,
    ) -> Vec<String> {
        let mut warnings = match &self.last {
            Some(last) => last.warnings.clone(),
            None => Vec::new(),
        };
        if let Some(failure) = &self.failure {
            warnings.push(format!(
                "the repository could not be checked: {}",
                failure.message
            ));
        }
        if schedule::is_overdue(section, self, started, now) {
            let last = match &self.last {
                Some(last) => format!("was last checked at {}", last.at),
                None => "was never checked by this coordinator".to_owned(),
            };
            warnings.push(format!(
                "the repository {last}, longer ago than [verify] asks for: jobs leave no time for it, or it fails; see the coordinator's log, or run `holdfast repo verify`"
            ));
        }
        warnings
    }
}

fn covered(report: &VerifyReport) -> String {
    let read = format!("{} of {} packs read", report.packs_read, report.packs);
    match report.level {
        VerifyLevel::Quick => format!("{} packs listed, none read", report.packs),
        VerifyLevel::Full => format!("{read}, everything"),
        VerifyLevel::Sample(sample) => format!(
            "{read}, a sample of {} % from slot {} (seed {})",
            sample.percent(),
            sample.from(),
            sample.seed()
        ),
    }
}

fn warnings(report: &VerifyReport) -> Vec<String> {
    let affected = report.affected.iter().map(affected_warning);
    let mut warnings: Vec<String> = affected.take(NAMED).collect();
    let more = report.affected.len().saturating_sub(NAMED);
    if more > 0 {
        warnings.push(format!(
            "{more} more recovery points can't be restored in full: `holdfast repo verify` names them"
        ));
    }
    let open: Vec<_> = report.open().map(|found| found.object.as_str()).collect();
    if !open.is_empty() {
        let named = open
            .iter()
            .take(NAMED)
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        let dots = if open.len() > NAMED { ", …" } else { "" };
        warnings.push(format!(
            "{} damaged objects in the repository ({named}{dots}): back up now, which stores anew what Qdrant still has; `holdfast repo heal` brings the rest back from a second copy",
            open.len()
        ));
    }
    warnings
}

fn affected_warning(point: &AffectedPoint) -> String {
    let id = &point.id;
    if point.manifest.is_some() {
        return format!("recovery point {id} is damaged: none of its collections can be restored");
    }
    let names: BTreeSet<_> = point
        .shards
        .iter()
        .map(|shard| shard.collection.as_str())
        .collect();
    let names = Vec::from_iter(names).join(", ");
    let extras: Vec<String> = point
        .extras
        .iter()
        .map(|extra| format!("{} of node {}", extra.name, extra.node))
        .collect();
    let extras = extras.join(", ");
    match (names.is_empty(), extras.is_empty()) {
        (false, true) => format!(
            "recovery point {id} can't be restored in full: damage concerns its collections {names}; others restore"
        ),
        (true, _) => format!(
            "recovery point {id} can't give back all its extra files: damage concerns {extras}; its collections restore"
        ),
        (false, false) => format!(
            "recovery point {id} can't be restored in full: damage concerns its collections {names}, and the extra files {extras}; others restore"
        ),
    }
}

/// The memory of a running coordinator. Readers never wait for the catalogue.
#[derive(Debug)]
pub struct VerifyBook {
    memory: RwLock<VerifyMemory>,
    /// Held while it is decided which check is next, so that there is one at a time.
    pub(super) next: tokio::sync::Mutex<Option<super::Asked>>,
    /// Somebody has asked for one.
    pub(super) wake: tokio::sync::Notify,
}

impl VerifyBook {
    /// What was remembered before.
    #[must_use]
    pub fn new(memory: VerifyMemory) -> Self {
        Self {
            memory: RwLock::new(memory),
            next: tokio::sync::Mutex::default(),
            wake: tokio::sync::Notify::new(),
        }
    }

    /// What is remembered now.
    #[must_use]
    pub fn get(&self) -> VerifyMemory {
        self.memory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the memory. That it can't be made durable is told and does no harm: a restart knows less.
    pub async fn change(&self, catalog: &Catalog, change: impl FnOnce(&mut VerifyMemory) + Send) {
        let memory = {
            let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut memory);
            memory.clone()
        };
        if let Err(error) = catalog.put_verify_memory(memory).await {
            tracing::warn!(%error, "what was checked could not be recorded");
        }
    }
}

#[cfg(test)]
impl Ended {
    pub(crate) fn sound(at: Timestamp) -> Self {
        Self {
            at,
            covered: String::new(),
            needs_attention: false,
            warnings: Vec::new(),
            affected: Affected::default(),
        }
    }
}
