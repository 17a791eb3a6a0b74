//! Removes from Qdrant what commands left there, as the journal lists it.
//!
//! Safety: a snapshot is deleted only if this agent's own request made it (it is named in the journal, or
//! its name fits a journalled request) and no open command reads it; a collection only if a restore of this
//! agent created it and failed, and what has the name now can be no other; in doubt it is kept. A cleanup is forgotten only when it is done or certainly moot.

use crate::commands::cleanup::{Cleanup, MadeCollection};
use crate::failure::chain;
use crate::job::Site;
use holdfast_qdrant::{QdrantError, stored_snapshot_path};
use holdfast_types::{CollectionName, ShardId};
use std::time::Duration;

/// One round of cleaning takes no longer than this, so that it can't hold up a shutdown.
const ROUND: Duration = Duration::from_secs(20);

/// Pauses while Qdrant still works on a request of the command that has just ended.
const SOON: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Cleans up after a command. Its failure is reported afterwards, so that whoever reads it and tries again finds nothing
/// in the way; a collection that can't be removed yet is therefore tried for a while.
pub async fn clean_after_command(site: &Site) {
    clean(site).await;
    for pause in SOON {
        let is_collection = |cleanup: &Cleanup| matches!(cleanup, Cleanup::Collection { .. });
        if !site
            .journal
            .read(|table| table.cleanups().iter().any(is_collection))
        {
            return;
        }
        tokio::time::sleep(pause).await;
        clean(site).await;
    }
}

/// Tries every cleanup once.
pub async fn clean(site: &Site) {
    let round = async {
        for cleanup in site.journal.read(|table| table.cleanups().to_vec()) {
            match carry_out(site, &cleanup).await {
                Ok(true) => forget(site, cleanup).await,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(?cleanup, reason = %chain(&error), "can't clean up yet");
                }
            }
        }
    };
    if tokio::time::timeout(ROUND, round).await.is_err() {
        tracing::debug!("cleaning up takes long; going on later");
    }
}

/// True if nothing of it is left to do.
async fn carry_out(site: &Site, cleanup: &Cleanup) -> Result<bool, QdrantError> {
    match cleanup {
        Cleanup::Snapshot {
            collection,
            shard,
            name,
        } => {
            if !is_in_use(site, collection, *shard, name) {
                delete_snapshot(site, collection, *shard, name).await?;
                tracing::debug!(%collection, %shard, %name, "snapshot deleted");
            }
            Ok(true)
        }
        Cleanup::StraySnapshot {
            collection,
            shard,
            request,
        } => {
            let listed = match site.qdrant.list_shard_snapshots(collection, *shard).await {
                Ok(listed) => listed,
                // Without the collection there is nobody to make the snapshot any more.
                Err(QdrantError::NotFound { .. }) => return Ok(true),
                Err(error) => return Err(error),
            };
            // Names end in the second of their making, so the first is the request's own.
            let made = listed
                .iter()
                .filter(|found| request.made(&found.name))
                .filter(|found| {
                    site.journal
                        .read(|table| !table.names_snapshot(collection, *shard, &found.name))
                })
                .min_by(|a, b| a.name.cmp(&b.name));
            if let Some(found) = made {
                delete_snapshot(site, collection, *shard, &found.name).await?;
                tracing::info!(%collection, %shard, name = %found.name, "deleted a snapshot of an interrupted request");
                return Ok(true);
            }
            Ok(!request.is_pending(site.clock.now()))
        }
        Cleanup::Collection { name, made } => {
            remove_collection(site, name, made.as_deref()).await?;
            Ok(true)
        }
    }
}

async fn remove_collection(
    site: &Site,
    name: &CollectionName,
    made: Option<&MadeCollection>,
) -> Result<(), QdrantError> {
    if !site.qdrant.exists(name).await? {
        return Ok(());
    }
    let doubt = match made {
        Some(made) => {
            let found = site.qdrant.collection(name).await?;
            let points = if made.holds_data {
                0
            } else {
                site.qdrant.count_exact(name).await?
            };
            made.doubt(&found, points, site.clock.now())
        }
        None => Some("the journal does not say what was created"),
    };
    if let Some(reason) = doubt {
        tracing::error!(
            collection = %name,
            command = made.map_or("unknown", |made| made.command.as_str()),
            reason,
            "a failed restore created a collection of this name, but the one that is there may be another and is kept: look at it, and delete it if it is the leftover"
        );
        return Ok(());
    }
    site.qdrant.delete_collection(name).await?;
    tracing::info!(collection = %name, "deleted the partly restored collection");
    Ok(())
}

async fn delete_snapshot(
    site: &Site,
    collection: &CollectionName,
    shard: ShardId,
    name: &str,
) -> Result<(), QdrantError> {
    match site
        .qdrant
        .delete_shard_snapshot(collection, shard, name)
        .await
    {
        Err(QdrantError::NotFound { .. }) => {
            // The collection is gone, but its snapshot files stay.
            remove_file(site, collection, shard, name);
            Ok(())
        }
        other => other,
    }
}

fn remove_file(site: &Site, collection: &CollectionName, shard: ShardId, name: &str) {
    let Some(dir) = &site.config.qdrant.snapshots_dir else {
        return;
    };
    let Some(path) = stored_snapshot_path(dir, collection, shard, name) else {
        return;
    };
    let checksum = path.with_file_name(format!("{name}.checksum"));
    for path in [path, checksum] {
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a snapshot of a deleted collection can't be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn is_in_use(site: &Site, collection: &CollectionName, shard: ShardId, name: &str) -> bool {
    site.journal
        .read(|table| table.owns_snapshot(collection, shard, name))
}

async fn forget(site: &Site, cleanup: Cleanup) {
    let forgotten = site
        .journal
        .update(move |table| table.cleaned(&cleanup))
        .await;
    if let Err(error) = forgotten {
        // It will be found done at the next round.
        tracing::warn!(reason = %chain(&error), "the journal can't be written");
    }
}
