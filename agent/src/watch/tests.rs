//! The watch as a whole, on a directory that stands for Qdrant's.

use super::{StorageReceiver, Watching, channel};
use crate::observer::{self, ObservationSender};
use fs_err as fs;
use holdfast_proto::v1;
use holdfast_service::clock::SystemClock;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

const SOON: Duration = Duration::from_secs(30);
/// Nobody waits for that: what is seen before was told by an event.
const NEVER: Duration = Duration::from_secs(3600);

struct World {
    dir: tempfile::TempDir,
    seen: StorageReceiver,
    others: Arc<Notify>,
    /// So that the watch can ask for a look.
    _observed: ObservationSender,
    _stop: DropGuard,
}

impl World {
    fn start(every: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("collections/docs/0/wal")).unwrap();
        let (observed, observation) = observer::channel();
        let (out, seen) = channel();
        let others = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let watching = Watching {
            root: dir.path().to_owned(),
            every,
            observation,
            others: Arc::clone(&others),
            out,
            clock: Arc::new(SystemClock),
        };
        tokio::spawn(watching.run(stop.clone()));
        Self {
            dir,
            seen,
            others,
            _observed: observed,
            _stop: stop.drop_guard(),
        }
    }

    fn collections(&self) -> std::path::PathBuf {
        self.dir.path().join("collections")
    }

    /// The first heartbeat with a look of which that is true.
    async fn told(&mut self, is_it: impl Fn(&v1::StorageWatch) -> bool) -> v1::StorageWatch {
        self.seen.begin_anew();
        let wait = async {
            loop {
                let mut beat = v1::Heartbeat::default();
                self.seen.tell(&mut beat);
                match beat.storage {
                    Some(look) if is_it(&look) => return look,
                    Some(_) => {}
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(SOON, wait)
            .await
            .expect("a look that shows it")
    }
}

fn write(folder: &Path, name: &str, bytes: usize) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), vec![1; bytes]).unwrap();
}

#[tokio::test]
async fn what_comes_and_goes_is_noticed_by_events() {
    let mut world = World::start(NEVER);
    let first = world.told(|_| true).await;
    assert_eq!(
        (first.shards.len(), first.polling_because.as_str()),
        (1, "")
    );
    world.others.notified().await;
    fs::create_dir_all(world.collections().join("new/0/wal")).unwrap();
    world.told(|look| look.shards.len() == 2).await;
    tokio::time::timeout(SOON, world.others.notified())
        .await
        .unwrap();
    write(
        &world.collections().join("new/0/segments/a"),
        "segment.json",
        9,
    );
    world.told(|look| look.shards[1].segments == 1).await;
    fs::remove_dir_all(world.collections().join("docs")).unwrap();
    world.told(|look| look.shards.len() == 1).await;
    // One of the same name, which is another folder.
    fs::create_dir_all(world.collections().join("docs/0/wal")).unwrap();
    world.told(|look| look.shards.len() == 2).await;
    write(
        &world.collections().join("docs/0/segments/b"),
        "segment.json",
        9,
    );
    world.told(|look| look.shards[0].segments == 1).await;
}

#[tokio::test]
async fn what_is_written_in_place_is_noticed_by_looks() {
    let mut world = World::start(Duration::from_secs(1));
    let log = world.collections().join("docs/0/wal");
    world.told(|_| true).await;
    write(&log, "open-1", 5000);
    let found = world
        .told(|look| look.shards[0].touched_bytes >= 5000)
        .await;
    assert!(
        found.looks > 1 && found.shards[0].changed_us > 0,
        "{found:?}"
    );
}
