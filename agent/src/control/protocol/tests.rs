//! Tests of what the control stream says and understands.

use super::{Action, Understood, answer, heartbeat, hello, result, understand, welcome};
use crate::commands::{CommandTable, Offer};
use crate::failure::Failed;
use crate::order::{CaptureOrder, Command, CommandId, Method, Order, Work};
use crate::outcome::Outcome;
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{Epoch, ShardId, Timestamp};
use std::time::Duration;
use v1::agent_message::Message as FromAgent;
use v1::coordinator_message::Message as FromCoordinator;

fn id(text: &str) -> CommandId {
    text.parse().unwrap()
}

fn from_coordinator(message: FromCoordinator) -> v1::CoordinatorMessage {
    v1::CoordinatorMessage {
        message: Some(message),
    }
}

fn welcoming(version: &str, interval: u32, now_us: i64) -> v1::CoordinatorMessage {
    from_coordinator(FromCoordinator::Welcome(v1::Welcome {
        program: Some(v1::ProgramVersion {
            version: version.into(),
        }),
        epoch: 4,
        heartbeat_interval_ms: interval,
        now_us,
        watch_searches: true,
    }))
}

#[test]
fn hello_names_what_is_open() {
    let mut table = CommandTable::default();
    table.offer(Command {
        id: id("c1"),
        epoch: Epoch(1),
        order: Order::Work(Work::Capture(CaptureOrder {
            collection: "docs".parse().unwrap(),
            shard: ShardId(0),
            method: Method::Auto,
            bytes_per_second: None,
            courtesy: None,
        })),
    });
    let hello = hello(
        &"n1".parse().unwrap(),
        &"demo".parse().unwrap(),
        &table,
        Timestamp::from_micros(7),
    );
    let Some(FromAgent::Hello(hello)) = hello.message else {
        panic!("hello")
    };
    assert_eq!(hello.open_commands, ["c1"]);
    assert_eq!(
        (hello.node.as_str(), hello.cluster.as_str()),
        ("n1", "demo")
    );
    assert_eq!(hello.now_us, 7);
}

#[test]
fn a_welcome_is_checked_and_clamped() {
    let now = Timestamp::from_micros(1_000_000);
    let welcomed = welcome(&welcoming(super::PROGRAM_VERSION, 1, 0), now).unwrap();
    assert_eq!(welcomed.epoch, Epoch(4));
    assert_eq!(welcomed.heartbeat, Duration::from_millis(100));
    assert_eq!(welcomed.clock_offset, Duration::from_secs(1));
    let error = welcome(&welcoming("9.0.0", 1000, 0), now).unwrap_err();
    assert_eq!(error.code, Code::VersionMismatch);
    let install = "install holdfast-agent 9.0.0 (any release from 9.0 to 9.1 works) here";
    assert!(error.message.contains(install), "{error}");
    let error = welcome(&v1::CoordinatorMessage::default(), now).unwrap_err();
    assert_eq!(error.code, Code::Internal);
}

#[test]
fn a_command_without_sense_is_answered_and_not_run() {
    let refused = understand(from_coordinator(FromCoordinator::Command(v1::Command {
        command_id: "c9".into(),
        epoch: 1,
        command: None,
    })));
    let Understood::Refuse(refused) = refused else {
        panic!("a refusal")
    };
    let Some(FromAgent::Result(result)) = refused.message else {
        panic!("a result")
    };
    assert_eq!(result.command_id, "c9");
    let Some(v1::command_result::Outcome::Failure(failure)) = result.outcome else {
        panic!("a failure")
    };
    assert_eq!(failure.code, "usage");
    let nothing = understand(v1::CoordinatorMessage::default());
    assert_eq!(nothing, Understood::Nothing);
}

#[test]
fn every_offer_has_its_actions() {
    let failed = Outcome::Failed(Failed::new(Code::Cancelled, "stopped"));
    let send = |name: &str, outcome: &Outcome| Action::Send(Box::new(result(&id(name), outcome)));
    assert_eq!(answer(&id("a"), Offer::Run), [Action::Wake]);
    assert_eq!(answer(&id("a"), Offer::Running), [Action::Progress]);
    assert_eq!(
        answer(&id("a"), Offer::Ended(failed.clone())),
        [send("a", &failed)]
    );
    assert_eq!(
        answer(&id("x"), Offer::Stop(id("a"))),
        [Action::Stop(id("a")), send("x", &Outcome::Cancelled)]
    );
    assert_eq!(
        answer(&id("x"), Offer::NotOpen(id("a"), Some(failed.clone()))),
        [send("a", &failed), send("x", &Outcome::Cancelled)]
    );
    let never = answer(&id("x"), Offer::NotOpen(id("b"), None));
    assert_eq!(never.len(), 2);
    assert!(format!("{never:?}").contains("cancelled before it arrived"));
    let [Action::Send(message)] = &answer(&id("a"), Offer::Stale { newest: Epoch(9) })[..] else {
        panic!("one message")
    };
    assert!(
        format!("{message:?}").contains("stale-epoch"),
        "{message:?}"
    );
}

#[test]
fn a_heartbeat_has_the_inventory_or_the_reason() {
    let seen = Err(Failed::new(Code::QdrantUnreachable, "refused"));
    let beat = heartbeat(&seen, 9, Timestamp::EPOCH);
    assert!(beat.inventory.is_none());
    assert_eq!(beat.answers, 9);
    assert_eq!(beat.qdrant_error.unwrap().code, "qdrant-unreachable");
}
