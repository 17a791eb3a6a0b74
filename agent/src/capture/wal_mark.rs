//! What a captured shard certainly contains, by its log's own account.
//!
//! Qdrant writes into `wal/first-index` how far every segment is flushed. Read before the snapshot is asked for, it says what the
//! snapshot contains whatever is still on its way through the server. It counts only if the log's folder is the same one
//! afterwards: a shard that was recovered meanwhile numbers its operations anew.
//!
//! Where the log is archived, the timeline is said that ran before the request and still runs at a look that begins when the
//! snapshot is there. A log that was cut back or replaced in between has ended it by then.

use crate::order::CaptureOrder;
use crate::tail::{Board, LogKey, Reading};
use fs_err as fs;
use holdfast_archive::WalMark;
use holdfast_types::TimelineId;
use holdfast_wal::FileId;
use serde::Deserialize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The log is looked at several times a second, but reading what has been written since the last look may take longer.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);

/// The log as it was before the snapshot.
pub(super) struct LogBefore {
    path: PathBuf,
    /// Held open, so that no other folder can get the same identity.
    folder: fs::File,
    certain: u64,
    followed: Option<Followed>,
}

/// The log is followed.
struct Followed {
    key: LogKey,
    board: Board,
    before: Reading,
}

#[derive(Deserialize)]
struct FirstIndex {
    ack_index: u64,
}

impl LogBefore {
    /// `None` if the log can't be read: then nothing is said.
    pub(super) fn look(storage: &Path, order: &CaptureOrder, board: &Board) -> Option<Self> {
        let collection = storage.join("collections").join(order.collection.as_str());
        let path = collection.join(order.shard.to_string()).join("wal");
        let key = LogKey {
            collection: order.collection.clone(),
            shard: order.shard,
        };
        // Known before the position is read: what is certain of another timeline says nothing of this one.
        let before = board.get(&key);
        let mut log = Self::of(path)?;
        let followed = before.map(|before| Followed {
            key,
            board: board.clone(),
            before,
        });
        log.followed = followed.filter(|followed| Some(followed.before.folder) == log.id());
        Some(log)
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
            followed: None,
        })
    }

    fn id(&self) -> Option<FileId> {
        let metadata = self.folder.metadata().ok()?;
        Some(FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// What to say of a capture that was asked for since then, and whose next operation is this. Waits for a look at the log if it
    /// is followed.
    pub(super) async fn mark(&self, next_operation: Option<u64>) -> Option<WalMark> {
        let timeline = self.timeline().await;
        let before = self.folder.metadata().ok()?;
        let now = fs::metadata(&self.path).ok()?;
        let same = (before.dev(), before.ino()) == (now.dev(), now.ino());
        let fits = next_operation.is_some_and(|next| self.certain <= next);
        (same && fits).then_some(WalMark {
            certain: self.certain,
            timeline,
        })
    }

    /// The timeline that ran all the time.
    async fn timeline(&self) -> Option<TimelineId> {
        let Followed { key, board, before } = self.followed.as_ref()?;
        let after = board.next(key, LOOKED_WITHIN).await?;
        let same = after.timeline == before.timeline && after.folder == before.folder;
        same.then_some(before.timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::LogBefore;
    use crate::order::{CaptureOrder, Method};
    use crate::tail::{Board, LogKey, Reading};
    use fs_err as fs;
    use futures::FutureExt as _;
    use holdfast_types::{ShardId, TimelineId};
    use holdfast_wal::FileId;
    use std::os::unix::fs::MetadataExt as _;
    use std::time::Instant;

    fn certain(log: &LogBefore, next: Option<u64>) -> Option<u64> {
        let mark = log.mark(next).now_or_never().unwrap();
        mark.map(|mark| mark.certain)
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeline_is_said_that_ran_before_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("collections/docs/0/wal");
        fs::create_dir_all(&wal).unwrap();
        let order = CaptureOrder {
            collection: "docs".parse().unwrap(),
            shard: ShardId(0),
            method: Method::Auto,
            bytes_per_second: None,
            courtesy: None,
        };
        let key = LogKey {
            collection: order.collection.clone(),
            shard: order.shard,
        };
        let metadata = fs::metadata(&wal).unwrap();
        let folder = FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        };
        let reading = |line: u8, folder| Reading {
            timeline: TimelineId::from_bytes([line; 16]),
            folder,
            began: Instant::now(),
        };
        let board = Board::default();
        // What was known before, and what the next look finds.
        let timeline = async |before: Option<Reading>, after: Option<(u8, FileId)>| {
            board.put(&key, before);
            let log = LogBefore::look(dir.path(), &order, &board).unwrap();
            let (then, key) = (board.clone(), key.clone());
            let found = async {
                tokio::task::yield_now().await;
                if let Some((line, folder)) = after {
                    then.put(&key, Some(reading(line, folder)));
                }
            };
            let (mark, ()) = tokio::join!(log.mark(Some(0)), found);
            mark.unwrap().timeline
        };
        let other = FileId {
            inode: folder.inode + 1,
            ..folder
        };
        let one = TimelineId::from_bytes([1; 16]);
        let first = Some(reading(1, folder));
        assert_eq!(timeline(first, Some((1, folder))).await, Some(one));
        assert_eq!(timeline(first, Some((2, folder))).await, None, "it ended");
        assert_eq!(timeline(first, Some((1, other))).await, None);
        assert_eq!(timeline(first, None).await, None, "nobody has looked since");
        assert_eq!(timeline(None, Some((1, folder))).await, None);
        let elsewhere = Some(reading(1, other));
        assert_eq!(timeline(elsewhere, Some((1, other))).await, None);
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
