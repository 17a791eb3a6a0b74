//! Streams a job's feed to one caller. The job goes on whether or not anyone listens.

use crate::core::Core;
use crate::job::feed::{Cursor, JobFeed};
use holdfast_proto::v1;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Events that may wait for a slow caller; more are condensed by the feed.
const QUEUE: usize = 64;

/// A stream of job events.
pub(super) type Events = ReceiverStream<Result<v1::JobEvent, Status>>;

/// Follows a feed from its beginning to its end.
pub(super) fn follow(core: &Core, feed: Arc<JobFeed>) -> Events {
    let (out, events) = mpsc::channel(QUEUE);
    let stop = core.shutdown.token();
    drop(core.shutdown.spawn(async move {
        let following = forward(&feed, &out);
        tokio::select! {
            () = following => {}
            () = stop.cancelled() => {
                let text = "the coordinator is stopping; the job goes on when it is back: `holdfast status` shows it";
                // A caller that went away needs no reason.
                let _gone = out.try_send(Err(Status::unavailable(text)));
            }
        }
    }));
    ReceiverStream::new(events)
}

/// Tells a history from its beginning to its end.
pub(super) fn told(core: &Core, history: Vec<v1::JobEvent>) -> Events {
    let (out, events) = mpsc::channel(QUEUE);
    let stop = core.shutdown.token();
    drop(core.shutdown.spawn(async move {
        for event in history {
            tokio::select! {
                sent = out.send(Ok(event)) => if sent.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }));
    ReceiverStream::new(events)
}

async fn forward(feed: &JobFeed, out: &mpsc::Sender<Result<v1::JobEvent, Status>>) {
    let mut changes = feed.watch();
    let mut cursor = Cursor::default();
    loop {
        changes.mark_unchanged();
        let (events, ended) = feed.since(&mut cursor);
        for event in events {
            if out.send(Ok(event)).await.is_err() {
                return;
            }
        }
        if ended {
            return;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
}
