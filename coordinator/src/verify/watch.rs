//! What a check tells while it goes on, and what its job says in the end: of the repository and of copies alike.

use super::Ended as Remembered;
use crate::fault::{Fault, chain};
use crate::job::upkeep::Extent;
use crate::upkeep::{Ended, Run};
use holdfast_repository::{VerifyCheckpoint, VerifyObserver, VerifyProgress, VerifyReport};
use holdfast_service::failure::Code;
use std::sync::{Mutex, PoisonError};

/// Damaged objects that a job's log names one by one.
const NAMED: usize = 100;

/// Keeps how far a check is.
#[derive(Default)]
pub(crate) struct Latest(Mutex<Option<(VerifyProgress, VerifyCheckpoint)>>);

impl VerifyObserver for Latest {
    fn progressed(&self, progress: VerifyProgress, checkpoint: &VerifyCheckpoint) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some((progress, checkpoint.clone()));
    }
}

impl Latest {
    /// How to go on from here; `None` before the first pack.
    pub(crate) fn checkpoint(&self) -> Option<VerifyCheckpoint> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().map(|(_, checkpoint)| checkpoint.clone())
    }

    /// Tells how far it is.
    pub(crate) fn tell(&self, run: &Run) {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = latest.as_ref().map(|(progress, _)| *progress);
        drop(latest);
        if let Some(progress) = progress {
            run.tell("reading", extent(progress));
        }
    }
}

/// How far a check is, as jobs count.
fn extent(progress: VerifyProgress) -> Extent {
    Extent {
        bytes: progress.bytes_done,
        bytes_total: Some(progress.bytes_total),
        estimated: false,
        parts: progress.packs_done,
        parts_total: Some(progress.packs_total),
    }
}

/// Tells the damage that was found, and how the job ends: damage is a failure.
pub(crate) fn conclusion(run: &Run, report: &VerifyReport, last: Option<Remembered>) -> Ended {
    for found in report.open().take(NAMED) {
        run.warn(format!("{}: {}", found.object, chain(&found.damage)));
    }
    let (covered, warnings) = last
        .map(|last| (last.covered, last.warnings))
        .unwrap_or_default();
    let failure = report.needs_attention().then(|| {
        let first = warnings.first().cloned();
        let message = first.unwrap_or_else(|| "the check found damage".to_owned());
        Fault::new(Code::RepositoryDamaged, message)
    });
    let mut found = vec![covered];
    found.extend(warnings);
    Ended {
        found,
        idle: false,
        failure,
    }
}
