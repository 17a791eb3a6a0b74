//! Everything that is refused: agents, deliveries, repositories.

use crate::agent::{Agent, acknowledged, files, hello, put_chunk};
use crate::world::World;
use holdfast_archive::ChunkKey;
use holdfast_proto::v1;

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_do_not_belong_are_turned_away() {
    let world = World::new();
    let running = world.start().await;
    let mut other_node = hello("n1");
    other_node.node = "n2".into();
    let mut other_cluster = hello("n1");
    other_cluster.cluster = "prod".into();
    let mut other_release = hello("n1");
    other_release.program = Some(v1::ProgramVersion {
        version: "9.0.0".into(),
    });
    for (hello, want) in [
        (other_node, "its certificate is node n1's"),
        (other_cluster, "belongs to cluster prod"),
        (other_release, "install holdfast-agent 0."),
    ] {
        let channel = world.channel(&running, "n1").await;
        let refused = Agent::with(channel, hello).await.err().unwrap();
        assert!(refused.message().contains(want), "{refused}");
        assert!(!refused.details().is_empty());
    }
    // Whoever looks at the coordinator learns of it, until it is let in.
    let mut operator = world.operator(&running).await;
    let told = |warnings: Vec<String>| {
        let about = |warning: &String| warning.starts_with("the agent of node n1 is not let in");
        warnings.into_iter().find(about)
    };
    let warning = told(operator.status().await.warnings).unwrap();
    assert!(warning.contains("install holdfast-agent 0."), "{warning}");
    let _agent = Agent::join(&world, &running, "n1").await;
    assert_eq!(told(operator.status().await.warnings), None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_of_a_node_closes_the_first() {
    let world = World::new();
    let running = world.start().await;
    let mut first = Agent::join(&world, &running, "n1").await;
    let _second = Agent::join(&world, &running, "n1").await;
    let closed = first.next().await.unwrap_err();
    assert_eq!(closed.code(), tonic::Code::Aborted);
    let mut operator = world.operator(&running).await;
    assert_eq!(operator.status().await.nodes_connected, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_a_warning() {
    let world = World::new();
    let running = world.start().await;
    let mut late = hello("n1");
    late.now_us -= 3_600_000_000;
    let channel = world.channel(&running, "n1").await;
    let _agent = Agent::with(channel, late).await.unwrap();
    let mut operator = world.operator(&running).await;
    let warnings = operator.status().await.warnings;
    assert!(
        warnings
            .iter()
            .any(|w| w.starts_with("clock-skew: the clocks of node n1")),
        "{warnings:?}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_must_be_true_and_complete() {
    let world = World::new();
    let running = world.start().await;
    let mut operator = world.operator(&running).await;
    let mut agent = Agent::join(&world, &running, "n1").await;
    let other = Agent::join(&world, &running, "n2").await;
    agent.report(&["docs"]).await;
    other.report(&["books"]).await;
    operator.sees("n1", &["docs"]).await;
    operator.sees("n2", &["books"]).await;
    let _job = operator.backup().await;
    let command = agent.command().await;

    // Another node's command is as good as none.
    assert!(other.open(&command.command_id).await.is_err());

    // A chunk that is not what it says.
    let session = agent.open(&command.command_id).await.unwrap();
    let key = ChunkKey::from_slice(&session.chunk_id_key).unwrap();
    let good = v1::PutChunk {
        session_id: session.session_id.clone(),
        ..put_chunk(&key, b"good")
    };
    let bad = v1::PutChunk {
        chunk_id: vec![1; 32].into(),
        ..put_chunk(&key, b"bad")
    };
    let acks = agent
        .ingest()
        .put_chunks(tokio_stream::iter([good, bad]))
        .await;
    let refused = acknowledged(acks.unwrap().into_inner()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);

    // A recipe that names a chunk which never came: deliver again.
    let mut delivered = agent.deliver(&command, &files(&[("a", b"there")])).await;
    let never = files(&[("a", b"never sent")]);
    let recipe = holdfast_archive::ShardRecipe::decode(&delivered.recipe).unwrap();
    let mut file = recipe.files[0].clone();
    file.size = never["a"].len() as u64;
    file.extents = vec![holdfast_archive::Extent::Chunk {
        id: key.id(&never["a"]),
        len: u32::try_from(file.size).unwrap(),
    }];
    delivered.recipe = holdfast_archive::ShardRecipe::new(vec![file])
        .encode()
        .unwrap();
    let hash = holdfast_archive::ShardRecipe::hash(&delivered.recipe);
    delivered.header.recipe_hash = hash.to_vec().into();
    let refused = agent.commit(delivered).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted, "{refused}");

    // A recipe that says of a stored chunk that it is longer.
    let mut delivered = agent.deliver(&command, &files(&[("a", b"there")])).await;
    let recipe = holdfast_archive::ShardRecipe::decode(&delivered.recipe).unwrap();
    let mut file = recipe.files[0].clone();
    file.size = 6;
    file.extents = vec![holdfast_archive::Extent::Chunk {
        id: key.id(b"there"),
        len: 6,
    }];
    delivered.recipe = holdfast_archive::ShardRecipe::new(vec![file])
        .encode()
        .unwrap();
    let hash = holdfast_archive::ShardRecipe::hash(&delivered.recipe);
    delivered.header.recipe_hash = hash.to_vec().into();
    let refused = agent.commit(delivered).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");

    // A recipe that is not what was announced.
    let mut delivered = agent.deliver(&command, &files(&[("a", b"there")])).await;
    delivered.header.recipe_hash = vec![0; 32].into();
    let refused = agent.commit(delivered).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);

    // A session that was opened again is over for its earlier user.
    let stale = agent.deliver(&command, &files(&[("a", b"there")])).await;
    agent.open(&command.command_id).await.unwrap();
    let refused = agent.commit(stale).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted, "{refused}");
    assert!(operator.points().await.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_repositories_are_told_apart() {
    let code = async |world: &World| world.refused_start().await.code;

    let mut world = World::new();
    world.config.repository.init = false;
    let fault = world.refused_start().await;
    assert!(fault.message.contains("repo init"), "{fault}");
    assert_eq!(fault.known_code().exit_code().code(), 7);

    let world = World::new();
    std::fs::create_dir(world.dir.path().join("repo")).unwrap();
    std::fs::write(world.dir.path().join("repo/thesis.txt"), "mine").unwrap();
    assert_eq!(code(&world).await, "repository-foreign");

    // A repository that was there is not replaced by a new one, as when its volume is not mounted.
    let world = World::new();
    world.start().await.stop().await;
    std::fs::remove_dir_all(world.dir.path().join("repo")).unwrap();
    let fault = world.refused_start().await;
    assert!(fault.message.contains("is its volume mounted?"), "{fault}");
    assert!(!world.dir.path().join("repo").exists());

    let mut world = World::new();
    world.start().await.stop().await;
    std::fs::write(world.dir.path().join("key"), "00".repeat(32)).unwrap();
    assert_eq!(code(&world).await, "wrong-key");
    std::fs::write(world.dir.path().join("key"), "not hex").unwrap();
    assert_eq!(code(&world).await, "config");
    std::fs::write(world.dir.path().join("key"), "5a".repeat(32)).unwrap();
    std::fs::remove_file(world.dir.path().join("key")).unwrap();
    let fault = world.refused_start().await;
    assert!(fault.message.contains("repository.key_file"), "{fault}");
    assert!(fault.message.contains("64 hex digits"), "{fault}");
    assert_eq!(fault.known_code().exit_code().code(), 3);
    std::fs::write(world.dir.path().join("key"), "5a".repeat(32)).unwrap();
    world.config.cluster = "prod".parse().unwrap();
    assert_eq!(code(&world).await, "repository-foreign");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_never_share_a_repository() {
    let mut world = World::new();
    let running = world.start().await;
    // With the same state directory the catalogue is taken …
    assert_eq!(world.refused_start().await.code, "repository-locked");
    // … and with another one the repository itself is.
    world.config.state_dir = world.dir.path().join("elsewhere");
    assert_eq!(world.refused_start().await.code, "repository-locked");
    running.stop().await;
}
