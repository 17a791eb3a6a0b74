//! The stored way: Qdrant writes a snapshot file, the agent reads it and has it deleted afterwards.
//!
//! The file is read from the shared snapshots directory; where that can't be done it is downloaded,
//! which holds no lock in Qdrant and so needs no spool. The journal knows the request before it is
//! sent and the file's name as soon as it is known, so that a killed agent goes on with the same file.

use super::cold_file::ColdFile;
use super::optimizers::{Disturbance, Patience, disturbed};
use super::reader::ReadShard;
use super::session::IngestSession;
use super::{TRIES, Taken, deliver, millis, observe};
use crate::commands::cleanup::Cleanup;
use crate::commands::phase::{Phase, SnapshotRequest, TakenSnapshot};
use crate::failure::{Failed, chain};
use crate::job::{Halt, Job};
use crate::order::{CaptureOrder, Method};
use holdfast_qdrant::{ChecksumReader, QdrantError, stored_snapshot_path};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// A snapshot that took longer is not made again because an optimizer began meanwhile: most likely it waited for the
/// snapshot's end, and Qdrant must not copy a large shard time and again.
const AGAIN_WITHIN: Duration = Duration::from_secs(30);
/// Names of snapshots have a resolution of one second: the next one must have another name.
const NEXT_NAME: Duration = Duration::from_millis(1100);

/// Captures through a stored snapshot, the journalled one if there is one.
pub(super) async fn capture(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    patience: &Patience,
) -> Result<(Taken, ReadShard), Halt> {
    let snapshot = match resumable(job, order).await? {
        Some(snapshot) => {
            tracing::info!(snapshot = %snapshot.name, "going on with the snapshot that is there");
            snapshot
        }
        None => take(job, order, patience).await?,
    };
    job.meter.stage("reading the snapshot");
    job.meter.restart(snapshot.size);
    let shard = read(job, order, session, &snapshot).await?;
    let taken = Taken {
        method: Method::Stored,
        server_version: snapshot.server_version,
        captured: snapshot.captured,
        snapshot_ms: snapshot.snapshot_ms,
        collection: snapshot.collection,
        notes: snapshot.notes,
    };
    Ok((taken, shard))
}

/// The snapshot that an earlier attempt made, if Qdrant still has it. What can't be used is handed over
/// to the cleanups.
async fn resumable(job: &Job, order: &CaptureOrder) -> Result<Option<TakenSnapshot>, Halt> {
    let left = match job.phase() {
        Phase::Accepted | Phase::Restoring(_) | Phase::Replaying(_) | Phase::Hooked => {
            return Ok(None);
        }
        Phase::Snapshot(snapshot) => {
            if exists(job, order, &snapshot).await? {
                return Ok(Some(*snapshot));
            }
            return Ok(None);
        }
        Phase::AskingSnapshot(request) => Cleanup::StraySnapshot {
            collection: order.collection.clone(),
            shard: order.shard,
            request,
        },
    };
    job.site
        .journal
        .update(move |table| table.add_cleanup(left))
        .await
        .map_err(|error| error.failed())?;
    Ok(None)
}

async fn exists(job: &Job, order: &CaptureOrder, snapshot: &TakenSnapshot) -> Result<bool, Halt> {
    if let Some(path) = shared_path(job, order, &snapshot.name)
        && let Ok(meta) = fs_err::metadata(path)
    {
        return Ok(meta.len() == snapshot.size);
    }
    let listed = job
        .site
        .qdrant
        .list_shard_snapshots(&order.collection, order.shard)
        .await?;
    Ok(listed
        .iter()
        .any(|found| found.name == snapshot.name && found.size == snapshot.size))
}

/// Has Qdrant make a snapshot, again if an optimizer began meanwhile.
async fn take(job: &Job, order: &CaptureOrder, patience: &Patience) -> Result<TakenSnapshot, Halt> {
    for _ in 1..TRIES {
        let (snapshot, found) = take_once(job, order, patience).await?;
        let quick = u128::from(snapshot.snapshot_ms) < AGAIN_WITHIN.as_millis();
        if !(quick && found.is_some_and(Disturbance::may_pass)) {
            return Ok(snapshot);
        }
        tracing::info!("an optimizer began when Qdrant made the snapshot: it is made again");
        give_up(job, order, snapshot.name).await?;
        tokio::time::sleep(NEXT_NAME).await;
    }
    Ok(take_once(job, order, patience).await?.0)
}

async fn take_once(
    job: &Job,
    order: &CaptureOrder,
    patience: &Patience,
) -> Result<(TakenSnapshot, Option<Disturbance>), Halt> {
    job.meter.stage("waiting for Qdrant's snapshot");
    let qdrant = &job.site.qdrant;
    let before = observe::before(qdrant, order, patience).await?;
    let listed = qdrant
        .list_shard_snapshots(&order.collection, order.shard)
        .await?;
    let asked = job.site.clock.now();
    job.advance(Phase::AskingSnapshot(SnapshotRequest {
        asked,
        before: listed.into_iter().map(|found| found.name).collect(),
    }))
    .await?;
    let began = Instant::now();
    let made = match qdrant
        .create_shard_snapshot(&order.collection, order.shard)
        .await
    {
        Ok(made) => made,
        Err(error) => {
            if was_refused(&error) {
                job.advance(Phase::Accepted).await?;
            }
            return Err(error.into());
        }
    };
    let snapshot_ms = millis(began.elapsed());
    // Before the snapshot counts as taken: an agent that is killed here must not go on with it later.
    let found = disturbed(qdrant, order, &before.optimizers).await;
    let failing = match observe::after(qdrant, order).await {
        Ok(failing) => failing,
        Err(error) => {
            give_up(job, order, made.name).await?;
            return Err(error.into());
        }
    };
    let mut snapshot = TakenSnapshot {
        name: made.name,
        size: made.size,
        checksum: made.checksum,
        captured: asked,
        snapshot_ms,
        server_version: before.server_version.clone(),
        collection: before.entry.clone(),
        notes: observe::notes(found, before.failing || failing),
    };
    job.advance(Phase::Snapshot(Box::new(snapshot.clone())))
        .await?;
    snapshot.collection.points = before.quiet_points(qdrant, &order.collection, found).await;
    job.advance(Phase::Snapshot(Box::new(snapshot.clone())))
        .await?;
    Ok((snapshot, found))
}

/// Hands a snapshot that must not be used to the cleanups, in one step with what the journal says of the command.
async fn give_up(job: &Job, order: &CaptureOrder, name: String) -> Result<(), Failed> {
    let id = job.id.clone();
    let left = Cleanup::Snapshot {
        collection: order.collection.clone(),
        shard: order.shard,
        name,
    };
    let noted = job.site.journal.update(move |table| {
        table.add_cleanup(left);
        table.advance(&id, Phase::Accepted);
    });
    noted.await.map_err(|error| error.failed())
}

/// Whether Qdrant certainly makes no snapshot: it was not reached, or refused. An answer that speaks of a
/// failure, or of work under way, may come after the snapshot was made, or from a proxy in between.
fn was_refused(error: &QdrantError) -> bool {
    match error {
        QdrantError::Unauthorized { .. }
        | QdrantError::Forbidden { .. }
        | QdrantError::NotFound { .. }
        | QdrantError::BadRequest { .. }
        | QdrantError::TooOld { .. }
        | QdrantError::InRecovery => true,
        QdrantError::Unreachable { source, .. } => source.is_connect(),
        QdrantError::Server { .. }
        | QdrantError::NotQdrant { .. }
        | QdrantError::NotReady { .. }
        | QdrantError::Timeout { .. }
        | QdrantError::AlreadyExists { .. }
        | QdrantError::Truncated { .. }
        | QdrantError::Config(_)
        | QdrantError::Mapping(_) => false,
    }
}

async fn read(
    job: &Job,
    order: &CaptureOrder,
    session: &IngestSession,
    snapshot: &TakenSnapshot,
) -> Result<ReadShard, Halt> {
    let file = shared_path(job, order, &snapshot.name).map(|path| ColdFile::open(&path));
    match file {
        Some(Ok(file)) => {
            let source = job.pace.reader(checked(file, snapshot));
            return deliver(job, order, session, source).await;
        }
        Some(Err(error)) => tracing::warn!(
            reason = %chain(&error),
            "the snapshot can't be read from qdrant.snapshots_dir, downloading it instead; does the agent run as Qdrant's user, and is it the right directory?"
        ),
        None => {}
    }
    let download = job
        .site
        .qdrant
        .download_shard_snapshot(&order.collection, order.shard, &snapshot.name)
        .await?;
    let reader = download.into_reader();
    let source = job.pace.reader(checked(reader, snapshot));
    deliver(job, order, session, source).await
}

fn checked(
    reader: impl Read + Send + 'static,
    snapshot: &TakenSnapshot,
) -> Box<dyn Read + Send + 'static> {
    match &snapshot.checksum {
        Some(expected) => Box::new(ChecksumReader::new(reader, expected)),
        None => Box::new(reader),
    }
}

fn shared_path(job: &Job, order: &CaptureOrder, name: &str) -> Option<PathBuf> {
    let dir = job.site.config.qdrant.snapshots_dir.as_ref()?;
    stored_snapshot_path(dir, &order.collection, order.shard, name)
}

#[cfg(test)]
mod tests {
    use super::was_refused;
    use holdfast_qdrant::{QdrantClient, QdrantConfig, QdrantError};

    #[tokio::test]
    async fn a_server_that_was_not_reached_made_nothing() {
        holdfast_certs::install_crypto_provider();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let client = QdrantClient::new(QdrantConfig::new(url.parse().unwrap())).unwrap();
        let refused = client.root().await.unwrap_err();
        assert!(was_refused(&refused), "{refused}");
        let silent = QdrantError::Timeout {
            context: "x".into(),
        };
        assert!(!was_refused(&silent));
    }
}
