//! Coming to Holdfast: a snapshot file that Qdrant made becomes a recovery point, which restores.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::qdrant::Kind;
use holdfast_tests::site::Site;
use holdfast_tests::{ran_on, skipped};
use serde_json::{Value, json};
use std::fs;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 3000,
    dim: 32,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_snapshot_restores_and_is_equal() -> Result<()> {
    let site = Site::start().await?;
    if site.qdrant.kind == Kind::Devnode {
        skipped(
            "an_imported_snapshot_restores_and_is_equal: holdfast-devnode makes no collection snapshots",
        );
        return Ok(());
    }
    ran_on(site.qdrant.kind);
    let qdrant = &site.qdrant;
    let body = json!({"vectors": {"size": DOCS.dim, "distance": "Dot"}, "shard_number": 2});
    qdrant.put("/collections/docs", body).await?;
    let text = json!({"type": "text", "tokenizer": "word", "lowercase": true});
    for (field, schema) in [("city", json!("keyword")), ("text", text)] {
        let body = json!({"field_name": field, "field_schema": schema});
        qdrant
            .put("/collections/docs/index?wait=true", body)
            .await?;
    }
    DOCS.upsert(qdrant, 0..DOCS.points, 0).await?;
    let made = qdrant
        .post("/collections/docs/snapshots", Value::Null)
        .await?;
    let before = contents(qdrant, DOCS.name).await?;
    let name = made["name"].as_str().context("no name")?;
    let file = site.dir().join("docs.snapshot");
    fs::copy(qdrant.snapshots.join("docs").join(name), &file)?;
    qdrant.delete("/collections/docs").await?;

    refusals(&site)?;
    let import = |note| import(&site, "docs.snapshot", note);
    let (code, imported) = import("from before")?;
    ensure!(code == 0, "{imported}\n{}", site.coordinator.log());
    ensure!(imported["backup"]["imported"] == true && imported["backup"]["note"] == "from before");
    let (code, again) = import("again")?;
    ensure!(code == 0 && again["backup"]["sent_bytes"] == 0, "{again}");

    // It may be of any age: nobody gets it without asking for it.
    let (code, refused) = site.json(&["restore", "plan", "latest"])?;
    ensure!(code == 9, "{refused}");
    let id = imported["backup"]["recovery_point"]
        .as_str()
        .context("no id")?;
    site.ok(&["restore", "run", id])?;
    ensure!(contents(qdrant, DOCS.name).await? == before);
    Ok(())
}

fn import(site: &Site, file: &str, note: &str) -> Result<(i32, Value)> {
    let file = site.dir().join(file).display().to_string();
    let args = [
        "backup",
        "import",
        &file,
        "-c",
        "docs",
        "--qdrant-version",
        "1.18.3",
        "--note",
        note,
    ];
    site.json(&args)
}

/// A file that is cut anywhere is never a recovery point, and no job begins.
fn refusals(site: &Site) -> Result<()> {
    let whole = fs::read(site.dir().join("docs.snapshot"))?;
    for len in [0, 600, whole.len() / 2, whole.len() - 1024] {
        fs::write(site.dir().join("cut.snapshot"), &whole[..len])?;
        let (code, refused) = import(site, "cut.snapshot", "")?;
        ensure!(
            code == 6 && refused["code"] == "snapshot-truncated",
            "{len}: {refused}"
        );
    }
    let viewer = [
        "backup",
        "import",
        "x",
        "-c",
        "docs",
        "--qdrant-version",
        "1.18.3",
    ];
    ensure!(
        site.cli_as("viewer", &viewer)?.status.code() == Some(2),
        "no such file"
    );
    let listed = site.ok(&["backup", "list"])?;
    ensure!(
        listed["backups"].as_array().is_some_and(Vec::is_empty),
        "{listed}"
    );
    let jobs = site.ok(&["jobs", "list"])?;
    ensure!(jobs["jobs"].as_array().is_some_and(Vec::is_empty), "{jobs}");
    Ok(())
}
