//! How fast a capture reads from Qdrant and its files, and how fast it sends.
//!
//! Whoever reads or sends says how many bytes it was and then waits; bytes are counted where they come from Qdrant or its
//! disk, not again where they are read back from the spool. What Qdrant does by itself, such as storing a snapshot, is not bounded here.

use bucket::Bucket;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod bucket;

/// The pace of one capture, over all its attempts.
#[derive(Debug)]
pub struct Pace {
    reading: Mutex<Bucket>,
    sending: Mutex<Bucket>,
    /// Whoever waits when it is cancelled goes on at once, and finds that it has to end.
    stop: CancellationToken,
}

impl Pace {
    /// A pace of so many bytes per second in each direction; `None` for as fast as it goes.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>, stop: CancellationToken) -> Self {
        let bucket = || Mutex::new(Bucket::new(bytes_per_second, Instant::now()));
        Self {
            reading: bucket(),
            sending: bucket(),
            stop,
        }
    }

    /// As fast as it goes.
    #[must_use]
    pub fn free() -> Self {
        Self::new(None, CancellationToken::new())
    }

    /// So many bytes were read: returns when they are earned.
    pub async fn read(&self, bytes: u64) {
        self.wait(take(&self.reading, bytes)).await;
    }

    /// So many bytes are about to be sent: returns when they are earned.
    pub async fn send(&self, bytes: u64) {
        self.wait(take(&self.sending, bytes)).await;
    }

    /// [`Self::read`] for a thread of the runtime that may block.
    pub fn read_blocking(&self, bytes: u64) {
        let wait = take(&self.reading, bytes);
        if !wait.is_zero() {
            Handle::current().block_on(self.wait(wait));
        }
    }

    /// A source that is read at this pace, by a thread of the runtime that may block.
    pub fn reader<R: Read>(self: &Arc<Self>, source: R) -> Paced<R> {
        Paced {
            source,
            pace: Arc::clone(self),
        }
    }

    async fn wait(&self, wait: Duration) {
        if !wait.is_zero() {
            // Over early only if the capture is.
            let _stopped = tokio::time::timeout(wait, self.stop.cancelled()).await;
        }
    }
}

/// How long to wait for so many bytes.
fn take(bucket: &Mutex<Bucket>, bytes: u64) -> Duration {
    // A bucket is a pair of plain values: a poisoned one is still good.
    let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
    bucket.take(bytes, Instant::now())
}

/// A source that is read at a pace.
#[derive(Debug)]
pub struct Paced<R> {
    source: R,
    pace: Arc<Pace>,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.source.read(out)?;
        self.pace.read_blocking(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::io::Read as _;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn each_direction_has_its_own_bound() {
        let pace = Pace::new(Some(MIB), CancellationToken::new());
        let began = Instant::now();
        for _ in 0..3 {
            pace.read(MIB).await;
            pace.send(MIB / 2).await;
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(2900), "{took:?}");
        assert!(
            took < Duration::from_millis(3200),
            "{took:?}: of simulated time"
        );
        Pace::free().read(u64::MAX).await;
    }

    #[tokio::test]
    async fn a_source_takes_its_time_and_ends_with_its_capture() {
        let stop = CancellationToken::new();
        let pace = Arc::new(Pace::new(Some(MIB), stop.clone()));
        let read = |bytes: usize| {
            let mut source = pace.reader(std::io::repeat(7).take(bytes as u64));
            tokio::task::spawn_blocking(move || {
                let mut got = Vec::new();
                source.read_to_end(&mut got).map(|_| got.len())
            })
        };
        let began = Instant::now();
        assert_eq!(read(300_000).await.unwrap().unwrap(), 300_000);
        let earned = began.elapsed() + Duration::from_millis(50);
        assert!(earned >= Duration::from_millis(286), "{earned:?}");
        // A day's worth: it would never end if nobody stopped it.
        let endless = read(100_000_000_usize);
        stop.cancel();
        assert_eq!(endless.await.unwrap().unwrap(), 100_000_000);
    }
}
