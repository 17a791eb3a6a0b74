//! The delivery sessions of one capture. Re-opening begins a new one, and the older is refused from
//! then on: a connection that is thought dead must not write beside its successor.

use holdfast_repository::WriteSession;
use holdfast_types::{CaptureId, Epoch};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sessions of one capture, one after the other.
#[derive(Default)]
pub struct IngestSlot {
    state: Mutex<SlotState>,
    /// Held while a commit is made: the same capture must not be committed twice at once.
    pub committing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct SlotState {
    number: u64,
    current: Option<WriteSession>,
    sent_bytes: u64,
    stored_before: u64,
}

/// Names one session of one capture under one coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// The command that is carried out.
    pub command: CaptureId,
    epoch: Epoch,
    number: u64,
}

/// What a capture has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that were added to the repository.
    pub stored_bytes: u64,
}

impl IngestSlot {
    /// Begins a session; the one before it is over.
    pub fn open(&self, command: CaptureId, epoch: Epoch, writer: WriteSession) -> SessionId {
        let mut state = self.lock();
        if let Some(old) = state.current.replace(writer) {
            state.stored_before += old.stats().stored_bytes;
        }
        state.number += 1;
        SessionId {
            command,
            epoch,
            number: state.number,
        }
    }

    /// The session's access to the repository; `None` if it is over.
    #[must_use]
    pub fn writer(&self, session: &SessionId, epoch: Epoch) -> Option<WriteSession> {
        let state = self.lock();
        let current = session.epoch == epoch && session.number == state.number;
        state.current.clone().filter(|_| current)
    }

    /// Counts bytes that were sent.
    pub fn add_sent(&self, bytes: u64) {
        self.lock().sent_bytes += bytes;
    }

    /// What was sent and stored in all sessions.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let state = self.lock();
        let current = state.current.as_ref();
        let stored = current.map_or(0, |writer| writer.stats().stored_bytes);
        Figures {
            sent_bytes: state.sent_bytes,
            stored_bytes: state.stored_before + stored,
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        // No code that holds this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionId {
    /// Reads the text form; `None` if this program has not made it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (command, rest) = text.split_once('/')?;
        let (epoch, number) = rest.split_once('.')?;
        Some(Self {
            command: command.parse().ok()?,
            epoch: Epoch(epoch.parse().ok()?),
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.command, self.epoch, self.number)
    }
}

impl fmt::Debug for IngestSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestSlot").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{IngestSlot, SessionId};
    use crate::fixture;
    use holdfast_types::Epoch;

    #[tokio::test]
    async fn reopening_ends_the_session_before() {
        let repository = fixture::repository().await;
        let epoch = repository.claim_epoch().await.unwrap();
        let slot = IngestSlot::default();
        let open = async || {
            let writer = repository.begin(epoch).await.unwrap();
            slot.open("job-1-c0".parse().unwrap(), epoch, writer)
        };
        let first = open().await;
        assert!(slot.writer(&first, epoch).is_some());
        let second = open().await;
        assert!(slot.writer(&first, epoch).is_none());
        assert!(slot.writer(&second, epoch).is_some());
        assert!(slot.writer(&second, Epoch(epoch.0 + 1)).is_none());
        assert_eq!(SessionId::parse(&second.to_string()), Some(second));
        for bad in ["", "job-1-c0", "job-1-c0/1", "../1.1", "job-1-c0/x.1"] {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
    }
}
