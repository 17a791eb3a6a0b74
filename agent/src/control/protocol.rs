//! What the control stream says and understands, as pure functions: messages in, messages and actions out.

use crate::commands::{CommandTable, Offer};
use crate::failure::{Failed, chain};
use crate::order::{Command, CommandId};
use crate::outcome::Outcome;
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{ClusterName, Epoch, NodeId, Timestamp, fitting_releases, releases_fit};
use std::time::Duration;
use v1::agent_message::Message as FromAgent;
use v1::coordinator_message::Message as FromCoordinator;

/// This release.
pub const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Clocks further apart than this are reported: recovery points would carry wrong times.
pub const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(300);

/// Heartbeats come at least and at most this often, whatever the coordinator says.
const HEARTBEAT_RANGE: (u64, u64) = (100, 60_000);

/// The coordinator's acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcomed {
    /// Its epoch.
    pub epoch: Epoch,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Distance of the two clocks.
    pub clock_offset: Duration,
    /// Whether heartbeats shall say how long searches take.
    pub watch_searches: bool,
}

/// What to do because of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send this.
    Send(Box<v1::AgentMessage>),
    /// Wake the executor.
    Wake,
    /// Stop this command.
    Stop(CommandId),
    /// Send how far every open command is.
    Progress,
}

/// The first message of the agent.
#[must_use]
pub fn hello(
    node: &NodeId,
    cluster: &ClusterName,
    table: &CommandTable,
    now: Timestamp,
) -> v1::AgentMessage {
    message(FromAgent::Hello(v1::Hello {
        node: node.to_string(),
        cluster: cluster.to_string(),
        program: Some(v1::ProgramVersion {
            version: PROGRAM_VERSION.to_owned(),
        }),
        now_us: now.as_micros(),
        open_commands: table
            .open()
            .iter()
            .map(|open| open.id.to_string())
            .collect(),
    }))
}

/// Reads the first message of the coordinator.
///
/// # Errors
/// If it is no welcome, or the releases don't fit. An epoch older than the newest seen is refused by
/// the caller, who must also make a newer one durable.
pub fn welcome(wire: &v1::CoordinatorMessage, now: Timestamp) -> Result<Welcomed, Failed> {
    let Some(FromCoordinator::Welcome(welcome)) = &wire.message else {
        return Err(Failed::new(
            Code::Internal,
            "the coordinator's first message was not a welcome: is it of another release?",
        ));
    };
    let theirs = welcome
        .program
        .as_ref()
        .map_or("", |program| program.version.as_str());
    if !releases_fit(PROGRAM_VERSION, theirs) {
        return Err(Failed::new(
            Code::VersionMismatch,
            format!(
                "the coordinator is release {theirs:?}, this agent is {PROGRAM_VERSION}: they may differ by one minor release; install holdfast-agent {} here, or upgrade the coordinator if it is the older",
                fitting_releases(theirs)
            ),
        ));
    }
    let (least, most) = HEARTBEAT_RANGE;
    Ok(Welcomed {
        epoch: Epoch(welcome.epoch),
        heartbeat: Duration::from_millis(
            u64::from(welcome.heartbeat_interval_ms).clamp(least, most),
        ),
        clock_offset: now.distance(Timestamp::from_micros(welcome.now_us)),
        watch_searches: welcome.watch_searches,
    })
}

/// What a message of the coordinator means.
#[derive(Clone, Debug, PartialEq)]
pub enum Understood {
    /// A command.
    Command(Box<Command>),
    /// Look at Qdrant again, in answer to this request.
    Observe(u64),
    /// A command that makes no sense: this message refuses it.
    Refuse(Box<v1::AgentMessage>),
    /// Nothing that this release knows.
    Nothing,
}

/// Reads a message that came after the welcome.
#[must_use]
pub fn understand(wire: v1::CoordinatorMessage) -> Understood {
    let command = match wire.message {
        Some(FromCoordinator::Command(command)) => command,
        Some(FromCoordinator::Observe(observe)) => return Understood::Observe(observe.request),
        Some(FromCoordinator::Welcome(_)) | None => return Understood::Nothing,
    };
    let command_id = command.command_id.clone();
    match Command::try_from(command) {
        Ok(command) => Understood::Command(Box::new(command)),
        Err(error) => {
            let failed = Failed::new(Code::Usage, chain(&error));
            Understood::Refuse(Box::new(message(FromAgent::Result(v1::CommandResult {
                command_id,
                outcome: Some(v1::command_result::Outcome::Failure(failed.to_wire())),
            }))))
        }
    }
}

fn send(message: v1::AgentMessage) -> Action {
    Action::Send(Box::new(message))
}

/// What follows from the table's answer to a command.
#[must_use]
pub fn answer(id: &CommandId, offer: Offer) -> Vec<Action> {
    let refuse = |failed: Failed| vec![send(result(id, &Outcome::Failed(failed)))];
    match offer {
        Offer::Run => vec![Action::Wake],
        Offer::Running => vec![Action::Progress],
        Offer::Ended(outcome) => vec![send(result(id, &outcome))],
        Offer::Stop(stopped) => vec![Action::Stop(stopped), send(result(id, &Outcome::Cancelled))],
        Offer::NotOpen(stopped, outcome) => {
            // A command that never arrived is as good as stopped.
            let outcome = outcome.unwrap_or_else(|| {
                Outcome::Failed(Failed::new(Code::Cancelled, "cancelled before it arrived"))
            });
            vec![
                send(result(&stopped, &outcome)),
                send(result(id, &Outcome::Cancelled)),
            ]
        }
        Offer::Stale { newest } => refuse(Failed::new(
            Code::StaleEpoch,
            format!("a coordinator with epoch {newest} has given orders since"),
        )),
        Offer::TooMany => refuse(Failed {
            code: Code::JobConflict,
            message: "too many commands wait on this agent".to_owned(),
            retryable: true,
        }),
    }
}

/// The message that reports an outcome.
#[must_use]
pub fn result(id: &CommandId, outcome: &Outcome) -> v1::AgentMessage {
    message(FromAgent::Result(outcome.to_wire(id)))
}

/// The message that reports progress.
#[must_use]
pub fn progress(id: &CommandId, progress: v1::Progress) -> v1::AgentMessage {
    message(FromAgent::Progress(v1::CommandProgress {
        command_id: id.to_string(),
        progress: Some(progress),
    }))
}

/// What is said of an open command whose turn has not come.
#[must_use]
pub fn waiting() -> v1::Progress {
    v1::Progress {
        stage: "waiting for its turn".to_owned(),
        ..Default::default()
    }
}

/// The message that says what the node looks like. `answers` is the newest of the coordinator's
/// requests to look that had arrived before the look began, 0 if none had.
#[must_use]
pub fn heartbeat(
    seen: &Result<v1::Inventory, Failed>,
    answers: u64,
    now: Timestamp,
) -> v1::Heartbeat {
    v1::Heartbeat {
        now_us: now.as_micros(),
        inventory: seen.as_ref().ok().cloned(),
        qdrant_error: seen.as_ref().err().map(Failed::to_wire),
        answers,
        ..Default::default()
    }
}

/// A heartbeat as a message.
#[must_use]
pub fn beat(heartbeat: v1::Heartbeat) -> v1::AgentMessage {
    message(FromAgent::Heartbeat(heartbeat))
}

fn message(message: FromAgent) -> v1::AgentMessage {
    v1::AgentMessage {
        message: Some(message),
    }
}

#[cfg(test)]
mod tests;
