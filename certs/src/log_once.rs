//! Says whether something should be logged now, so that a client that retries for ever doesn't fill
//! the log: the same thing is logged once, and again only after a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same line appears again after this.
const REPEAT_AFTER: Duration = Duration::from_secs(600);
/// Most things remembered; beyond it the memory starts afresh, at the cost of a repeated line.
const MAX_ENTRIES: usize = 1024;

/// What was logged lately, by what tells one thing from another.
#[derive(Debug)]
pub struct LogOnce<K> {
    seen: Mutex<HashMap<K, Instant>>,
}

impl<K> Default for LogOnce<K> {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> LogOnce<K> {
    /// Nothing was logged yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `key` should be logged at `now`.
    pub fn should_log(&self, key: K, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = seen.get(&key)
            && now.saturating_duration_since(*last) < REPEAT_AFTER
        {
            return false;
        }
        if seen.len() >= MAX_ENTRIES {
            seen.retain(|_, last| now.saturating_duration_since(*last) < REPEAT_AFTER);
            if seen.len() >= MAX_ENTRIES {
                seen.clear();
            }
        }
        seen.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{LogOnce, MAX_ENTRIES, REPEAT_AFTER};
    use std::time::{Duration, Instant};

    #[test]
    fn once_and_again_after_a_while() {
        let log = LogOnce::new();
        let start = Instant::now();
        assert!(log.should_log("a", start));
        assert!(!log.should_log("a", start + Duration::from_secs(1)));
        assert!(log.should_log("b", start));
        assert!(log.should_log("a", start + REPEAT_AFTER));
        assert!(!log.should_log("a", start + REPEAT_AFTER));
    }

    #[test]
    fn memory_is_bounded() {
        let log = LogOnce::new();
        let start = Instant::now();
        for key in 0..3 * MAX_ENTRIES {
            assert!(log.should_log(key, start));
        }
        assert!(log.seen.lock().unwrap().len() <= MAX_ENTRIES);
    }
}
