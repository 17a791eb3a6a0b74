//! The bytes of a snapshot on their way.

use crate::QdrantError;
use bytes::Bytes;
use futures::Stream;
use std::fmt;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tokio_util::io::{StreamReader, SyncIoBridge};

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, reqwest::Error>> + Send>>;

/// A snapshot being downloaded. Its end proves nothing: only the archive's own trailer and contents do.
pub struct SnapshotStream {
    chunks: Chunks,
    context: String,
    len: Option<u64>,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl SnapshotStream {
    pub(super) fn new(answer: reqwest::Response, context: String, idle: Duration) -> Self {
        Self {
            len: answer.content_length(),
            chunks: Box::pin(answer.bytes_stream()),
            context,
            idle,
            deadline: Box::pin(tokio::time::sleep(idle)),
        }
    }

    /// Length in bytes, if the server announced it.
    #[must_use]
    pub fn content_len(&self) -> Option<u64> {
        self.len
    }

    /// The same bytes for blocking code. Call it on the runtime, read from a blocking thread; a
    /// [`QdrantError`] is inside the [`io::Error`] that a failed read returns.
    pub fn into_reader(self) -> impl Read + Send {
        SyncIoBridge::new(StreamReader::new(IoErrors(self)))
    }
}

impl Stream for SnapshotStream {
    type Item = Result<Bytes, QdrantError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.chunks.as_mut().poll_next(cx);
        match polled {
            Poll::Ready(item) => {
                let deadline = Instant::now() + self.idle;
                self.deadline.as_mut().reset(deadline);
                Poll::Ready(item.map(|chunk| {
                    chunk.map_err(|source| QdrantError::Truncated {
                        context: self.context.clone(),
                        source: source.without_url(),
                    })
                }))
            }
            Poll::Pending => match self.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(QdrantError::Timeout {
                    context: self.context.clone(),
                }))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl fmt::Debug for SnapshotStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotStream({})", self.context)
    }
}

struct IoErrors(SnapshotStream);

impl Stream for IoErrors {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.0).poll_next(cx);
        polled.map(|item| item.map(|chunk| chunk.map_err(io::Error::other)))
    }
}
