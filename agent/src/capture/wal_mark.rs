//! What a captured shard certainly contains, by its log's own account.
//!
//! Qdrant writes into `wal/first-index` how far every segment is flushed. Read before the snapshot is asked for, it says what the
//! snapshot contains whatever is still on its way through the server. It counts only if the log's folder is the same one
//! afterwards: a shard that was recovered meanwhile numbers its operations anew.

use crate::order::CaptureOrder;
use fs_err as fs;
use holdfast_archive::WalMark;
use serde::Deserialize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The log as it was before the snapshot.
pub(super) struct LogBefore {
    path: PathBuf,
    /// Held open, so that no other folder can get the same identity.
    folder: fs::File,
    certain: u64,
}

#[derive(Deserialize)]
struct FirstIndex {
    ack_index: u64,
}

impl LogBefore {
    /// `None` if the log can't be read: then nothing is said.
    pub(super) fn look(storage: &Path, order: &CaptureOrder) -> Option<Self> {
        let collection = storage.join("collections").join(order.collection.as_str());
        let path = collection.join(order.shard.to_string()).join("wal");
        Self::of(path)
    }

    fn of(path: PathBuf) -> Option<Self> {
        let folder = fs::File::open(&path).ok()?;
        let certain = match fs::read(path.join("first-index")) {
            Ok(json) => serde_json::from_slice::<FirstIndex>(&json).ok()?.ack_index,
            // Of a young log nothing was flushed yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(_) => return None,
        };
        Some(Self {
            path,
            folder,
            certain,
        })
    }

    /// What to say of a capture that was asked for since then, and whose next operation is this.
    pub(super) fn mark(&self, next_operation: Option<u64>) -> Option<WalMark> {
        let before = self.folder.metadata().ok()?;
        let now = fs::metadata(&self.path).ok()?;
        let same = (before.dev(), before.ino()) == (now.dev(), now.ino());
        let fits = next_operation.is_some_and(|next| self.certain <= next);
        (same && fits).then_some(WalMark {
            certain: self.certain,
            timeline: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::LogBefore;
    use fs_err as fs;

    fn certain(log: &LogBefore, next: Option<u64>) -> Option<u64> {
        log.mark(next).map(|mark| mark.certain)
    }

    #[test]
    fn what_was_flushed_before_is_certain() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        assert!(LogBefore::of(wal.clone()).is_none());
        fs::create_dir(&wal).unwrap();
        let young = LogBefore::of(wal.clone()).unwrap();
        assert_eq!(certain(&young, Some(4)), Some(0));
        fs::write(wal.join("first-index"), r#"{"ack_index":41}"#).unwrap();
        let log = LogBefore::of(wal.clone()).unwrap();
        // What is flushed after the snapshot says nothing of it.
        fs::write(wal.join("first-index"), r#"{"ack_index":99}"#).unwrap();
        assert_eq!(certain(&log, Some(41)), Some(41));
        assert_eq!(certain(&log, Some(40)), None, "numbers of another log");
        assert_eq!(certain(&log, None), None);
        fs::write(wal.join("first-index"), "?").unwrap();
        assert!(LogBefore::of(wal).is_none());
    }

    #[test]
    fn a_log_that_was_replaced_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        fs::create_dir(&wal).unwrap();
        let log = LogBefore::of(wal.clone()).unwrap();
        assert_eq!(certain(&log, Some(5)), Some(0));
        fs::remove_dir(&wal).unwrap();
        assert_eq!(certain(&log, Some(5)), None);
        fs::create_dir(&wal).unwrap();
        assert_eq!(certain(&log, Some(5)), None);
    }
}
