//! Locks and storage classes of a copy, as its section asks for them: of a recovery point once it came, and of everything now and then.

use super::{Handle, TICK};
use crate::core::Core;
use crate::keeping::Place;
use holdfast_repository::{Repository, RepositoryError};
use std::sync::Arc;

/// Does what is due.
pub(super) async fn run(core: &Arc<Core>, handle: &Handle) {
    let _alone = handle.working.lock().await;
    match handle.writer(core).await {
        Ok(copy) => pass(core, handle, &copy).await,
        Err(fault) => {
            // As after a run that failed: the next one looks anew, later.
            handle.close().await;
            let now = core.clock.now();
            handle
                .note(&core.catalog, |memory| memory.fail(now, fault))
                .await;
        }
    }
}

/// The same with the copy at hand. What fails is a warning, and tried again later. Makes room for an operator, and for the end of the
/// process; then everything is looked at again.
pub(super) async fn pass(core: &Core, handle: &Handle, copy: &Repository) {
    let failed = |error: &RepositoryError| handle.failed(error);
    let place = Place {
        repository: copy,
        failed: &failed,
    };
    let stop = core.shutdown.token();
    tokio::select! {
        () = handle.keeping.pass(core, &place) => {}
        () = stop.cancelled() => handle.keeping.rewritten(),
        () = asked_for(handle) => handle.keeping.rewritten(),
    }
}

async fn asked_for(handle: &Handle) {
    while !handle.is_asked_for() {
        tokio::time::sleep(TICK).await;
    }
}

/// Whether the copy's locks, if it may have some, can be read: until they can, its rules rest.
pub(super) async fn knows_locks(core: &Core, handle: &Handle, copy: &Repository) -> bool {
    let failed = |error: &RepositoryError| handle.failed(error);
    let place = Place {
        repository: copy,
        failed: &failed,
    };
    let asked = handle.keeping.ask(&place).await;
    handle.keeping.note(core.clock.now(), asked.as_ref().err());
    asked.is_ok()
}
