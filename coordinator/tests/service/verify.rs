//! The repository is checked in the background, and a restart remembers what was found.

use crate::world::World;
use holdfast_coordinator::config::Location;
use holdfast_coordinator::core::Core;
use holdfast_coordinator::repository::{Creation, open};
use holdfast_coordinator::verify::Ended;
use holdfast_coordinator::{start, verify};
use holdfast_repository::{VerifyLevel, VerifyOptions};
use holdfast_service::clock::{Clock as _, FixedClock, SystemClock};
use holdfast_service::shutdown::Shutdown;
use holdfast_types::Timestamp;
use std::sync::Arc;
use std::time::Duration;

async fn core(world: &World, clock: &FixedClock) -> (Arc<Core>, Shutdown) {
    let shutdown = Shutdown::new();
    let core = start::open_core(&world.config, shutdown.clone(), Arc::new(clock.clone()));
    let core = core.await.unwrap();
    drop(shutdown.spawn(verify::run(core.clone(), core.verify)));
    (core, shutdown)
}

/// The first check that ends after this instant.
async fn ended_after(core: &Core, after: Timestamp) -> Ended {
    let poll = async {
        loop {
            match core.verified.get().last {
                Some(last) if last.at > after => return last,
                Some(_) | None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll)
        .await
        .expect("a check that is due is carried out")
}

fn warnings(core: &Core) -> Vec<String> {
    let now = core.clock.now();
    core.verified
        .get()
        .warnings(&core.verify, core.started, now)
}

#[tokio::test]
async fn damage_is_found_in_the_background_and_remembered() {
    let world = World::new();
    let clock = FixedClock::new(SystemClock.now());
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let (first, shutdown) = core(&world, &clock).await;
    assert_eq!(first.verified.get().last, None, "not at once");
    clock.advance(hours(1));
    let sound = ended_after(&first, Timestamp::EPOCH).await;
    assert!(
        !sound.needs_attention && sound.warnings.is_empty(),
        "{sound:?}"
    );
    assert!(
        sound.covered.contains("a sample of 5 % from slot 0"),
        "{sound:?}"
    );
    assert_eq!(warnings(&first), Vec::<String>::new());

    let Location::Disk(repository) = &world.config.repository.place else {
        panic!("a directory was configured");
    };
    std::fs::write(repository.join("holdfast.json"), "rotten").unwrap();
    clock.advance(hours(25));
    let damaged = ended_after(&first, sound.at).await;
    assert!(damaged.needs_attention);
    assert!(damaged.covered.contains("from slot 5"), "{damaged:?}");
    let told = warnings(&first);
    assert!(told[0].contains("holdfast.json"), "{told:?}");
    shutdown.stop();
    shutdown.drain(Duration::from_secs(30)).await.unwrap();
    drop(first);

    // Long after, by another process: known, and known to be old.
    clock.advance(hours(74));
    let (second, shutdown) = core(&world, &clock).await;
    assert_eq!(second.verified.get().last, Some(damaged));
    let told = warnings(&second);
    assert!(told[0].contains("holdfast.json"), "{told:?}");
    assert!(
        told[1].contains("longer ago than [verify] asks for"),
        "{told:?}"
    );
    shutdown.stop();
    shutdown.drain(Duration::from_secs(30)).await.unwrap();
}

#[tokio::test]
async fn what_another_process_found_is_told() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let told = |warnings: &[String]| {
        let damage = |warning: &&String| warning.contains("known to be damaged");
        warnings.iter().find(damage).cloned()
    };
    assert_eq!(told(&operator.status().await.warnings), None);
    let Location::Disk(place) = &world.config.repository.place else {
        panic!("a directory was configured");
    };
    std::fs::write(place.join("holdfast.json"), "rotten").unwrap();
    let repository = open(&world.config, Creation::Never, SystemClock.now()).await;
    let options = VerifyOptions {
        record: true,
        ..VerifyOptions::read_only(VerifyLevel::Quick, SystemClock.now())
    };
    let report = repository.unwrap().verify_with(&options, &()).await;
    assert!(!report.unwrap().is_sound());
    let told = told(&operator.status().await.warnings).expect("it is told at once");
    assert!(told.contains("holdfast.json"), "{told}");
    running.stop().await;
}
