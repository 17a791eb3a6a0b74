//! Takes the planned operations of all logs to the collection: each log in its own order, what concerns the collection once.

use crate::failure::Failed;
use crate::job::Halt;
use crate::progress::Meter;
use crate::replay::lane::{Planned, Step};
use crate::replay::requests::{Effects, Receiver};
use futures::future::join_all;
use holdfast_service::failure::Code;
use holdfast_wal::change::Entry;
use holdfast_wal::replay::{Due, Plan, Request, Source, Together, plan};
use tokio::sync::mpsc;

/// The log of one shard.
pub(super) struct Lane {
    source: Source,
    /// What comes of it; `None` if nothing was ordered.
    steps: Option<mpsc::Receiver<Planned>>,
    /// Index of the first, and how many there are.
    first: u64,
    ordered: u64,
    /// How many have had their effect.
    done: u64,
    effects: Effects,
}

impl Lane {
    pub(super) fn new(
        source: Source,
        steps: Option<mpsc::Receiver<Planned>>,
        (first, ordered): (u64, u64),
    ) -> Self {
        Self {
            source,
            steps,
            first,
            ordered,
            done: 0,
            effects: Effects::default(),
        }
    }

    /// Index of the operation that has not had its effect yet.
    fn next(&self) -> u64 {
        self.first + self.done
    }

    /// Goes on to the next operation that concerns the collection, or to the end: `None`.
    async fn advance(
        &mut self,
        receiver: Receiver<'_>,
        meter: &Meter,
    ) -> Result<Option<Request>, Halt> {
        while self.done < self.ordered {
            let Some(steps) = &mut self.steps else {
                return Err(Halt::Stopped);
            };
            let Planned { index, step, bytes } = steps.recv().await.ok_or(Halt::Stopped)?;
            if index != self.next() {
                // Sent twice or left out, an operation would not be seen in the result.
                let what = format!(
                    "operation {index} came for sending in place of {}",
                    self.next()
                );
                return Err(Failed::new(Code::Internal, what).into());
            }
            meter.add_done(bytes);
            let effects = match step {
                Step::Send(requests) => receiver.send(requests).await?,
                Step::Everywhere(request) => return Ok(Some(request)),
                Step::Ask(data) => {
                    let unread =
                        |error: &dyn std::error::Error| Failed::from_error(Code::Internal, error);
                    let entry = Entry::read(&data).map_err(|error| unread(&error))?;
                    match plan(entry.change, &self.source).map_err(|error| unread(&error))? {
                        Plan::Select(select) => receiver.select(&select).await?,
                        Plan::Send(requests) => receiver.send(requests).await?,
                        Plan::Everywhere(request) => return Ok(Some(request)),
                    }
                }
            };
            self.effects.add(effects);
            self.done += 1;
        }
        Ok(None)
    }
}

/// Sends everything; what came of it.
///
/// # Errors
/// [`Halt::Broken`] if the effect of a request is not known; [`Halt::Stopped`] if a log broke off.
pub(super) async fn all(
    receiver: Receiver<'_>,
    mut lanes: Vec<Lane>,
    meter: &Meter,
) -> Result<Effects, Halt> {
    let mut together = Together::new(lanes.len());
    let mut effects = Effects::default();
    let mut running: Vec<usize> = (0..lanes.len()).collect();
    loop {
        let going = lanes.iter_mut().enumerate();
        let going = going.filter(|(at, _)| running.contains(at));
        let going =
            going.map(|(at, lane)| async move { (at, lane.advance(receiver, meter).await) });
        let stopped = join_all(going).await;
        running.clear();
        for (at, request) in stopped {
            match request? {
                None => together.end(at),
                Some(request) => {
                    if together.arrive(at, request) {
                        running.push(at);
                    }
                }
            }
        }
        if running.is_empty() {
            let Some(Due { request, go_on }) = together.due() else {
                break;
            };
            effects.add(receiver.send(vec![request]).await?);
            running = go_on;
        }
        for at in &running {
            lanes[*at].done += 1;
        }
    }
    for lane in lanes {
        effects.add(lane.effects);
    }
    Ok(effects)
}
