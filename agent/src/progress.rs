//! How far the running command is: counters that its parts add to and the control stream samples.

use holdfast_proto::v1;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of one command. Values are for people: they are read without a common instant.
#[derive(Debug, Default)]
pub struct Meter {
    stage: Mutex<Cow<'static, str>>,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_arrived: AtomicU64,
    slowed: Mutex<String>,
}

impl Meter {
    /// Names what is being done now.
    pub fn stage(&self, stage: impl Into<Cow<'static, str>>) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage.into();
    }

    /// Says why it is slower than it could be; empty if it is not.
    pub fn slowed(&self, why: String) {
        *self.slowed.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Starts counting anew, as an attempt does; `total` is 0 while unknown.
    pub fn restart(&self, total: u64) {
        self.bytes_done.store(0, Ordering::Relaxed);
        self.bytes_total.store(total, Ordering::Relaxed);
    }

    /// Bytes of collection data read or written.
    pub fn add_done(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes read or written by this attempt.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.bytes_done.load(Ordering::Relaxed)
    }

    /// Encoded bytes sent to the coordinator.
    pub fn add_sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Encoded bytes sent so far, over all attempts.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    /// Encoded bytes that the coordinator has acknowledged.
    pub fn add_arrived(&self, bytes: u64) {
        self.bytes_arrived.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Encoded bytes acknowledged so far, over all attempts.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.bytes_arrived.load(Ordering::Relaxed)
    }

    /// The wire's form.
    #[must_use]
    pub fn sample(&self) -> v1::Progress {
        let slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        let slowed = slowed.clone();
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = match slowed.as_str() {
            "" => stage.clone().into_owned(),
            why => format!("{stage} (slowed down: {why})"),
        };
        v1::Progress {
            stage,
            slowed,
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Meter;

    #[test]
    fn the_stage_says_that_it_is_slowed_down() {
        let meter = Meter::default();
        meter.stage("reading");
        meter.slowed("searches take 120 ms, limit 50 ms".to_owned());
        let told = meter.sample();
        assert_eq!(
            told.stage,
            "reading (slowed down: searches take 120 ms, limit 50 ms)"
        );
        assert_eq!(told.slowed, "searches take 120 ms, limit 50 ms");
        meter.slowed(String::new());
        assert_eq!(meter.sample().stage, "reading");
    }
}
