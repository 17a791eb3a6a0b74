//! The advisory writer lock of a store. It keeps honest processes of one machine apart; what keeps
//! a stale writer out for certain is the epoch, not this lock.

use std::any::Any;
use std::fmt;

/// The held lock: released when dropped, and by the system when the process dies.
pub struct StoreLock(#[expect(dead_code, reason = "held for its Drop")] Box<dyn Any + Send + Sync>);

impl StoreLock {
    /// A lock that is held for as long as `guard` lives.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for StoreLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreLock")
    }
}

/// What came of trying to take the writer lock.
#[derive(Debug)]
pub enum LockAttempt {
    /// It is ours until the lock is dropped.
    Held(StoreLock),
    /// Another holder has it.
    Busy {
        /// What the holder said of itself; empty if it said nothing.
        holder: String,
    },
    /// This kind of store, or its file system, has no locks.
    Unsupported,
}
