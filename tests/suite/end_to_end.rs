//! The whole path with real processes: capture, capture again, lose the collection, restore, prove.

use anyhow::{Context as _, Result, ensure};
use holdfast_archive::Kek;
use holdfast_repository::Repository;
use holdfast_store::DiskStore;
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::ran_on;
use holdfast_tests::site::{Options, Site};
use serde_json::Value;
use std::sync::Arc;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 4000,
    dim: 64,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_collection_comes_back_whole_by_stored_snapshot() -> Result<()> {
    lose_and_restore(Options::default(), "stored").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_collection_comes_back_whole_by_stream() -> Result<()> {
    lose_and_restore(
        Options {
            shared_snapshots: false,
            ..Options::default()
        },
        "stream",
    )
    .await
}

async fn lose_and_restore(options: Options, method: &str) -> Result<()> {
    let site = Site::start_with(options).await?;
    ran_on(site.qdrant.kind);
    DOCS.create(&site.qdrant).await?;

    let first = site.ok(&["backup", "create", "--method", method])?;
    DOCS.upsert(&site.qdrant, 0..40, 1).await?;
    let before = contents(&site.qdrant, DOCS.name).await?;
    ensure!(before.points == DOCS.points && before.aliases == ["docs-live", "docs-old"]);
    let second = site.ok(&["backup", "create", "--method", method, "--note", "second"])?;
    ensure!(number(&first, "logical_bytes")? > 0);

    site.qdrant.delete("/collections/docs").await?;
    let restored = site.ok(&["restore", "run", "latest", "--collection", "docs"])?;
    ensure!(
        restored["collections"][0]["points"] == DOCS.points,
        "{restored}"
    );
    ensure!(contents(&site.qdrant, DOCS.name).await? == before);

    // Beside the original, under another name; the original keeps its aliases.
    site.ok(&[
        "restore",
        "run",
        "latest",
        "--collection",
        "docs",
        "--as",
        "copy",
    ])?;
    let copy = contents(&site.qdrant, "copy").await?;
    ensure!(
        (copy.points, &copy.digest, &copy.params)
            == (before.points, &before.digest, &before.params)
    );
    ensure!(
        copy.indexes == before.indexes && copy.aliases.is_empty(),
        "{copy:?}"
    );
    ensure!(contents(&site.qdrant, DOCS.name).await? == before);

    // The first point is still there and still the older state.
    let id = first["backup"]["recovery_point"]
        .as_str()
        .context("no id")?;
    site.ok(&[
        "restore",
        "run",
        id,
        "--collection",
        "docs",
        "--as",
        "older",
    ])?;
    let older = contents(&site.qdrant, "older").await?;
    ensure!(older.points == before.points && older.digest != before.digest);
    ensure!(second["backup"]["recovery_point"] != first["backup"]["recovery_point"]);
    no_snapshots_left(&site).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_of_capture_restore_to_the_same_points() -> Result<()> {
    let site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let mut ids = Vec::new();
    for (method, name) in [("stored", "by_file"), ("stream", "by_stream")] {
        let backup = site.ok(&["backup", "create", "--method", method])?;
        let id = backup["backup"]["recovery_point"]
            .as_str()
            .context("no id")?;
        site.ok(&["restore", "run", id, "--collection", "docs", "--as", name])?;
        ids.push(id.to_owned());
    }
    let (by_file, by_stream) = (
        recipe_hashes(&site, &ids[0]).await?,
        recipe_hashes(&site, &ids[1]).await?,
    );
    ensure!(
        by_file == by_stream,
        "the two ways gave different files: {by_file:?}, {by_stream:?}"
    );
    let (a, b) = (
        contents(&site.qdrant, "by_file").await?,
        contents(&site.qdrant, "by_stream").await?,
    );
    ensure!(a == b, "{a:?}\n{b:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_collection_costs_next_to_nothing() -> Result<()> {
    let site = Site::start().await?;
    let docs = Dataset {
        points: 20_000,
        ..DOCS
    };
    docs.create(&site.qdrant).await?;
    let first = number(&site.ok(&["backup", "create"])?, "stored_bytes")?;
    let again = number(&site.ok(&["backup", "create"])?, "stored_bytes")?;
    ensure!(
        again * 100 <= first,
        "an unchanged capture stored {again} bytes, the first {first}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_collection_is_refused_and_with_overwrite_captured_first() -> Result<()> {
    let site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let backup = site.ok(&["backup", "create"])?;
    let id = backup["backup"]["recovery_point"]
        .as_str()
        .context("no id")?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    DOCS.upsert(&site.qdrant, 0..100, 7).await?;
    let newer = contents(&site.qdrant, DOCS.name).await?;

    let (code, refused) = site.json(&["restore", "run", id])?;
    ensure!(
        code == 10 && refused["code"] == "target-exists",
        "{refused}"
    );
    ensure!(
        contents(&site.qdrant, DOCS.name).await? == newer,
        "a refused restore changed the collection"
    );

    let done = site.ok(&["restore", "run", id, "--overwrite", "--yes"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == captured);
    let again = site.ok(&["restore", "plan", "latest", "-c", "docs", "--as", "again"])?;
    ensure!(
        again["recovery_point"] == id,
        "latest means the safety capture: {again}"
    );
    let safety = done["safety_recovery_point"]
        .as_str()
        .context("no safety capture")?;
    site.ok(&["restore", "run", safety, "--overwrite", "--yes"])?;
    ensure!(
        contents(&site.qdrant, DOCS.name).await? == newer,
        "the safety capture does not bring the newer state back"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_can_be_deleted_and_rebuilt() -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    let before = site.ok(&["backup", "list"])?;
    ensure!(site.coordinator.stop(std::time::Duration::from_secs(30))? == Some(0));
    std::fs::remove_file(site.dir().join("coordinator/catalog.redb"))?;
    site.rebuild_catalogue()?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    ensure!(site.ok(&["backup", "list"])? == before);
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest"])?;
    Ok(())
}

/// The recipe hash of every shard of `docs` in a recovery point: equal hashes are equal files, byte for byte.
async fn recipe_hashes(site: &Site, id: &str) -> Result<Vec<String>> {
    let store = Arc::new(DiskStore::open(site.repository())?);
    let key = std::fs::read_to_string(site.dir().join("repository.key"))?;
    let repository = Repository::open(store, Kek::from_hex(key.trim())?).await?;
    let manifest = repository.read_point(&id.parse()?).await?;
    let shards = manifest
        .shards()
        .filter(|(collection, _)| collection.name.as_str() == DOCS.name);
    let hashes: Vec<_> = shards.map(|(_, shard)| shard.recipe_hash.clone()).collect();
    ensure!(!hashes.is_empty(), "{id} has no shard of {}", DOCS.name);
    Ok(hashes)
}

fn number(backup: &Value, field: &str) -> Result<u64> {
    backup["backup"][field]
        .as_u64()
        .with_context(|| format!("no {field} in {backup}"))
}

async fn no_snapshots_left(site: &Site) -> Result<()> {
    for collection in ["docs", "copy"] {
        let left = site
            .qdrant
            .get(&format!("/collections/{collection}/shards/0/snapshots"))
            .await?;
        ensure!(
            left.as_array().is_some_and(Vec::is_empty),
            "snapshots left on the server: {left}"
        );
    }
    Ok(())
}
