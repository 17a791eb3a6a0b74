//! The kernel's events as a hint that something came, went or was renamed.
//!
//! Only folders in which that means something are watched: those of collections, shards and segments. Not the logs: what Qdrant writes
//! through a memory map raises no event, so they are looked at all the time, and each of these looks would be an event.
//!
//! Nothing queues up here: an event leaves a mark, and whoever waits looks for himself. Where events can't be had, or were lost, a scan
//! finds the same, only later.

use fs_err as fs;
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// File systems on which others write without this kernel's knowledge, by their numbers in `statfs`.
const REMOTE: [(i64, &str); 7] = [
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x517B, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00C3_6400, "Ceph"),
];

/// What events leave behind.
#[derive(Debug, Default)]
struct Marks {
    /// Something came, went or was renamed.
    news: Notify,
    /// How often the kernel's queue was full.
    overflows: AtomicU64,
}

/// The watches on some folders.
pub(super) struct Events {
    /// `None` where events can't be had.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    marks: Arc<Marks>,
    /// Why not every folder is watched.
    polling: Option<String>,
}

impl Events {
    /// No events at all, for this reason.
    pub(super) fn none(why: &str) -> Self {
        Self {
            watcher: None,
            watched: BTreeSet::new(),
            marks: Arc::default(),
            polling: Some(why.to_owned()),
        }
    }

    /// No folder is watched yet.
    pub(super) fn new(storage: &Path) -> Self {
        let marks = Arc::new(Marks::default());
        let (watcher, polling) = match watcher(storage, &marks) {
            Ok(watcher) => (Some(watcher), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            watcher,
            watched: BTreeSet::new(),
            marks,
            polling,
        }
    }

    /// Why changes are found by scans alone, at least in some folders; `None` if events are had of all.
    pub(super) fn polling_because(&self) -> Option<&str> {
        self.polling.as_deref()
    }

    /// How often events were lost because the kernel's queue was full. A scan follows each time.
    pub(super) fn overflows(&self) -> u64 {
        self.marks.overflows.load(Ordering::Relaxed)
    }

    /// Waits until something came, went or was renamed since the last time.
    pub(super) async fn news(&self) {
        self.marks.news.notified().await;
    }

    /// Watches these folders and no others. One that is gone meanwhile is left out. Those that are watched are asked for again: one of
    /// the same name may be another folder by now.
    pub(super) fn watch(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let surplus = self.watched.difference(&folders).cloned();
        for gone in surplus.collect::<Vec<_>>() {
            // The kernel has removed it already if the folder is gone.
            let _gone = watcher.unwatch(&gone);
            self.watched.remove(&gone);
        }
        self.polling = None;
        for path in folders {
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path);
                }
                Err(error) if is_gone(&error) => {
                    self.watched.remove(&path);
                }
                Err(error) => {
                    self.polling = Some(refused(&error));
                    break;
                }
            }
        }
    }

    /// Folders that are watched.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.watched.len()
    }
}

/// A watcher that leaves marks, or why there can be none.
fn watcher(storage: &Path, marks: &Arc<Marks>) -> Result<RecommendedWatcher, String> {
    if let Some(kind) = remote(storage) {
        return Err(format!(
            "{} is on a {kind} file system, which does not tell what other machines change",
            storage.display()
        ));
    }
    let (marks, root) = (Arc::clone(marks), storage.join("collections"));
    let leave = move |event: notify::Result<Event>| {
        // What can't be told is looked for.
        let matters = event.as_ref().map_or(true, |event| matters(event, &root));
        if event.is_ok_and(|event| event.need_rescan()) {
            marks.overflows.fetch_add(1, Ordering::Relaxed);
        }
        if matters {
            marks.news.notify_one();
        }
    };
    notify::recommended_watcher(leave).map_err(|error| refused(&error))
}

fn matters(event: &Event, root: &Path) -> bool {
    match event.kind {
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            event.paths.iter().any(|path| is_part(path, root))
        }
        // Looks open folders, too.
        EventKind::Access(_) | EventKind::Modify(_) => false,
        EventKind::Any | EventKind::Other => true,
    }
}

/// Whether it may be a collection, a shard, or a segment: beside those Qdrant replaces small files all the time.
fn is_part(path: &Path, root: &Path) -> bool {
    let Ok(below) = path.strip_prefix(root) else {
        return true;
    };
    let parts: Vec<_> = below.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        [] | [_] => true,
        [_, shard] => shard.parse::<u32>().is_ok(),
        [_, _, part] => matches!(*part, "segments" | "wal"),
        [_, _, part, segment] => *part == "segments" && !segment.contains('.'),
        [_, _, _, _, ..] => false,
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound | notify::ErrorKind::WatchNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::InvalidConfig(_)
        | notify::ErrorKind::MaxFilesWatch => false,
    }
}

/// What a refusal means, with the setting that ends it.
fn refused(error: &notify::Error) -> String {
    let limit = |name: &str| {
        let path = format!("/proc/sys/fs/inotify/{name}");
        let now = fs::read_to_string(path).unwrap_or_default();
        format!(
            "the kernel's limit of watches is reached: raise fs.inotify.{name}, which is {}",
            now.trim()
        )
    };
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => limit("max_user_watches"),
        notify::ErrorKind::Io(io) if io.raw_os_error() == Some(EMFILE) => {
            limit("max_user_instances")
        }
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::Io(_)
        | notify::ErrorKind::PathNotFound
        | notify::ErrorKind::WatchNotFound
        | notify::ErrorKind::InvalidConfig(_) => format!("folders can't be watched: {error}"),
    }
}

/// Too many open files: of `inotify_init`, that the user has as many instances as it may.
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();

/// The kind of file system, if it is one of which the kernel does not see every change.
fn remote(path: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    let known = REMOTE.iter().find(|(number, _)| *number == kind);
    known.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::{Events, refused};
    use fs_err as fs;
    use notify::event::{AccessKind, CreateKind, Flag};
    use notify::{Event, EventKind};
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn what_comes_and_goes_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("collections");
        let inner = root.join("docs");
        fs::create_dir_all(&inner).unwrap();
        let mut events = Events::new(dir.path());
        let folders = BTreeSet::from([root, inner.clone()]);
        events.watch(folders.clone());
        assert_eq!((events.len(), events.polling_because()), (2, None));
        for change in [
            &(|| fs::create_dir(inner.join("0")).unwrap()) as &dyn Fn(),
            &|| fs::rename(inner.join("0"), inner.join("1")).unwrap(),
            &|| fs::remove_dir(inner.join("1")).unwrap(),
            &|| fs::remove_dir(&inner).unwrap(),
        ] {
            change();
            tokio::time::timeout(SOON, events.news()).await.unwrap();
        }
        // One of the same name is another folder.
        fs::create_dir(&inner).unwrap();
        events.watch(folders);
        assert_eq!(events.len(), 2);
        fs::create_dir(inner.join("2")).unwrap();
        tokio::time::timeout(SOON, events.news()).await.unwrap();
    }

    #[test]
    fn a_folder_that_is_gone_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::new(dir.path());
        let none = dir.path().join("none");
        events.watch([dir.path().to_owned(), none].into());
        assert_eq!((events.len(), events.polling_because()), (1, None));
    }

    #[test]
    fn looks_and_small_files_are_no_news_and_lost_events_are() {
        let root = Path::new("/q/collections");
        let matters = |event: &Event| super::matters(event, root);
        assert!(!matters(&Event::new(EventKind::Access(AccessKind::Any))));
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(matters(&lost) && lost.need_rescan());
        for (path, expected) in [
            ("docs", true),
            ("docs/0", true),
            ("docs/0/wal", true),
            ("docs/0/segments/6f1a", true),
            ("docs/config.json", false),
            ("docs/0/newest_clocks.json", false),
            ("docs/0/applied_seq.json", false),
            ("docs/0/segments/6f1a/segment.json", false),
            ("docs/0/segments/6f1a.deleted", false),
        ] {
            let event = Event::new(EventKind::Create(CreateKind::Any)).add_path(root.join(path));
            assert_eq!(matters(&event), expected, "{path}");
        }
    }

    #[test]
    fn limits_name_the_setting() {
        let watches = refused(&notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        assert!(watches.contains("fs.inotify.max_user_watches"), "{watches}");
        let instances = std::io::Error::from_raw_os_error(super::EMFILE);
        let instances = refused(&notify::Error::io(instances));
        assert!(
            instances.contains("fs.inotify.max_user_instances"),
            "{instances}"
        );
    }
}
