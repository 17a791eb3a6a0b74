//! How fast a capture reads from Qdrant and its files, and how fast it sends.
//!
//! Whoever reads or sends says how many bytes it was and then waits; bytes are counted where they come from Qdrant or its
//! disk, not again where they are read back from the spool. What Qdrant does by itself, such as storing a snapshot, is not bounded here.
//!
//! Two things bound it: what the order says ([`Pace::new`]), and how much of that the searches of others leave ([`brake`], by
//! [`law`]). Only reading gives way to searches: sending costs Qdrant nothing.

use bucket::Bucket;
use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod brake;
mod bucket;
mod law;

pub(crate) use brake::Brake;

/// The pace of one capture, over all its attempts.
#[derive(Debug)]
pub struct Pace {
    /// What the order allows, in bytes per second in each direction; `None` for no bound.
    ceiling: Option<u64>,
    reading: Mutex<Reading>,
    sending: Mutex<Bucket>,
    /// Whether Qdrant does not tell how long searches take.
    blind: AtomicBool,
    /// Whether it gave way for as long as it may.
    spent: AtomicBool,
    /// Whoever waits when it is cancelled goes on at once, and finds that it has to end.
    stop: CancellationToken,
}

#[derive(Debug)]
struct Reading {
    bucket: Bucket,
    /// What searches leave of the ceiling, while that is less.
    slowed_to: Option<u64>,
    totals: Totals,
}

/// What a capture has read, and how it fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes that were read.
    pub read: u64,
    /// For how long it waited that it would not have without the searches of others.
    pub held_up: Duration,
}

impl Pace {
    /// A pace of so many bytes per second in each direction; `None` for as fast as it goes.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>, stop: CancellationToken) -> Self {
        let bucket = || Bucket::new(bytes_per_second, Instant::now());
        Self {
            ceiling: bytes_per_second,
            reading: Mutex::new(Reading {
                bucket: bucket(),
                slowed_to: None,
                totals: Totals::default(),
            }),
            sending: Mutex::new(bucket()),
            blind: AtomicBool::new(false),
            spent: AtomicBool::new(false),
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
        self.wait(self.take_read(bytes)).await;
    }

    /// So many bytes are about to be sent: returns when they are earned.
    pub async fn send(&self, bytes: u64) {
        let wait = {
            // A bucket is a pair of plain values: a poisoned one is still good.
            let mut bucket = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(bytes, Instant::now())
        };
        self.wait(wait).await;
    }

    /// [`Self::read`] for a thread of the runtime that may block.
    pub fn read_blocking(&self, bytes: u64) {
        let wait = self.take_read(bytes);
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

    /// What was read so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.reading().totals
    }

    /// Reads no more than this from now on; `None` for as much as the order allows.
    pub(crate) fn slow_to(&self, rate: Option<u64>) {
        let mut reading = self.reading();
        let rate = rate.filter(|rate| self.ceiling.is_none_or(|ceiling| *rate < ceiling));
        if reading.slowed_to != rate {
            reading.slowed_to = rate;
            reading
                .bucket
                .set_rate(rate.or(self.ceiling), Instant::now());
        }
    }

    fn take_read(&self, bytes: u64) -> Duration {
        let mut reading = self.reading();
        let wait = reading.bucket.take(bytes, Instant::now());
        let held_up = match (reading.slowed_to, self.ceiling) {
            (None, _) => Duration::ZERO,
            (Some(_), None) => wait,
            // At the ceiling it would have waited, too.
            (Some(rate), Some(ceiling)) => wait.saturating_sub(scaled(wait, rate, ceiling)),
        };
        reading.totals.read = reading.totals.read.saturating_add(bytes);
        reading.totals.held_up = reading.totals.held_up.saturating_add(held_up);
        wait
    }

    async fn wait(&self, wait: Duration) {
        if !wait.is_zero() {
            // Over early only if the capture is.
            let _stopped = tokio::time::timeout(wait, self.stop.cancelled()).await;
        }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        // No code that holds this lock can panic half-way through a change.
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `time` × `part` / `whole`.
fn scaled(time: Duration, part: u64, whole: u64) -> Duration {
    let nanos = time.as_nanos() * u128::from(part) / u128::from(whole.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
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
            tokio::join!(pace.read(MIB), pace.send(MIB / 2));
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(2900), "{took:?}");
        assert!(
            took < Duration::from_millis(3200),
            "{took:?}: of simulated time"
        );
        Pace::free().read(u64::MAX).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_searches_cost_is_told_from_what_the_order_costs() {
        let pace = Pace::new(Some(4 * MIB), CancellationToken::new());
        pace.read(4 * MIB).await;
        assert_eq!(pace.totals().held_up, Duration::ZERO);
        pace.slow_to(Some(MIB));
        let began = Instant::now();
        pace.read(3 * MIB).await;
        let (took, held_up) = (began.elapsed(), pace.totals().held_up);
        assert!(took >= Duration::from_millis(2900), "{took:?}");
        // A quarter of it would have been waited for anyway.
        let wanted = Duration::from_millis(2250);
        assert!(
            held_up.abs_diff(wanted) < Duration::from_millis(100),
            "{held_up:?}"
        );
        pace.slow_to(Some(9 * MIB));
        pace.read(4 * MIB).await;
        assert_eq!(
            pace.totals().held_up,
            held_up,
            "more than the order allows is nothing"
        );
        assert_eq!(pace.totals().read, 11 * MIB);
        let free = Pace::free();
        free.slow_to(Some(MIB));
        free.read(2 * MIB).await;
        assert!(free.totals().held_up >= Duration::from_millis(1900));
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
