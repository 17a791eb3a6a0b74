//! Objects as files below one directory.
//!
//! Publication: the bytes go to a file of their own in `.tmp/`, which is fsynced; then it is renamed
//! to its place (`RENAME_NOREPLACE` for a conditional put, `link` where the file system has no such
//! rename), and the directory is fsynced. So a file under a key is always whole, and when `put`
//! returns it survives a power cut. A conditional put that loses also fsyncs the directory before it
//! says so: the winner may have died between its rename and its own fsync.
//!
//! A store on a read-only file system can be opened and read: nothing is written before the first put.
//! Names that are no keys (`lost+found`, editors' leftovers) are ignored.

mod durable_dirs;
mod scratch;
mod walk;

use crate::{
    KeyPrefix, LockAttempt, MAX_OBJECT_BYTES, ObjectKey, ObjectMeta, ObjectStore, PutMode,
    StoreError, StoreLock,
};
use bytes::Bytes;
use durable_dirs::DurableDirs;
use futures::future::BoxFuture;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;
use scratch::Scratch;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A request costs little more than its bytes: of old points, whose chunks are spread over many packs, less is read
/// in vain. Measured in docs/rfcs/0001-sizes-and-codecs.md.
const STRETCH: u64 = 256 << 10;
/// Name of the writer lock's file.
const LOCK_FILE: &str = ".lock";
/// Longest text read from the lock file.
const MAX_HOLDER_BYTES: u64 = 256;

/// A store in a directory of a local or network file system.
#[derive(Clone, Debug)]
pub struct DiskStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    dirs: DurableDirs,
    scratch: Scratch,
}

impl DiskStore {
    /// Opens the store in an existing directory, and removes temporary files of dead processes.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        match fs_err::metadata(&root) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(no_such_store(&root)),
            Err(error) if is_missing(&error) => return Err(no_such_store(&root)),
            Err(error) => return Err(StoreError::from_io(&root, error)),
        }
        let inner = Inner {
            dirs: DurableDirs::new(root.clone()),
            scratch: Scratch::new(&root),
            root,
        };
        inner.scratch.remove_strays();
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Opens the store in a directory that is made, with its parents, if it is missing. Every level
    /// that was made survives a power cut.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        durable_dirs::create_with_parents(&root, durable_dirs::sync)
            .map_err(|error| StoreError::from_io(&root, error))?;
        Self::open(root)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Runs blocking work on the threads meant for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(join) => match join.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StoreError::Unavailable {
                    store: self.describe(),
                    reason: "the program is shutting down".to_owned(),
                }),
            },
        }
    }
}

fn no_such_store(root: &Path) -> StoreError {
    StoreError::NoSuchStore {
        place: root.display().to_string(),
    }
}

fn is_missing(error: &io::Error) -> bool {
    // A file where a folder of the key should be means, too, that there is no such object.
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

/// Gives the memory of the kernel's cache back: what was just stored is rarely read again soon, and would push
/// out what others on this machine are reading. Only a hint, so a refusal changes nothing.
fn leave_cache(file: &fs_err::File) {
    let _ = rustix::fs::fadvise(file.file(), 0, None, rustix::fs::Advice::DontNeed);
}

impl Inner {
    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn put(&self, key: &ObjectKey, data: &[u8], mode: PutMode) -> Result<(), StoreError> {
        StoreError::check_size(key, data.len() as u64)?;
        let target = self.path(key);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::from_io(&path, error)
        };
        let mut temp = self.scratch.new_file().map_err(|error| {
            if is_missing(&error) && !self.root.is_dir() {
                return no_such_store(&self.root);
            }
            at(&target)(error)
        })?;
        temp.file().write_all(data).map_err(at(&target))?;
        temp.file().sync_all().map_err(at(&target))?;
        leave_cache(temp.file());

        let dir = target.parent().unwrap_or(&self.root).to_owned();
        self.dirs.ensure(&dir).map_err(at(&dir))?;
        let mut published = publish(temp.path(), &target, mode);
        if matches!(&published, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            // Somebody removed a directory that we knew: make it again, once.
            self.dirs.forget();
            self.dirs.ensure(&dir).map_err(at(&dir))?;
            published = publish(temp.path(), &target, mode);
        }
        match published {
            Ok(()) => {
                temp.published();
                durable_dirs::sync(&dir).map_err(at(&dir))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                durable_dirs::sync(&dir).map_err(at(&dir))?;
                Err(StoreError::AlreadyExists { key: key.clone() })
            }
            Err(error) => Err(at(&target)(error)),
        }
    }

    fn read_error(&self, key: &ObjectKey, error: io::Error) -> StoreError {
        if is_missing(&error) {
            StoreError::NotFound { key: key.clone() }
        } else {
            StoreError::from_io(&self.path(key), error)
        }
    }

    fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        let fail = |error| self.read_error(key, error);
        let file = fs_err::File::open(self.path(key)).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        StoreError::check_size(key, size)?;
        let mut data = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        // Somebody may append while we read: that does not lift the limit.
        let limit = MAX_OBJECT_BYTES + 1;
        file.take(limit).read_to_end(&mut data).map_err(fail)?;
        StoreError::check_size(key, data.len() as u64)?;
        Ok(data.into())
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let fail = |error| self.read_error(key, error);
        let file = fs_err::File::open(self.path(key)).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let out_of_range = || StoreError::OutOfRange {
            key: key.clone(),
            offset,
            len,
            size,
        };
        let end = offset.checked_add(len).ok_or_else(out_of_range)?;
        if end > size {
            return Err(out_of_range());
        }
        StoreError::check_size(key, len)?;
        let len = usize::try_from(len).map_err(|_| out_of_range())?;
        let mut data = vec![0; len];
        file.file().read_exact_at(&mut data, offset).map_err(fail)?;
        Ok(data.into())
    }

    fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        match fs_err::metadata(self.path(key)) {
            Ok(found) if found.is_file() => Ok(Some(walk::meta(key.clone(), &found))),
            Ok(_) => Ok(None),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(StoreError::from_io(&self.path(key), error)),
        }
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let path = self.path(key);
        match fs_err::remove_file(&path) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(StoreError::from_io(&path, error)),
        }
        let dir = path.parent().unwrap_or(&self.root);
        durable_dirs::sync(dir).map_err(|error| StoreError::from_io(dir, error))
    }

    /// Folders below the prefix, its own, and those above it that are empty then.
    fn clear_folders(&self, prefix: &KeyPrefix) -> Result<(), StoreError> {
        let top = self.root.join(prefix.as_str());
        walk::remove_empty(&top).map_err(|error| StoreError::from_io(&top, error))?;
        let above = top.ancestors().skip(1);
        for folder in
            above.take_while(|folder| folder.starts_with(&self.root) && **folder != self.root)
        {
            // One that is used by others stays.
            if fs_err::remove_dir(folder).is_err() {
                break;
            }
        }
        self.dirs.forget();
        Ok(())
    }

    fn try_lock(&self, holder: &str) -> Result<LockAttempt, StoreError> {
        let path = self.root.join(LOCK_FILE);
        let fail = |error| StoreError::from_io(&path, error);
        let mut file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match rustix::fs::flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // What the holder says is a courtesy to whoever finds the lock taken.
                file.set_len(0).map_err(fail)?;
                file.write_all(holder.as_bytes()).map_err(fail)?;
                Ok(LockAttempt::Held(StoreLock::new(file)))
            }
            Err(Errno::WOULDBLOCK) => {
                let mut said = Vec::new();
                Read::by_ref(&mut file)
                    .take(MAX_HOLDER_BYTES)
                    .read_to_end(&mut said)
                    .map_err(fail)?;
                Ok(LockAttempt::Busy {
                    holder: String::from_utf8_lossy(&said).into_owned(),
                })
            }
            Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Ok(LockAttempt::Unsupported)
            }
            Err(error) => Err(fail(error.into())),
        }
    }
}

/// Moves a finished file to its key, in one atomic step.
fn publish(temp: &Path, target: &Path, mode: PutMode) -> io::Result<()> {
    match mode {
        PutMode::Overwrite => fs_err::rename(temp, target),
        PutMode::CreateNew => {
            match rustix::fs::renameat_with(CWD, temp, CWD, target, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(()),
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link(temp, target),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// The conditional move for file systems without `RENAME_NOREPLACE`.
fn link(temp: &Path, target: &Path) -> io::Result<()> {
    fs_err::hard_link(temp, target)?;
    // The object is published; a temporary name that cannot be removed is a stray for the next open.
    drop(fs_err::remove_file(temp));
    Ok(())
}

impl ObjectStore for DiskStore {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.put(&key, &data, mode)))
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.get(&key)))
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.get_range(&key, offset, len)))
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.head(&key)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        let prefix = prefix.clone();
        Box::pin(self.blocking(move |inner| walk::list(&inner.root, &prefix)))
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.blocking(|inner| walk::is_empty(&inner.root)))
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        let key = key.clone();
        Box::pin(self.blocking(move |inner| inner.delete(&key)))
    }

    fn clear_folders<'a>(&'a self, prefix: &'a KeyPrefix) -> BoxFuture<'a, Result<(), StoreError>> {
        let prefix = prefix.clone();
        Box::pin(self.blocking(move |inner| inner.clear_folders(&prefix)))
    }

    fn try_lock<'a>(&'a self, holder: &'a str) -> BoxFuture<'a, Result<LockAttempt, StoreError>> {
        let holder = holder.to_owned();
        Box::pin(self.blocking(move |inner| inner.try_lock(&holder)))
    }

    fn stretch(&self) -> u64 {
        STRETCH
    }

    fn describe(&self) -> String {
        self.inner.root.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskStore, link};
    use crate::{
        KeyPrefix, LockAttempt, MAX_OBJECT_BYTES, ObjectKey, ObjectStore, PutMode, StoreError,
    };
    use bytes::Bytes;

    fn key(text: &str) -> ObjectKey {
        text.parse().unwrap()
    }

    async fn put(store: &DiskStore, name: &str) -> Result<(), StoreError> {
        let body = Bytes::from_static(b"body");
        store.put(&key(name), body, PutMode::CreateNew).await
    }

    #[tokio::test]
    async fn only_an_existing_directory_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("repo/deep");
        let error = DiskStore::open(&missing).unwrap_err();
        assert!(matches!(error, StoreError::NoSuchStore { .. }), "{error}");
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        let error = DiskStore::open(&file).unwrap_err();
        assert!(matches!(error, StoreError::NoSuchStore { .. }), "{error}");
        put(&DiskStore::create(&missing).unwrap(), "a")
            .await
            .unwrap();
        assert!(DiskStore::open(&missing).is_ok());
    }

    #[tokio::test]
    async fn opening_and_reading_write_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(dir.path()).unwrap();
        store.list(&KeyPrefix::root()).await.unwrap();
        store.head(&key("a")).await.unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_larger_than_any_object_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(dir.path()).unwrap();
        // A sparse file: it takes no space, and would take all memory.
        let file = std::fs::File::create(dir.path().join("huge")).unwrap();
        file.set_len(1 << 40).unwrap();
        let too_large = |error: StoreError| {
            let StoreError::TooLarge { key, size } = error else {
                panic!("{error}");
            };
            (key.to_string(), size)
        };
        let error = store.get(&key("huge")).await.unwrap_err();
        assert_eq!(too_large(error), ("huge".to_owned(), 1 << 40));
        let len = MAX_OBJECT_BYTES + 1;
        let error = store.get_range(&key("huge"), 0, len).await.unwrap_err();
        assert_eq!(too_large(error), ("huge".to_owned(), len));
        let part = store.get_range(&key("huge"), 1 << 39, 10).await.unwrap();
        assert_eq!(part.len(), 10);
    }

    #[tokio::test]
    async fn strays_of_dead_processes_go_and_those_of_living_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let stray = dir.path().join(".tmp/dead");
        std::fs::create_dir_all(&stray).unwrap();
        std::fs::write(stray.join("1"), b"half").unwrap();
        let living = DiskStore::open(dir.path()).unwrap();
        assert!(!stray.exists());
        let temp = living.inner.scratch.new_file().unwrap();
        let other = DiskStore::open(dir.path()).unwrap();
        assert!(temp.path().exists(), "a second store must not touch it");
        put(&other, "a").await.unwrap();
        drop((temp, living, other));
        assert_eq!(
            std::fs::read_dir(dir.path().join(".tmp")).unwrap().count(),
            0,
            "closed stores leave nothing"
        );
    }

    #[tokio::test]
    async fn a_failed_put_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(dir.path()).unwrap();
        put(&store, "a").await.unwrap();
        put(&store, "a").await.unwrap_err();
        assert!(put(&store, "a/b").await.is_err(), "a file is in the way");
        let temps = std::fs::read_dir(dir.path().join(".tmp")).unwrap();
        for own in temps {
            assert_eq!(std::fs::read_dir(own.unwrap().path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn directories_removed_underneath_are_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(dir.path()).unwrap();
        put(&store, "packs/ab/1").await.unwrap();
        std::fs::remove_dir_all(dir.path().join("packs")).unwrap();
        std::fs::remove_dir_all(dir.path().join(".tmp")).unwrap();
        put(&store, "packs/ab/1").await.unwrap();
        assert!(store.get(&key("packs/ab/1")).await.is_ok());
    }

    #[tokio::test]
    async fn a_store_that_vanished_is_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        let store = DiskStore::create(&root).unwrap();
        put(&store, "packs/ab/1").await.unwrap();
        std::fs::rename(&root, dir.path().join("unmounted")).unwrap();
        for name in ["packs/ab/2", "points/1"] {
            let error = put(&store, name).await.unwrap_err();
            assert!(matches!(error, StoreError::NoSuchStore { .. }), "{error}");
        }
        assert!(!root.exists());
    }

    #[tokio::test]
    async fn names_that_are_no_keys_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(dir.path()).unwrap();
        put(&store, "packs/1").await.unwrap();
        for odd in ["lost+found", "packs/.hidden", "UPPER"] {
            std::fs::create_dir(dir.path().join(odd)).unwrap();
            std::fs::write(dir.path().join(odd).join("x"), b"x").unwrap();
        }
        let listed = store.list(&KeyPrefix::root()).await.unwrap();
        assert_eq!(listed.len(), 1);
        store.delete(&key("packs/1")).await.unwrap();
        assert!(!store.is_empty().await.unwrap(), "someone's UPPER is there");
        assert_eq!(listed[0].key, key("packs/1"));
    }

    #[test]
    fn the_fallback_without_rename_noreplace_is_conditional_too() {
        let dir = tempfile::tempdir().unwrap();
        let [temp, target] = ["temp", "target"].map(|n| dir.path().join(n));
        std::fs::write(&temp, b"1").unwrap();
        link(&temp, &target).unwrap();
        assert!(!temp.exists());
        std::fs::write(&temp, b"2").unwrap();
        let error = link(&temp, &target).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&target).unwrap(), b"1");
    }

    #[tokio::test]
    async fn the_lock_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = [(); 2].map(|()| DiskStore::open(dir.path()).unwrap());
        let held = first.try_lock("a much longer holder").await.unwrap();
        let LockAttempt::Busy { holder } = second.try_lock("second").await.unwrap() else {
            panic!("two holders");
        };
        assert_eq!(holder, "a much longer holder");
        drop(held);
        let again = second.try_lock("second").await.unwrap();
        assert!(matches!(again, LockAttempt::Held(_)));
        let LockAttempt::Busy { holder } = first.try_lock("first").await.unwrap() else {
            panic!("two holders");
        };
        assert_eq!(holder, "second");
    }
}
