//! Commands on their way to agents and their answers.
//!
//! A command is open from [`Dispatcher::issue`] until its [`Ticket`] is dropped. While it is open it is
//! sent again whenever its node connects, and it grants its node access to ingest or restore. What a
//! command means, and what follows from its answer, is the job's business.
//!
//! | while … | the agent goes | it comes back | it answers | the job gives up |
//! |---|---|---|---|---|
//! | a command is open | the grace begins | the command is sent again | the ticket resolves | the agent is told to cancel |
//! | it is being cancelled | given up after the grace | cancel is sent again | "cancelled" | – |

use crate::fault::Fault;
use crate::ingest::session::IngestSlot;
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, Epoch, JobId, NodeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

mod grant;
mod ticket;

pub use grant::{Readable, RestoreGrant};
pub use ticket::{News, Patience, Ticket};

/// Messages that may wait for one agent; commands go out one at a time.
pub const OUTGOING: usize = 64;

/// How messages reach a connected agent.
pub type Outgoing = mpsc::Sender<Result<v1::CoordinatorMessage, Status>>;

/// Names one connection of a node: a later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

/// All links and open commands.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    epoch: Epoch,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    generation: u64,
    links: HashMap<NodeId, Link>,
    /// Since when a node has had no link.
    down_since: HashMap<NodeId, Instant>,
    started: Instant,
    open: HashMap<CaptureId, OpenCommand>,
}

#[derive(Debug)]
struct Link {
    generation: Generation,
    out: Outgoing,
}

#[derive(Debug)]
struct OpenCommand {
    node: NodeId,
    body: v1::command::Command,
    grant: Grant,
    heard: Instant,
    progress: Option<v1::Progress>,
    answer: Option<oneshot::Sender<Answer>>,
    cancelling: bool,
}

/// What an open command allows its node.
#[derive(Clone, Debug)]
pub enum Grant {
    /// To deliver the capture at `index` of the job's backup plan.
    Capture {
        /// The job.
        job: JobId,
        /// The capture.
        index: usize,
        /// Its delivery sessions.
        slot: Arc<IngestSlot>,
    },
    /// To deliver the extra at `index` of the job's backup plan.
    Extra {
        /// The job.
        job: JobId,
        /// The extra.
        index: usize,
        /// Its delivery sessions.
        slot: Arc<IngestSlot>,
    },
    /// To read what a part of a recovery point is made of.
    Restore(Arc<RestoreGrant>),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It failed.
    Failed(Fault),
    /// The capture is committed.
    Captured(v1::CaptureDone),
    /// The collection is restored.
    Restored(v1::RestoreDone),
    /// The extra is committed.
    Extra(v1::ExtraDone),
}

impl Dispatcher {
    /// A dispatcher whose commands carry `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        let state = State {
            generation: 0,
            links: HashMap::new(),
            down_since: HashMap::new(),
            started: Instant::now(),
            open: HashMap::new(),
        };
        Self {
            epoch,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A node's agent is there: its open commands are sent to it. An older connection of the same node
    /// is closed.
    pub fn connect(&self, node: &NodeId, out: Outgoing) -> Generation {
        let mut state = self.lock();
        state.generation += 1;
        let generation = Generation(state.generation);
        state.down_since.remove(node);
        let link = Link { generation, out };
        if let Some(old) = state.links.insert(node.clone(), link) {
            let status = Status::aborted("another connection of this node has taken over");
            // If it does not take the message, dropping the sender ends its stream as well.
            let _full = old.out.try_send(Err(status));
        }
        let commands: Vec<CaptureId> = state.open_of(node);
        for id in commands {
            if let Some(open) = state.open.get_mut(&id) {
                open.heard = Instant::now();
            }
            self.send(&state, &id);
        }
        generation
    }

    /// A connection ended; an older one than the current changes nothing. Returns whether the node
    /// is without connection now.
    pub fn disconnect(&self, node: &NodeId, generation: Generation) -> bool {
        let mut state = self.lock();
        let current = state.links.get(node).map(|link| link.generation);
        if current == Some(generation) {
            state.links.remove(node);
            state.down_since.insert(node.clone(), Instant::now());
        }
        !state.links.contains_key(node)
    }

    /// A node is not let in any more: its connection is closed with this word.
    pub fn expel(&self, node: &NodeId, status: Status) {
        if let Some(link) = self.lock().links.remove(node) {
            // If it does not take the message, dropping the sender ends its stream as well.
            let _full = link.out.try_send(Err(status));
        }
    }

    /// Closes every connection: the process ends.
    pub fn close(&self) {
        self.lock().links.clear();
    }

    /// Opens a command and sends it if its node is connected.
    ///
    /// # Errors
    /// `internal` if it is open already.
    pub fn issue(
        &self,
        id: CaptureId,
        node: NodeId,
        body: v1::command::Command,
        grant: Grant,
    ) -> Result<Ticket, Fault> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.lock();
        if state.open.contains_key(&id) {
            return Err(Fault::new(
                Code::Internal,
                format!("command {id} is open already"),
            ));
        }
        let command = OpenCommand {
            node: node.clone(),
            body,
            grant,
            heard: Instant::now(),
            progress: None,
            answer: Some(answer),
            cancelling: false,
        };
        state.open.insert(id.clone(), command);
        self.send(&state, &id);
        drop(state);
        Ok(Ticket::new(self.clone(), id, node, receiver))
    }

    /// What an open command grants this node; `None` if it is not open or another node's.
    #[must_use]
    pub fn grant(&self, id: &CaptureId, node: &NodeId) -> Option<Grant> {
        let mut state = self.lock();
        let command = state.open.get_mut(id).filter(|open| open.node == *node)?;
        command.heard = Instant::now();
        Some(command.grant.clone())
    }

    /// The open commands of which that is true.
    pub fn open(&self, wanted: impl Fn(&CaptureId) -> bool) -> Vec<CaptureId> {
        let state = self.lock();
        state.open.keys().filter(|id| wanted(id)).cloned().collect()
    }

    /// Whether a command is open.
    #[must_use]
    pub fn is_open(&self, id: &CaptureId) -> bool {
        self.lock().open.contains_key(id)
    }

    /// Whether a node has no connection.
    #[must_use]
    pub fn is_away(&self, node: &NodeId) -> bool {
        !self.lock().links.contains_key(node)
    }

    /// Notes an agent's progress. Of commands that are not open or another node's nothing is noted.
    pub fn progressed(&self, node: &NodeId, id: &CaptureId, progress: v1::Progress) {
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(id).filter(|open| open.node == *node) {
            open.heard = Instant::now();
            open.progress = Some(progress);
        }
    }

    /// Takes an agent's answer. Answers to commands that are not open, or another node's, are ignored:
    /// agents repeat them.
    pub fn answered(&self, node: &NodeId, id: &CaptureId, answer: Answer) {
        let mut state = self.lock();
        let open = state.open.get_mut(id).filter(|open| open.node == *node);
        if let Some(sender) = open.and_then(|open| open.answer.take()) {
            // The ticket may be about to be dropped; then nobody needs the answer.
            let _gone = sender.send(answer);
        }
    }

    /// Tells an agent to stop a command that nobody waits for.
    pub fn cancel_stray(&self, node: &NodeId, id: &CaptureId) {
        let state = self.lock();
        self.send_cancel(&state, node, id);
    }

    /// Asks every connected agent to look at its Qdrant again.
    pub fn ask_to_observe(&self, request: u64) {
        for link in self.lock().links.values() {
            let message = v1::CoordinatorMessage {
                message: Some(v1::coordinator_message::Message::Observe(v1::Observe {
                    request,
                })),
            };
            // Without an answer the planner goes by the last report.
            let _full = link.out.try_send(Ok(message));
        }
    }

    fn send(&self, state: &State, id: &CaptureId) {
        let Some(open) = state.open.get(id) else {
            return;
        };
        let (node, cancelling) = (open.node.clone(), open.cancelling);
        let message = v1::CoordinatorMessage {
            message: Some(v1::coordinator_message::Message::Command(v1::Command {
                command_id: id.to_string(),
                epoch: self.epoch.0,
                command: Some(open.body.clone()),
            })),
        };
        if cancelling {
            self.send_cancel(state, &node, id);
        } else if let Some(link) = state.links.get(&node) {
            // A full queue means a stuck connection; the command goes out again on the next one.
            let _full = link.out.try_send(Ok(message));
        }
    }

    fn send_cancel(&self, state: &State, node: &NodeId, id: &CaptureId) {
        let cancel = v1::Cancel {
            command_id: id.to_string(),
        };
        let message = v1::CoordinatorMessage {
            message: Some(v1::coordinator_message::Message::Command(v1::Command {
                command_id: format!("{id}-x"),
                epoch: self.epoch.0,
                command: Some(v1::command::Command::Cancel(cancel)),
            })),
        };
        if let Some(link) = state.links.get(node) {
            let _full = link.out.try_send(Ok(message));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open_of(&self, node: &NodeId) -> Vec<CaptureId> {
        let of_node = self.open.iter().filter(|(_, open)| open.node == *node);
        of_node.map(|(id, _)| id.clone()).collect()
    }

    /// How long a node has been away; `None` while it is connected.
    fn away(&self, node: &NodeId) -> Option<std::time::Duration> {
        if self.links.contains_key(node) {
            return None;
        }
        let since = self.down_since.get(node).copied().unwrap_or(self.started);
        Some(since.elapsed())
    }
}

#[cfg(test)]
mod tests;
