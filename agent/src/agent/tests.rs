//! The whole agent against stand-ins of Qdrant and the coordinator, in one process, on loopback.

mod capture;
mod coordinator;
mod extras;
mod full;
mod incremental;
mod living;
mod optimizers;
mod pace;
mod qdrant;
mod replay;
mod requests;
mod restore;
pub(crate) mod shard;
mod shop;
pub(crate) mod world;

use super::DRAIN_WITHIN;
use crate::Agent;
use holdfast_service::exit::ExitCode;
use std::sync::Arc;

#[tokio::test]
async fn a_state_directory_that_can_t_be_made_is_a_matter_of_configuration() {
    let mut world = world::World::new().await;
    let file = world.config.state_dir.with_file_name("file");
    std::fs::write(&file, "").unwrap();
    world.config.state_dir = file.join("state");
    let dial = Arc::new(world.coordinator.clone());
    let error = Agent::with_dial(world.config.clone(), dial).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Config);
    let text = error.to_string();
    assert!(text.contains("file/state"), "{text}");
    assert!(
        text.contains("state_dir must be a directory that"),
        "{text}"
    );
}

#[test]
fn a_container_gets_the_time_that_draining_may_take() {
    let compose = include_str!("../../../deploy/compose/quickstart/docker-compose.yml");
    let (_, agent) = compose.split_once("\n  agent:\n").unwrap();
    let service = agent.split("\n\n").next().unwrap();
    let (_, grace) = service.split_once("stop_grace_period: ").unwrap();
    let seconds: u64 = grace.split_once("s").unwrap().0.parse().unwrap();
    // once for the running command, once for everything else
    assert!(seconds > 2 * DRAIN_WITHIN.as_secs(), "{seconds} s");
}
