//! The connection to the coordinator over which logs are sent: asks where to go on, sends what was found, takes note of what is
//! durable; and again over the next connection.
//!
//! One task, and one thread at a time that reads. It never waits for the connection to take something: what it does not take is sent
//! at the next turn, and when too much waits, reading stops.

use super::board::Board;
use super::follower::Now;
use super::logs::{Logs, Phase};
use super::wire;
use crate::config::AgentConfig;
use crate::failure::Failed;
use crate::grpc;
use crate::link::{Link, LinkWatch};
use crate::observer::{ObservationReceiver, Seen};
use holdfast_proto::limits::MAX_MESSAGE_BYTES;
use holdfast_proto::v1;
use holdfast_proto::v1::follow_answer::Message;
use holdfast_proto::v1::log_archive_client::LogArchiveClient;
use holdfast_service::clock::Clock;
use holdfast_service::failure::Code;
use holdfast_types::ServerVersion;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

mod report;

use report::Reporter;

/// Messages of at most 1 MiB that wait for the connection.
const OUTGOING: usize = 8;
/// After a failure it is tried again so much later.
const PAUSE: Duration = Duration::from_secs(2);
/// The coordinator must answer the first call within this time.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// What following needs.
pub struct Following {
    /// The configuration.
    pub config: Arc<AgentConfig>,
    /// The connection to the coordinator.
    pub link: LinkWatch,
    /// What the observer saw last: the server's version, and states of replicas.
    pub observation: ObservationReceiver,
    /// Woken when there are other collections or shards.
    pub others: Arc<Notify>,
    /// Where captures find in which timeline a log is.
    pub board: Board,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// One stream to the coordinator.
struct Stream {
    generation: u64,
    out: mpsc::Sender<v1::FollowMessage>,
    inbound: Streaming<v1::FollowAnswer>,
    /// Messages of the item that is being sent, and of which log it is.
    pieces: VecDeque<v1::FollowMessage>,
    sending: u32,
    /// The newest mark, and when it came.
    mark: Option<(u64, Instant)>,
    /// The coordinator was told that it knows of every log.
    all_seen: bool,
    reporter: Reporter,
}

impl Following {
    /// Follows logs until `stop` is cancelled. Does nothing if that is not configured.
    pub async fn run(self, stop: CancellationToken) {
        let Some(storage) = self.config.qdrant.storage_dir.clone() else {
            return;
        };
        if !self.config.wal.archive {
            return;
        }
        let limit = self.config.wal.max_unsent;
        let mut logs = Some(Box::new(Logs::new(
            &storage,
            (&self.config.state_dir, &self.config.node),
            limit,
            self.board.clone(),
        )));
        let mut stream: Option<Stream> = None;
        let mut told = None;
        let mut not_before = Instant::now();
        let mut turn = tokio::time::interval(self.config.wal.poll);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let others = tokio::select! {
                _ = turn.tick() => false,
                () = self.others.notified() => true,
                () = stop.cancelled() => return,
            };
            let Some(mut turning) = logs.take() else {
                return;
            };
            turning.look_for_others(others);
            if stream.is_none() && Instant::now() >= not_before {
                match self.open().await {
                    Ok(opened) => {
                        turning.disconnected();
                        stream = opened;
                    }
                    Err(failed) => {
                        tell_once(&failed, &mut told);
                        not_before = Instant::now() + PAUSE;
                    }
                }
            }
            let clock = Arc::clone(&self.clock);
            let turned = tokio::task::spawn_blocking(move || {
                turning.turn(&|| Now {
                    wall: clock.now(),
                    steady: Instant::now(),
                });
                turning
            });
            let Ok(mut turned) = turned.await else {
                tracing::error!(
                    "reading logs has failed; they are not archived any more until the agent is restarted"
                );
                return;
            };
            if let Some(open) = &mut stream {
                match self.exchange(open, &mut turned) {
                    Ok(()) => told = None,
                    Err(failed) => {
                        tell_once(&failed, &mut told);
                        turned.disconnected();
                        stream = None;
                        not_before = Instant::now() + PAUSE;
                    }
                }
            }
            logs = Some(turned);
        }
    }

    /// A stream over the connection that is there; nothing, if there is none.
    async fn open(&self) -> Result<Option<Stream>, Failed> {
        let Some(Link {
            channel,
            generation,
            ..
        }) = self.link.get(Duration::ZERO).await
        else {
            return Ok(None);
        };
        let (out, outgoing) = mpsc::channel(OUTGOING);
        let mut client = LogArchiveClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let opened = client.follow(ReceiverStream::new(outgoing));
        let opened = tokio::time::timeout(OPEN_WITHIN, opened).await;
        let opened = opened.map_err(|_| {
            Failed::new(
                Code::CoordinatorUnreachable,
                "the coordinator does not answer in time",
            )
        })?;
        let inbound = opened.map_err(|status| grpc::failed(&status))?.into_inner();
        Ok(Some(Stream {
            generation,
            out,
            inbound,
            pieces: VecDeque::new(),
            sending: 0,
            mark: None,
            all_seen: false,
            reporter: Reporter::default(),
        }))
    }

    /// Takes what has come, and sends what the connection takes.
    fn exchange(&self, stream: &mut Stream, logs: &mut Logs) -> Result<(), Failed> {
        if self.link.generation() != Some(stream.generation) {
            return Err(Failed::new(
                Code::CoordinatorUnreachable,
                "the connection to the coordinator has ended",
            ));
        }
        while let Some(answer) = stream.answer()? {
            take(answer, stream, logs)?;
        }
        let seen = self.observation.latest();
        // Without it new logs wait; those that are known don't: what was read just before Qdrant died matters most.
        if let Some(version) = self.version() {
            stream.introduce(logs, &version);
        }
        stream.send_items(logs)?;
        stream.report(logs, seen.as_deref());
        Ok(())
    }

    /// Of the server whose logs are read.
    fn version(&self) -> Option<ServerVersion> {
        let seen = self.observation.latest()?;
        let inventory = seen.inventory.as_ref().ok()?;
        inventory.qdrant_version.parse().ok()
    }
}

impl Stream {
    /// The next answer that is there already.
    fn answer(&mut self) -> Result<Option<v1::FollowAnswer>, Failed> {
        use futures::FutureExt as _;
        match self.inbound.message().now_or_never() {
            None => Ok(None),
            Some(Ok(Some(answer))) => Ok(Some(answer)),
            Some(Ok(None)) => Err(Failed::new(
                Code::CoordinatorUnreachable,
                "the coordinator has closed the stream of logs",
            )),
            Some(Err(status)) => Err(grpc::failed(&status)),
        }
    }

    /// Tells of logs that the coordinator does not know yet, and of those that are gone.
    fn introduce(&mut self, logs: &mut Logs, version: &ServerVersion) {
        let mut gone = Vec::new();
        for (number, log) in logs.iter_mut() {
            if log.leaving && log.follower.queue().is_done() && self.pieces.is_empty() {
                let told = wire::dropped(number, log.is_whole());
                if log.phase == Phase::New || self.send(told) {
                    gone.push(number);
                }
                continue;
            }
            if log.phase == Phase::New {
                let seen = wire::seen(number, &log.key, log.follower.incarnation(), version);
                if self.send(seen) {
                    log.phase = Phase::Asked;
                }
            }
            if log.trouble != log.told && log.phase != Phase::New {
                if let Some(trouble) = &log.trouble {
                    tracing::error!(collection = %log.key.collection, shard = %log.key.shard, reason = %trouble, "a log can't be read");
                    if !self.send(wire::unread(number, trouble.clone())) {
                        continue;
                    }
                }
                log.told.clone_from(&log.trouble);
            }
        }
        for number in gone {
            logs.forget(number);
        }
        if !self.all_seen && logs.are_all_told() {
            self.all_seen = self.send(wire::all_seen());
        }
    }

    /// Sends entries, of each log in turn.
    fn send_items(&mut self, logs: &mut Logs) -> Result<(), Failed> {
        loop {
            let mut sent = false;
            let numbers: Vec<u32> = logs.iter_mut().map(|(number, _)| number).collect();
            for number in numbers {
                if !self.send_pieces() {
                    return Ok(());
                }
                if let Some(item) = logs.next_to_send(number) {
                    self.sending = number;
                    self.pieces = wire::item(number, item)
                        .map_err(|error| Failed::from_error(Code::Internal, &error))?;
                    sent = true;
                }
            }
            if !self.send_pieces() || !sent {
                return Ok(());
            }
        }
    }

    /// Sends the rest of an item. True if nothing of it is left.
    fn send_pieces(&mut self) -> bool {
        while let Ok(permit) = self.out.try_reserve() {
            match self.pieces.pop_front() {
                Some(piece) => permit.send(piece),
                None => return true,
            }
        }
        self.pieces.is_empty()
    }

    fn report(&mut self, logs: &mut Logs, seen: Option<&Seen>) {
        // A report must not stand between an item and its bytes.
        let (Some(mark), true) = (self.mark, self.pieces.is_empty()) else {
            return;
        };
        self.reporter.observed(seen);
        for (number, log) in logs.iter_mut() {
            let Some(standing) = self
                .reporter
                .due(&log.key, log.follower.standing(), log.reported)
            else {
                continue;
            };
            if log.phase == Phase::Open && self.send(wire::standing(number, &standing, mark)) {
                log.reported = Some((standing, Instant::now()));
            }
        }
    }

    fn send(&self, message: v1::FollowMessage) -> bool {
        self.out.try_send(message).is_ok()
    }
}

fn take(answer: v1::FollowAnswer, stream: &mut Stream, logs: &mut Logs) -> Result<(), Failed> {
    let broken = |what: &str| {
        Failed::new(
            Code::Internal,
            format!("the coordinator broke the protocol: {what}"),
        )
    };
    match answer.message {
        Some(Message::Place(place)) => {
            let durable = match &place.position {
                None => None,
                Some(position) => Some(
                    wire::durable(position)
                        .ok_or_else(|| broken("the timeline's id has not 16 bytes"))?,
                ),
            };
            logs.place(place.log, durable);
        }
        Some(Message::Durable(durable)) => {
            let timeline = wire::timeline(&durable.timeline)
                .ok_or_else(|| broken("the timeline's id has not 16 bytes"))?;
            logs.durable(durable.log, timeline, durable.next);
        }
        Some(Message::Mark(mark)) => stream.mark = Some((mark.number, Instant::now())),
        Some(Message::Refused(refused)) => {
            let why = refused.failure.unwrap_or_default().message;
            tracing::warn!(log = refused.log, reason = %why, "the coordinator can't archive what was sent of a log; it is sent once more, and then read once more");
            if stream.sending == refused.log {
                stream.pieces.clear();
            }
            logs.refused(refused.log);
        }
        None => return Err(broken("an empty message")),
    }
    Ok(())
}

/// The same reason is logged once while it lasts.
fn tell_once(failed: &Failed, told: &mut Option<String>) {
    if told.as_deref() != Some(failed.message.as_str()) {
        tracing::warn!(code = %failed.code, reason = %failed.message, "logs can't be sent; trying again");
        *told = Some(failed.message.clone());
    }
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").finish_non_exhaustive()
    }
}
