//! The put window: how many encoded bytes may be on the way to the coordinator at once.
//!
//! The sender waits in [`PutWindow::reserve`] before each chunk, the receiver of acknowledgements calls
//! [`PutWindow::acknowledge`]. It bounds memory and unconfirmed work; it does not order or resend chunks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// An acknowledgement that can't be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator acknowledged {acked} bytes after {before}, of {sent} sent")]
pub struct WindowError {
    acked: u64,
    before: u64,
    sent: u64,
}

/// Counts sent and acknowledged bytes and chunks of one put stream.
#[derive(Debug)]
pub struct PutWindow {
    limit: u64,
    counts: Mutex<Counts>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sent_bytes: u64,
    sent_chunks: u64,
    acked_bytes: u64,
    acked_chunks: u64,
}

impl PutWindow {
    /// A window of at most `limit` unacknowledged bytes. A single chunk larger than that passes alone.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            counts: Mutex::new(Counts::default()),
            changed: Notify::new(),
        }
    }

    /// Waits until a chunk of `bytes` may be sent and counts it as sent.
    pub async fn reserve(&self, bytes: u64) {
        loop {
            let changed = self.changed.notified();
            if self.try_reserve(bytes) {
                return;
            }
            changed.await;
        }
    }

    /// Takes over an acknowledgement: totals of chunks and bytes since the stream began.
    ///
    /// # Errors
    /// If a total shrank or exceeds what was sent.
    pub fn acknowledge(&self, chunks: u64, bytes: u64) -> Result<(), WindowError> {
        let mut counts = self.lock();
        if bytes < counts.acked_bytes
            || bytes > counts.sent_bytes
            || chunks < counts.acked_chunks
            || chunks > counts.sent_chunks
        {
            return Err(WindowError {
                acked: bytes,
                before: counts.acked_bytes,
                sent: counts.sent_bytes,
            });
        }
        counts.acked_bytes = bytes;
        counts.acked_chunks = chunks;
        drop(counts);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Whether every chunk sent so far has been acknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let counts = self.lock();
        counts.sent_chunks == counts.acked_chunks
    }

    /// Bytes sent so far.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.lock().sent_bytes
    }

    fn try_reserve(&self, bytes: u64) -> bool {
        let mut counts = self.lock();
        let outstanding = counts.sent_bytes - counts.acked_bytes;
        let all_chunks_acked = counts.sent_chunks == counts.acked_chunks;
        if !all_chunks_acked && outstanding + bytes > self.limit {
            return false;
        }
        counts.sent_bytes += bytes;
        counts.sent_chunks += 1;
        true
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // four plain counters: never half changed
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::PutWindow;
    use std::sync::Arc;

    #[test]
    fn lets_no_more_than_the_limit_out() {
        let window = PutWindow::new(100);
        assert!(window.try_reserve(60));
        assert!(window.try_reserve(40));
        assert!(!window.try_reserve(1));
        window.acknowledge(1, 60).unwrap();
        assert!(window.try_reserve(60));
        assert!(!window.try_reserve(1));
        assert!(!window.is_settled());
        window.acknowledge(3, 160).unwrap();
        assert!(window.is_settled());
        assert_eq!(window.sent_bytes(), 160);
    }

    #[test]
    fn a_chunk_larger_than_the_window_passes_alone() {
        let window = PutWindow::new(10);
        assert!(window.try_reserve(50));
        assert!(!window.try_reserve(1));
        window.acknowledge(1, 50).unwrap();
        assert!(window.try_reserve(50));
    }

    #[test]
    fn impossible_acknowledgements_are_refused() {
        let window = PutWindow::new(100);
        assert!(window.try_reserve(10));
        assert!(window.acknowledge(1, 11).is_err());
        assert!(window.acknowledge(2, 10).is_err());
        window.acknowledge(1, 10).unwrap();
        assert!(window.acknowledge(0, 10).is_err());
        assert!(window.acknowledge(1, 9).is_err());
    }

    #[tokio::test]
    async fn a_waiting_sender_goes_on_after_an_acknowledgement() {
        let window = Arc::new(PutWindow::new(10));
        window.reserve(10).await;
        let waiting = tokio::spawn({
            let window = Arc::clone(&window);
            async move { window.reserve(10).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        window.acknowledge(1, 10).unwrap();
        waiting.await.unwrap();
    }
}
