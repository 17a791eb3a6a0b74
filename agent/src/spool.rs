//! A bounded first-in-first-out queue of bytes on disk, between a snapshot stream and the chunker.
//!
//! Qdrant holds a segment lock while it streams, so the stream must be drained at disk speed even when
//! the network to the coordinator is slower. The queue is a ring in one unlinked file: a killed agent
//! leaves nothing behind, and while the reader keeps up the file stays small because an empty ring
//! starts again at its beginning. When the ring is full the writer fails; it never waits, because
//! waiting would stall Qdrant. It does not keep anything across a restart: a streamed capture that was
//! interrupted is streamed again.

use fs_err::os::unix::fs::OpenOptionsExt as _;
use holdfast_types::ByteCount;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Why bytes could not be queued.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// More unread bytes than allowed.
    #[error(
        "the spool of {limit} is full: the network takes less than Qdrant gives; raise [spool] max_mib, or share Qdrant's snapshots volume with the agent"
    )]
    Full {
        /// The configured limit.
        limit: ByteCount,
    },
    /// The reader has gone; what it failed with is reported by itself.
    #[error("the reader of the spool has stopped")]
    ReaderGone,
    /// The disk refused.
    #[error("can't use the spool file")]
    Io(#[source] io::Error),
}

/// Makes a queue of at most `limit` unread bytes in an unlinked file in `dir`, which must exist.
///
/// # Errors
/// [`SpoolError::Io`] if the file can't be created.
pub fn open(dir: &Path, limit: ByteCount) -> Result<(SpoolWriter, SpoolReader), SpoolError> {
    let path = dir.join("stream.spool");
    // One that a crash left between the two steps below; nobody else uses the directory.
    match fs_err::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(SpoolError::Io(error)),
        Ok(()) | Err(_) => {}
    }
    // Made anew, so that a link planted here can't lead elsewhere; and the data is nobody else's to read.
    let file = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(SpoolError::Io)?
        .into_file();
    fs_err::remove_file(&path).map_err(SpoolError::Io)?;
    let ring = Arc::new(Ring {
        file,
        limit: limit.get().max(1),
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
    });
    Ok((
        SpoolWriter {
            ring: Arc::clone(&ring),
        },
        SpoolReader { ring },
    ))
}

/// The end that receives the stream. Dropping it without [`SpoolWriter::finish`] makes the reader fail.
#[derive(Debug)]
pub struct SpoolWriter {
    ring: Arc<Ring>,
}

/// The end that the chunker reads, blocking. Implements [`Read`]; the end of the stream is a read of 0.
#[derive(Debug)]
pub struct SpoolReader {
    ring: Arc<Ring>,
}

#[derive(Debug)]
struct Ring {
    file: File,
    limit: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Offset in the file of the oldest unread byte.
    head: u64,
    /// Unread bytes, wrapping at `limit`.
    unread: u64,
    end: End,
    reader_gone: bool,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    Finished,
    Failed(String),
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Positions are updated in one step after the IO they describe, so a panicking holder can't
        // leave them half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, end: End) {
        let mut state = self.lock();
        if matches!(state.end, End::Open) {
            state.end = end;
        }
        self.changed.notify_all();
    }
}

impl SpoolWriter {
    /// Queues all of `data`. Blocks only for the disk.
    ///
    /// # Errors
    /// [`SpoolError::Full`] if it does not fit, [`SpoolError::ReaderGone`], or [`SpoolError::Io`].
    pub fn write(&mut self, mut data: &[u8]) -> Result<(), SpoolError> {
        while !data.is_empty() {
            let (at, room) = self.room(data.len() as u64)?;
            let now = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
            let (part, rest) = data.split_at(now);
            self.ring
                .file
                .write_all_at(part, at)
                .map_err(SpoolError::Io)?;
            let mut state = self.ring.lock();
            state.unread += part.len() as u64;
            self.ring.changed.notify_all();
            drop(state);
            data = rest;
        }
        Ok(())
    }

    /// Where to write next and how many bytes fit there before the ring's end.
    fn room(&self, wanted: u64) -> Result<(u64, u64), SpoolError> {
        let mut state = self.ring.lock();
        if state.reader_gone {
            return Err(SpoolError::ReaderGone);
        }
        if state.unread == 0 {
            state.head = 0;
        }
        let limit = self.ring.limit;
        if wanted > limit - state.unread {
            return Err(SpoolError::Full {
                limit: ByteCount(limit),
            });
        }
        let at = (state.head + state.unread) % limit;
        Ok((at, limit - at))
    }

    /// Tells the reader that the stream ended as it should.
    pub fn finish(self) {
        self.ring.close(End::Finished);
    }

    /// Makes the reader fail with `reason` once it has read what was queued.
    pub fn fail(self, reason: &str) {
        self.ring.close(End::Failed(reason.to_owned()));
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.ring
            .close(End::Failed("the snapshot stream was abandoned".to_owned()));
    }
}

impl Read for SpoolReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let (at, available) = {
            let mut state = self.ring.lock();
            while state.unread == 0 {
                match &state.end {
                    End::Finished => return Ok(0),
                    End::Failed(reason) => return Err(io::Error::other(reason.clone())),
                    End::Open => {
                        state = self
                            .ring
                            .changed
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            }
            (state.head, state.unread.min(self.ring.limit - state.head))
        };
        let wanted = usize::try_from(available)
            .unwrap_or(usize::MAX)
            .min(out.len());
        let n = self.ring.file.read_at(&mut out[..wanted], at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut state = self.ring.lock();
        state.head = (state.head + n as u64) % self.ring.limit;
        state.unread -= n as u64;
        Ok(n)
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        self.ring.lock().reader_gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{SpoolError, open};
    use holdfast_types::ByteCount;
    use std::io::Read as _;

    fn pattern(len: usize, seed: usize) -> Vec<u8> {
        (0..len)
            .map(|i| ((i * 31 + seed) % 251).to_le_bytes()[0])
            .collect()
    }

    #[test]
    fn comes_out_as_it_went_in_across_the_ring_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = open(dir.path(), ByteCount(1000)).unwrap();
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; 333];
        for round in 0..50 {
            let part = pattern(100 + round * 7, round);
            writer.write(&part).unwrap();
            sent.extend_from_slice(&part);
            // leave a remainder in the ring each round, so that its head wanders
            while sent.len() - got.len() > 90 {
                let n = reader.read(&mut buffer[..77]).unwrap();
                got.extend_from_slice(&buffer[..n]);
            }
        }
        writer.finish();
        reader.read_to_end(&mut got).unwrap();
        assert_eq!(got, sent);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_file_is_new_and_nobody_elses_to_read() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, "precious").unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join("stream.spool")).unwrap();
        let (mut writer, _reader) = open(dir.path(), ByteCount(64)).unwrap();
        writer.write(b"secret").unwrap();
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"precious");
        assert_eq!(writer.ring.file.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn overflow_is_an_error_and_nothing_is_lost_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = open(dir.path(), ByteCount(64)).unwrap();
        writer.write(&pattern(60, 1)).unwrap();
        assert!(matches!(
            writer.write(&[0; 5]),
            Err(SpoolError::Full {
                limit: ByteCount(64)
            })
        ));
        writer.write(&[9; 4]).unwrap();
        let mut got = [0; 64];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(got[..60], pattern(60, 1));
        assert_eq!(got[60..], [9; 4]);
    }

    #[test]
    fn an_abandoned_stream_is_an_error_not_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = open(dir.path(), ByteCount(64)).unwrap();
        writer.write(b"half").unwrap();
        drop(writer);
        let mut got = Vec::new();
        let error = reader.read_to_end(&mut got).unwrap_err();
        assert_eq!(got, b"half");
        assert_eq!(error.to_string(), "the snapshot stream was abandoned");
    }

    #[test]
    fn a_reader_that_left_stops_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, reader) = open(dir.path(), ByteCount(64)).unwrap();
        drop(reader);
        assert!(matches!(writer.write(b"x"), Err(SpoolError::ReaderGone)));
    }

    #[test]
    fn a_blocked_reader_wakes_for_data_and_for_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = open(dir.path(), ByteCount::mib(1)).unwrap();
        let reading = std::thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).map(|_| got)
        });
        let all = pattern(300_000, 3);
        for part in all.chunks(10_000) {
            writer.write(part).unwrap();
        }
        writer.finish();
        assert_eq!(reading.join().unwrap().unwrap(), all);
    }
}
