//! The streamed way: nothing is stored on Qdrant's side, but Qdrant holds a lock while it streams.
//!
//! So the stream is drained into a bounded spool on the agent's disk, as fast as the disk takes it (or as it may, where the
//! order has a limit), and the stages read from there. An interrupted stream is asked for anew: there is nothing to resume.

use super::optimizers::{Disturbance, Patience, disturbed};
use super::reader::ReadShard;
use super::session::IngestSession;
use super::{TRIES, Taken, deliver, millis, observe};
use crate::failure::{Failed, io_code};
use crate::flow::both;
use crate::job::{Halt, Job};
use crate::order::{CaptureOrder, Method};
use crate::pace::Pace;
use crate::spool::{self, SpoolError, SpoolWriter};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use holdfast_qdrant::QdrantError;
use holdfast_service::failure::Code;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Pieces of the stream between the connection and the disk.
const PIECES: usize = 32;

/// Captures through a stream.
pub(super) async fn capture(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    patience: &Patience,
) -> Result<(Taken, ReadShard), Halt> {
    for _ in 1..TRIES {
        if let Some(done) = one_try(job, order, session, patience, Repeat::Yes).await? {
            return Ok(done);
        }
        tracing::info!("an optimizer began when Qdrant made the snapshot: it is made again");
    }
    let done = one_try(job, order, session, patience, Repeat::No).await?;
    done.ok_or(Halt::Stopped)
}

/// Whether a snapshot in which deletions may be missing is given up at once, to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Yes,
    No,
}

/// `None` if it was given up.
async fn one_try(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    patience: &Patience,
    repeat: Repeat,
) -> Result<Option<(Taken, ReadShard)>, Halt> {
    let qdrant = &job.site.qdrant;
    let before = observe::before(qdrant, order, patience).await?;
    job.meter.stage("reading Qdrant's stream");
    job.meter.restart(0);
    let dir = job.site.config.state_dir.clone();
    let (writer, reader) =
        spool::open(&dir, job.site.config.spool_limit).map_err(|error| spool_failed(&error))?;
    let captured = job.site.clock.now();
    let began = Instant::now();
    let stream = qdrant
        .stream_shard_snapshot(&order.collection, order.shard)
        .await?;
    let given_up = GivenUp::default();
    let pumping = Box::pin(async {
        let look = disturbed(qdrant, order, &before.optimizers);
        let found = pump_watched((stream, &job.pace), writer, look, (repeat, &given_up)).await?;
        let snapshot_ms = millis(began.elapsed());
        let failing = observe::after(qdrant, order).await?;
        let points = before.quiet_points(qdrant, &order.collection, found).await;
        Ok::<_, Halt>((snapshot_ms, points, found, failing))
    });
    let done = both(pumping, deliver(job, order, session, reader)).await;
    if given_up.is_set() {
        return Ok(None);
    }
    let ((snapshot_ms, points, found, failing), shard) = done?;
    let mut collection = before.entry.clone();
    collection.points = points;
    let taken = Taken {
        method: Method::Stream,
        server_version: before.server_version.clone(),
        captured,
        snapshot_ms,
        collection,
        notes: observe::notes(found, before.failing || failing),
    };
    Ok(Some((taken, shard)))
}

/// Set where a snapshot was given up because another may be better.
#[derive(Debug, Default)]
pub(super) struct GivenUp(AtomicBool);

impl GivenUp {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Writes the stream into the spool to its end. `look` is asked for the optimizers as soon as the first bytes have
/// come: then Qdrant holds its segments as they are in the snapshot.
pub(super) async fn pump_watched(
    (stream, pace): (impl Stream<Item = Result<Bytes, QdrantError>>, &Pace),
    writer: SpoolWriter,
    look: impl Future<Output = Option<Disturbance>>,
    (repeat, given_up): (Repeat, &GivenUp),
) -> Result<Option<Disturbance>, Halt> {
    let mut stream = pin!(stream);
    let first = stream.next().await;
    let looking = async {
        match look.await {
            Some(found) if found.may_pass() && repeat == Repeat::Yes => {
                given_up.0.store(true, Ordering::Relaxed);
                Err(Halt::Stopped)
            }
            found => Ok(found),
        }
    };
    let whole = stream::iter(first).chain(stream);
    let ((), found) = tokio::try_join!(pump(whole, writer, pace), looking)?;
    Ok(found)
}

/// Writes the stream into the spool to its end.
async fn pump(
    stream: impl Stream<Item = Result<Bytes, QdrantError>>,
    mut writer: SpoolWriter,
    pace: &Pace,
) -> Result<(), Halt> {
    let (pieces, mut pieces_rx) = mpsc::channel::<Bytes>(PIECES);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(piece) = pieces_rx.blocking_recv() {
            writer.write(&piece)?;
        }
        Ok::<_, SpoolError>(writer)
    });
    let mut stream = pin!(stream);
    let mut broken = None;
    while let Some(piece) = stream.next().await {
        match piece {
            // The writing thread has ended; its result says why.
            Ok(piece) => {
                pace.read(piece.len() as u64).await;
                if pieces.send(piece).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    drop(pieces);
    let writer = writing
        .await
        .map_err(|error| Halt::crashed(&error))?
        .map_err(|error| spool_failed(&error))?;
    match broken {
        None => {
            writer.finish();
            Ok(())
        }
        Some(error) => {
            writer.fail(&error.to_string());
            Err(error.into())
        }
    }
}

pub(super) fn spool_failed(error: &SpoolError) -> Halt {
    let code = match error {
        SpoolError::ReaderGone => return Halt::Stopped,
        SpoolError::Full { .. } => Code::SpoolFull,
        SpoolError::Io(source) => io_code(source),
    };
    Halt::Failed(Failed::from_error(code, error))
}

#[cfg(test)]
mod tests {
    use super::pump;
    use crate::job::Halt;
    use crate::pace::Pace;
    use crate::spool;
    use bytes::Bytes;
    use futures::stream;
    use holdfast_qdrant::QdrantError;
    use holdfast_service::failure::Code;
    use holdfast_types::ByteCount;
    use std::io::Read as _;

    fn pieces(count: u8) -> Vec<Result<Bytes, QdrantError>> {
        (0..count).map(|i| Ok(Bytes::from(vec![i; 100]))).collect()
    }

    #[tokio::test]
    async fn a_whole_stream_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, mut reader) = spool::open(dir.path(), ByteCount(10_000)).unwrap();
        pump(stream::iter(pieces(20)), writer, &Pace::free())
            .await
            .unwrap();
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 2000);
        assert_eq!(got[1999], 19);
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, mut reader) = spool::open(dir.path(), ByteCount(10_000)).unwrap();
        let mut parts = pieces(2);
        parts.push(Err(QdrantError::Timeout {
            context: "the stream".into(),
        }));
        let Err(Halt::Failed(failed)) = pump(stream::iter(parts), writer, &Pace::free()).await
        else {
            panic!("it must fail")
        };
        assert_eq!(failed.code, Code::QdrantUnreachable);
        let mut got = Vec::new();
        assert!(reader.read_to_end(&mut got).is_err());
    }

    #[tokio::test]
    async fn an_overflow_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _reader) = spool::open(dir.path(), ByteCount(1000)).unwrap();
        let Err(Halt::Failed(failed)) =
            pump(stream::iter(pieces(200)), writer, &Pace::free()).await
        else {
            panic!("it must fail")
        };
        assert_eq!(failed.code, Code::SpoolFull);
        assert!(failed.message.contains("spool"), "{}", failed.message);
    }

    #[tokio::test]
    async fn a_reader_that_left_is_not_the_streams_fault() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reader) = spool::open(dir.path(), ByteCount(10_000)).unwrap();
        drop(reader);
        let result = pump(stream::iter(pieces(3)), writer, &Pace::free()).await;
        assert!(matches!(result, Err(Halt::Stopped)));
    }
}
