//! One shard's archived log on its way to be sent: fetched, proven, read and planned ahead of what is being sent.
//!
//! Reading and planning take a thread's time; what comes out is sent by whoever holds the other end. If the connection to the coordinator
//! breaks, the log is fetched from the operation on that comes next.

use super::{LogOrder, LogSource};
use crate::attempts::Attempts;
use crate::failure::Failed;
use crate::fetch;
use crate::flow::both;
use crate::job::{Halt, Job};
use bytes::Bytes;
use holdfast_service::failure::Code;
use holdfast_wal::change::Entry;
use holdfast_wal::replay::{Plan, Request, Source, plan};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Pieces of a log between the connection and the thread that reads it.
const PIECES: usize = 4;
/// Planned operations that wait to be sent.
pub(crate) const STEPS: usize = 4;

/// What has the effect of one operation. Owned, unlike the [`Plan`] that it was.
#[derive(Debug)]
pub enum Step {
    /// These requests, in order.
    Send(Vec<Request>),
    /// This entry, for which the target must be asked first.
    Ask(Bytes),
    /// This, once for the collection.
    Everywhere(Request),
}

/// What has the effect of an entry.
fn step(log: LogOrder, index: u64, data: &Bytes, source: &Source) -> Result<Step, Failed> {
    let refused = |why: &dyn std::error::Error| {
        Failed::new(
            Code::PlanBlocked,
            format!(
                "operation {index} of shard {} can't be replayed by requests ({}): restore with --by splice, where Qdrant reads its log itself",
                log.shard,
                crate::failure::chain(why)
            ),
        )
    };
    let entry = Entry::read(data).map_err(|error| refused(&error))?;
    match plan(entry.change, source).map_err(|error| refused(&error))? {
        Plan::Send(requests) => Ok(Step::Send(requests)),
        Plan::Select(_) => Ok(Step::Ask(data.clone())),
        Plan::Everywhere(request) => Ok(Step::Everywhere(request)),
    }
}

/// What has the effect of one operation.
#[derive(Debug)]
pub struct Planned {
    /// Its index in the log.
    pub index: u64,
    /// How.
    pub step: Step,
    /// Bytes of its entry.
    pub bytes: u64,
}

/// Hands on what has the effect of each ordered operation. Without a receiver it only proves that every operation can be replayed.
///
/// # Errors
/// What can't be fetched or replayed; [`Halt::Stopped`] if the receiver has gone.
pub async fn feed(
    job: &Job,
    log: LogOrder,
    source: &Source,
    out: Option<mpsc::Sender<Planned>>,
) -> Result<(), Halt> {
    let mut attempts = Attempts::new(job.site.config.limits.retry_for);
    let next = Arc::new(AtomicU64::new(log.from));
    loop {
        let link = attempts.link(job).await?;
        let rest = LogOrder {
            from: next.load(Ordering::Relaxed),
            ..log
        };
        if rest.entries() == 0 {
            return Ok(());
        }
        attempts.accepted();
        let (pieces, arriving) = mpsc::channel(PIECES);
        let (begin, begun) = oneshot::channel();
        let (alive, over) = oneshot::channel();
        let reader = Reader {
            _alive: alive,
            log: rest,
            source: source.clone(),
            next: Arc::clone(&next),
            out: out.clone(),
        };
        let entries = LogSource::new(rest, arriving, begin);
        let reading = tokio::task::spawn_blocking(move || reader.read(entries));
        let reading = async { reading.await.map_err(|error| Halt::crashed(&error))? };
        let fetching = fetch::log_entries(&link, &job.id, rest, begun, pieces);
        match both(fetching, reading).await {
            Ok(_) => return Ok(()),
            Err(Halt::Broken(failed)) => {
                // The thread may still hand on what had come: another one beside it would hand on the same again. It ends, since nothing
                // more comes; then `next` is where the next one begins.
                let _ended = over.await;
                attempts.arrived(next.load(Ordering::Relaxed));
                attempts.pause(failed).await?;
            }
            Err(halt) => return Err(halt),
        }
    }
}

/// The thread's part.
struct Reader {
    /// Dropped when the thread ends.
    _alive: oneshot::Sender<()>,
    log: LogOrder,
    source: Source,
    next: Arc<AtomicU64>,
    out: Option<mpsc::Sender<Planned>>,
}

impl Reader {
    fn read(self, mut entries: LogSource) -> Result<(), Halt> {
        for index in self.log.from..self.log.until {
            let data = entries.entry()?;
            let step = step(self.log, index, &data, &self.source)?;
            if let Some(out) = &self.out {
                let bytes = data.len() as u64;
                let planned = Planned { index, step, bytes };
                out.blocking_send(planned).map_err(|_| Halt::Stopped)?;
            }
            self.next.store(index + 1, Ordering::Relaxed);
        }
        entries.finish()
    }
}
