//! Waiting for the answer to one command, with an end to patience.

use super::{Answer, Dispatcher};
use crate::fault::Fault;
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, NodeId};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a ticket looks at the state of its command.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long an agent may take to confirm that it has stopped.
const CANCEL_WITHIN: Duration = Duration::from_secs(60);

/// An agent that is away for less is not told of.
const AWAY_AFTER: Duration = Duration::from_secs(2);

/// What becomes known while a command is open.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// New figures.
    Progress(v1::Progress),
    /// The agent is away, and waited for.
    Away(NodeId),
    /// It is back.
    Back(NodeId),
}

/// Bounds of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// With an agent that is away.
    pub away: Duration,
    /// With a connected agent that says nothing about the command.
    pub silent: Duration,
}

/// One open command. Dropping it closes the command and revokes what it granted, without telling the
/// agent: after a restart the same command may go on.
#[derive(Debug)]
pub struct Ticket {
    dispatcher: Dispatcher,
    id: CaptureId,
    node: NodeId,
    answer: oneshot::Receiver<Answer>,
}

/// What a look at the command's state says.
enum Look {
    Wait,
    Resend,
    GiveUp(Fault),
}

impl Ticket {
    pub(super) fn new(
        dispatcher: Dispatcher,
        id: CaptureId,
        node: NodeId,
        answer: oneshot::Receiver<Answer>,
    ) -> Self {
        Self {
            dispatcher,
            id,
            node,
            answer,
        }
    }

    /// Waits for the agent's answer. `tell` is told of every change of the figures, and when the agent goes and comes. When `cancel`
    /// is cancelled, the agent is told to stop and its confirmation awaited.
    ///
    /// # Errors
    /// The agent's failure; `node-not-found` if it stays away, `job-failed` if it says nothing,
    /// `cancelled`.
    pub async fn wait(
        mut self,
        patience: Patience,
        cancel: &CancellationToken,
        mut tell: impl FnMut(News) + Send,
    ) -> Result<Answer, Fault> {
        let (mut told, mut away) = (None, false);
        let mut resent = false;
        let mut cancelled_at = None;
        loop {
            tokio::select! {
                biased;
                answer = &mut self.answer => {
                    self.tell_progress(&mut told, &mut tell);
                    return match answer {
                        Ok(Answer::Failed(fault)) => Err(fault),
                        Ok(answer) => Ok(answer),
                        Err(_) => Err(Fault::new(Code::Internal, "the command was closed")),
                    };
                }
                () = cancel.cancelled(), if cancelled_at.is_none() => {
                    cancelled_at = Some(Instant::now());
                    self.begin_cancel();
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.tell_progress(&mut told, &mut tell);
            self.tell_whether_away(&mut away, &mut tell);
            match self.look(patience, cancelled_at, resent) {
                Look::Wait => {}
                Look::Resend => {
                    resent = true;
                    self.dispatcher.send(&self.dispatcher.lock(), &self.id);
                }
                Look::GiveUp(fault) => {
                    self.dispatcher.cancel_stray(&self.node, &self.id);
                    return Err(fault);
                }
            }
        }
    }

    fn begin_cancel(&self) {
        let mut state = self.dispatcher.lock();
        if let Some(open) = state.open.get_mut(&self.id) {
            open.cancelling = true;
        }
        self.dispatcher.send(&state, &self.id);
    }

    fn tell_progress(&self, told: &mut Option<v1::Progress>, tell: &mut impl FnMut(News)) {
        let state = self.dispatcher.lock();
        let newest = state
            .open
            .get(&self.id)
            .and_then(|open| open.progress.clone());
        drop(state);
        if let Some(newest) = newest.filter(|newest| told.as_ref() != Some(newest)) {
            tell(News::Progress(newest.clone()));
            *told = Some(newest);
        }
    }

    fn tell_whether_away(&self, told: &mut bool, tell: &mut impl FnMut(News)) {
        let away = self.dispatcher.lock().away(&self.node);
        match away {
            Some(since) if since >= AWAY_AFTER && !*told => {
                *told = true;
                tell(News::Away(self.node.clone()));
            }
            None if *told => {
                *told = false;
                tell(News::Back(self.node.clone()));
            }
            Some(_) | None => {}
        }
    }

    fn look(&self, patience: Patience, cancelled_at: Option<Instant>, resent: bool) -> Look {
        let state = self.dispatcher.lock();
        let (node, away) = (&self.node, state.away(&self.node));
        let silent = state
            .open
            .get(&self.id)
            .map_or(Duration::ZERO, |open| open.heard.elapsed());
        drop(state);
        if let Some(at) = cancelled_at {
            let limit = away.map_or(CANCEL_WITHIN, |_| patience.away.min(CANCEL_WITHIN));
            if at.elapsed() < limit {
                return Look::Wait;
            }
            return Look::GiveUp(Fault::new(
                Code::Cancelled,
                format!(
                    "cancelled, but the agent of node {node} has not confirmed that it stopped"
                ),
            ));
        }
        match away {
            Some(away) if away >= patience.away => Look::GiveUp(Fault {
                retryable: true,
                ..Fault::new(
                    Code::NodeNotFound,
                    format!(
                        "the agent of node {node} has been away for {} s: check that holdfast-agent runs there and reaches the coordinator, then try again",
                        away.as_secs()
                    ),
                )
            }),
            None if silent >= patience.silent => Look::GiveUp(Fault {
                retryable: true,
                ..Fault::new(
                    Code::JobFailed,
                    format!(
                        "the agent of node {node} has said nothing about its command for {} s: look at its log",
                        silent.as_secs()
                    ),
                )
            }),
            None if silent >= patience.silent / 2 && !resent => Look::Resend,
            Some(_) | None => Look::Wait,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.dispatcher.lock().open.remove(&self.id);
    }
}
