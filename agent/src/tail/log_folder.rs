//! A shard's `wal/` folder, read as a bystander: by positional reads of descriptors that are held open.
//!
//! Nothing is written, locked or mapped, and Qdrant's own log library is not used: it would take the server's lock and repair. A
//! held descriptor stays readable when its file is renamed or deleted, and as long as it is held, no other file can get the same
//! identity.
//!
//! A folder that is deleted or replaced, because its collection was dropped or its shard recovered, is read to its end first: the
//! old listing is given out once more, since everything in it is still held.

use fs_err as fs;
use holdfast_wal::{FileId, FileName, Listed, Listing, Tail, Want};
use rustix::fs::{Dir, Mode, OFlags, openat};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

/// The folder and the files of it that are held.
#[derive(Debug)]
pub struct LogFolder {
    path: PathBuf,
    folder: File,
    held: BTreeMap<FileId, File>,
    last: Option<Listing>,
    draining: bool,
    /// What was in the folder that is gone has been read.
    drained: bool,
    buffer: Vec<u8>,
}

impl LogFolder {
    /// Holds the folder open.
    ///
    /// # Errors
    /// When it is not there or can't be read.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let folder = open_folder(&path)?;
        Ok(Self {
            path,
            folder,
            held: BTreeMap::new(),
            last: None,
            draining: false,
            drained: false,
            buffer: Vec::new(),
        })
    }

    /// Does what the tail wants next, which blocks for one listing or one read. False if it wants nothing until it is woken.
    ///
    /// # Errors
    /// When the folder or a file can't be read: the tail is as it was, and the same can be tried again.
    pub fn serve(&mut self, tail: &mut Tail) -> io::Result<bool> {
        match tail.want() {
            Want::Wait => return Ok(false),
            Want::List => {
                let listing = self.list()?;
                let listed: Vec<_> = listing.files.iter().map(|found| found.file).collect();
                tail.listed(listing);
                self.held
                    .retain(|id, _| listed.contains(id) || tail.needs(*id));
            }
            Want::Read { file, offset, len } => {
                let held = self.held.get(&file).ok_or(io::ErrorKind::NotFound)?;
                self.buffer.resize(len, 0);
                let got = read_at(held, offset, &mut self.buffer)?;
                tail.read(&self.buffer[..got]);
            }
        }
        Ok(true)
    }

    /// The identity of the folder that was listed last.
    ///
    /// # Errors
    /// When it can't be asked for.
    pub fn id(&self) -> io::Result<FileId> {
        Ok(identity(&self.folder.metadata()?))
    }

    /// Files that are held open.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A look begins. What the one before read of a folder that is gone was all that can be read of it.
    pub fn begin(&mut self) {
        self.drained |= std::mem::take(&mut self.draining);
    }

    /// Whether the newest listing is that of a folder that is no longer there.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    fn list(&mut self) -> io::Result<Listing> {
        // Opened before the old one is closed: so they have different identities if they are different folders.
        let opened = open_folder(&self.path);
        if let Some(last) = &self.last
            && !self.drained
            && (self.draining || self.is_replaced(&opened)?)
        {
            self.draining = true;
            return Ok(last.clone());
        }
        self.folder = opened?;
        self.drained = false;
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(parsed) = name.to_str().ok().and_then(FileName::parse) else {
                continue;
            };
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file: OwnedFd = match openat(&self.folder, name, flags, Mode::empty()) {
                Ok(file) => file,
                // Renamed or deleted since it was listed.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let file = File::from(file);
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                continue;
            }
            let id = identity(&metadata);
            files.push(Listed {
                name: parsed,
                file: id,
                len: metadata.len(),
            });
            self.held.entry(id).or_insert(file);
        }
        let dir = identity(&self.folder.metadata()?);
        let listing = Listing { dir, files };
        self.last = Some(listing.clone());
        Ok(listing)
    }

    /// Whether the path leads to another folder now, or nowhere.
    fn is_replaced(&self, opened: &io::Result<File>) -> io::Result<bool> {
        match opened {
            Ok(folder) => Ok(identity(&folder.metadata()?) != self.id()?),
            Err(error) => Ok(error.kind() == io::ErrorKind::NotFound),
        }
    }
}

fn open_folder(path: &std::path::Path) -> io::Result<File> {
    Ok(fs::File::open(path)?.into_parts().0)
}

fn identity(metadata: &std::fs::Metadata) -> FileId {
    FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::LogFolder;
    use crate::tail::fixture::{rewrite, write};
    use fs_err as fs;
    use holdfast_wal::{Cause, Event, Tail};

    fn poll(folder: &mut LogFolder, tail: &mut Tail) -> Vec<Event> {
        tail.wake();
        folder.begin();
        let mut events = Vec::new();
        while folder.serve(tail).unwrap() {
            events.extend(tail.events());
        }
        events
    }

    fn indexes(events: &[Event]) -> Vec<u64> {
        let frames = events.iter().filter_map(|event| match event {
            Event::Frame(frame) => Some(frame.index),
            Event::Resumed { .. }
            | Event::Began { .. }
            | Event::Obstructed { .. }
            | Event::Ended { .. } => None,
        });
        frames.collect()
    }

    #[test]
    fn renamed_and_deleted_files_are_read_to_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        fs::create_dir(&wal).unwrap();
        write(&wal.join("open-1"), 1, &[b"a"]);
        write(&wal.join("open-2"), 2, &[]);
        fs::write(wal.join("first-index"), "{}").unwrap();
        fs::create_dir(wal.join("open-9")).unwrap();
        let mut folder = LogFolder::open(wal.clone()).unwrap();
        let mut tail = Tail::new();
        assert_eq!(indexes(&poll(&mut folder, &mut tail)), [0]);
        assert_eq!(folder.held(), 2);
        // As the server does, within one poll: the last entry, a rotation, another one, and the first file is deleted.
        rewrite(&wal.join("open-1"), 1, &[b"a", b"bb"]);
        fs::remove_file(wal.join("open-1")).unwrap();
        fs::rename(wal.join("open-2"), wal.join("closed-2")).unwrap();
        write(&wal.join("open-3"), 3, &[b"c"]);
        let events = poll(&mut folder, &mut tail);
        assert_eq!(indexes(&events), [1, 2], "{events:?}");
        assert_eq!(tail.caught_up(), Some(3));
        poll(&mut folder, &mut tail);
        assert_eq!(folder.held(), 2, "what is read and gone is let go");
    }

    #[test]
    fn every_file_of_a_folder_that_is_gone_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        fs::create_dir(&wal).unwrap();
        write(&wal.join("closed-0"), 1, &[b"a"]);
        write(&wal.join("closed-1"), 2, &[b"b"]);
        write(&wal.join("open-3"), 3, &[b"c"]);
        let mut folder = LogFolder::open(wal.clone()).unwrap();
        let mut tail = Tail::new();
        // Seen, and not read yet.
        while !matches!(tail.want(), holdfast_wal::Want::Read { .. }) {
            folder.serve(&mut tail).unwrap();
        }
        fs::remove_dir_all(&wal).unwrap();
        let mut events = Vec::new();
        while folder.serve(&mut tail).unwrap() {
            events.extend(tail.events());
        }
        assert_eq!(indexes(&events), [0, 1, 2], "{events:?}");
    }

    #[test]
    fn another_folder_of_the_same_name_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        fs::create_dir(&wal).unwrap();
        write(&wal.join("open-1"), 1, &[b"a"]);
        let mut folder = LogFolder::open(wal.clone()).unwrap();
        let mut tail = Tail::new();
        assert_eq!(indexes(&poll(&mut folder, &mut tail)), [0]);
        // Its last entry is written, and it is deleted, between two looks.
        rewrite(&wal.join("open-1"), 1, &[b"a", b"b"]);
        fs::remove_dir_all(&wal).unwrap();
        assert_eq!(indexes(&poll(&mut folder, &mut tail)), [1]);
        assert!(folder.is_draining());
        tail.wake();
        folder.begin();
        assert!(folder.serve(&mut tail).is_err(), "gone for now");
        fs::create_dir(&wal).unwrap();
        write(&wal.join("open-1"), 1, &[b"a"]);
        let events = poll(&mut folder, &mut tail);
        assert!(!folder.is_draining());
        let replaced = Event::Ended {
            timeline: 0,
            next: 2,
            cause: Cause::Replaced,
        };
        assert_eq!(events[0], replaced);
        assert_eq!(indexes(&events), [0]);
    }
}
