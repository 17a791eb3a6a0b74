//! One session: from hello to the end of the stream.

use super::observing::Observing;
use super::protocol::{self, Action, Understood};
use super::{Control, HEALTH_PART};
use crate::commands::Offer;
use crate::failure::Failed;
use crate::grpc;
use crate::order::{Command, CommandId};
use crate::outcome::Outcome;
use crate::watch::StorageReceiver;
use holdfast_proto::v1;
use holdfast_proto::v1::agent_control_client::AgentControlClient;
use holdfast_service::failure::Code;
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;

/// Messages that may wait to be sent: a result for each kept outcome, and then some.
const OUTGOING: usize = 256;
/// Progress is sampled this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Most commands whose state is told with a heartbeat; others are told of when their turn comes.
const TELL_OPEN: usize = 64;
/// The coordinator must say welcome within this time.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// At a stop the coordinator gets this long to take in the last messages.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Why a session ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The coordinator closed the stream in order.
    Closed,
    /// It failed or could not be opened.
    Failed(Failed),
}

impl SessionEnd {
    pub(super) fn into_failed(self) -> Failed {
        match self {
            Self::Closed => Failed::new(
                Code::CoordinatorUnreachable,
                "the coordinator closed the session",
            ),
            Self::Failed(failed) => failed,
        }
    }
}

impl From<Failed> for SessionEnd {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// Holds one session. Returns only when it ended.
pub(super) async fn run(
    control: &Control,
    channel: Channel,
    stop: &CancellationToken,
) -> SessionEnd {
    match Session::open(control, channel).await {
        Ok(session) => session.serve(stop).await,
        Err(failed) => failed.into(),
    }
}

struct Session<'a> {
    control: &'a Control,
    out: mpsc::Sender<v1::AgentMessage>,
    inbound: Streaming<v1::CoordinatorMessage>,
    heartbeat: Duration,
    /// Outcomes that this session has reported.
    reported: HashSet<CommandId>,
    last_progress: Option<(CommandId, v1::Progress)>,
    observing: Observing,
    storage: StorageReceiver,
}

impl<'a> Session<'a> {
    async fn open(control: &'a Control, channel: Channel) -> Result<Self, Failed> {
        let (out, outgoing) = mpsc::channel(OUTGOING);
        let hello = control.journal.read(|table| {
            protocol::hello(&control.node, &control.cluster, table, control.clock.now())
        });
        out.try_send(hello)
            .expect("a new channel has room for one message");
        let mut client = AgentControlClient::new(channel.clone())
            .max_decoding_message_size(holdfast_proto::limits::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(holdfast_proto::limits::MAX_MESSAGE_BYTES);
        let opened = async {
            let response = client.connect(ReceiverStream::new(outgoing)).await?;
            let mut inbound = response.into_inner();
            let first = inbound.message().await?;
            Ok::<_, tonic::Status>((inbound, first))
        };
        let (inbound, first) = tokio::time::timeout(WELCOME_WITHIN, opened)
            .await
            .map_err(|_| unreachable("the coordinator did not say welcome in time"))?
            .map_err(|status| grpc::failed(&status))?;
        let first =
            first.ok_or_else(|| unreachable("the coordinator closed the session at once"))?;
        let now = control.clock.now();
        let welcomed = protocol::welcome(&first, now)?;
        if welcomed.clock_offset > protocol::MAX_CLOCK_OFFSET {
            tracing::warn!(
                code = %Code::ClockSkew,
                seconds = welcomed.clock_offset.as_secs(),
                "this machine's clock and the coordinator's are far apart; set them by NTP"
            );
        }
        accept_epoch(control, welcomed.epoch).await?;
        control.observation.watch_searches(welcomed.watch_searches);
        control.link.set(channel, welcomed.epoch);
        control.health.ready(HEALTH_PART);
        tracing::info!(epoch = welcomed.epoch.0, "connected to the coordinator");
        let mut storage = control.storage.clone();
        storage.begin_anew();
        Ok(Self {
            control,
            out,
            inbound,
            heartbeat: welcomed.heartbeat,
            reported: HashSet::new(),
            last_progress: None,
            observing: Observing::default(),
            storage,
        })
    }

    async fn serve(mut self, stop: &CancellationToken) -> SessionEnd {
        let mut beat = tokio::time::interval(self.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sample = tokio::time::interval(PROGRESS_EVERY);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut observation = self.control.observation.clone();
        loop {
            let ended = self.control.running.ended();
            let step = async {
                tokio::select! {
                    message = self.inbound.message() => Wake::Message(message),
                    _ = beat.tick() => Wake::Beat,
                    () = observation.changed() => Wake::Beat,
                    _ = sample.tick() => Wake::Sample,
                    () = ended => Wake::Ended,
                    () = stop.cancelled() => Wake::Stop,
                }
            };
            let handled = match step.await {
                Wake::Message(Ok(Some(message))) => self.obey(message).await,
                Wake::Message(Ok(None)) => return SessionEnd::Closed,
                Wake::Message(Err(status)) => return grpc::failed(&status).into(),
                Wake::Beat => self.beat().await,
                Wake::Sample => self.sample().await,
                Wake::Ended => Ok(()),
                Wake::Stop => return self.close().await,
            };
            let told = match handled {
                Ok(()) => self.report().await,
                Err(failed) => Err(failed),
            };
            if let Err(failed) = told {
                return failed.into();
            }
        }
    }

    async fn obey(&mut self, message: v1::CoordinatorMessage) -> Result<(), Failed> {
        let command = match protocol::understand(message) {
            Understood::Command(command) => *command,
            Understood::Observe(request) => {
                let asked = self.control.observation.ask();
                self.observing.note(asked, request);
                return Ok(());
            }
            Understood::Refuse(refusal) => return self.send(*refusal).await,
            Understood::Nothing => return Ok(()),
        };
        let id = command.id.clone();
        tracing::debug!(command = %id, epoch = command.epoch.0, "command");
        let offer = match self.offer(command).await? {
            Ok(offer) => offer,
            Err(refusal) => return self.send(protocol::result(&id, &refusal)).await,
        };
        // Its outcome is known, but what it left is being cleaned up: the answer follows.
        let cleaning = matches!(offer, Offer::Ended(_)) && self.control.running.is_current(&id);
        let offer = if cleaning { Offer::Running } else { offer };
        for action in protocol::answer(&id, offer) {
            match action {
                Action::Send(message) => self.send(*message).await?,
                Action::Wake => self.control.running.wake(),
                Action::Stop(stopped) => self.control.running.stop(&stopped),
                Action::Progress => self.tell_open().await?,
            }
        }
        Ok(())
    }

    /// Journals a command. One that can't be journalled is refused at once, or it would come again and
    /// again and keep its job from ending; nothing of it was begun, so the refusal need not be remembered.
    /// That is not so of a command that is known: the session then ends, and the next may answer it.
    async fn offer(&self, command: Command) -> Result<Result<Offer, Outcome>, Failed> {
        let id = command.id.clone();
        let journal = &self.control.journal;
        let failed = match journal.update(move |table| table.offer(command)).await {
            Ok(offer) => return Ok(Ok(offer)),
            Err(error) => error.failed(),
        };
        if journal.read(|table| table.knows(&id)) {
            return Err(failed);
        }
        tracing::error!(command = %id, reason = %failed.message, "a command can't be journalled and is refused");
        Ok(Err(Outcome::Failed(failed)))
    }

    async fn beat(&mut self) -> Result<(), Failed> {
        self.tell_open().await?;
        let Some(seen) = self.control.observation.latest() else {
            return Ok(());
        };
        let answers = self.observing.answers(seen.asked);
        let now = self.control.clock.now();
        let mut beat = protocol::heartbeat(&seen.inventory, answers, now);
        self.control.observation.tell_pulse(&mut beat);
        self.control.observation.tell_searches(&mut beat);
        self.storage.tell(&mut beat);
        self.send(protocol::beat(beat)).await
    }

    /// Tells of every open command that it is not forgotten, whether it moves or not.
    async fn tell_open(&self) -> Result<(), Failed> {
        let open: Vec<CommandId> = self.control.journal.read(|table| {
            let open = table.open().iter().take(TELL_OPEN);
            open.map(|command| command.id.clone()).collect()
        });
        let current = self.control.running.current();
        for id in open {
            let running = current.as_ref().filter(|current| current.id == id);
            let progress = running.map_or_else(protocol::waiting, |now| now.meter.sample());
            self.send(protocol::progress(&id, progress)).await?;
        }
        Ok(())
    }

    async fn sample(&mut self) -> Result<(), Failed> {
        let Some(current) = self.control.running.current() else {
            return Ok(());
        };
        let progress = (current.id, current.meter.sample());
        if self.last_progress.as_ref() == Some(&progress) {
            return Ok(());
        }
        self.send(protocol::progress(&progress.0, progress.1.clone()))
            .await?;
        self.last_progress = Some(progress);
        Ok(())
    }

    /// Ends the session in order: the last outcomes go out, and the coordinator has taken them in when it
    /// ends its half.
    async fn close(mut self) -> SessionEnd {
        if let Err(failed) = self.report().await {
            return failed.into();
        }
        let Self {
            out, mut inbound, ..
        } = self;
        drop(out);
        let ended = async { while let Ok(Some(_)) = inbound.message().await {} };
        let _ = tokio::time::timeout(CLOSE_WITHIN, ended).await;
        SessionEnd::Closed
    }

    /// Sends the outcomes that this session has not sent yet: those of before the connection too,
    /// because nobody knows whether they arrived. That of the current command waits until its leftovers
    /// have been cleaned up, or that has been tried.
    async fn report(&mut self) -> Result<(), Failed> {
        let reported = &mut self.reported;
        let current = self.control.running.current();
        let fresh: Vec<_> = self.control.journal.read(|table| {
            // what the table has forgotten need not be remembered here
            reported.retain(|id| table.done().any(|done| done.id == *id));
            table
                .done()
                .filter(|done| !reported.contains(&done.id))
                .filter(|done| current.as_ref().is_none_or(|c| c.id != done.id))
                .cloned()
                .collect()
        });
        for done in fresh {
            self.send(protocol::result(&done.id, &done.outcome)).await?;
            self.reported.insert(done.id);
        }
        Ok(())
    }

    async fn send(&self, message: v1::AgentMessage) -> Result<(), Failed> {
        self.out
            .send(message)
            .await
            .map_err(|_| unreachable("the session ended while sending"))
    }
}

enum Wake {
    Message(Result<Option<v1::CoordinatorMessage>, tonic::Status>),
    Beat,
    Sample,
    Ended,
    Stop,
}

async fn accept_epoch(control: &Control, epoch: holdfast_types::Epoch) -> Result<(), Failed> {
    let noted = control
        .journal
        .update(move |table| (table.note_epoch(epoch), table.highest_epoch()))
        .await;
    match noted {
        Ok((true, _)) => Ok(()),
        Ok((false, newest)) => Err(Failed::new(
            Code::StaleEpoch,
            format!(
                "the coordinator has epoch {epoch}, but one with epoch {newest} has given orders since: it must stand down"
            ),
        )),
        Err(error) => Err(error.failed()),
    }
}

fn unreachable(text: &str) -> Failed {
    Failed::new(Code::CoordinatorUnreachable, text)
}
