//! Which command runs now, and which must stop: the one thing that executor and control stream share
//! beside the journal. At most one command runs; the others wait in the journal.

use crate::order::CommandId;
use crate::progress::Meter;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Shared by clones.
#[derive(Clone, Debug, Default)]
pub struct Running {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    more_work: Notify,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    stopped: HashSet<CommandId>,
}

/// The command that runs.
#[derive(Clone, Debug)]
pub struct Current {
    /// Its id.
    pub id: CommandId,
    /// Cancelled when it must stop.
    pub stop: CancellationToken,
    /// How far it is.
    pub meter: Arc<Meter>,
}

impl Running {
    /// Makes `id` the running command. Its token is cancelled already if it was told to stop while it
    /// waited.
    #[must_use]
    pub fn begin(&self, id: &CommandId, parent: &CancellationToken) -> Current {
        let current = Current {
            id: id.clone(),
            stop: parent.child_token(),
            meter: Arc::default(),
        };
        let mut state = self.lock();
        if state.stopped.contains(id) {
            current.stop.cancel();
        }
        state.current = Some(current.clone());
        current
    }

    /// The running command has its outcome in the journal.
    pub fn end(&self, id: &CommandId) {
        let mut state = self.lock();
        state.stopped.remove(id);
        state.current = None;
        drop(state);
        self.shared.ended.notify_waiters();
    }

    /// Stops a command, now if it runs, else as soon as its turn comes. The caller knows that it is open.
    pub fn stop(&self, id: &CommandId) {
        let mut state = self.lock();
        if let Some(current) = state.current.as_ref().filter(|current| current.id == *id) {
            current.stop.cancel();
        }
        state.stopped.insert(id.clone());
    }

    /// The command that runs now.
    #[must_use]
    pub fn current(&self) -> Option<Current> {
        self.lock().current.clone()
    }

    /// Whether this command runs now, its cleaning up included.
    #[must_use]
    pub fn is_current(&self, id: &CommandId) -> bool {
        self.lock().current.as_ref().is_some_and(|c| c.id == *id)
    }

    /// Wakes the executor: the journal has a new open command.
    pub fn wake(&self) {
        self.shared.more_work.notify_one();
    }

    /// Waits for [`Running::wake`], also one that came before.
    pub async fn woken(&self) {
        self.shared.more_work.notified().await;
    }

    /// Completes at the next [`Running::end`] after the call.
    pub fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.ended.notified()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Running;
    use crate::order::CommandId;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn stop_reaches_the_running_and_the_waiting_command() {
        let running = Running::default();
        let root = CancellationToken::new();
        let (a, b): (CommandId, CommandId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let current = running.begin(&a, &root);
        running.stop(&b);
        assert!(!current.stop.is_cancelled());
        running.stop(&a);
        assert!(current.stop.is_cancelled());
        running.end(&a);
        assert!(running.current().is_none());
        assert!(running.begin(&b, &root).stop.is_cancelled());
        running.end(&b);
        // the order was used up: the same name may run again
        assert!(!running.begin(&b, &root).stop.is_cancelled());
        assert!(!root.is_cancelled());
    }
}
