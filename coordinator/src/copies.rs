//! Copies of the repository in further stores: brought up to date, checked and pruned in the background, each on its own.
//!
//! What a copy is, and why copying can't spread damage, is [`holdfast_repository`]'s. Here it is decided which points a copy
//! wants (those of the primary that its own rules keep), when it is looked at, and what people are told. A run is recorded before
//! it begins: after a restart it goes on, and what has been copied is not copied again. Runs give way to jobs, until the copy is
//! further behind than it may be. Trouble with a copy never touches the primary: it is a warning, and is tried again.
//!
//! | while … | a job begins | the process ends | the copy is away | an operator asks for the copy |
//! |---|---|---|---|---|
//! | a point is copied | stops within seconds, goes on afterwards | goes on after the start | tried again, less and less often | stops within seconds, goes on afterwards |
//! | the copy is checked | likewise | likewise | likewise | likewise |
//! | it is locked | goes on | everything is looked at again | likewise, as everything else | stops within seconds, begins again afterwards |
//! | the copy is pruned | goes on | its marks are kept | likewise | waits |
//!
//! A run that has something to bring, and every check, is a job ([`crate::upkeep`]), which stays the same while it gives way.
//!
//! Nothing here makes a copy of a place by itself: a volume that is not mounted must not become one. Nor does anything here promote one.

mod due;
mod handle;
mod keep;
mod lag;
mod memory;
mod operator;
mod remembered;
mod runs;
mod sync;
mod verify;
mod warnings;

pub use handle::{Copies, Handle};
pub use lag::Lag;
pub use memory::{CopyMemory, CopyTrouble, EndedRun, OpenRun};
pub use operator::{Added, add, ask_for_check, ask_for_sync, prune, release, remove};
pub use warnings::{of as warnings_of, warnings};

use crate::core::Core;
use crate::upkeep::Run;
use due::Next;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether a job runs, and what is due.
const TICK: Duration = Duration::from_secs(2);

/// Looks after one copy until the process ends.
pub async fn run(core: Arc<Core>, handle: Arc<Handle>) {
    let stop = core.shutdown.token();
    while !stop.is_cancelled() {
        match handle.next(&core).await {
            Next::Sync => sync::run(&core, &handle).await,
            Next::Verify(level) => verify::run(&core, &handle, level).await,
            Next::Keep => keep::run(&core, &handle).await,
            Next::Wait => {
                runs::end_cancelled(&core, &handle).await;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(TICK) => {}
                    () = handle.woken() => {}
                }
            }
        }
    }
    runs::interrupt(&handle).await;
}

/// Waits while a job runs that this must give way to. Returns whether the process goes on.
async fn give_way(core: &Core, handle: &Handle, run: Option<&Run>) -> bool {
    let stop = core.shutdown.token();
    let is_cancelled = || run.is_some_and(Run::is_cancelled);
    while handle.must_wait(core).await && !handle.is_asked_for() && !is_cancelled() {
        if let Some(run) = run {
            run.stage("waits for a job to end");
        }
        if tokio::time::timeout(TICK, stop.cancelled()).await.is_ok() {
            return false;
        }
    }
    !stop.is_cancelled()
}
