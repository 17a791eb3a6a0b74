//! What a clock that can't be trusted may not do.

use super::absent::Absent;
use super::open_core;
use crate::catalog::Catalog;
use crate::catalog::rebuild::rebuild;
use crate::config::CoordinatorConfig;
use crate::core::Core;
use crate::fixture::{commit_point, config};
use crate::repository::Creation;
use crate::retention::prune;
use holdfast_decide::Tombstone;
use holdfast_repository::{Absence, PointTombstone};
use holdfast_service::clock::{Clock as _, FixedClock, SystemClock};
use holdfast_service::shutdown::Shutdown;
use holdfast_types::{Epoch, RecoveryPointId, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const GRACE: Duration = Duration::from_hours(72);
const JUMP: Duration = Duration::from_hours(200 * 24);

async fn open(config: &CoordinatorConfig, clock: &FixedClock) -> Arc<Core> {
    let opened = open_core(config, Shutdown::new(), Arc::new(clock.clone())).await;
    opened.unwrap()
}

async fn mark(core: &Core, id: &RecoveryPointId, since: Timestamp) {
    let stone = PointTombstone {
        point: id.clone(),
        tombstone: Tombstone {
            since,
            grace: GRACE,
        },
        reasons: Vec::new(),
        by: "test".to_owned(),
        despite_floor: true,
        swept: false,
        marked: Epoch(0),
    };
    let marked = core.repository.tombstone_point(core.epoch, &stone).await;
    marked.unwrap();
}

fn since(core: &Core, id: &RecoveryPointId) -> Timestamp {
    core.retention.marks().tombstones[id].tombstone.since
}

#[tokio::test]
async fn nothing_is_deleted_by_a_clock_that_jumped() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let clock = FixedClock::new(SystemClock.now());
    let core = open(&config, &clock).await;
    assert!(core.clock_fault().is_none());
    prune(&core, None).await.unwrap();
    let began = clock.now();
    let hour = Duration::from_hours(1);
    for wrong in [began.after(hour), began.before(hour)] {
        clock.set(wrong);
        let refused = prune(&core, None).await.unwrap_err();
        assert_eq!(refused.code, "clock-skew", "{refused}");
        assert!(refused.message.contains("jumped by 3"), "{refused}");
    }
    clock.set(began);
    prune(&core, None).await.unwrap();
}

#[tokio::test]
async fn a_jump_while_no_coordinator_ran_ends_no_grace() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let began = SystemClock.now();
    let clock = FixedClock::new(began);
    let id = {
        let core = open(&config, &clock).await;
        // Under a claim of its own.
        commit_point(&core.repository).await
    };
    {
        let core = open(&config, &clock).await;
        mark(&core, &id, began).await;
    }

    // A short absence changes nothing.
    clock.advance(Duration::from_hours(1));
    {
        let core = open(&config, &clock).await;
        assert_eq!(since(&core, &id), began);
    }

    clock.set(began.after(JUMP));
    let core = open(&config, &clock).await;
    let wait_begins = since(&core, &id);
    assert!(
        wait_begins.after(GRACE) > began.after(JUMP),
        "{wait_begins}"
    );
    // And the store's clock is another one.
    let refused = prune(&core, None).await.unwrap_err();
    assert!(refused.message.contains("store"), "{refused}");
}

#[tokio::test]
async fn after_an_absence_logs_rest_whatever_is_restarted_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::create(&dir.path().join("catalog.redb"), "0123").unwrap();
    let hours = |hours| Timestamp::EPOCH.after(Duration::from_hours(hours));
    let rest = async |absent: Absent, now: u64| {
        let grace = Duration::from_hours(48);
        absent
            .rest_of_logs(&catalog, grace, hours(now))
            .await
            .unwrap()
    };
    let away = |hours| Absent {
        now: Duration::from_hours(hours),
        earlier: Vec::new(),
    };
    assert_eq!(rest(away(0), 1000).await, Timestamp::EPOCH);
    assert_eq!(rest(away(5), 1000).await, Timestamp::EPOCH);
    assert_eq!(rest(away(6), 1000).await, hours(1048));
    assert_eq!(rest(away(1), 1001).await, hours(1048));
    // The clock had been wrong, and is right now.
    assert_eq!(rest(away(1), 901).await, hours(949));

    // What claims say, where the catalogue says less.
    let claimed = |at| Absent {
        now: Duration::ZERO,
        earlier: vec![Absence {
            epoch: Epoch(7),
            ended: hours(at),
            lasted: Duration::from_hours(6),
        }],
    };
    assert_eq!(rest(claimed(1000), 1002).await, hours(1048));
    assert_eq!(rest(claimed(1001), 1002).await, hours(1049));
    assert_eq!(rest(claimed(2000), 1002).await, hours(1050));
}

/// Makes everything below look as if it had been written so long ago.
fn age(folder: &Path, by: Duration) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path, by);
            continue;
        }
        let file = std::fs::File::options().write(true).open(&path);
        let file = file.unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - by).unwrap();
    }
}

/// `repo heal` and `key rotate-master` claim, and so does a start that comes no further; a catalogue is lost. The absence counts all the same, once.
#[tokio::test]
async fn an_absence_counts_whoever_claims_before_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let now = SystemClock.now();
    let clock = FixedClock::new(now);
    let id = {
        let core = open(&config, &clock).await;
        commit_point(&core.repository).await
    };
    {
        let core = open(&config, &clock).await;
        mark(&core, &id, now.before(JUMP)).await;
    }
    age(&dir.path().join("repository"), JUMP);
    for _ in 0..2 {
        let repository = crate::repository::open(&config, Creation::Known, now).await;
        let repository = repository.unwrap();
        repository.claim_epoch().await.unwrap();
        rebuild(&config.catalog_path(), &repository).await.unwrap();
    }

    let core = open(&config, &clock).await;
    let minute = Duration::from_mins(1);
    let begins = since(&core, &id);
    assert!(begins.distance(now) < minute, "{begins}");
    let rest = core.retention.logs_rest_until;
    let expected = now.after(core.retention.settings.grace);
    assert!(rest.distance(expected) < minute, "{rest}");
    drop(core);
    let core = open(&config, &clock).await;
    assert_eq!(since(&core, &id), begins);
    assert_eq!(core.retention.logs_rest_until, rest);
}
