//! The whole agent against stand-ins of Qdrant and the coordinator, in one process, on loopback.

mod capture;
mod coordinator;
mod qdrant;
mod restore;
pub(crate) mod shard;
mod world;

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
