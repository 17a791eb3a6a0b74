//! A shard's `wal/` folder, read as a bystander: by positional reads of descriptors that are held open.
//!
//! Nothing is written, locked or mapped, and Qdrant's own log library is not used: it would take the server's lock and repair. A
//! held descriptor stays readable when its file is renamed or deleted, and as long as it is held, no other file can get the same
//! identity.

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

    /// Files that are held open.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn list(&mut self) -> io::Result<Listing> {
        // Opened before the old one is closed: so they have different identities if they are different folders.
        self.folder = open_folder(&self.path)?;
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
        Ok(Listing { dir, files })
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
    use fs_err as fs;
    use holdfast_wal::{Cause, Event, Tail, splice::SpliceWriter};
    use std::path::Path;

    fn write(path: &Path, seed: u32, entries: &[&[u8]]) {
        let (mut writer, header) = SpliceWriter::new(seed);
        let mut bytes = header.to_vec();
        for entry in entries {
            writer.push(entry, &mut bytes);
        }
        bytes.resize(512, 0);
        fs::write(path, bytes).unwrap();
    }

    fn poll(folder: &mut LogFolder, tail: &mut Tail) -> Vec<Event> {
        tail.wake();
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
        let mut bytes = fs::read(wal.join("open-1")).unwrap();
        let (mut writer, header) = SpliceWriter::new(1);
        let mut whole = header.to_vec();
        writer.push(b"a", &mut whole);
        writer.push(b"bb", &mut whole);
        bytes[..whole.len()].copy_from_slice(&whole);
        let same_file = fs::OpenOptions::new().write(true).open(wal.join("open-1"));
        std::io::Write::write_all(&mut same_file.unwrap(), &bytes).unwrap();
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
    fn another_folder_of_the_same_name_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        fs::create_dir(&wal).unwrap();
        write(&wal.join("open-1"), 1, &[b"a"]);
        let mut folder = LogFolder::open(wal.clone()).unwrap();
        let mut tail = Tail::new();
        poll(&mut folder, &mut tail);
        fs::remove_dir_all(&wal).unwrap();
        tail.wake();
        assert!(folder.serve(&mut tail).is_err(), "gone for now");
        fs::create_dir(&wal).unwrap();
        write(&wal.join("open-1"), 1, &[b"a"]);
        let events = poll(&mut folder, &mut tail);
        let replaced = Event::Ended {
            timeline: 0,
            next: 1,
            cause: Cause::Replaced,
        };
        assert_eq!(events[0], replaced);
        assert_eq!(indexes(&events), [0]);
    }
}
