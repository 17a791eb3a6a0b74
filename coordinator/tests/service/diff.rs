//! What is told of the time between two instants: sums of archived logs, where they are not whole, and what is refused.

mod logs;

use self::logs::{Log, at, clear, delete, delete_by_filter, drop_index, instant, rename};
use crate::agent::Agent;
use crate::world::{Operator, Running, World};
use holdfast_coordinator::core::Core;
use holdfast_proto::v1;
use holdfast_proto::v1::diff_point_id::Id;
use holdfast_service::clock::SystemClock;
use holdfast_types::TimelineId;
use std::path::PathBuf;
use std::sync::Arc;
use tonic::Status;

struct Scene {
    world: World,
    running: Running,
    core: Arc<Core>,
    operator: Operator,
    agent: Agent,
}

/// `docs` with the logs of two shards, in several parts.
async fn scene() -> Scene {
    let world = World::new();
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    let mut operator = world.operator(&running).await;
    let agent = Agent::join(&world, &running, "n1").await;
    agent.report_shards("docs", 2).await;
    operator.sees("n1", &["docs"]).await;
    let mut log = Log::new(0, 4, 0, "first seen");
    log.append(&core, &[(0, clear(&[90])), (5, delete(&[91]))])
        .await;
    log.append(&core, &[(10, clear(&[1, 2])), (11, delete(&[2, 3, 4]))])
        .await;
    log.append(
        &core,
        &[(12, delete_by_filter(9)), (13, drop_index("group"))],
    )
    .await;
    log.append(
        &core,
        &[
            (14, delete_by_filter(9)),
            (20, delete(&[92])),
            (30, rename()),
        ],
    )
    .await;
    let mut log = Log::new(1, 5, 0, "first seen");
    log.append(&core, &[(0, clear(&[95]))]).await;
    log.append(&core, &[(9, delete(&[5])), (15, rename())])
        .await;
    log.append(&core, &[(31, delete(&[96]))]).await;
    Scene {
        world,
        running,
        core,
        operator,
        agent,
    }
}

fn asked(from: i64, to: i64) -> v1::DiffRequest {
    v1::DiffRequest {
        collection: "docs".into(),
        from_us: at(from),
        to_us: at(to),
        ids: 2,
    }
}

impl Scene {
    async fn diff(&mut self, request: v1::DiffRequest) -> Result<v1::DiffResponse, Status> {
        let answer = self.operator.0.diff(request).await;
        answer.map(tonic::Response::into_inner)
    }

    /// The file of a part.
    fn part_file(&self, timeline: u8, first: u64) -> PathBuf {
        let mut folders = vec![self.world.dir.path().join("repo/wal")];
        let line = TimelineId::from_bytes([timeline; 16]).to_string();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with(format!("{line}/{first:020}")) {
                    return path;
                }
            }
        }
        panic!("no part {first}");
    }
}

fn place(shard_id: u32, index: u64, seconds: i64) -> Option<v1::LoggedOperation> {
    Some(v1::LoggedOperation {
        shard_id,
        index,
        after_us: at(seconds) - 500_000,
        by_us: at(seconds),
    })
}

fn gap(shard_id: u32, after_us: i64, before: i64, why: &str) -> v1::DiffGap {
    v1::DiffGap {
        shard_id: Some(shard_id),
        after_us,
        before_us: at(before),
        why: why.into(),
    }
}

fn fate(fate: &str, count: u64, ids: &[u64]) -> v1::DiffPoints {
    let ids = ids.iter().map(|id| v1::DiffPointId {
        id: Some(Id::Number(*id)),
    });
    v1::DiffPoints {
        fate: fate.into(),
        count,
        ids: ids.collect(),
    }
}

fn kinds() -> Vec<v1::DiffKind> {
    let kind = |kind: &str, count, points, first, last| v1::DiffKind {
        kind: kind.into(),
        count,
        points,
        first,
        last,
    };
    let clear = place(0, 2, 10);
    vec![
        kind("clear_payload", 1, 2, clear, clear),
        kind("delete_index", 1, 0, place(0, 5, 13), place(0, 5, 13)),
        kind("delete_points", 2, 4, place(1, 1, 9), place(0, 3, 11)),
        kind(
            "delete_points_by_filter",
            2,
            0,
            place(0, 4, 12),
            place(0, 6, 14),
        ),
        kind("rename_points", 1, 0, place(1, 2, 15), place(1, 2, 15)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_in_between_is_summed_up_with_its_instants() {
    let mut scene = scene().await;
    let told = scene.diff(asked(5, 15)).await.unwrap();
    let reason = "operations of the kind \"rename_points\" are not known to this program";
    let clear = place(0, 2, 10);
    let wanted = v1::DiffResponse {
        operations: 7,
        bytes: told.bytes,
        kinds: kinds(),
        points: vec![
            fate("put", 0, &[]),
            fate("perhaps-put", 0, &[]),
            fate("changed", 1, &[1]),
            fate("removed", 4, &[2, 3]),
        ],
        by_filter: vec![v1::DiffFilter {
            kind: "delete_points_by_filter".into(),
            filter: "{\"must\":[{\"has_id\":[9]}]}".into(),
            count: 2,
            first: place(0, 4, 12),
            last: place(0, 6, 14),
        }],
        largest: vec![
            v1::DiffLarge {
                kind: "delete_points".into(),
                points: 3,
                operation: place(0, 3, 11),
            },
            v1::DiffLarge {
                kind: "clear_payload".into(),
                points: 2,
                operation: clear,
            },
            v1::DiffLarge {
                kind: "delete_points".into(),
                points: 1,
                operation: place(1, 1, 9),
            },
        ],
        of_collection: vec![v1::DiffSchema {
            kind: "delete_index".into(),
            name: "group".into(),
            operation: place(0, 5, 13),
        }],
        unread: vec![v1::DiffUnread {
            why: reason.into(),
            count: 1,
        }],
        ..Default::default()
    };
    assert_eq!(told, wanted);
    assert!(told.bytes > 100, "{}", told.bytes);
    // From what is remembered the same, and no ids if none are wanted.
    let none = v1::DiffRequest {
        ids: 0,
        ..asked(5, 15)
    };
    let again = scene.diff(none).await.unwrap();
    assert!(again.points.iter().all(|fate| fate.ids.is_empty()));
    assert_eq!((again.kinds, again.points[3].count), (told.kinds, 4));
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lacking_is_named() {
    let mut scene = scene().await;
    // Before the first entry there was nothing, behind the last nobody knows.
    let told = scene.diff(asked(-60, 40)).await.unwrap();
    assert_eq!(told.operations, 13);
    assert_eq!(told.notes.len(), 2, "{:?}", told.notes);
    let until = |seconds| format!("its log is known until {} only", instant(seconds));
    let ends = [
        gap(0, at(30) - 500_000, 40, &until(30)),
        gap(1, at(31) - 500_000, 40, &until(31)),
    ];
    assert_eq!(told.gaps, ends);
    std::fs::remove_file(scene.part_file(4, 4)).unwrap();
    let cut = scene.diff(asked(5, 15)).await.unwrap();
    let missing = "operations 4 to 5 are missing";
    assert_eq!(cut.gaps, [gap(0, at(11) - 500_000, 14, missing)]);
    assert_eq!((cut.operations, cut.by_filter[0].count), (5, 1));
    // What comes before and behind is whole.
    assert_eq!(scene.diff(asked(5, 10)).await.unwrap().gaps, []);
    assert_eq!(scene.diff(asked(14, 29)).await.unwrap().gaps, []);

    // The log was cut back: another timeline.
    let mut anew = Log::new(0, 6, 40, "the log was cut back behind what was read");
    let core = Arc::clone(&scene.core);
    anew.append(&core, &[(50, clear(&[7])), (60, clear(&[8]))])
        .await;
    let told = scene.diff(asked(20, 59)).await.unwrap();
    let why = format!(
        "nothing more of its log is archived; its log begins anew with operation 40, known from {} on (the log was cut back behind what was read)",
        instant(50)
    );
    assert_eq!(told.gaps[0], gap(0, at(30) - 500_000, 50, &why));
    assert_eq!((told.gaps.len(), told.gaps[1].shard_id), (2, Some(1)));
    let cleared = told.kinds.iter().find(|kind| kind.kind == "clear_payload");
    assert_eq!(cleared.unwrap().count, 1);
    scene.running.stop().await;
}

/// The shards are those that nodes list, or those of recovery points; if neither is known, that is lacking.
#[tokio::test(flavor = "multi_thread")]
async fn shards_without_a_log_are_named() {
    let mut scene = scene().await;
    assert_eq!(scene.diff(asked(5, 15)).await.unwrap().gaps, []);
    scene.agent.report_shards("docs", 3).await;
    scene.operator.sees("n1", &["docs"]).await;
    let told = scene.diff(asked(5, 15)).await.unwrap();
    let why = "no log of it that can be read is archived";
    assert_eq!(told.gaps, [gap(2, at(5), 15, why)]);
    assert_eq!(told.operations, 7);
    scene.agent.report(&[]).await;
    scene.operator.sees("n1", &[]).await;
    let told = scene.diff(asked(5, 15)).await.unwrap();
    assert_eq!((told.gaps.len(), told.gaps[0].shard_id), (1, None));
    let why = "no recovery point holds docs and no node lists it now";
    assert!(told.gaps[0].why.starts_with(why), "{:?}", told.gaps);
    scene.running.stop().await;
}

impl Scene {
    /// Rot in the middle of a part.
    fn spoil(&self, timeline: u8, first: u64) {
        let path = self.part_file(timeline, first);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
}

/// What is remembered of a part does not show that it was damaged since.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_comes_later_is_lacking() {
    let mut scene = scene().await;
    assert_eq!(scene.diff(asked(5, 15)).await.unwrap().gaps, []);
    scene.spoil(4, 2);
    for _ in 0..2 {
        let told = scene.diff(asked(5, 15)).await.unwrap();
        let (lack, operations) = (&told.gaps[0], told.operations);
        let why = "the part from operation 2 on can't be read (";
        assert!(lack.why.starts_with(why), "{lack:?}");
        assert_eq!(
            (lack.after_us, lack.before_us, told.gaps.len(), operations),
            (at(5), at(12), 1, 5)
        );
    }
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_may_be_its_own_is_lacking() {
    let mut scene = scene().await;
    // Of the shard's log both the first and the last part, so that nobody knows whose it is.
    scene.spoil(5, 0);
    scene.spoil(5, 3);
    let told = scene.diff(asked(5, 15)).await.unwrap();
    assert_eq!((told.gaps.len(), told.operations), (1, 5));
    let lack = &told.gaps[0];
    assert_eq!(
        (lack.shard_id, lack.after_us, lack.before_us),
        (Some(1), at(5), at(15))
    );
    let why = "no log of it that can be read is archived; an archived log can't be read that may be one of docs (timeline ";
    assert!(lack.why.starts_with(why), "{lack:?}");
    scene.running.stop().await;
}

fn code(status: &Status) -> &str {
    let code = status.metadata().get("holdfast-code");
    code.unwrap().to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let mut scene = scene().await;
    let books = v1::DiffRequest {
        collection: "books".into(),
        ..asked(5, 15)
    };
    let refused = scene.diff(books).await.unwrap_err();
    assert_eq!(code(&refused), "instant-not-recoverable");
    assert!(refused.message().contains("no log of collection books"));
    for request in [
        asked(15, 15),
        asked(15, 5),
        v1::DiffRequest {
            collection: String::new(),
            ..asked(5, 15)
        },
        v1::DiffRequest {
            ids: 100_001,
            ..asked(5, 15)
        },
    ] {
        let refused = scene.diff(request).await.unwrap_err();
        assert_eq!(code(&refused), "usage", "{refused:?}");
    }
    scene.running.stop().await;
}
