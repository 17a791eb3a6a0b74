//! The agents' control stream: hello, welcome, then reports and results in, commands out.

use super::{peer, wire};
use crate::core::Core;
use crate::dispatch::{Answer, Generation, OUTGOING, Outgoing};
use crate::fault::{Fault, chain};
use crate::members;
use holdfast_certs::LogOnce;
use holdfast_proto::convert::{Greeting, command_id};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_control_server::AgentControl;
use holdfast_proto::v1::agent_message::Message;
use holdfast_proto::v1::command_result::Outcome;
use holdfast_service::failure::Code;
use holdfast_types::{NodeId, fitting_releases, releases_fit};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// An agent must say hello within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// An agent that says nothing for this many heartbeats is gone.
const MISSED_BEATS: u32 = 6;

/// But never sooner than this.
const SILENCE_AT_LEAST: Duration = Duration::from_secs(30);

/// The service.
#[derive(Clone, Debug)]
pub struct Control {
    core: Arc<Core>,
    /// Who was turned away why: such agents come back every few seconds.
    turned_away: Arc<LogOnce<(NodeId, String)>>,
}

impl Control {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            turned_away: Arc::new(LogOnce::new()),
        }
    }
}

#[tonic::async_trait]
impl AgentControl for Control {
    type ConnectStream = ReceiverStream<Result<v1::CoordinatorMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let node = peer::node(&request)?;
        let caller = peer::certified(&request)?.clone();
        let core = Arc::clone(&self.core);
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(HELLO_WITHIN, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello"))??;
        let Some(Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("the first message must be hello"));
        };
        let greeting =
            Greeting::try_from(hello).map_err(|e| Status::invalid_argument(chain(&e)))?;
        admit(&core, &node, &greeting).inspect_err(|fault| {
            let (now, why) = (core.clock.now(), fault.message.clone());
            core.nodes.turned_away(&node, now, why);
            let what = (node.clone(), fault.message.clone());
            if self.turned_away.should_log(what, Instant::now()) {
                tracing::warn!(%node, reason = %fault, "an agent was turned away");
            }
        })?;

        let readmitted = core.members.readmit(&core.catalog, &node).await;
        readmitted.map_err(|error| Fault::from_error(Code::Internal, &error))?;

        let (out, outgoing) = mpsc::channel(OUTGOING);
        let welcome = v1::Welcome {
            program: Some(wire::program()),
            epoch: core.epoch.0,
            heartbeat_interval_ms: u32::try_from(core.limits.heartbeat.as_millis())
                .unwrap_or(u32::MAX),
            now_us: core.clock.now().as_micros(),
            watch_searches: watches_searches(&core),
        };
        let welcome = v1::CoordinatorMessage {
            message: Some(v1::coordinator_message::Message::Welcome(welcome)),
        };
        out.try_send(Ok(welcome))
            .map_err(|_| Status::internal("the new stream has no room"))?;
        let generation = enter(&core, &node, &greeting, out.clone()).await;
        // Removed since its call was let in.
        core.members.check(&caller).inspect_err(|_| {
            members::expel(&core, &node);
        })?;
        let tracker = core.shutdown.clone();
        drop(tracker.spawn(serve(core, node, generation, inbound, out)));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// Whether a schedule waits for a moment in which searches are quick.
fn watches_searches(core: &Core) -> bool {
    let schedules = core
        .policy
        .iter()
        .flat_map(|loaded| &loaded.policy.schedules);
    let mut limits = schedules.map(|schedule| schedule.limits);
    limits.any(|limits| limits.max_query_latency.is_some())
}

/// Whether this agent may join.
fn admit(core: &Core, node: &NodeId, greeting: &Greeting) -> Result<(), Fault> {
    if greeting.node != *node {
        return Err(Fault::new(
            Code::Certificate,
            format!(
                "this agent says it serves node {}, but its certificate is node {node}'s: use the certificate of its own node",
                greeting.node
            ),
        ));
    }
    if greeting.cluster != core.cluster {
        return Err(Fault::new(
            Code::Config,
            format!(
                "this agent belongs to cluster {}, this coordinator looks after {}: check `cluster` in both configurations",
                greeting.cluster, core.cluster
            ),
        ));
    }
    if !releases_fit(wire::PROGRAM_VERSION, &greeting.program) {
        return Err(Fault::new(
            Code::VersionMismatch,
            format!(
                "the agent of node {node} is release {:?}, the coordinator is {}: they may differ by one minor release; install holdfast-agent {} there, or upgrade the coordinator if it is the older",
                greeting.program,
                wire::PROGRAM_VERSION,
                fitting_releases(wire::PROGRAM_VERSION)
            ),
        ));
    }
    Ok(())
}

/// Makes the agent known and sends it what is open; what it believes to be open and is not, is cancelled.
async fn enter(core: &Core, node: &NodeId, greeting: &Greeting, out: Outgoing) -> Generation {
    core.nodes.connected(greeting, core.clock.now());
    let generation = core.dispatcher.connect(node, out);
    let skew = core
        .nodes
        .list()
        .into_iter()
        .find(|(id, _)| id == node)
        .and_then(|(_, record)| record.clock_skew());
    match skew {
        Some(apart) => {
            tracing::warn!(%node, seconds = apart.as_secs(), code = %Code::ClockSkew, "an agent's clock is off")
        }
        None => tracing::info!(%node, release = greeting.program, "an agent connected"),
    }
    for command in &greeting.open_commands {
        let wanted = core.dispatcher.is_open(command) || core.book.is_pending(command).await;
        if !wanted {
            core.dispatcher.cancel_stray(node, command);
        }
    }
    generation
}

async fn serve(
    core: Arc<Core>,
    node: NodeId,
    generation: Generation,
    mut inbound: Streaming<v1::AgentMessage>,
    out: Outgoing,
) {
    let silence = (core.limits.heartbeat * MISSED_BEATS).max(SILENCE_AT_LEAST);
    let stop = core.shutdown.token();
    let why = loop {
        let next = tokio::select! {
            next = tokio::time::timeout(silence, inbound.message()) => next,
            // The dispatcher has dropped this connection for a newer one.
            () = out.closed() => break "replaced or gone".to_owned(),
            () = stop.cancelled() => break "the coordinator is stopping".to_owned(),
        };
        match next {
            Ok(Ok(Some(message))) => take(&core, &node, message),
            Ok(Ok(None)) => break "closed by the agent".to_owned(),
            Ok(Err(status)) => break status.message().to_owned(),
            Err(_) => {
                let status = Status::deadline_exceeded("no heartbeat for too long");
                let _full = out.try_send(Err(status));
                break format!("silent for {} s", silence.as_secs());
            }
        }
    };
    if core.dispatcher.disconnect(&node, generation) {
        core.nodes.disconnected(&node);
        tracing::info!(%node, reason = why, "an agent disconnected");
    }
}

fn take(core: &Core, node: &NodeId, message: v1::AgentMessage) {
    match message.message {
        Some(Message::Heartbeat(beat)) => core.nodes.heard(node, beat, core.clock.now()),
        Some(Message::Progress(report)) => {
            if let (Ok(id), Some(progress)) = (command_id(&report.command_id), report.progress) {
                core.dispatcher.progressed(node, &id, progress);
            }
        }
        Some(Message::Result(result)) => {
            if let (Ok(id), Some(answer)) = (command_id(&result.command_id), answer(result.outcome))
            {
                core.dispatcher.answered(node, &id, answer);
            }
        }
        // A second hello, or something that only a newer agent says: it changes nothing.
        Some(Message::Hello(_)) | None => {
            tracing::debug!(%node, "a message that means nothing here was ignored");
        }
    }
}

fn answer(outcome: Option<Outcome>) -> Option<Answer> {
    match outcome? {
        Outcome::Failure(failure) => Some(Answer::Failed(failure.into())),
        Outcome::Capture(done) => Some(Answer::Captured(done)),
        Outcome::Restore(done) => Some(Answer::Restored(done)),
        Outcome::Extra(done) => Some(Answer::Extra(done)),
        // Confirms the cancel order itself; the cancelled command answers with a failure.
        Outcome::Cancelled(_) => None,
    }
}
