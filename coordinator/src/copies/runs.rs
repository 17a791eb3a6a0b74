//! The jobs of one copy: at most one run and one check are open. While they give way they wait here, and so does what an operator has just asked for.

use super::{CopyMemory, Handle};
use crate::core::Core;
use crate::fault::Fault;
use crate::job::upkeep::Task;
use crate::upkeep::{Ended, Run, cancelled};
use holdfast_repository::VerifyLevel;
use holdfast_types::{CopyName, JobId};
use std::sync::Arc;

/// Jobs that are open, and that nobody works on at the moment.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) sync: Option<Run>,
    pub(super) verify: Option<Run>,
}

/// The job of a run, made when there is something to do, or when an operator has asked.
pub(super) struct Lazy<'a> {
    core: &'a Arc<Core>,
    handle: &'a Handle,
    run: Option<Run>,
}

impl<'a> Lazy<'a> {
    /// A run begins, or goes on. That is recorded before anything is done.
    ///
    /// # Errors
    /// A failing catalogue.
    pub(super) async fn begin(core: &'a Arc<Core>, handle: &'a Handle) -> Result<Self, Fault> {
        let mut runs = handle.runs.lock().await;
        let now = core.clock.now();
        let begin = |memory: &mut CopyMemory| memory.begin(now);
        handle.change(&core.catalog, begin).await?;
        Ok(Self {
            core,
            handle,
            run: runs.sync.take(),
        })
    }

    /// Its job, from now on.
    pub(super) async fn job(&mut self) -> &Run {
        let run = match self.run.take() {
            Some(run) => run,
            None => {
                let copy = self.handle.name().clone();
                Run::begin(self.core, Task::CopySync { copy }, None).await
            }
        };
        self.run.insert(run)
    }

    /// Its job, if there is one yet.
    pub(super) fn open(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Whether somebody asked to stop it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.run.as_ref().is_some_and(Run::is_cancelled)
    }

    /// It goes on later.
    pub(super) async fn put_by(self) {
        if let Some(run) = self.run {
            let mut runs = self.handle.runs.lock().await;
            put_by(self.core, &mut runs.sync, run).await;
        }
    }

    /// It is over.
    pub(super) async fn end(self, ended: Ended) {
        if let Some(run) = self.run {
            run.end(ended).await;
        }
    }
}

/// Takes the open check if it is of this level, or begins one.
pub(super) async fn check(core: &Arc<Core>, handle: &Handle, level: VerifyLevel) -> Run {
    let task = task(handle.name(), level);
    let mut runs = handle.runs.lock().await;
    match runs.verify.take() {
        Some(run) if *run.task() == task => return run,
        // What somebody asked for meanwhile comes next.
        Some(asked) if !asked.is_automatic() => runs.verify = Some(asked),
        Some(other) => give_up(other).await,
        None => {}
    }
    drop(runs);
    Run::begin(core, task, None).await
}

/// It goes on later.
pub(super) async fn put_check_by(core: &Core, handle: &Handle, run: Run) {
    let mut runs = handle.runs.lock().await;
    put_by(core, &mut runs.verify, run).await;
}

async fn put_by(core: &Core, place: &mut Option<Run>, run: Run) {
    if core.shutdown.token().is_cancelled() {
        run.interrupted().await;
    } else if place.is_some() {
        // An operator has asked for another meanwhile, which does the same.
        give_up(run).await;
    } else {
        run.stage("waits: a job runs, or an operator works on the copy");
        *place = Some(run);
    }
}

/// Ends what was cancelled while it waited.
pub(super) async fn end_cancelled(core: &Core, handle: &Handle) {
    let mut runs = handle.runs.lock().await;
    let sync = runs.sync.take_if(|run| run.is_cancelled());
    let verify = runs.verify.take_if(|run| run.is_cancelled());
    if sync.is_none() && verify.is_none() {
        return;
    }
    let (of_sync, of_check) = (sync.is_some(), verify.is_some());
    let forget = |memory: &mut CopyMemory| {
        memory.asked &= !of_sync;
        memory.check_asked = memory.check_asked.filter(|_| !of_check);
    };
    handle.note(&core.catalog, forget).await;
    for run in sync.into_iter().chain(verify) {
        let ended = Ended {
            failure: Some(cancelled("it had not begun, or had given way")),
            ..Ended::default()
        };
        run.end(ended).await;
    }
}

/// The process ends before what waits.
pub(super) async fn interrupt(handle: &Handle) {
    let mut runs = handle.runs.lock().await;
    let waiting = [runs.sync.take(), runs.verify.take()];
    drop(runs);
    for run in waiting.into_iter().flatten() {
        run.interrupted().await;
    }
}

async fn give_up(run: Run) {
    let ended = Ended {
        failure: Some(cancelled("another one was asked for, which goes on")),
        ..Ended::default()
    };
    run.end(ended).await;
}

/// An operator asks for a run. Returns its job.
pub(super) async fn ask_for_sync(
    core: &Arc<Core>,
    handle: &Handle,
    asker: &str,
) -> Result<JobId, Fault> {
    let mut runs = handle.runs.lock().await;
    let id = match &runs.sync {
        Some(open) => open.id().clone(),
        None => {
            let copy = handle.name().clone();
            let run = Run::begin(core, Task::CopySync { copy }, Some(asker)).await;
            run.stage("waits for its turn");
            runs.sync.insert(run).id().clone()
        }
    };
    let ask = |memory: &mut CopyMemory| memory.asked = true;
    handle.change(&core.catalog, ask).await?;
    Ok(id)
}

/// An operator asks for a check. Returns its job.
pub(super) async fn ask_for_check(
    core: &Arc<Core>,
    handle: &Handle,
    full: bool,
    asker: &str,
) -> Result<JobId, Fault> {
    let level = if full {
        VerifyLevel::Full
    } else {
        VerifyLevel::Quick
    };
    let task = task(handle.name(), level);
    let mut runs = handle.runs.lock().await;
    let id = match runs.verify.take() {
        Some(open) if *open.task() == task => runs.verify.insert(open).id().clone(),
        other => {
            if let Some(other) = other {
                give_up(other).await;
            }
            let run = Run::begin(core, task, Some(asker)).await;
            run.stage("waits for its turn");
            runs.verify.insert(run).id().clone()
        }
    };
    let ask = |memory: &mut CopyMemory| memory.check_asked = Some(full);
    handle.change(&core.catalog, ask).await?;
    Ok(id)
}

fn task(copy: &CopyName, level: VerifyLevel) -> Task {
    let copy = copy.clone();
    Task::CopyVerify { copy, level }
}
