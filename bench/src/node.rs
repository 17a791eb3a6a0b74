//! A real Qdrant with the collection on which everything is measured.
//!
//! Loading and indexing takes long, so it is done once: what is kept is a snapshot of the collection, from which
//! every node of a run starts.

use crate::data::{DIM, Source};
use crate::engine::files_below;
use crate::unpack;
use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::wait::until;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The collection's name.
pub(crate) const NAME: &str = "bench";

/// Points of one request.
const BATCH: usize = 500;
/// The longest time for an index to be built.
const INDEXING: Duration = Duration::from_secs(4 * 3600);
/// Green answers in a row that count as quiet: an optimizer may begin a moment after the last write.
const QUIET: u32 = 40;

/// The snapshot of a collection with the first `points` of a source, indexed; made if it isn't in `work` yet.
pub(crate) async fn base(work: &Path, source: &Source, points: u64) -> Result<PathBuf> {
    let kept = work.join(format!("{}-{points}.snapshot", source.name()));
    if kept.exists() {
        return Ok(kept);
    }
    let dir = tempfile::tempdir_in(work)?;
    let qdrant = Qdrant::start(dir.path()).await?;
    let path = format!("/collections/{NAME}");
    let body = json!({"vectors": {"size": DIM, "distance": "Cosine"}, "optimizers_config": {"indexing_threshold": 20_000}});
    qdrant.put(&path, body).await?;
    upsert(&qdrant, source, (0..points).collect(), 0).await?;
    settle(&qdrant).await?;
    let made = qdrant
        .post(&format!("{path}/snapshots?wait=true"), json!({}))
        .await?;
    fs::rename(find(&qdrant, &made)?, &kept)?;
    Ok(kept)
}

/// Makes the collection on a node as the snapshot has it.
pub(crate) async fn recover(qdrant: &Qdrant, base: &Path) -> Result<()> {
    // A node reads files of its own snapshots folder only.
    let folder = qdrant.snapshots.join(NAME);
    fs::create_dir_all(&folder)?;
    let here = folder.join("base.snapshot");
    fs::copy(base, &here)?;
    let body = json!({"location": format!("file://{}", here.display()), "priority": "snapshot"});
    qdrant
        .put(
            &format!("/collections/{NAME}/snapshots/recover?wait=true"),
            body,
        )
        .await?;
    fs::remove_file(&here)?;
    settle(qdrant).await
}

/// Gives one point in `parts`, chosen at random, its next version.
pub(crate) async fn change(
    qdrant: &Qdrant,
    source: &Source,
    points: u64,
    parts: u64,
    version: u64,
) -> Result<()> {
    let chosen = |id: &u64| mix(*id ^ (version << 40)).is_multiple_of(parts);
    upsert(
        qdrant,
        source,
        (0..points).filter(chosen).collect(),
        version,
    )
    .await?;
    settle(qdrant).await
}

/// Has the optimizer build every segment anew.
pub(crate) async fn optimize(qdrant: &Qdrant) -> Result<()> {
    let body = json!({"hnsw_config": {"ef_construct": 101}});
    qdrant
        .call(Method::PATCH, &format!("/collections/{NAME}"), Some(body))
        .await?;
    settle(qdrant).await
}

/// The files of the collection's only shard, by a stored snapshot, as `folder`; returns their size in bytes.
pub(crate) async fn files(qdrant: &Qdrant, folder: &Path) -> Result<u64> {
    let path = format!("/collections/{NAME}/shards/0/snapshots");
    let made = qdrant.post(&format!("{path}?wait=true"), json!({})).await?;
    let snapshot = find(qdrant, &made)?;
    unpack::unpack(&snapshot, folder)?;
    fs::remove_file(&snapshot)?;
    crate::contender::bytes_below(folder)
}

async fn upsert(qdrant: &Qdrant, source: &Source, ids: Vec<u64>, version: u64) -> Result<()> {
    let path = format!("/collections/{NAME}/points?wait=true");
    stream::iter(ids.chunks(BATCH))
        .map(|ids| {
            let points: Result<Vec<Value>> =
                ids.iter().map(|id| source.point(*id, version)).collect();
            let path = &path;
            async move { qdrant.put(path, json!({"points": points?})).await.map(drop) }
        })
        .buffer_unordered(4)
        .try_collect()
        .await
}

/// Waits until no optimizer runs and none is about to.
async fn settle(qdrant: &Qdrant) -> Result<()> {
    let quiet = AtomicU32::new(0);
    until("the collection to be green", INDEXING, || async {
        let info = qdrant.get(&format!("/collections/{NAME}")).await.ok()?;
        let green = info["status"] == "green" && info["optimizer_status"] == "ok";
        let before = if green {
            quiet.fetch_add(1, Ordering::Relaxed)
        } else {
            quiet.swap(0, Ordering::Relaxed)
        };
        (green && before + 1 >= QUIET).then_some(())
    })
    .await
}

/// The file of a snapshot that the node has just made.
fn find(qdrant: &Qdrant, made: &Value) -> Result<PathBuf> {
    let name = made["name"].as_str().context("a snapshot without a name")?;
    let mut found = files_below(&qdrant.snapshots)?
        .into_iter()
        .filter(|(_, path)| path.ends_with(name));
    let (path, _) = found
        .next()
        .with_context(|| format!("no file {name} below {}", qdrant.snapshots.display()))?;
    ensure!(found.next().is_none(), "several files are called {name}");
    Ok(path)
}

/// A number that looks random (the finaliser of SplitMix64).
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
