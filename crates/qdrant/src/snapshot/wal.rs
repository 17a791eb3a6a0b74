//! The empty write-ahead log of a snapshot, without its random seed.
//!
//! A snapshot without a log still has one file, `wal/closed-{n}`, that tells the server the number
//! of the next operation by its name. Its content is a header and zeros; the header ends with a seed drawn anew
//! for each snapshot, from which the checksums of entries would be chained. With no entry the seed means
//! nothing, so it is set to zero. A log that has entries is left as it is.

/// Magic and version, then the seed.
const HEADER_LEN: usize = 8;
const MAGIC: &[u8] = b"wal\0";

/// What to pass on for a file of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Emit<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

/// Looks at one `wal/closed-…` file as it passes.
#[derive(Debug, Default)]
pub(super) struct WalFile {
    head: Vec<u8>,
    zeros: u64,
    /// Bytes other than zero were seen behind the header.
    entries: bool,
}

impl WalFile {
    /// The number in the name of a closed log file.
    pub(super) fn first_index(path: &str) -> Option<u64> {
        path.strip_prefix("wal/closed-")?.parse().ok()
    }

    /// Bytes of the file.
    pub(super) fn data<E>(
        &mut self,
        bytes: &[u8],
        emit: &mut impl FnMut(Emit<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.entries {
            return emit(Emit::Data(bytes));
        }
        let (head, rest) = bytes.split_at(bytes.len().min(HEADER_LEN - self.head.len()));
        self.head.extend_from_slice(head);
        if rest.iter().all(|b| *b == 0) {
            self.zeros += rest.len() as u64;
            return Ok(());
        }
        self.entries = true;
        self.release(emit)?;
        emit(Emit::Data(rest))
    }

    /// A hole of the file.
    pub(super) fn zeros<E>(
        &mut self,
        len: u64,
        emit: &mut impl FnMut(Emit<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.entries {
            return emit(Emit::Zeros(len));
        }
        if self.head.len() < HEADER_LEN && len > 0 {
            // A hole in the header: not a log that a server writes, but still a file to keep.
            self.entries = true;
            self.release(emit)?;
            return emit(Emit::Zeros(len));
        }
        self.zeros += len;
        Ok(())
    }

    /// The end of the file; true if the log has no entry.
    pub(super) fn end<E>(
        mut self,
        emit: &mut impl FnMut(Emit<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.entries {
            return Ok(false);
        }
        let empty = self.head.len() == HEADER_LEN && self.head.starts_with(MAGIC);
        if empty {
            self.head[MAGIC.len()..].fill(0);
        }
        self.release(emit)?;
        Ok(empty)
    }

    fn release<E>(&self, emit: &mut impl FnMut(Emit<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.head.is_empty() {
            emit(Emit::Data(&self.head))?;
        }
        if self.zeros > 0 {
            emit(Emit::Zeros(self.zeros))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Emit, WalFile};
    use std::convert::Infallible;

    /// Feeds `bytes` in steps of `step` and returns what comes out, and whether the log is empty.
    fn pass(bytes: &[u8], step: usize) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let mut emit = |e: Emit<'_>| {
            match e {
                Emit::Data(d) => out.extend_from_slice(d),
                Emit::Zeros(n) => out.resize(out.len() + usize::try_from(n).unwrap(), 0),
            }
            Ok::<_, Infallible>(())
        };
        let mut wal = WalFile::default();
        for part in bytes.chunks(step) {
            wal.data(part, &mut emit).unwrap();
        }
        let empty = wal.end(&mut emit).unwrap();
        (out, empty)
    }

    #[test]
    fn the_seed_of_an_empty_log_is_dropped() {
        for step in [1, 7, 8, 9, 100] {
            let mut log = b"wal\0\x11\x22\x33\x44".to_vec();
            log.resize(64, 0);
            let mut want = b"wal\0".to_vec();
            want.resize(64, 0);
            assert_eq!(pass(&log, step), (want, true), "step {step}");
        }
    }

    #[test]
    fn other_files_stay_as_they_are() {
        let mut log = b"wal\0\x11\x22\x33\x44".to_vec();
        log.resize(64, 0);
        log[40] = 1;
        for other in [&log[..], b"wal\0\x11", b"", b"WAL\0\x11\x22\x33\x44\0\0"] {
            for step in [1, 7, 8, 9, 100] {
                assert_eq!(pass(other, step), (other.to_vec(), false), "step {step}");
            }
        }
    }
}
