//! An export as a job ([`crate::upkeep`]): what the holder of its ticket reads is counted, and whoever cancels it ends the reading.
//!
//! The file is written by the operator's program, so only that program knows whether it is whole: it says so when it closes the
//! ticket. One that says nothing, for as long as a ticket lasts without use, has failed.

use crate::core::Core;
use crate::fault::Fault;
use crate::job::upkeep::Extent;
use crate::upkeep::{Ended, Run, cancelled};
use holdfast_certs::Identity;
use holdfast_service::failure::Code;
use holdfast_types::CaptureId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often it is told how far an export is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The reading of one ticket.
#[derive(Debug, Default)]
pub struct Reading {
    sent: AtomicU64,
    stop: CancellationToken,
    /// How it ended, once its holder has said so.
    end: Mutex<Option<Option<Fault>>>,
    ended: Notify,
}

impl Reading {
    /// So many bytes more, uncompressed, were handed out.
    pub fn add(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits until nothing more may be handed out.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Its holder is done with it, or has given it up for this reason.
    pub fn close(&self, failure: Option<Fault>) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.get_or_insert(failure);
        self.ended.notify_one();
    }

    fn end(&self) -> Option<Option<Fault>> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.clone()
    }

    fn extent(&self, total: u64) -> Extent {
        Extent {
            bytes: self.sent.load(Ordering::Relaxed),
            bytes_total: Some(total),
            estimated: true,
            ..Extent::default()
        }
    }
}

/// Follows a reading of about `total` bytes to its end.
pub(crate) async fn follow(
    core: Arc<Core>,
    run: Run,
    reading: Arc<Reading>,
    ticket: CaptureId,
    holder: Identity,
    total: u64,
) {
    let stop = core.shutdown.token();
    let mut known = 0;
    let failure = loop {
        let extent = reading.extent(total);
        run.tell("sending", extent);
        // A whole export may be one answer, which takes longer than a ticket lasts without use.
        if extent.bytes > known {
            known = extent.bytes;
            core.tickets.used(&ticket, core.clock.now());
        }
        if let Some(end) = reading.end() {
            break end;
        }
        if !core.tickets.is_open(&ticket, core.clock.now()) {
            let why = "the program that exports has said nothing for an hour: run the export again";
            break Some(Fault::new(Code::JobFailed, why));
        }
        tokio::select! {
            () = run.cancelled() => {
                break Some(cancelled("no file was finished; the recovery point is as it was"));
            }
            () = stop.cancelled() => return run.interrupted().await,
            () = reading.ended.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    };
    reading.stop.cancel();
    drop(core.tickets.close(&ticket, &holder));
    let extent = reading.extent(total);
    run.tell("sending", extent);
    let ended = Ended {
        found: vec![format!("sent {}", extent.text(""))],
        idle: false,
        failure,
    };
    run.end(ended).await;
}

#[cfg(test)]
mod tests {
    use super::Reading;
    use crate::fault::Fault;
    use holdfast_service::failure::Code;

    #[test]
    fn the_first_end_counts() {
        let reading = Reading::default();
        reading.add(7);
        reading.add(5);
        assert_eq!(reading.extent(100).bytes, 12);
        assert_eq!(reading.end(), None);
        reading.close(None);
        reading.close(Some(Fault::new(Code::DiskFull, "full")));
        assert_eq!(reading.end(), Some(None));
    }
}
