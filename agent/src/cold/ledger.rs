//! What earlier runs have noted in the data directory: which tickets are used up, and which folders took which names.
//!
//! Each file has a line for each note, which is on disk before what it speaks of is done. A line that was torn by a kill counts for nothing, and
//! spoils none that follows.

use super::disk;
use super::sync;
use crate::failure::Failed;
use fs_err as fs;
use holdfast_types::{CollectionName, RecoveryPointId};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Digests of the tickets by which everything is done.
const DONE: &str = "done";

/// Folders that were given names: the ticket's digest, the recovery point, the folder's identity, the name.
const PLACED: &str = "placed";

/// The notes.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    dir: PathBuf,
}

/// What a run is about.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    /// The ticket's id.
    pub(super) ticket: String,
    /// The recovery point.
    pub(super) point: RecoveryPointId,
    /// Whether collections that exist are moved aside.
    pub(super) overwrite: bool,
}

/// Which folder it is, whatever its name: its inode, and when that was made where the file system tells it (a number
/// alone is given out again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) inode: u64,
    pub(super) made: Option<u128>,
}

/// A folder that was given a name.
#[derive(Debug, PartialEq, Eq)]
struct Placed {
    by: String,
    point: RecoveryPointId,
    identity: Identity,
    name: CollectionName,
}

impl Identity {
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let meta = fs::metadata(dir)?;
        let made = meta.created().ok();
        let made = made.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(Self {
            inode: meta.ino(),
            made: made.map(|since| since.as_nanos()),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (inode, made) = text.split_once('-')?;
        Some(Self {
            inode: inode.parse().ok()?,
            made: match made {
                "" => None,
                made => Some(made.parse().ok()?),
            },
        })
    }

    fn line(self) -> String {
        let made = self.made.map_or_else(String::new, |made| made.to_string());
        format!("{}-{made}", self.inode)
    }
}

impl Placed {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(4, ' ');
        Some(Self {
            by: fields.next()?.to_owned(),
            point: fields.next()?.parse().ok()?,
            identity: Identity::parse(fields.next()?)?,
            name: fields.next()?.parse().ok()?,
        })
    }
}

impl Ledger {
    /// The notes in our folder of a data directory.
    pub(super) fn in_folder(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// A built folder is about to take a name.
    pub(super) fn placing(
        &self,
        errand: &Errand,
        built: Identity,
        name: &CollectionName,
    ) -> Result<(), Failed> {
        let (by, point) = (digest(&errand.ticket), &errand.point);
        self.append(PLACED, &format!("{by} {point} {} {name}", built.line()))
    }

    /// Whether an earlier run of this very ticket gave this folder its name. What the run of another has placed may have been in use since.
    pub(super) fn is_placed(
        &self,
        ticket: &str,
        folder: Identity,
        name: &CollectionName,
    ) -> Result<bool, Failed> {
        let own = digest(ticket);
        let mut all = self.placed()?.into_iter();
        Ok(all.any(|placed| placed.by == own && placed.identity == folder && placed.name == *name))
    }

    /// Of which recovery point a folder was built, if it is the last that was to take this name.
    pub(super) fn built(
        &self,
        folder: Identity,
        name: &CollectionName,
    ) -> Result<Option<RecoveryPointId>, Failed> {
        let mut all = self.placed()?.into_iter().rev();
        let last = all.find(|placed| placed.name == *name);
        // What had the name then was there at the same time, so it has another number.
        let own = last.filter(|placed| placed.identity.inode == folder.inode);
        Ok(own.map(|placed| placed.point))
    }

    /// Whether everything was done by this ticket before.
    pub(super) fn is_done(&self, ticket: &str) -> Result<bool, Failed> {
        Ok(self.lines(DONE)?.contains(&digest(ticket)))
    }

    /// Everything is done by this ticket.
    pub(super) fn done(&self, ticket: &str) -> Result<(), Failed> {
        self.append(DONE, &digest(ticket))
    }

    fn placed(&self) -> Result<Vec<Placed>, Failed> {
        let lines = self.lines(PLACED)?.into_iter();
        Ok(lines.filter_map(|line| Placed::parse(&line)).collect())
    }

    fn lines(&self, name: &str) -> Result<Vec<String>, Failed> {
        match fs::read(self.dir.join(name)) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                Ok(text.lines().map(str::to_owned).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(disk(&error)),
        }
    }

    /// Appends a line, and has it on disk.
    fn append(&self, name: &str, line: &str) -> Result<(), Failed> {
        let append = || -> io::Result<()> {
            fs::create_dir_all(&self.dir)?;
            let file = self.dir.join(name);
            let torn = match fs::read(&file) {
                Ok(bytes) => bytes.last().is_some_and(|last| *last != b'\n'),
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
            let begin = if torn { "\n" } else { "" };
            let mut out = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&file)?;
            out.write_all(format!("{begin}{line}\n").as_bytes())?;
            out.sync_all()?;
            sync::one(&self.dir)
        };
        append().map_err(|error| disk(&error))
    }
}

/// The ticket itself is not written down.
fn digest(ticket: &str) -> String {
    blake3::hash(ticket.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::{Errand, Identity, Ledger, PLACED};
    use holdfast_types::CollectionName;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_folder(dir.path().join("ours"));
        (dir, ledger)
    }

    fn errand(ticket: &str, point: u8, overwrite: bool) -> Errand {
        Errand {
            ticket: ticket.to_owned(),
            point: format!("20261121t101530z-0000000{point}").parse().unwrap(),
            overwrite,
        }
    }

    fn folder(inode: u64) -> Identity {
        let made = Some(1_700_000_000_000_000_123);
        Identity { inode, made }
    }

    #[test]
    fn what_an_unfinished_run_has_placed_is_known_to_the_next_of_its_ticket() {
        let (_dir, ledger) = ledger();
        let docs: CollectionName = "docs".parse().unwrap();
        let is_placed = |ticket: &str, inode, name: &CollectionName| {
            ledger.is_placed(ticket, folder(inode), name).unwrap()
        };
        assert!(!is_placed("a", 7, &docs));
        ledger
            .placing(&errand("a", 1, true), folder(7), &docs)
            .unwrap();
        assert!(is_placed("a", 7, &docs));
        assert!(!is_placed("a", 8, &docs), "made by another");
        assert!(!is_placed("a", 7, &"other".parse().unwrap()), "renamed");
        assert!(!is_placed("b", 7, &docs), "it may have been in use since");
        ledger.done("a").unwrap();
        assert!(ledger.is_done("a").unwrap() && !ledger.is_done("b").unwrap());
    }

    /// Then the inode says it, for the one ticket.
    #[test]
    fn a_folder_is_known_where_no_time_of_birth_is() {
        let (_dir, ledger) = ledger();
        let docs = "docs".parse().unwrap();
        let ageless = |inode| Identity { inode, made: None };
        let own = errand("a", 1, false);
        ledger.placing(&own, ageless(7), &docs).unwrap();
        assert!(ledger.is_placed("a", ageless(7), &docs).unwrap());
        assert!(!ledger.is_placed("a", ageless(8), &docs).unwrap());
        assert!(!ledger.is_placed("a", folder(7), &docs).unwrap());
        let built = ledger.built(ageless(7), &docs).unwrap();
        assert_eq!(built, Some(own.point));
    }

    #[test]
    fn only_the_last_that_was_to_take_a_name_was_built_for_it() {
        let (_dir, ledger) = ledger();
        let docs = "docs".parse().unwrap();
        let built = |inode| ledger.built(folder(inode), &docs).unwrap();
        assert_eq!(built(7), None);
        for (point, inode) in [(1, 7), (2, 8)] {
            let errand = errand("a", point, true);
            ledger.placing(&errand, folder(inode), &docs).unwrap();
        }
        let more = "more".parse().unwrap();
        ledger
            .placing(&errand("a", 2, true), folder(9), &more)
            .unwrap();
        assert_eq!(built(7), None, "it had the name before");
        assert_eq!(built(8), Some(errand("a", 2, true).point));
    }

    #[test]
    fn a_torn_line_spoils_none_that_follows() {
        let (dir, ledger) = ledger();
        let (own, docs) = (errand("a", 1, false), "docs".parse().unwrap());
        ledger.placing(&own, folder(7), &docs).unwrap();
        let file = dir.path().join("ours").join(PLACED);
        let whole = std::fs::read(&file).unwrap();
        assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count(), 1);
        for torn in 0..whole.len() {
            std::fs::write(&file, &whole[..torn]).unwrap();
            ledger.placing(&own, folder(8), &docs).unwrap();
            assert!(ledger.is_placed("a", folder(8), &docs).unwrap());
            let begun = ledger.is_placed("a", folder(7), &docs).unwrap();
            // Only the end of the line is lacking.
            assert_eq!(begun, torn == whole.len() - 1, "{torn}");
        }
    }
}
