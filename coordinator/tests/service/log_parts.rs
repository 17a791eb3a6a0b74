//! Parts of archived logs that go because nothing needs them, and parts that become one: what is promised can be restored meanwhile.

use crate::instant::{Scene, back_up, replayed, scene_at, scene_in, timeline, window};
use crate::world::World;
use holdfast_coordinator::logs::{CollectionStanding, Compacted, compact, standings};
use holdfast_coordinator::retention::{self, LogRemoval, Removal};
use holdfast_proto::v1;
use holdfast_proto::v1::follow_answer::Message as Answer;
use holdfast_proto::v1::follow_message::Message;
use holdfast_proto::v1::log_archive_client::LogArchiveClient;
use holdfast_proto::v1::restore_target::Target;
use holdfast_service::clock::{Clock as _, FixedClock, SystemClock};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

fn world() -> World {
    World::with(
        "[retention]\nevery_hours = 0\ngrace_hours = 0\n[[retention.rules]]\nkeep_last = 9\n",
    )
}

fn firsts(scene: &Scene) -> Vec<u64> {
    let names = scene.part_files().into_keys();
    names.map(|name| name.parse().unwrap()).collect()
}

async fn surplus(scene: &Scene) -> Vec<LogRemoval> {
    Box::pin(retention::plan(&scene.core)).await.unwrap().logs
}

async fn prune(scene: &Scene) -> Vec<LogRemoval> {
    let by = Some("operator/op");
    let pruned = Box::pin(retention::prune(&scene.core, by)).await;
    pruned.unwrap().logs
}

/// Marks the first point for removal.
async fn delete(scene: &Scene) {
    let removal = Removal {
        point: scene.point.parse().unwrap(),
        reason: "no longer needed".into(),
        despite_floor: true,
        dry_run: false,
    };
    let marked = retention::delete(&scene.core, &removal, "operator/op").await;
    marked.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_go_with_the_last_point_that_needs_them() {
    let mut scene = scene_in(world()).await;
    scene.agent.report(&["docs"]).await;
    scene.operator.sees("n1", &["docs"]).await;
    let (newer, _) = back_up(&mut scene.operator, &mut scene.agent, 45).await;
    assert_eq!(surplus(&scene).await, [], "both points go on with the log");
    delete(&scene).await;
    assert_eq!(surplus(&scene).await, [], "it may still be taken back");
    assert_eq!(prune(&scene).await, []);
    assert_eq!(firsts(&scene), [3, 20, 40]);

    // Nobody knows what a point needs that can't be read.
    let unreadable = scene.repository().join("points/20200101t000000z-00000001");
    std::fs::write(&unreadable, b"?").unwrap();
    let by = Some("operator/op");
    let refused = Box::pin(retention::prune(&scene.core, by)).await;
    assert_eq!(refused.unwrap_err().code, "repository-damaged");
    assert_eq!(firsts(&scene), [3, 20, 40]);
    std::fs::remove_file(unreadable).unwrap();

    let planned = surplus(&scene).await;
    let told = |removal: &LogRemoval| (removal.parts, removal.of, removal.refused);
    assert_eq!(planned.iter().map(told).collect::<Vec<_>>(), [(2, 3, 0)]);
    assert!(planned[0].why.contains(&newer), "{planned:?}");
    assert_eq!(firsts(&scene), [3, 20, 40], "a plan changes nothing");
    assert_eq!(prune(&scene).await, planned);
    assert_eq!(firsts(&scene), [40]);
    let latest = Scene::order(Target::Latest(true));
    let plan = scene.plan(latest).await.unwrap();
    assert_eq!(plan.recovery_point, newer);
    let log = &plan.steps[0].logs[0];
    assert_eq!((log.from, log.until), (45, 60));
    assert_eq!(surplus(&scene).await, []);
    scene.running.stop().await;
}

type Stream = (mpsc::Sender<v1::FollowMessage>, Streaming<v1::FollowAnswer>);

/// The agent follows the log, and says that it ends before operation 60.
async fn follow(scene: &Scene) -> Stream {
    let mut client = LogArchiveClient::new(scene.agent.channel.clone());
    let (out, messages) = mpsc::channel(8);
    let say = async |message| {
        let message = v1::FollowMessage {
            message: Some(message),
        };
        out.send(message).await.unwrap();
    };
    say(Message::Seen(v1::LogSeen {
        log: 1,
        collection: "docs".into(),
        shard_id: 0,
        incarnation: vec![9; 16].into(),
        server_version: "1.18.3".into(),
    }))
    .await;
    let answers = client.follow(ReceiverStream::new(messages)).await;
    let mut answers = answers.unwrap().into_inner();
    let (mut place, mut mark) = (None, None);
    while place.is_none() || mark.is_none() {
        match answers.message().await.unwrap().unwrap().message.unwrap() {
            Answer::Place(found) => place = found.position,
            Answer::Mark(found) => mark = Some(found.number),
            Answer::Durable(_) | Answer::Refused(_) => panic!("nothing was sent"),
        }
    }
    assert_eq!(place.unwrap().next, 60);
    say(Message::Standing(v1::LogStanding {
        log: 1,
        timeline: timeline().as_bytes().to_vec().into(),
        next: 60,
        mark: mark.unwrap(),
        since_us: 0,
        first: None,
    }))
    .await;
    while scene.core.logs.ends().is_empty() {
        tokio::task::yield_now().await;
    }
    (out, answers)
}

/// What is shown as recoverable never rests upon entries that were deleted since the start.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_entries_are_not_counted_on() {
    let mut scene = scene_in(world()).await;
    let stream = follow(&scene).await;
    let older = scene.core.catalog.points().await.unwrap();
    let shown = |scene: &Scene| -> CollectionStanding {
        let docs = "docs".parse().unwrap();
        let known = std::iter::once(docs).collect();
        let (_, shown) = standings(&scene.core, &older, &known).pop_first().unwrap();
        shown
    };
    let before = shown(&scene);
    assert!(before.continuous, "{before:?}");
    assert!(
        before.recoverable_until > Some(scene.captured),
        "{before:?}"
    );

    scene.agent.report(&["docs"]).await;
    scene.operator.sees("n1", &["docs"]).await;
    back_up(&mut scene.operator, &mut scene.agent, 45).await;
    delete(&scene).await;
    prune(&scene).await;
    assert_eq!(prune(&scene).await[0].parts, 2);
    let after = shown(&scene);
    assert_eq!(
        (after.continuous, after.recoverable_until),
        (false, Some(scene.captured))
    );
    drop(stream);
    scene.running.stop().await;
}

/// Makes files look as old as that.
fn age(scene: &Scene, age: Duration, which: impl Fn(&str) -> bool) {
    let then = SystemTime::now() - age;
    for (name, path) in scene.part_files() {
        if which(&name) {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(then).unwrap();
        }
    }
}

/// A part for each of forty further operations.
async fn forty_more(scene: &Scene) {
    let repository = &scene.core.repository;
    let listed = repository.list_wal(&scene.core.namespace).await;
    let series = listed.unwrap().remove(0).series;
    let mut crc = repository
        .last_wal(&series)
        .await
        .unwrap()
        .unwrap()
        .run()
        .end;
    for index in 60..100 {
        let (part, end) = scene.part_of(index..index + 1, crc);
        crc = end;
        repository.append_wal(scene.core.epoch, part).await.unwrap();
    }
}

/// Whether those that a merged part stands for have been there for a day is not known by a clock that may be wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumped_deletes_no_part() {
    let clock = FixedClock::new(SystemClock.now());
    let began = clock.now();
    let scene = scene_at(world(), Arc::new(clock.clone())).await;
    forty_more(&scene).await;
    age(&scene, Duration::from_hours(2), |_| true);
    let run = async || compact(&scene.core).await.unwrap();
    let both = |merged, deleted| Compacted { merged, deleted };
    assert_eq!(run().await, both(1, 0));
    let merged = format!("{:020}-{:020}", 3, 99);
    age(&scene, Duration::from_hours(25), |name| *name == merged);
    let hours = Duration::from_hours(48);
    for wrong in [began.after(hours), began.before(Duration::from_mins(6))] {
        clock.set(wrong);
        assert_eq!(run().await, both(0, 0), "{wrong}");
        assert_eq!(scene.part_files().len(), 3 + 40 + 1, "{wrong}");
    }
    clock.set(began);
    assert_eq!(run().await, both(0, 42));
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_parts_become_one_and_nothing_is_missing() {
    let mut scene = scene_in(world()).await;
    let before = window(&mut scene).await;
    forty_more(&scene).await;
    let run = async |scene: &Scene| compact(&scene.core).await.unwrap();
    assert_eq!(run(&scene).await, Compacted::default(), "they are young");
    let hours = |hours: u64| Duration::from_hours(hours);
    age(&scene, hours(2), |_| true);
    let done = run(&scene).await;
    assert_eq!((done.merged, done.deleted), (1, 0));
    let merged = format!("{:020}-{:020}", 3, 99);
    assert_eq!(scene.part_files().len(), 3 + 40 + 1);
    assert_eq!(
        run(&scene).await,
        Compacted::default(),
        "nothing is left to do"
    );

    let latest = Scene::order(Target::Latest(true));
    let job = scene.operator.restore(latest).await;
    let command = scene.agent.command().await;
    let all = scene.log(&scene.agent, &command.command_id, 0).await;
    let want: Vec<Vec<u8>> = (5..100).map(|index| vec![index; 100]).collect();
    assert_eq!(all.unwrap(), want);
    scene.agent.answer(&command, replayed(3, 95)).await;
    job.end().await;

    age(&scene, hours(25), |name| *name == merged);
    // One that can't be read stands for nothing.
    let path = scene.part_files().remove(&merged).unwrap();
    let sound = std::fs::read(&path).unwrap();
    let mut bad = sound.clone();
    bad[100] ^= 1;
    let put = |bytes: &[u8]| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        age(&scene, hours(25), |name| *name == merged);
    };
    put(&bad);
    assert_eq!(run(&scene).await, Compacted::default());
    put(&sound);
    let done = run(&scene).await;
    assert_eq!((done.merged, done.deleted), (0, 42));
    let names: Vec<String> = scene.part_files().into_keys().collect();
    assert_eq!(names, [merged, format!("{:020}", 99)]);

    let after = window(&mut scene).await;
    let (from, to) = (&before.stretches[0], &after.stretches[0]);
    assert_eq!(from.from_us, to.from_us);
    assert!(from.to_us < to.to_us, "{after:?}");
    let instant = v1::RestoreRequest {
        recovery_point: scene.point.clone(),
        ..Scene::order(Target::InstantUs(from.to_us))
    };
    let plan = scene.plan(instant).await.unwrap();
    assert_eq!(plan.steps[0].logs[0].until, 60);
    scene.running.stop().await;
}
