//! How write-ahead logs are taken in.

use super::CoordinatorConfigError;
use super::raw::RawWal;
use std::time::Duration;

/// How write-ahead logs are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalSection {
    /// Entries are stored, and acknowledged, when the oldest of them has waited so long …
    pub flush_after: Duration,
    /// … or so many bytes wait.
    pub flush_bytes: u64,
    /// Whether a capture is made by itself where a log goes on from none.
    pub prompt_base: bool,
}

impl Default for WalSection {
    fn default() -> Self {
        let raw = RawWal::default();
        Self {
            flush_after: Duration::from_millis(u64::from(raw.flush_ms)),
            flush_bytes: u64::from(raw.flush_kib) << 10,
            prompt_base: raw.prompt_base,
        }
    }
}

pub(super) fn validate(raw: &RawWal) -> Result<WalSection, CoordinatorConfigError> {
    let RawWal {
        flush_ms,
        flush_kib,
        prompt_base,
    } = *raw;
    if !(10..=600_000).contains(&flush_ms) {
        return Err(CoordinatorConfigError::Value {
            key: "wal.flush_ms",
            rule: "must be from 10 to 600000",
        });
    }
    if !(64..=8192).contains(&flush_kib) {
        return Err(CoordinatorConfigError::Value {
            key: "wal.flush_kib",
            rule: "must be from 64 to 8192",
        });
    }
    Ok(WalSection {
        flush_after: Duration::from_millis(u64::from(flush_ms)),
        flush_bytes: u64::from(flush_kib) << 10,
        prompt_base,
    })
}
