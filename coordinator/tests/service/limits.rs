//! What a policy limits, and in which order it has collections come back.

use crate::agent::{Agent, files, hello};
use crate::cluster::{Cluster, Placed};
use crate::jobs::Viewer;
use crate::world::{Job, Operator, Running, World};
use holdfast_coordinator::schedule::look;
use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_proto::v1::schedules_client::SchedulesClient;
use holdfast_service::clock::{Clock as _, FixedClock, SystemClock};
use std::sync::Arc;
use std::time::Duration;

/// A schedule that never comes due while a test runs.
const ONCE_A_YEAR: &str = "[[schedules]]\nname = \"yearly\"\ncron = \"0 3 29 2 *\"\n";

/// Rules that give these collections these places.
fn order(places: &[(&str, u32)]) -> String {
    let rule = |(name, place): &(&str, u32)| {
        format!("[[rules]]\ncollections = [\"{name}\"]\nrecovery_order = {place}\n")
    };
    let rules: String = places.iter().map(rule).collect();
    format!("{ONCE_A_YEAR}{rules}[[rules]]\ncollections = [\"*\"]\n")
}

/// An agent that has these collections.
async fn joined(world: &World, running: &Running, names: &[&str]) -> (Agent, Operator) {
    let mut operator = world.operator(running).await;
    let agent = Agent::join(world, running, "n1").await;
    agent.report(names).await;
    operator.sees("n1", names).await;
    (agent, operator)
}

fn restores(command: &v1::Command) -> &str {
    match &command.command {
        Some(v1::command::Command::RestoreCollection(task)) => &task.target_collection,
        other => panic!("no restore: {other:?}"),
    }
}

async fn restored(agent: &Agent, command: &v1::Command) {
    let done = v1::RestoreDone {
        points: 3,
        ..Default::default()
    };
    agent.answer(command, Outcome::Restore(done)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_come_back_in_the_policys_order_and_a_job_keeps_its_own() {
    let mut world = World::new();
    world.follow(&order(&[("logs", 5000), ("users", 1)]));
    let running = world.start().await;
    let names = ["logs", "other", "users"];
    let (mut agent, mut operator) = joined(&world, &running, &names).await;
    let job = operator.backup().await;
    for _ in names {
        let command = agent.command().await;
        agent.capture(&command, &files(&[("a", b"a")])).await;
    }
    let point = job.end().await.0.backup.unwrap().recovery_point;
    agent.report(&[]).await;
    operator.sees("n1", &[]).await;
    let request = v1::RestoreRequest {
        recovery_point: point,
        ..Default::default()
    };
    let plan = operator.0.plan_restore(request.clone()).await;
    let plan = plan.unwrap().into_inner();
    let steps = plan.steps.iter();
    let steps: Vec<_> = steps
        .map(|step| (step.source_collection.as_str(), step.recovery_order))
        .collect();
    let wanted = [("users", 1), ("other", 1000), ("logs", 5000)];
    assert_eq!(steps, wanted.map(|(name, place)| (name, Some(place))));
    let policy = world.dir.path().join("policy.toml");
    assert_eq!(plan.order_from, format!("the policy {}", policy.display()));

    let mut job = operator.restore(request).await;
    let id = job.id().await;
    let first = agent.command().await;
    assert_eq!(restores(&first), "users");
    restored(&agent, &first).await;
    let second = agent.command().await;
    assert_eq!(restores(&second), "other");
    running.stop().await;

    // Another policy, while the job is under way.
    world.follow(&order(&[("logs", 2), ("users", 9000)]));
    let running = world.start().await;
    let hello = v1::Hello {
        open_commands: vec![second.command_id.clone()],
        ..hello("n1")
    };
    let channel = world.channel(&running, "n1").await;
    let mut agent = Agent::with(channel, hello).await.unwrap();
    agent.report(&[]).await;
    let again = agent.command().await;
    assert_eq!(again.command_id, second.command_id);
    restored(&agent, &again).await;
    let third = agent.command().await;
    assert_eq!(restores(&third), "logs");
    restored(&agent, &third).await;
    let mut operator = world.operator(&running).await;
    let ended = operator.settled().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let shown = Viewer::new(&world, &running).await.show(&id).await;
    let said = shown
        .log
        .iter()
        .filter(|line| line.text.contains("in the order of"));
    let said: Vec<&str> = said.map(|line| line.text.as_str()).collect();
    let told = format!(
        "collections come back in the order of the policy {}: users (1), other (1000), logs (5000)",
        policy.display()
    );
    assert_eq!(said, [told], "said once, by the order that counts");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_nobody_gives_an_order() {
    let world = World::new();
    let running = world.start().await;
    let (mut agent, mut operator) = joined(&world, &running, &["a", "b"]).await;
    let job = operator.backup().await;
    for _ in 0..2 {
        let command = agent.command().await;
        agent.capture(&command, &files(&[("a", b"a")])).await;
    }
    let point = job.end().await.0.backup.unwrap().recovery_point;
    let same = |name: &str| v1::CollectionMapping {
        source: name.into(),
        target: format!("{name}2"),
    };
    let request = v1::RestoreRequest {
        recovery_point: point,
        collections: vec![same("b"), same("a")],
        ..Default::default()
    };
    let plan = operator.0.plan_restore(request).await.unwrap().into_inner();
    let steps = plan
        .steps
        .iter()
        .map(|step| step.source_collection.as_str());
    assert_eq!(steps.collect::<Vec<_>>(), ["b", "a"], "as asked for");
    assert_eq!(plan.order_from, "");
    assert!(plan.steps.iter().all(|step| step.recovery_order.is_none()));
    running.stop().await;
}

const PLACED: Placed<'_> = &[
    ("a", &[1]),
    ("b", &[1]),
    ("c", &[2]),
    ("d", &[3]),
    ("e", &[3]),
];

async fn backup(operator: &mut Operator, limits: v1::BackupLimits) -> Job {
    let request = v1::CreateBackupRequest {
        method: v1::CaptureMethod::Auto.into(),
        limits: Some(limits),
        ..Default::default()
    };
    let plan = operator.0.plan_backup(request.clone()).await.unwrap();
    assert_eq!(plan.into_inner().limits, Some(limits), "told as asked for");
    let events = operator.0.create_backup(request).await.unwrap();
    Job::of(events.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_nodes_capture_at_once_than_may() {
    let mut cluster = Cluster::start("", PLACED).await;
    let limits = v1::BackupLimits {
        max_nodes: 1,
        ..Default::default()
    };
    let job = backup(&mut cluster.operator, limits).await;
    // Those with the most to do begin; of equals, the first by name.
    for node in [0, 0, 2, 2, 1] {
        let command = cluster.agents[node].command().await;
        cluster.agents[node]
            .deliver(&command, &files(&[("x", command.command_id.as_bytes())]))
            .await;
        for other in &mut cluster.agents {
            assert!(!other.has_command(), "a second node at once");
        }
        cluster.agents[node]
            .capture(&command, &files(&[("x", command.command_id.as_bytes())]))
            .await;
    }
    let (ended, _) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    assert_eq!(ended.backup.unwrap().collections.len(), PLACED.len());

    let two = v1::BackupLimits {
        max_nodes: 2,
        ..Default::default()
    };
    let job = backup(&mut cluster.operator, two).await;
    let first = cluster.agents[0].command().await;
    let second = cluster.agents[2].command().await;
    cluster.agents[0]
        .deliver(&first, &files(&[("x", b"1")]))
        .await;
    assert!(!cluster.agents[1].has_command(), "a third node at once");
    for (node, command) in [(0, first), (2, second)] {
        cluster.agents[node]
            .capture(&command, &files(&[("x", b"1")]))
            .await;
        let command = cluster.agents[node].command().await;
        cluster.agents[node]
            .capture(&command, &files(&[("x", b"1")]))
            .await;
    }
    let last = cluster.agents[1].command().await;
    cluster.agents[1]
        .capture(&last, &files(&[("x", b"1")]))
        .await;
    assert_eq!(job.end().await.0.state(), v1::JobState::Succeeded);
    cluster.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_the_limits_of_its_schedule_and_keeps_them() {
    let mut world = World::new();
    world.follow(
        "nodes = [\"n1\"]\n[limits]\nmax_nodes = 3\n\
         [[schedules]]\nname = \"minutely\"\nevery = \"1m\"\nlimits = { max_nodes = 2 }\n",
    );
    let clock = FixedClock::new(SystemClock.now());
    let (running, core) = world.start_at(Arc::new(clock.clone())).await;
    let (agent, operator) = joined(&world, &running, &["docs"]).await;
    look(&core).await.unwrap();
    clock.advance(Duration::from_secs(60));
    look(&core).await.unwrap();
    let of_job = async |core: &holdfast_coordinator::core::Core| {
        let jobs = core.book.list().await;
        let plan = &jobs[0].backup().expect("a backup").plan;
        plan.limits.max_nodes.map(u32::from)
    };
    assert_eq!(of_job(&core).await, Some(2));
    drop((core, agent, operator));
    running.stop().await;
    world.follow("[[schedules]]\nname = \"minutely\"\nevery = \"1m\"\n");
    let (running, core) = world.start_at(Arc::new(clock)).await;
    assert_eq!(of_job(&core).await, Some(2), "whatever the policy says now");
    drop(core);
    running.stop().await;
}

fn share(command: &v1::Command) -> u64 {
    match &command.command {
        Some(v1::command::Command::CaptureShard(task)) => task.bytes_per_second,
        other => panic!("no capture: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bandwidth_is_shared_by_the_nodes_that_capture() {
    let mut cluster = Cluster::start("", PLACED).await;
    let limits = v1::BackupLimits {
        max_mib_per_sec: 6,
        ..Default::default()
    };
    let job = backup(&mut cluster.operator, limits).await;
    let [n1, n2, n3] = &mut cluster.agents;
    let (a, c, d) = (n1.command().await, n2.command().await, n3.command().await);
    assert_eq!([&a, &c, &d].map(share), [2 << 20; 3]);
    // One node has nothing more to do: the others share what it had, from their next capture on.
    n2.capture(&c, &files(&[("x", b"c")])).await;
    let mut viewer = Viewer::new(&cluster.world, &cluster.running).await;
    let id = cluster.operator.status().await.jobs.remove(0).job_id;
    loop {
        let shown = viewer.show(&id).await;
        if shown
            .log
            .iter()
            .any(|line| line.text.starts_with("captured c/0"))
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    n1.capture(&a, &files(&[("x", b"a")])).await;
    let b = n1.command().await;
    assert_eq!(share(&b), 3 << 20);
    n1.capture(&b, &files(&[("x", b"b")])).await;
    n3.capture(&d, &files(&[("x", b"d")])).await;
    let e = n3.command().await;
    n3.capture(&e, &files(&[("x", b"e")])).await;
    assert_eq!(job.end().await.0.state(), v1::JobState::Succeeded);
    cluster.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_keeps_no_limits_is_told_of() {
    let world = World::new();
    let running = world.start().await;
    let (mut agent, mut operator) = joined(&world, &running, &["docs"]).await;
    agent.report_unlimited(&["docs"]).await;
    let request = |mib| v1::CreateBackupRequest {
        method: v1::CaptureMethod::Auto.into(),
        limits: Some(v1::BackupLimits {
            max_mib_per_sec: mib,
            ..Default::default()
        }),
        ..Default::default()
    };
    let told = |notes: &[String]| notes.iter().any(|note| note.contains("keeps no limits"));
    let plan = operator.0.plan_backup(request(0)).await.unwrap();
    assert!(!told(&plan.into_inner().notes), "nothing to keep");
    let plan = operator.0.plan_backup(request(5)).await.unwrap();
    assert!(told(&plan.into_inner().notes));
    let events = operator.0.create_backup(request(5)).await.unwrap();
    let job = Job::of(events.into_inner());
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", b"a")])).await;
    let (ended, notes) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    assert!(told(&notes), "{notes:?}");
    running.stop().await;
}

/// How long searches may take in microseconds, and for how many milliseconds the capture may be held up.
fn courtesy(command: &v1::Command) -> (u64, u64) {
    match &command.command {
        Some(v1::command::Command::CaptureShard(task)) => {
            (task.max_query_latency_us, task.max_delay_ms)
        }
        other => panic!("no capture: {other:?}"),
    }
}

async fn slowed(agent: &Agent, command: &v1::Command, why: &str) {
    let progress = v1::Progress {
        stage: "reading".into(),
        slowed: why.into(),
        ..Default::default()
    };
    agent
        .say(Message::Progress(v1::CommandProgress {
            command_id: command.command_id.clone(),
            progress: Some(progress),
        }))
        .await;
}

/// Waits until the log of a job says so.
async fn logged(viewer: &mut Viewer, job: &str, text: &str) {
    let said = async {
        loop {
            let log = viewer.show(job).await.log;
            if log.iter().any(|line| line.text.contains(text)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), said)
        .await
        .expect("it is said in the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_held_up_no_longer_than_it_may_be_in_all() {
    let world = World::new();
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    let (mut agent, mut operator) = joined(&world, &running, &["a", "b", "c"]).await;
    let limits = v1::BackupLimits {
        max_query_latency_ms: 50,
        max_delay_ms: 10_000,
        ..Default::default()
    };
    let mut job = backup(&mut operator, limits).await;
    let id = job.id().await;
    let first = agent.command().await;
    assert_eq!(courtesy(&first), (50_000, 10_000));
    let mut viewer = Viewer::new(&world, &running).await;
    // News are looked at a few times a second: the second may come when the first has been seen.
    for (why, line) in [
        ("searches take 120 ms, limit 50 ms", "slowed down: searches"),
        ("", "slowed down no longer"),
    ] {
        slowed(&agent, &first, why).await;
        logged(&mut viewer, &id, line).await;
    }
    let content = files(&[("a", b"a")]);
    agent.capture_held_up(&first, &content, 4_000).await;
    let second = agent.command().await;
    assert_eq!(
        courtesy(&second),
        (50_000, 6_000),
        "what the first has left"
    );
    agent.capture_held_up(&second, &content, 6_500).await;
    let third = agent.command().await;
    assert_eq!(courtesy(&third), (0, 0), "it goes on regardless");
    agent.capture(&third, &content).await;
    let (ended, notes) = job.end().await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    let said = |text: &str| notes.iter().any(|note| note.contains(text));
    assert!(
        said("a/0 on n1: slowed down: searches take 120 ms, limit 50 ms"),
        "{notes:?}"
    );
    assert!(said("a/0 on n1: slowed down no longer"), "{notes:?}");
    assert!(
        said("held up for 4.0 s by the searches of others"),
        "{notes:?}"
    );
    let log = viewer.show(&id).await.log;
    assert!(
        log.iter()
            .any(|line| line.text.contains("slowed down: searches take 120 ms"))
    );
    let metrics = holdfast_coordinator::rpc::metrics::text(&core)
        .await
        .unwrap();
    let line = "holdfast_node_held_up_seconds{node=\"n1\"} 10.5";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    drop(core);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_a_calmer_moment_and_then_begins_all_the_same() {
    let mut world = World::new();
    world.follow(
        "nodes = [\"n1\"]\n[limits]\nmax_query_latency = \"50ms\"\nmax_delay = \"50s\"\n\
         [[schedules]]\nname = \"minutely\"\nevery = \"1m\"\n",
    );
    let micros = SystemClock.now().as_micros();
    let full = holdfast_types::Timestamp::from_micros(micros - micros.rem_euclid(60_000_000));
    let clock = FixedClock::new(full.after(Duration::from_secs(1)));
    let (running, core) = world.start_at(Arc::new(clock.clone())).await;
    let (mut agent, mut operator) = joined(&world, &running, &["docs"]).await;
    look(&core).await.unwrap();
    clock.advance(Duration::from_secs(59));
    let seen = async |micros: u64, core: &Arc<holdfast_coordinator::core::Core>| {
        agent.report_searches(&["docs"], micros).await;
        core.observe().await;
        look(core).await.unwrap();
        core.book.list().await.len()
    };
    assert_eq!(seen(80_000, &core).await, 0, "it is due, and waits");
    let mut schedules = SchedulesClient::new(world.channel(&running, "op").await);
    let waits = schedules.list_schedules(v1::ListSchedulesRequest {}).await;
    let waits = format!("{:?}", waits.unwrap().into_inner());
    assert!(
        waits.contains("a search takes 80 ms at node n1, and may take 50 ms"),
        "{waits}"
    );
    clock.advance(Duration::from_secs(30));
    assert_eq!(seen(50_000, &core).await, 1, "calm enough");
    let command = agent.command().await;
    assert_eq!(courtesy(&command), (50_000, 50_000));
    agent.capture(&command, &files(&[("a", b"a")])).await;
    operator.settled().await;
    look(&core).await.unwrap();

    clock.advance(Duration::from_secs(31));
    let seen = async |micros: u64, core: &Arc<holdfast_coordinator::core::Core>| {
        agent.report_searches(&["docs"], micros).await;
        core.observe().await;
        look(core).await.unwrap();
        core.book.list().await.len()
    };
    assert_eq!(seen(80_000, &core).await, 1, "the next is due, and waits");
    clock.advance(Duration::from_secs(51));
    assert_eq!(seen(80_000, &core).await, 2, "for long enough");
    let command = agent.command().await;
    assert_eq!(courtesy(&command), (0, 0), "it has given way enough");
    agent.capture(&command, &files(&[("a", b"b")])).await;
    assert_eq!(operator.settled().await.state(), v1::JobState::Succeeded);
    drop(core);
    running.stop().await;
}
