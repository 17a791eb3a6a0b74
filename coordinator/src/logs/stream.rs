//! One stream of an agent: takes looks in, stores them when they are old or large enough, and acknowledges what is durable.
//!
//! Reading stops while something is stored, so what waits is bounded by what the agent may have unacknowledged. What can't be stored
//! stays, and is tried again: the agent keeps it, too.

use super::arrival::{Arrival, End, LogId, Refusal};
use crate::config::WalSection;
use crate::core::Core;
use crate::fault::{Fault, chain};
use futures::future::join_all;
use holdfast_archive::WalRun;
use holdfast_proto::v1;
use holdfast_proto::v1::follow_answer::Message as Answer;
use holdfast_proto::v1::follow_message::Message;
use holdfast_repository::{Appended, RepositoryError, WalPart, WalSeries};
use holdfast_service::failure::Code;
use holdfast_types::{IncarnationId, NodeId, ShardId, TimelineId, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Answers that may wait to be sent.
pub const ANSWERS: usize = 256;
/// An agent that takes no answers for so long is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Instants that both sides can refer to are sent so often …
const MARK_EVERY: Duration = Duration::from_secs(1);
/// … and so many are remembered.
const MARKS: usize = 120;
/// What could not be stored is tried again after this long.
const AGAIN: Duration = Duration::from_secs(1);
/// Parts that are stored at once, of at most 8 MiB unless an entry is larger.
const STORED_AT_ONCE: usize = 8;
/// Logs that one stream may have.
const MAX_LOGS: usize = 100_000;

/// The way to the agent.
type Answers = mpsc::Sender<Result<v1::FollowAnswer, Status>>;

/// Serves a stream until it ends.
pub async fn serve(
    core: Arc<Core>,
    node: NodeId,
    inbound: Streaming<v1::FollowMessage>,
    out: Answers,
) {
    let (number, replaced) = core.logs.enter(&node);
    let stop = core.shutdown.token();
    let mut stream = Stream::new(Arc::clone(&core), (node.clone(), number), out.clone());
    let served = tokio::select! {
        served = Box::pin(stream.run(inbound)) => served,
        () = replaced.cancelled() => Err(Status::aborted("another stream of this node has begun")),
        () = stop.cancelled() => Err(Status::unavailable("the coordinator is stopping")),
    };
    core.logs.leave(&node, number);
    if let Err(status) = served {
        tracing::info!(%node, reason = status.message(), "the logs of a node are not sent any more");
        let _gone = out.try_send(Err(status));
    }
}

struct Stream {
    core: Arc<Core>,
    node: NodeId,
    /// Which of the node's streams.
    number: u64,
    out: Answers,
    logs: BTreeMap<u32, Arrival>,
    /// The log whose look is being sent.
    receiving: Option<u32>,
    marks: VecDeque<(u64, Timestamp)>,
    /// Nothing is stored before.
    not_before: Option<Instant>,
}

impl Stream {
    fn new(core: Arc<Core>, (node, number): (NodeId, u64), out: Answers) -> Self {
        Self {
            core,
            node,
            number,
            out,
            logs: BTreeMap::new(),
            receiving: None,
            marks: VecDeque::new(),
            not_before: None,
        }
    }

    async fn run(&mut self, mut inbound: Streaming<v1::FollowMessage>) -> Result<(), Status> {
        let mut marks = tokio::time::interval(MARK_EVERY);
        loop {
            let due = self.due();
            let waiting = tokio::time::sleep_until(due.unwrap_or_else(far).into());
            tokio::select! {
                message = inbound.message() => match message? {
                    Some(message) => self.take(message).await?,
                    None => return Ok(()),
                },
                () = waiting, if due.is_some() => self.store().await?,
                _ = marks.tick() => self.mark().await?,
            }
        }
    }

    /// When something must be stored.
    fn due(&self) -> Option<Instant> {
        let WalSection {
            flush_after,
            flush_bytes,
            ..
        } = self.core.wal;
        let of = |arrival: &Arrival| {
            let pending = arrival.pending();
            let oldest = pending.front()?;
            let large = pending.len() > 1 || oldest.bytes >= flush_bytes;
            Some(if large {
                oldest.since
            } else {
                oldest.since + flush_after
            })
        };
        let due = self.logs.values().filter_map(of).min()?;
        Some(
            self.not_before
                .map_or(due, |not_before| due.max(not_before)),
        )
    }

    async fn take(&mut self, message: v1::FollowMessage) -> Result<(), Status> {
        let invalid = |what: &str| Status::invalid_argument(what.to_owned());
        match message.message {
            Some(Message::Seen(seen)) => self.seen(seen).await,
            Some(Message::Look(head)) => {
                let log = head.log;
                self.receiving = Some(log);
                // One that was refused: its rest is passed over.
                let Some(arrival) = self.logs.get_mut(&log) else {
                    return Ok(());
                };
                match arrival.head(head) {
                    Ok(()) => Ok(()),
                    Err(refusal) => self.refuse(log, &refusal).await,
                }
            }
            Some(Message::Bytes(bytes)) => {
                let log = self.receiving.ok_or_else(|| invalid("bytes of no look"))?;
                let Some(arrival) = self.logs.get_mut(&log) else {
                    return Ok(());
                };
                match arrival.bytes(&bytes.data, Instant::now()) {
                    Ok(_) => Ok(()),
                    Err(refusal) => self.refuse(log, &refusal).await,
                }
            }
            Some(Message::Standing(standing)) => self.standing(&standing),
            Some(Message::Ended(ended)) => {
                self.ended(ended);
                Ok(())
            }
            Some(Message::Gone(gone)) => {
                self.gone(gone);
                Ok(())
            }
            Some(Message::AllSeen(v1::AllLogsSeen {})) => {
                self.core.logs.all_seen(&self.node, self.number);
                Ok(())
            }
            // Something that only a newer agent says.
            None => Ok(()),
        }
    }

    /// An agent says what log it follows: it is told where to go on.
    async fn seen(&mut self, seen: v1::LogSeen) -> Result<(), Status> {
        let number = seen.log;
        if self.logs.len() >= MAX_LOGS && !self.logs.contains_key(&number) {
            return Err(Status::resource_exhausted("too many logs in one stream"));
        }
        let invalid = |field: &str| Status::invalid_argument(format!("field {field} is not valid"));
        let incarnation = <[u8; 16]>::try_from(&seen.incarnation[..]);
        let incarnation = incarnation.map_err(|_| invalid("incarnation"))?;
        let version = seen.server_version.parse();
        let version = version.map_err(|_| invalid("server_version"))?;
        let id = LogId {
            node: self.node.clone(),
            collection: seen.collection.parse().map_err(|_| invalid("collection"))?,
            incarnation: IncarnationId::from_bytes(incarnation),
            shard: ShardId(seen.shard_id),
        };
        // What has come of it so far is durable first: then there is one truth.
        while self
            .logs
            .get(&number)
            .is_some_and(|log| !log.pending().is_empty())
        {
            if let Some(not_before) = self.not_before {
                tokio::time::sleep_until(not_before.into()).await;
            }
            self.store_all(true).await?;
        }
        let end = match self.core.logs.known(&id) {
            Some(end) => {
                self.core.logs.followed(&id, None);
                Some(end)
            }
            None => {
                let found = newest(&self.core, &id).await;
                let found = found.map_err(|fault| Status::unavailable(fault.message))?;
                self.core.logs.followed(&id, Some(found));
                found.map(|(_, end)| end)
            }
        };
        let namespace = self.core.namespace.clone();
        let position = end.map(|end| v1::LogPosition {
            timeline: end.timeline.as_bytes().to_vec().into(),
            next: end.next,
            crc: end.crc,
            after_us: end.after.as_micros(),
            by_us: end.by.as_micros(),
        });
        self.logs
            .insert(number, Arrival::new(id, namespace, version, end));
        self.answer(Answer::Place(v1::LogPlace {
            log: number,
            position,
        }))
        .await
    }

    fn standing(&mut self, standing: &v1::LogStanding) -> Result<(), Status> {
        let Some(arrival) = self.logs.get(&standing.log) else {
            return Ok(());
        };
        let timeline = <[u8; 16]>::try_from(&standing.timeline[..])
            .map_err(|_| Status::invalid_argument("a timeline's id has 16 bytes"))?;
        let mark = self
            .marks
            .iter()
            .find(|(number, _)| *number == standing.mark);
        // One that is forgotten says nothing; the next report will.
        let Some((_, sent)) = mark else { return Ok(()) };
        // The mark was sent before it arrived, so this is no later than the look began.
        let micros = sent.as_micros().saturating_add(standing.since_us);
        let now = self.core.clock.now();
        let until = Timestamp::from_micros(micros).min(now);
        let found = (
            TimelineId::from_bytes(timeline),
            standing.first,
            standing.next,
        );
        self.core.logs.reported(&arrival.id, found, until, now);
        Ok(())
    }

    fn ended(&mut self, ended: v1::LogEnded) {
        if let Some(arrival) = self.logs.get(&ended.log) {
            let now = self.core.clock.now();
            let id = &arrival.id;
            tracing::warn!(node = %id.node, collection = %id.collection, shard = %id.shard, next = ended.next, reason = %ended.because, "the history of a log has ended: a new base is needed");
            let because = ended.because.chars().take(500).collect();
            if let Ok(line) = <[u8; 16]>::try_from(&ended.timeline[..]) {
                let line = TimelineId::from_bytes(line);
                self.core
                    .logs
                    .change(id, |log| log.ended(line, because, now));
            }
        }
    }

    fn gone(&mut self, gone: v1::LogGone) {
        let Some(arrival) = self.logs.get(&gone.log) else {
            return;
        };
        let id = arrival.id.clone();
        if gone.dropped {
            let stored = arrival.pending().is_empty();
            let whole = gone.whole && stored;
            self.core.logs.change(&id, |log| log.is_gone(whole));
            if stored {
                self.logs.remove(&gone.log);
            }
        } else {
            let why = gone.because.chars().take(500).collect();
            self.core.logs.unread(&id, self.core.clock.now(), why);
        }
    }

    async fn mark(&mut self) -> Result<(), Status> {
        let number = self.marks.back().map_or(1, |(number, _)| number + 1);
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((number, self.core.clock.now()));
        self.answer(Answer::Mark(v1::LogMark { number })).await
    }

    async fn store(&mut self) -> Result<(), Status> {
        self.store_all(false).await
    }

    /// Stores what is due of every log, the oldest part of each.
    async fn store_all(&mut self, everything: bool) -> Result<(), Status> {
        let WalSection {
            flush_after,
            flush_bytes,
            ..
        } = self.core.wal;
        let now = Instant::now();
        let mut due = Vec::new();
        for (number, arrival) in &self.logs {
            let pending = arrival.pending();
            let Some(oldest) = pending.front() else {
                continue;
            };
            let old = oldest.since + flush_after <= now;
            if everything || old || pending.len() > 1 || oldest.bytes >= flush_bytes {
                due.push((*number, oldest));
            }
        }
        let core = &self.core;
        let mut stored = Vec::new();
        // Few parts are in memory twice.
        for some in due.chunks(STORED_AT_ONCE) {
            let mut storing = Vec::new();
            for (number, oldest) in some {
                let part = oldest.part();
                let part = part.map_err(|error| Status::internal(chain(&error)))?;
                let (number, first, end) = (*number, oldest.first, oldest.end);
                storing.push(async move {
                    let stored = core.repository.append_wal(core.epoch, part).await;
                    (number, first, end, stored)
                });
            }
            stored.extend(join_all(storing).await);
        }
        self.not_before = None;
        for (number, first, end, result) in stored {
            self.settle(number, first, end, result).await?;
        }
        Ok(())
    }

    async fn settle(
        &mut self,
        number: u32,
        first: u64,
        end: End,
        result: Result<Appended, RepositoryError>,
    ) -> Result<(), Status> {
        let Some(arrival) = self.logs.get_mut(&number) else {
            return Ok(());
        };
        match result {
            Ok(Appended { run, .. }) if is_same(&run, &end) => {
                arrival.stored();
                self.core.logs.durable(&arrival.id, first, end);
                let durable = v1::LogDurable {
                    log: number,
                    timeline: end.timeline.as_bytes().to_vec().into(),
                    next: end.next,
                };
                self.answer(Answer::Durable(durable)).await
            }
            Ok(_) => {
                let why = "another part of this log is stored there already";
                self.refuse(number, &Refusal(why.to_owned())).await
            }
            Err(error) => {
                let fault = self.core.repository_failed(&error);
                if fault.known_code() == Code::StaleEpoch {
                    return Err(Status::aborted(fault.message));
                }
                tracing::error!(node = %self.node, collection = %arrival.id.collection, reason = %fault, "entries of a log can't be stored; trying again");
                let now = self.core.clock.now();
                self.core.logs.unstored(&arrival.id, now, fault.message);
                self.not_before = Some(Instant::now() + AGAIN);
                Ok(())
            }
        }
    }

    /// What was sent of a log can't be used: its agent begins anew.
    async fn refuse(&mut self, log: u32, refusal: &Refusal) -> Result<(), Status> {
        let Some(arrival) = self.logs.remove(&log) else {
            return Ok(());
        };
        let id = &arrival.id;
        tracing::warn!(node = %id.node, collection = %id.collection, shard = %id.shard, reason = %refusal, "what an agent sent of a log was refused");
        self.core.logs.doubt(id);
        let failure = Fault::new(Code::JobFailed, refusal.to_string()).to_wire();
        self.answer(Answer::Refused(v1::LogRefused {
            log,
            failure: Some(failure),
        }))
        .await
    }

    async fn answer(&self, message: Answer) -> Result<(), Status> {
        let answer = v1::FollowAnswer {
            message: Some(message),
        };
        let sent = self.out.send_timeout(Ok(answer), ANSWER_WITHIN).await;
        sent.map_err(|_| Status::aborted("the agent takes no answers"))
    }
}

/// What stands at the place of a part is that part.
fn is_same(run: &WalRun, end: &End) -> bool {
    (run.next, run.end) == (end.next, end.crc)
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// The newest timeline of a log, by the instants of its last part, and the index with which it begins. One whose end can't be read is passed
/// over: nobody could go on behind it.
async fn newest(core: &Core, id: &LogId) -> Result<Option<(u64, End)>, Fault> {
    let repository = &core.repository;
    let listed = repository.list_shard_wal(&core.namespace, id.incarnation, id.shard);
    let listed = listed
        .await
        .map_err(|error| core.repository_failed(&error))?;
    let mut newest: Option<(u64, End)> = None;
    for listing in listed {
        let (oldest, newest_part) = (
            listing.parts.first_key_value(),
            listing.parts.last_key_value(),
        );
        let (Some((first, _)), Some((_, last))) = (oldest, newest_part) else {
            continue;
        };
        let (first, last) = (*first, last.part);
        match read_end(core, &listing.series, last, id).await? {
            Some(end)
                if newest.is_none_or(|(_, known)| {
                    (known.by, known.timeline) < (end.by, end.timeline)
                }) =>
            {
                newest = Some((first, end));
            }
            Some(_) | None => {}
        }
    }
    Ok(newest)
}

/// The end of a run, if it is this node's.
async fn read_end(
    core: &Core,
    series: &WalSeries,
    last: WalPart,
    id: &LogId,
) -> Result<Option<End>, Fault> {
    match core.repository.read_wal(series, last).await {
        Ok(part) => {
            let ours = part.filter(|part| part.origin().node == id.node);
            Ok(ours.map(|part| End::of(&part)))
        }
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. })) => {
            tracing::error!(timeline = %series.timeline, reason = %chain(&error), "the end of an archived log can't be read: the log goes on in another timeline");
            Ok(None)
        }
        Err(error) => Err(core.repository_failed(&error)),
    }
}
