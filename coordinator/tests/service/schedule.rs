//! Schedules run by the clock, once for each instant, across restarts and catalogues; and who does not run is told of.

use crate::agent::{Agent, files};
use crate::world::{Operator, Running, World};
use holdfast_coordinator::core::Core;
use holdfast_coordinator::schedule::look;
use holdfast_decide::schedule::{OpenState, ScheduleMemory};
use holdfast_service::clock::{Clock as _, FixedClock, SystemClock};
use holdfast_types::{ScheduleName, Timestamp};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

const POLICY: &str = r#"
nodes = ["n1"]
[[schedules]]
name = "minutely"
every = "1m"
tags = ["auto"]
"#;

fn minutely() -> ScheduleName {
    "minutely".parse().unwrap()
}

/// A world with that policy, and a clock that stands a second after a full minute.
fn world() -> (World, FixedClock) {
    let mut world = World::new();
    world.follow(POLICY);
    let micros = SystemClock.now().as_micros();
    let full = micros - micros.rem_euclid(60_000_000);
    (
        world,
        FixedClock::new(Timestamp::from_micros(full + 1_000_000)),
    )
}

fn memory(core: &Core) -> ScheduleMemory {
    core.schedules.get(&minutely()).unwrap()
}

async fn agent(world: &World, running: &Running, operator: &mut Operator) -> Agent {
    let agent = Agent::join(world, running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    agent
}

/// Carries out the capture that was begun.
async fn captured(core: &Arc<Core>, agent: &mut Agent, operator: &mut Operator) {
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", b"content")])).await;
    operator.settled().await;
    look(core).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instant_is_answered_once_and_silence_is_told() {
    let (world, clock) = world();
    let (running, core) = world.start_at(Arc::new(clock.clone())).await;
    let mut operator = world.operator(&running).await;
    look(&core).await.unwrap();
    clock.advance(Duration::from_secs(59));
    look(&core).await.unwrap();
    assert!(core.book.list().await.is_empty(), "n1 is waited for");

    let mut agent_1 = agent(&world, &running, &mut operator).await;
    look(&core).await.unwrap();
    assert_eq!(core.book.list().await.len(), 1, "due and begun");
    let job = core.book.list().await[0].id.clone();
    // As if the process had ended before it was recorded whose job this is.
    let mut torn = memory(&core);
    torn.open.as_mut().unwrap().state = OpenState::Running { job: None };
    core.schedules
        .put(&core.catalog, &minutely(), torn)
        .await
        .unwrap();
    look(&core).await.unwrap();
    let open = memory(&core).open.unwrap();
    assert_eq!(open.state, OpenState::Running { job: Some(job) });
    captured(&core, &mut agent_1, &mut operator).await;
    look(&core).await.unwrap();
    let done = memory(&core);
    assert_eq!((done.satisfied, done.failures), (clock.now(), 0));
    assert_eq!(core.book.list().await.len(), 1);
    let points = core.catalog.points().await.unwrap();
    let planned = clock.now();
    assert_eq!(
        points[0].note,
        format!("schedule minutely, planned {planned}")
    );
    assert!(points[0].tags.iter().any(|tag| tag.as_str() == "auto"));
    assert_eq!(operator.status().await.warnings, [""; 0]);
    drop((core, agent_1));
    running.stop().await;

    let (running, core) = world.start_at(Arc::new(clock.clone())).await;
    let mut operator = world.operator(&running).await;
    look(&core).await.unwrap();
    assert_eq!(memory(&core), done, "a restart repeats nothing");
    clock.advance(2 * MINUTE);
    look(&core).await.unwrap();
    look(&core).await.unwrap();
    assert_eq!(memory(&core).failures, 1, "one run for all, which failed");
    let warnings = operator.status().await.warnings;
    assert!(
        warnings[0].starts_with("schedule minutely is late by 1m: "),
        "{warnings:?}"
    );
    assert!(warnings[0].contains("node n1") && warnings[0].contains("`holdfast backup create`"));

    let mut agent_2 = agent(&world, &running, &mut operator).await;
    clock.advance(MINUTE);
    look(&core).await.unwrap();
    captured(&core, &mut agent_2, &mut operator).await;
    assert_eq!(memory(&core).satisfied, clock.now());
    assert_eq!(operator.status().await.warnings, [""; 0]);
    drop((core, agent_2));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_catalogue_knows_what_was_answered_and_begins_what_was_recorded() {
    let (mut world, clock) = world();
    let (running, core) = world.start_at(Arc::new(clock.clone())).await;
    let mut operator = world.operator(&running).await;
    let mut agent_1 = agent(&world, &running, &mut operator).await;
    look(&core).await.unwrap();
    clock.advance(Duration::from_secs(59));
    // As if the process had ended before the job was recorded.
    let mut torn = memory(&core);
    torn.begin(clock.now(), 1, 1, false, clock.now());
    core.schedules
        .put(&core.catalog, &minutely(), torn)
        .await
        .unwrap();
    look(&core).await.unwrap();
    captured(&core, &mut agent_1, &mut operator).await;
    let answered = clock.now();
    assert_eq!(memory(&core).satisfied, answered);
    drop((core, agent_1));
    running.stop().await;

    world.config.state_dir = world.dir.path().join("another");
    world.rebuild().await;
    clock.advance(2 * MINUTE);
    let (running, core) = world.start_at(Arc::new(clock.clone())).await;
    let mut operator = world.operator(&running).await;
    let mut agent_2 = agent(&world, &running, &mut operator).await;
    look(&core).await.unwrap();
    assert_eq!(memory(&core).satisfied, answered);
    assert_eq!(
        memory(&core).handled,
        clock.now(),
        "what came due meanwhile begins"
    );
    captured(&core, &mut agent_2, &mut operator).await;
    assert_eq!(memory(&core).satisfied, clock.now());
    drop((core, agent_2));
    running.stop().await;
}
