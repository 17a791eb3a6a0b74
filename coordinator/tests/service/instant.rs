//! Restores to an instant: what is planned, what an agent is told, and what it may read of an archived log.

use crate::agent::{Agent, files};
use crate::world::{Operator, Running, World};
use holdfast_archive::{ShardEntry, WalFrame, WalLook, WalMark, WalObject, WalOrigin};
use holdfast_coordinator::core::Core;
use holdfast_proto::v1;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_proto::v1::restore_target::Target;
use holdfast_service::clock::{Clock, SystemClock};
use holdfast_types::{IncarnationId, ShardId, TimelineId, Timestamp};
use holdfast_wal::format::entry_crc;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

/// The log: operations from here on are archived.
const FIRST: u64 = 3;
/// Where the captured shard is certain; it ends before operation 7.
const CERTAIN: u64 = 5;
const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Scene {
    world: World,
    pub(crate) running: Running,
    pub(crate) core: Arc<Core>,
    pub(crate) operator: Operator,
    pub(crate) agent: Agent,
    pub(crate) point: String,
    /// When it was captured, to the second: the operations below 7 had been written by then.
    pub(crate) captured: Timestamp,
}

pub(crate) fn timeline() -> TimelineId {
    TimelineId::from_bytes([4; 16])
}

/// A node with one backup of `docs`, whose log is archived for a minute after it: an operation every second from 7 on, each found half a
/// second later.
async fn scene() -> Scene {
    scene_in(World::new()).await
}

pub(crate) async fn scene_in(world: World) -> Scene {
    scene_at(world, Arc::new(SystemClock)).await
}

/// The same, with another clock of the coordinator.
pub(crate) async fn scene_at(world: World, clock: Arc<dyn Clock>) -> Scene {
    let (running, core) = world.start_at(clock).await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let (point, captured) = back_up(&mut operator, &mut agent, CERTAIN).await;
    let scene = Scene {
        point,
        world,
        running,
        core,
        operator,
        agent,
        captured,
    };
    let mut crc = 0;
    for first in [FIRST, 20, 40] {
        let (part, end) = scene.part(first, crc);
        crc = end;
        scene
            .core
            .repository
            .append_wal(scene.core.epoch, part)
            .await
            .unwrap();
    }
    scene.agent.report(&[]).await;
    scene
}

/// A backup of `docs` that is certain of the operations below `certain`; its recovery point, and when it was captured.
pub(crate) async fn back_up(
    operator: &mut Operator,
    agent: &mut Agent,
    certain: u64,
) -> (String, Timestamp) {
    let job = operator.backup().await;
    let command = agent.command().await;
    let mut delivered = agent.deliver(&command, &files(&[("a", b"one")])).await;
    let mut shard: ShardEntry = serde_json::from_str(&delivered.header.shard_json).unwrap();
    shard.wal = Some(WalMark {
        certain,
        timeline: Some(timeline()),
    });
    shard.next_operation = shard.next_operation.max(Some(certain));
    delivered.header.shard_json = serde_json::to_string(&shard).unwrap();
    agent.commit(delivered).await.unwrap();
    let done = Outcome::Capture(v1::CaptureDone::default());
    agent.answer(&command, done).await;
    let (ended, _) = job.end().await;
    (ended.backup.unwrap().recovery_point, shard.captured_at)
}

fn data(index: u64) -> Vec<u8> {
    vec![u8::try_from(index).unwrap(); 100]
}

impl Scene {
    /// When an operation had been found.
    fn by(&self, index: u64) -> Timestamp {
        let seconds = u32::try_from(index.saturating_sub(6)).unwrap();
        self.captured.after(SECOND * seconds)
    }

    /// A part of twenty operations.
    fn part(&self, first: u64, before: u32) -> (WalObject, u32) {
        let next = if first == FIRST { 20 } else { first + 20 };
        self.part_of(first..next, before)
    }

    /// A part of these operations, one look each, and the CRC with which it ends.
    pub(crate) fn part_of(&self, run: Range<u64>, before: u32) -> (WalObject, u32) {
        let mut crc = before;
        let (first, next) = (run.start, run.end);
        let look = |index| {
            let data = data(index);
            let seed = (index == FIRST).then_some(77);
            crc = entry_crc(seed.unwrap_or(crc), &data);
            WalLook {
                after: self.by(index.saturating_sub(1)),
                by: self.by(index),
                frames: vec![WalFrame { seed, crc, data }],
            }
        };
        let looks = (first..next).map(look).collect();
        let origin = WalOrigin {
            namespace: self.core.namespace.clone(),
            node: "n1".parse().unwrap(),
            server_version: "1.18.3".parse().unwrap(),
            collection: "docs".parse().unwrap(),
            incarnation: IncarnationId::from_bytes([9; 16]),
            shard: ShardId(0),
            timeline: timeline(),
            because: (first == FIRST).then(|| "first seen".to_owned()),
        };
        let before = (first != FIRST).then_some(before);
        (WalObject::new(origin, first, before, looks).unwrap(), crc)
    }

    pub(crate) fn order(target: Target) -> v1::RestoreRequest {
        v1::RestoreRequest {
            to: Some(v1::RestoreTarget {
                target: Some(target),
                by_requests: false,
            }),
            ..Default::default()
        }
    }

    /// The instant at which operations below `until` had been found.
    fn at(&self, until: u64) -> v1::RestoreRequest {
        Self::order(Target::InstantUs(self.by(until - 1).as_micros()))
    }

    pub(crate) async fn plan(
        &mut self,
        order: v1::RestoreRequest,
    ) -> Result<v1::RestorePlan, Status> {
        let answer = self.operator.0.plan_restore(order).await;
        answer.map(tonic::Response::into_inner)
    }

    /// The data of a log's entries, and whether their chain was whole.
    pub(crate) async fn log(
        &self,
        agent: &Agent,
        command: &str,
        shard_id: u32,
    ) -> Result<Vec<Vec<u8>>, Status> {
        self.stretch(agent, command, shard_id, None).await
    }

    /// The same, of these entries only.
    async fn stretch(
        &self,
        agent: &Agent,
        command: &str,
        shard_id: u32,
        only: Option<(u64, u64)>,
    ) -> Result<Vec<Vec<u8>>, Status> {
        let request = v1::FetchLogRequest {
            command_id: command.to_owned(),
            epoch: agent.epoch,
            shard_id,
            lengths_only: false,
            from: only.map(|only| only.0),
            until: only.map(|only| only.1),
        };
        let mut pieces = agent.restores().fetch_log(request).await?.into_inner();
        let (mut entries, mut crc) = (Vec::new(), None);
        while let Some(piece) = pieces.message().await? {
            crc = crc.or(piece.before);
            for entry in piece.entries {
                let before = entry.seed.or(crc).unwrap();
                assert_eq!(entry_crc(before, &entry.data), entry.crc);
                crc = Some(entry.crc);
                entries.push(entry.data.to_vec());
            }
        }
        Ok(entries)
    }

    /// Files of the archived parts, by their names.
    pub(crate) fn part_files(&self) -> BTreeMap<String, PathBuf> {
        let mut folders = vec![self.repository().join("wal")];
        let mut files = BTreeMap::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    files.insert(name.to_owned(), path);
                }
            }
        }
        files
    }

    fn part_file(&self, first: u64) -> PathBuf {
        self.part_files().remove(&format!("{first:020}")).unwrap()
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.world.dir.path().join("repo")
    }
}

pub(crate) fn replayed(points: u64, replayed_entries: u64) -> Outcome {
    Outcome::Restore(v1::RestoreDone {
        points,
        replayed_entries,
        ..Default::default()
    })
}

fn code(status: &Status) -> &str {
    status
        .metadata()
        .get("holdfast-code")
        .unwrap()
        .to_str()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_what_to_replay_and_reads_no_more_than_that() {
    let mut scene = scene().await;
    let order = scene.at(45);
    let plan = scene.plan(order.clone()).await.unwrap();
    assert!(plan.blockers.is_empty(), "{plan:?}");
    let instant = plan.instant.unwrap();
    assert_eq!(instant.target, order.to);
    assert_eq!(
        (instant.entries, instant.instant_us),
        (40, scene.by(44).as_micros())
    );
    assert_eq!(instant.complete_before_us, scene.by(44).as_micros());
    assert_eq!(plan.recovery_point, scene.point);
    let log = &plan.steps[0].logs[0];
    assert_eq!((log.from, log.until, log.shard_id), (CERTAIN, 45, 0));

    let job = scene.operator.restore(order.clone()).await;
    let command = scene.agent.command().await;
    let Some(v1::command::Command::RestoreCollection(task)) = &command.command else {
        panic!("no restore: {command:?}");
    };
    let ordered = v1::ShardLog {
        shard_id: 0,
        from: CERTAIN,
        until: 45,
        requests_from: None,
    };
    assert_eq!(task.logs, [ordered]);
    let id = &command.command_id;
    let want: Vec<Vec<u8>> = (CERTAIN..45).map(data).collect();
    assert_eq!(scene.log(&scene.agent, id, 0).await.unwrap(), want);
    let other_shard = scene.log(&scene.agent, id, 1).await.unwrap_err();
    assert_eq!(other_shard.code(), Code::PermissionDenied);
    let other = Agent::join(&scene.world, &scene.running, "n2").await;
    let refused = scene.log(&other, id, 0).await.unwrap_err();
    // Whose command it is, another node is not told.
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    // Another number of points than was captured is what one expects.
    scene.agent.answer(&command, replayed(99, 40)).await;
    let (ended, _) = job.end().await;
    let restored = ended.restore.unwrap();
    assert_eq!(restored.collections[0].replayed_entries, 40);
    assert_eq!(restored.collections[0].points_expected, None);
    assert_eq!(restored.instant.unwrap().entries, 40);
    let over = scene.log(&scene.agent, id, 0).await.unwrap_err();
    assert_eq!(over.code(), Code::NotFound);
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_replay_is_given_nothing_and_not_believed() {
    let mut scene = scene().await;
    let order = scene.at(30);
    scene.agent.report_as(&[], false).await;
    let plan = scene.plan(order.clone()).await.unwrap();
    assert_eq!(plan.blockers[0].code, "plan-blocked");
    assert!(plan.blockers[0].message.contains("update holdfast-agent"));
    let refused = scene
        .operator
        .0
        .run_restore(order.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    // Downgraded between plan and restore.
    scene.agent.report(&[]).await;
    let job = scene.operator.restore(order).await;
    let command = scene.agent.command().await;
    scene.agent.answer(&command, replayed(3, 0)).await;
    let (ended, _) = job.end().await;
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "proof-failed");
    let on = format!("holdfast restore run {} --to {}", scene.point, scene.by(29));
    assert!(failure.message.contains(&on), "{failure:?}");
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_may_be_sent_to_the_running_collection() {
    let mut scene = scene().await;
    let mut order = scene.at(45);
    order.to.as_mut().unwrap().by_requests = true;
    // An agent of before would splice, and say nothing.
    let plan = scene.plan(order.clone()).await.unwrap();
    let why = &plan.blockers[0].message;
    assert!(why.contains("leave out --by requests"), "{why}");
    assert_eq!(plan.instant.unwrap().target, order.to);
    scene.agent.report_requests(&[]).await;
    let job = scene.operator.restore(order).await;
    let command = scene.agent.command().await;
    let Some(v1::command::Command::RestoreCollection(task)) = &command.command else {
        panic!("no restore: {command:?}");
    };
    let next = task.logs[0].requests_from.unwrap();
    assert!((CERTAIN..45).contains(&next), "{:?}", task.logs);
    let id = &command.command_id;
    for (from, until) in [(CERTAIN, next), (next, 45), (next + 3, 45), (44, 44)] {
        let only = Some((from, until));
        let entries = scene.stretch(&scene.agent, id, 0, only).await.unwrap();
        let want: Vec<Vec<u8>> = (from..until).map(data).collect();
        assert_eq!(entries, want, "{only:?}");
    }
    for (from, until) in [(CERTAIN - 1, 45), (CERTAIN, 46), (40, 39)] {
        let only = Some((from, until));
        let refused = scene.stretch(&scene.agent, id, 0, only).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{only:?}");
    }
    let Outcome::Restore(mut done) = replayed(9, 39) else {
        unreachable!("it is made so");
    };
    done.notes = vec!["Qdrant refused one".to_owned()];
    scene.agent.answer(&command, Outcome::Restore(done)).await;
    let (ended, told) = job.end().await;
    // One of forty is lacking.
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "proof-failed");
    let on = format!("--to {} --by requests --node n1", scene.by(44));
    assert!(failure.message.contains(&on), "{failure:?}");
    assert!(
        format!("{told:?}").contains("docs: Qdrant refused one"),
        "{told:?}"
    );
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_reached_is_refused_with_what_can() {
    let mut scene = scene().await;
    let late = Scene::order(Target::InstantUs(scene.by(200).as_micros()));
    let refused = scene.plan(late).await.unwrap_err();
    assert_eq!(code(&refused), "instant-not-recoverable");
    let nearest = format!("--to {}", scene.by(59));
    assert!(
        refused.message().contains(&nearest),
        "{}",
        refused.message()
    );

    let latest = scene
        .plan(Scene::order(Target::Latest(true)))
        .await
        .unwrap();
    assert_eq!(latest.steps[0].logs[0].until, 60);
    let operation = scene
        .plan(Scene::order(Target::Operation(33)))
        .await
        .unwrap();
    assert_eq!(operation.steps[0].logs[0].until, 34);
    let before = scene
        .plan(Scene::order(Target::Operation(2)))
        .await
        .unwrap_err();
    assert_eq!(code(&before), "instant-not-recoverable");

    let copy = v1::RestoreRequest {
        from_copy: "elsewhere".into(),
        ..scene.at(30)
    };
    assert_eq!(code(&scene.plan(copy).await.unwrap_err()), "usage");
    let unknown = v1::RestoreRequest {
        collections: vec![v1::CollectionMapping {
            source: "nope".into(),
            target: String::new(),
        }],
        ..scene.at(30)
    };
    let refused = scene.plan(unknown).await.unwrap_err();
    assert_eq!(code(&refused), "collection-not-found");
    scene.running.stop().await;
}

/// A log is read from the newest captures on first: of an older one it would seem to hold nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_log_is_that_of_all_of_it() {
    let mut scene = scene().await;
    scene.agent.report(&["docs"]).await;
    scene.operator.sees("n1", &["docs"]).await;
    let (older, _) = back_up(&mut scene.operator, &mut scene.agent, 10).await;
    let (mut newer, _) = back_up(&mut scene.operator, &mut scene.agent, 45).await;
    // Of one second, chance orders them.
    while newer < older {
        (newer, _) = back_up(&mut scene.operator, &mut scene.agent, 45).await;
    }
    scene.agent.report(&[]).await;
    for (point, from) in [(&older, 10), (&newer, 45)] {
        let order = v1::RestoreRequest {
            recovery_point: point.to_owned(),
            ..Scene::order(Target::Latest(true))
        };
        let plan = scene.plan(order).await.unwrap();
        let log = &plan.steps[0].logs[0];
        assert_eq!((&plan.recovery_point, log.from), (point, from));
        assert_eq!(log.until, 60, "{plan:?}");
    }
    scene.running.stop().await;
}

pub(crate) async fn window(scene: &mut Scene) -> v1::CollectionWindow {
    let asked = v1::RestoreWindowRequest::default();
    let window = scene.operator.0.restore_window(asked).await;
    window.unwrap().into_inner().collections.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_ends_where_a_part_is_lost() {
    let mut scene = scene().await;
    let whole = window(&mut scene).await;
    let stretch = &whole.stretches[0];
    assert_eq!(
        (stretch.from_us, stretch.to_us),
        (scene.captured.as_micros(), scene.by(59).as_micros())
    );
    assert_eq!(stretch.recovery_points, [scene.point.clone()]);
    let why = &whole.gaps[0].why;
    assert!(
        why[0].contains("nothing more of its log is archived"),
        "{why:?}"
    );

    std::fs::remove_file(scene.part_file(20)).unwrap();
    let cut = window(&mut scene).await;
    assert_eq!(cut.stretches[0].to_us, scene.by(19).as_micros());
    let why = &cut.gaps[0].why;
    assert!(
        why[0].contains("operations 20 to 39 are missing"),
        "{why:?}"
    );
    let refused = scene.plan(scene.at(45)).await.unwrap_err();
    assert!(refused.message().contains("20 to 39 are missing"));
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_before_anything_is_told_and_while_it_is_read() {
    let mut scene = scene().await;
    // What was read once is remembered; damage that comes later shows when an agent reads.
    let job = scene.operator.restore(scene.at(45)).await;
    let command = scene.agent.command().await;
    let path = scene.part_file(20);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let refused = scene
        .log(&scene.agent, &command.command_id, 0)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "repository-damaged");
    let failed = Outcome::Failure(v1::Failure {
        code: "repository-damaged".into(),
        message: "as it said".into(),
        retryable: false,
    });
    scene.agent.answer(&command, failed).await;
    job.end().await;
    // A restore that replaces reads everything before it gives anything up.
    scene.agent.report(&["docs"]).await;
    scene.operator.sees("n1", &["docs"]).await;
    let order = v1::RestoreRequest {
        overwrite: true,
        ..scene.at(45)
    };
    let job = scene.operator.restore(order).await;
    let (ended, _) = job.end().await;
    assert_eq!(ended.failure.unwrap().code, "repository-damaged");
    assert_eq!(scene.operator.points().await, [scene.point.clone()]);
    drop(scene.core);
    scene.running.stop().await;
    // After a restart nothing is remembered.
    let (running, _) = scene.world.start_at(Arc::new(SystemClock)).await;
    let mut operator = scene.world.operator(&running).await;
    let asked = v1::RestoreWindowRequest {
        collection: "docs".into(),
    };
    let window = operator.0.restore_window(asked).await.unwrap().into_inner();
    let why = &window.collections[0].gaps[0].why;
    assert!(
        why[0].contains("the part from operation 20 on can't be read"),
        "{why:?}"
    );
    running.stop().await;
}
