//! Which captures are under way, so that garbage collection waits for them.
//!
//! A capture that was told "I have this chunk" relies on the pack that holds it, and the packs that
//! it writes are named by no manifest before it commits. So a pack is doomed only if it is older than every
//! open session, and deleted only if every open session began after it was doomed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was known when a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// How often packs had been doomed.
    pub(crate) dooms: u64,
    /// The number that the next pack got.
    pub(crate) next_pack: u32,
}

/// The sessions of one open repository.
#[derive(Default)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<u64, Start>,
    next: u64,
}

/// Keeps a session in the list until it is dropped.
pub(crate) struct SessionGuard {
    sessions: Arc<Sessions>,
    number: u64,
}

impl Sessions {
    pub(crate) fn begin(self: &Arc<Self>, start: Start) -> SessionGuard {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.open.insert(number, start);
        SessionGuard {
            sessions: self.clone(),
            number,
        }
    }

    /// The least of what the open sessions knew when they began; `None` if there are none.
    pub(crate) fn oldest(&self) -> Option<Start> {
        let state = self.state();
        let starts = state.open.values().copied();
        starts.reduce(|one, other| Start {
            dooms: one.dooms.min(other.dooms),
            next_pack: one.next_pack.min(other.next_pack),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A map of independent entries is consistent after a panic, too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.sessions.state().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::{Sessions, Start};
    use std::sync::Arc;

    #[test]
    fn the_oldest_counts_until_it_ends() {
        let sessions = Arc::new(Sessions::default());
        assert_eq!(sessions.oldest(), None);
        let start = |dooms, next_pack| Start { dooms, next_pack };
        let first = sessions.begin(start(1, 9));
        let _second = sessions.begin(start(2, 7));
        assert_eq!(sessions.oldest(), Some(start(1, 7)));
        drop(first);
        assert_eq!(sessions.oldest(), Some(start(2, 7)));
    }
}
