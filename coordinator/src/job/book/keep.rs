//! Which ended jobs are forgotten: a pure function.
//!
//! Of jobs that capture and restore, and of each kind of upkeep, the newest are kept, so that upkeep, however often it runs, never
//! pushes a backup out of the list. Of runs that began by themselves and failed for one reason after the other, only the newest is.

use crate::job::{JobRecord, JobState};
use holdfast_types::JobId;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Ended runs that are kept of each kind of upkeep, if not fewer are to be kept of jobs.
pub(super) const KEPT_UPKEEP: usize = 50;

/// The ended jobs that are kept no longer, where `kept` that capture and restore are.
pub(super) fn surplus<'a>(jobs: impl Iterator<Item = &'a JobRecord>, kept: usize) -> Vec<JobId> {
    let mut lanes: BTreeMap<Option<&str>, Vec<&JobRecord>> = BTreeMap::new();
    for job in jobs.filter(|job| job.state != JobState::Running) {
        let lane = job.is_upkeep().then(|| job.kind());
        lanes.entry(lane).or_default().push(job);
    }
    let mut surplus = Vec::new();
    for (lane, mut jobs) in lanes {
        jobs.sort_by_key(|job| Reverse((job.started, &job.id)));
        let most = match lane {
            None => kept,
            Some(_) => kept.min(KEPT_UPKEEP),
        };
        let mut stays: Vec<&JobRecord> = Vec::new();
        for job in jobs {
            if stays.len() >= most || repeats(job, &stays) {
                surplus.push(job.id.clone());
            } else {
                stays.push(job);
            }
        }
    }
    surplus
}

/// Whether the next run of the same task, among these, failed for the same reason.
fn repeats(job: &JobRecord, newer: &[&JobRecord]) -> bool {
    let Some(work) = job.upkeep().filter(|work| work.automatic) else {
        return false;
    };
    let same = |other: &&&JobRecord| other.upkeep().is_some_and(|it| it.task == work.task);
    let next = newer.iter().rev().find(same);
    let code = |job: &JobRecord| {
        let failed = job.state == JobState::Failed;
        let failure = job.failure.as_ref().filter(|_| failed)?;
        Some(failure.code.clone())
    };
    let automatic = |other: &&&JobRecord| other.upkeep().is_some_and(|it| it.automatic);
    code(job).is_some_and(|code_here| {
        next.filter(automatic).and_then(|next| code(next)) == Some(code_here)
    })
}

#[cfg(test)]
mod tests {
    use super::{KEPT_UPKEEP, surplus};
    use crate::fault::Fault;
    use crate::fixture::{backup_record, upkeep_record};
    use crate::job::{JobRecord, JobState};
    use holdfast_service::failure::Code;

    fn ended(mut job: JobRecord, state: JobState) -> JobRecord {
        job.state = state;
        job
    }

    fn failed(seconds: u64, code: Code) -> JobRecord {
        let mut job = ended(upkeep_record(seconds), JobState::Failed);
        job.failure = Some(Fault::new(code, "no"));
        job
    }

    fn forgotten(jobs: &[JobRecord], kept: usize) -> Vec<String> {
        let ids = surplus(jobs.iter(), kept).into_iter();
        ids.map(|id| id.to_string()).collect()
    }

    #[test]
    fn upkeep_never_pushes_out_a_backup() {
        let mut jobs = vec![ended(backup_record(), JobState::Succeeded)];
        let many = KEPT_UPKEEP as u64 + 2;
        let upkeep = (1..=many).map(|n| ended(upkeep_record(n), JobState::Succeeded));
        jobs.extend(upkeep);
        jobs.push(upkeep_record(0));
        assert_eq!(forgotten(&jobs, 200), ["prune-2", "prune-1"]);
        assert_eq!(forgotten(&jobs, 1).len(), KEPT_UPKEEP + 1);
    }

    #[test]
    fn one_of_many_equal_failures_in_a_row_is_kept() {
        let mut asked = failed(6, Code::DiskFull);
        asked.upkeep_mut().unwrap().automatic = false;
        let jobs = [
            failed(1, Code::DiskFull),
            failed(2, Code::DiskFull),
            ended(upkeep_record(3), JobState::Succeeded),
            failed(4, Code::DiskFull),
            failed(5, Code::ReadOnly),
            asked,
            failed(7, Code::DiskFull),
            failed(8, Code::DiskFull),
            failed(9, Code::DiskFull),
        ];
        assert_eq!(forgotten(&jobs, 200), ["prune-8", "prune-7", "prune-1"]);
    }
}
