//! Checks that operators ask the coordinator for.

use crate::core::Core;
use crate::fault::Fault;
use crate::job::feed::JobFeed;
use crate::job::upkeep::Task;
use crate::job::{JobRecord, JobState};
use crate::upkeep::Run;
use holdfast_repository::{Sample, VerifyLevel};
use holdfast_service::failure::Code;
use std::sync::Arc;

/// A check that is to be carried out next.
#[derive(Debug)]
pub(crate) struct Asked {
    /// How thorough it is.
    pub(super) level: VerifyLevel,
    /// Its job.
    pub(super) run: Run,
}

/// Has the repository checked next: so many percent of its packs are read. Returns what the job tells.
///
/// # Errors
/// `usage`; `job-conflict` while another check runs.
pub(crate) async fn ask(
    core: &Arc<Core>,
    percent: u32,
    asker: &str,
) -> Result<Arc<JobFeed>, Fault> {
    let level = level(core, percent)?;
    let mut next = core.verified.next.lock().await;
    if let Some(other) = running(&core.book.list().await) {
        return Err(Fault::new(
            Code::JobConflict,
            format!(
                "check {other} runs already: watch it with `holdfast jobs watch {other}`, or cancel it first"
            ),
        ));
    }
    let run = Run::begin(core, Task::Verify { level }, Some(asker)).await;
    let feed = Arc::clone(run.feed());
    *next = Some(Asked { level, run });
    core.verified.wake.notify_one();
    Ok(feed)
}

fn running(jobs: &[JobRecord]) -> Option<&holdfast_types::JobId> {
    let is_check = |job: &&JobRecord| {
        let work = job.upkeep().filter(|_| job.state == JobState::Running);
        work.is_some_and(|work| matches!(work.task, Task::Verify { .. }))
    };
    jobs.iter().find(is_check).map(|job| &job.id)
}

/// An interrupted sample of this size goes on.
fn level(core: &Core, percent: u32) -> Result<VerifyLevel, Fault> {
    let memory = core.verified.get();
    match percent {
        0 => Ok(VerifyLevel::Quick),
        100 => Ok(VerifyLevel::Full),
        percent => {
            let open = memory.interrupted.map(|open| open.level);
            if let Some(VerifyLevel::Sample(sample)) = open
                && u32::from(sample.percent()) == percent
            {
                return Ok(VerifyLevel::Sample(sample));
            }
            let percent = u8::try_from(percent).unwrap_or(u8::MAX);
            let sample = Sample::new(percent, memory.seed, memory.next_slot);
            let sample = sample.map_err(|error| Fault::from_error(Code::Usage, &error))?;
            Ok(VerifyLevel::Sample(sample))
        }
    }
}
