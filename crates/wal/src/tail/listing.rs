//! The folder as it was listed, and what follows from it.
//!
//! A listing is no snapshot: a file that is made or renamed meanwhile may be missing from it, or stand in it twice. So what a name
//! says is relied upon at once, but what no name says only when three listings in a row agree: a file is made once and renamed
//! once.

use crate::FileName;

/// Identity of a file or folder that survives renaming, such as device and inode. While a descriptor of it is held, no other
/// file can get the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file within it.
    pub inode: u64,
}

/// One log file of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What its name says.
    pub name: FileName,
    /// The file that was opened under the name, not the one that a listing claimed to be there.
    pub file: FileId,
    /// Its size in bytes.
    pub len: u64,
}

/// The log files of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The folder itself.
    pub dir: FileId,
    /// Its log files, in any order.
    pub files: Vec<Listed>,
}

/// Which file comes after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// One whose name is the index wanted.
    Named(Listed),
    /// The names go on at a later index only.
    Later { file: Listed, first: u64 },
    /// The oldest file without an index in its name.
    Open(Listed),
    /// None yet.
    Nothing,
}

/// Where a log can be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) file: Listed,
    pub(super) first: u64,
}

impl Listing {
    /// The names of a file: two if it was renamed during the listing.
    fn names(&self, file: FileId) -> impl Iterator<Item = FileName> {
        let same = self.files.iter().filter(move |listed| listed.file == file);
        same.map(|listed| listed.name)
    }

    pub(super) fn has(&self, file: FileId) -> bool {
        self.names(file).next().is_some()
    }

    /// The first index that the file's name says.
    pub(super) fn closed(&self, file: FileId) -> Option<u64> {
        self.names(file).find_map(first_of)
    }

    pub(super) fn len(&self, file: FileId) -> Option<u64> {
        let lens = self.files.iter().filter(|listed| listed.file == file);
        lens.map(|listed| listed.len).max()
    }

    /// Files whose names say their first index.
    fn all_closed(&self) -> impl Iterator<Item = Start> {
        let closed = self.files.iter();
        closed.filter_map(|file| first_of(file.name).map(|first| Start { file: *file, first }))
    }

    /// The open file with the lowest number, except one that has a closed name as well.
    fn oldest_open(&self, except: Option<FileId>) -> Option<Listed> {
        let open = self.files.iter();
        let open = open.filter(|listed| {
            matches!(listed.name, FileName::Open(_))
                && Some(listed.file) != except
                && self.closed(listed.file).is_none()
        });
        open.min_by_key(|listed| listed.name).copied()
    }

    /// The oldest file, and the index that it begins with: without closed files, a log begins at 0.
    pub(super) fn oldest(&self) -> Option<Start> {
        let oldest = self.all_closed().min_by_key(|start| start.first);
        let open = || {
            let file = self.oldest_open(None)?;
            Some(Start { file, first: 0 })
        };
        oldest.or_else(open)
    }

    /// The newest file that can hold the entry `index`, or the oldest if all are newer.
    pub(super) fn holding(&self, index: u64) -> Option<Start> {
        let before = self.all_closed().filter(|start| start.first <= index);
        let newest = before.max_by_key(|start| start.first);
        newest.or_else(|| self.oldest())
    }

    /// The oldest file other than `file` that begins after `first`.
    pub(super) fn named_after(&self, first: u64, file: FileId) -> Option<Start> {
        let after = self.all_closed();
        let after = after.filter(|start| start.first > first && start.file.file != file);
        after.min_by_key(|start| start.first)
    }

    /// What comes after `file`, whose entries are those from `first` to before `next`.
    pub(super) fn after(&self, file: FileId, first: u64, next: u64) -> Next {
        let others = || self.all_closed().filter(|start| start.file.file != file);
        let replaces = |start: &Start| start.first > first || !self.has(file);
        if let Some(start) = others().find(|start| start.first == next && replaces(start)) {
            return Next::Named(start.file);
        }
        let later = others().filter(|start| start.first > next);
        if let Some(start) = later.min_by_key(|start| start.first) {
            return Next::Later {
                file: start.file,
                first: start.first,
            };
        }
        self.oldest_open(Some(file))
            .map_or(Next::Nothing, Next::Open)
    }

    /// Whether another file claims indexes that were read from `file`. As long as `file` is there, an empty one may have the same
    /// first index: the one that a snapshot brings.
    pub(super) fn rewrites(&self, file: FileId, first: u64, next: u64) -> bool {
        let mut others = self.all_closed().filter(|start| start.file.file != file);
        others.any(|start| start.first > first && start.first < next)
    }

    /// Whether a file is there that begins before `first`. A log is shortened from its beginning.
    pub(super) fn has_older(&self, first: u64) -> bool {
        self.all_closed().any(|start| start.first < first)
    }

    /// Whether another file has taken the name of `file`.
    pub(super) fn takes_name(&self, file: FileId, first: u64) -> bool {
        let mut others = self.all_closed().filter(|start| start.file.file != file);
        !self.has(file) && others.any(|start| start.first == first)
    }
}

fn first_of(name: FileName) -> Option<u64> {
    match name {
        FileName::Closed(first) => Some(first),
        FileName::Open(_) => None,
    }
}
