//! Counts attempts that failed, by address, so that nobody can try for long. The secret is long enough without it; this
//! keeps the log and the machine quiet.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What failed longer ago is forgotten.
const WINDOW: Duration = Duration::from_mins(1);
/// Failures of one address within it.
const MOST: usize = 10;
/// Failures that are remembered; beyond it the oldest is forgotten.
const REMEMBERED: usize = 4096;

/// The failures of the last minute.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<VecDeque<(Instant, IpAddr)>>);

impl Throttle {
    /// Whether this address must wait.
    pub(super) fn is_exhausted(&self, from: IpAddr, now: Instant) -> bool {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |(at, ip): &&(Instant, IpAddr)| {
            *ip == from && now.saturating_duration_since(*at) < WINDOW
        };
        failed.iter().filter(recent).count() >= MOST
    }

    /// An attempt has failed.
    pub(super) fn failed(&self, from: IpAddr, now: Instant) {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |at: &Instant| now.saturating_duration_since(*at) >= WINDOW;
        while failed.len() >= REMEMBERED || failed.front().is_some_and(|(at, _)| old(at)) {
            failed.pop_front();
        }
        failed.push_back((now, from));
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, REMEMBERED, Throttle, WINDOW};
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    #[test]
    fn an_address_waits_when_it_has_failed_too_often_and_not_for_others() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        for _ in 0..MOST {
            assert!(!throttle.is_exhausted(address(1), now));
            throttle.failed(address(1), now);
        }
        assert!(throttle.is_exhausted(address(1), now));
        assert!(!throttle.is_exhausted(address(2), now));
        let later = now + WINDOW;
        assert!(throttle.is_exhausted(address(1), later - Duration::from_millis(1)));
        assert!(!throttle.is_exhausted(address(1), later));
        for _ in 0..2 * REMEMBERED {
            throttle.failed(address(3), later);
        }
        assert_eq!(throttle.0.lock().unwrap().len(), REMEMBERED);
    }
}
