//! What restores and checks show of recovery points is kept, told, and counts when it is decided what goes.

use crate::agent::{Agent, files};
use crate::jobs::Viewer;
use crate::world::{Operator, World};
use holdfast_coordinator::core::Core;
use holdfast_coordinator::{retention, verify};
use holdfast_decide::Verdict;
use holdfast_proto::v1;
use holdfast_proto::v1::collection_proof::State;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_service::clock::SystemClock;
use std::sync::Arc;

/// A policy by which only what the floor needs stays.
const LAST_ONE: &str =
    "[retention]\nevery_hours = 0\nmin_proven = 1\n[[retention.rules]]\nkeep_last = 1\n";

async fn back_up(operator: &mut Operator, agent: &mut Agent, content: &[u8]) -> String {
    let job = operator.backup().await;
    let command = agent.command().await;
    agent.capture(&command, &files(&[("a", content)])).await;
    job.end().await.0.backup.unwrap().recovery_point
}

/// Restores beside what exists; the agent says how many points there are.
async fn restore(operator: &mut Operator, agent: &mut Agent, point: &str, points: u64) -> String {
    let mut job = operator
        .restore(v1::RestoreRequest {
            recovery_point: point.into(),
            collections: vec![v1::CollectionMapping {
                source: "docs".into(),
                target: "back".into(),
            }],
            ..Default::default()
        })
        .await;
    let id = job.id().await;
    let command = agent.command().await;
    let done = v1::RestoreDone {
        points,
        uploaded_bytes: 5,
        ..Default::default()
    };
    agent.answer(&command, Outcome::Restore(done)).await;
    job.end().await;
    id
}

async fn proofs(operator: &mut Operator, point: &str) -> Vec<v1::CollectionProof> {
    let listed = operator.0.list_backups(v1::ListBackupsRequest::default());
    let backups = listed.await.unwrap().into_inner().backups;
    let found = backups.into_iter().find(|b| b.recovery_point == point);
    found.expect("it is listed").proofs
}

async fn reasons(core: &Core, point: &str) -> Vec<String> {
    let planned = retention::plan(core).await.unwrap();
    let verdict = |verdict: &&Verdict| verdict.id.to_string() == point;
    let verdict = planned.verdicts.iter().find(verdict).unwrap();
    verdict.reasons.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_proves_a_point_and_the_floor_counts_it() {
    let world = World::with(LAST_ONE);
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let old = back_up(&mut operator, &mut agent, b"old").await;
    let middle = back_up(&mut operator, &mut agent, b"middle").await;
    let new = back_up(&mut operator, &mut agent, b"new").await;
    assert_eq!(reasons(&core, &old).await, ["no rule keeps it: docs"]);
    assert_eq!(proofs(&mut operator, &old).await, []);

    let job = restore(&mut operator, &mut agent, &old, 3).await;
    let proven = proofs(&mut operator, &old).await;
    let [proof] = &proven[..] else {
        panic!("one collection was tried: {proven:?}");
    };
    assert_eq!(
        (proof.collection.as_str(), proof.state()),
        ("docs", State::Proven)
    );
    assert_eq!(proof.job, job);
    assert_eq!(
        reasons(&core, &old).await,
        ["the newest proven point: docs"]
    );
    assert_eq!(reasons(&core, &middle).await, ["no rule keeps it: docs"]);

    // What came back of the newest was something else: the last sound one has its place.
    restore(&mut operator, &mut agent, &new, 2).await;
    let failed = proofs(&mut operator, &new).await;
    assert_eq!(failed[0].state(), State::Failed);
    assert!(
        failed[0].why.starts_with("2 points came back, "),
        "{failed:?}"
    );
    let kept = reasons(&core, &middle).await;
    assert!(kept.contains(&"last 1 of 1: docs".to_owned()), "{kept:?}");
    let kept = reasons(&core, &new).await;
    assert!(
        kept.iter()
            .any(|why| why.starts_with("failed its proof: docs: ")),
        "{kept:?}"
    );

    // A restart forgets neither, and a later restore has the last word.
    running.stop().await;
    drop(core);
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    assert_eq!(proofs(&mut operator, &old).await, proven);
    assert_eq!(proofs(&mut operator, &new).await, failed);
    restore(&mut operator, &mut agent, &new, 3).await;
    assert_eq!(proofs(&mut operator, &new).await[0].state(), State::Proven);
    let kept = reasons(&core, &new).await;
    assert!(
        kept.contains(&"the newest proven point: docs".to_owned()),
        "{kept:?}"
    );
    assert_eq!(reasons(&core, &old).await, ["no rule keeps it: docs"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_found_damaged_is_shown_with_the_point() {
    let world = World::with(LAST_ONE);
    let (running, core) = world.start_at(Arc::new(SystemClock)).await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    agent.report(&["docs"]).await;
    operator.sees("n1", &["docs"]).await;
    let old = back_up(&mut operator, &mut agent, &[1; 70_000]).await;
    let packs: Vec<_> = packs(&world);
    let new = back_up(&mut operator, &mut agent, &[2; 70_000]).await;
    for pack in packs {
        std::fs::remove_file(pack).unwrap();
    }
    drop(core.shutdown.spawn(verify::run(core.clone(), core.verify)));
    let mut viewer = Viewer::new(&world, &running).await;
    viewer.verify(100).await.end().await;
    let states = |proofs: Vec<v1::CollectionProof>| {
        let each = proofs
            .iter()
            .map(|proof| (proof.collection.clone(), proof.state()));
        each.collect::<Vec<_>>()
    };
    let damaged = states(proofs(&mut operator, &old).await);
    assert_eq!(damaged, [("docs".to_owned(), State::Damaged)]);
    assert_eq!(states(proofs(&mut operator, &new).await), []);
    let why = reasons(&core, &old).await;
    assert!(
        why.iter()
            .any(|why| why.starts_with("failed its proof: docs: ")),
        "{why:?}"
    );
    running.stop().await;
}

/// The packs of the repository.
fn packs(world: &World) -> Vec<std::path::PathBuf> {
    let folder = world.dir.path().join("repo/packs");
    let below = std::fs::read_dir(folder).unwrap();
    let each = below.flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap());
    each.map(|entry| entry.unwrap().path()).collect()
}
