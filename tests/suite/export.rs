//! Leaving Holdfast: an exported file is loaded into a fresh server by the printed curl command, and nothing else.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::{Contents, contents};
use holdfast_tests::qdrant::{Kind, Qdrant, program};
use holdfast_tests::site::Site;
use holdfast_tests::{ran_on, skipped};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs & more",
    points: 3000,
    dim: 32,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_collection_is_loaded_by_curl_and_is_equal() -> Result<()> {
    if !loadable("an_exported_collection_is_loaded_by_curl_and_is_equal")? {
        return Ok(());
    }
    let mut site = Site::start().await?;
    ran_on(site.qdrant.kind);
    create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, "docs%20%26%20more").await?;
    site.ok(&["backup", "create"])?;

    let file = |name: &str| site.dir().join(name).display().to_string();
    let by_coordinator = file("a.snapshot");
    let exported = site.ok(&["backup", "export", "latest", "-o", &by_coordinator])?;
    refusals(&site, &by_coordinator)?;

    // Nothing but the repository and its key is left; the bytes are the same.
    ensure!(site.coordinator.stop(Duration::from_secs(30))? == Some(0));
    let config = site.dir().join("coordinator.toml").display().to_string();
    let directly = site.dir().join("b.snapshot");
    let out = directly.display().to_string();
    let args = [
        "backup",
        "export",
        "latest",
        "-o",
        &out,
        "--coordinator-config",
        &config,
    ];
    let again = site.ok(&args)?;
    ensure!(fs::read(&directly)? == fs::read(&by_coordinator)?);
    ensure!(again["files"][0]["sha256"] == exported["files"][0]["sha256"]);

    let fresh = Qdrant::start(&site.dir().join("fresh")).await?;
    load(&fresh, &exported["files"][0])?;
    let loaded = contents(&fresh, "docs%20%26%20more").await?;
    ensure!(
        loaded == without_aliases(&captured),
        "{loaded:?}\n{captured:?}"
    );
    searchable(&fresh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_shard_is_loaded_into_a_collection_that_exists() -> Result<()> {
    if !loadable("an_exported_shard_is_loaded_into_a_collection_that_exists")? {
        return Ok(());
    }
    let site = Site::start().await?;
    create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, "docs%20%26%20more").await?;
    site.ok(&["backup", "create"])?;
    let fresh = Qdrant::start(&site.dir().join("fresh")).await?;
    settings(&fresh).await?;
    for shard in ["0", "1"] {
        let out = site.dir().display().to_string();
        let args = [
            "backup", "export", "latest", "-c", DOCS.name, "--shard", shard, "-o", &out,
        ];
        let exported = site.ok(&args)?;
        load(&fresh, &exported["files"][0])?;
    }
    let loaded = contents(&fresh, "docs%20%26%20more").await?;
    ensure!(
        loaded == without_aliases(&captured),
        "{loaded:?}\n{captured:?}"
    );
    Ok(())
}

/// Two shards, indexes with and without parameters, strict mode.
async fn create(qdrant: &Qdrant) -> Result<()> {
    settings(qdrant).await?;
    // ids 0.. in the dataset's own form
    let path = Dataset {
        name: "docs%20%26%20more",
        ..DOCS
    };
    path.upsert(qdrant, 0..DOCS.points, 0).await?;
    path.upsert(qdrant, 0..200, 1).await?;
    let alias = json!({"create_alias": {"collection_name": DOCS.name, "alias_name": "live"}});
    let actions = json!({"actions": [alias]});
    qdrant.post("/collections/aliases", actions).await?;
    Ok(())
}

async fn settings(qdrant: &Qdrant) -> Result<()> {
    let body = json!({
        "vectors": {"size": DOCS.dim, "distance": "Dot", "hnsw_config": {"m": 24}},
        "shard_number": 2,
        "optimizers_config": {"indexing_threshold": 10},
        "strict_mode_config": {"enabled": true, "max_query_limit": 5000},
    });
    let path = "/collections/docs%20%26%20more";
    qdrant.put(path, body).await?;
    let text = json!({"type": "text", "tokenizer": "word", "lowercase": true});
    for (field, schema) in [
        ("city", json!("keyword")),
        ("rank", json!("integer")),
        ("text", text),
    ] {
        let body = json!({"field_name": field, "field_schema": schema});
        qdrant.put(&format!("{path}/index?wait=true"), body).await?;
    }
    Ok(())
}

fn refusals(site: &Site, existing: &str) -> Result<()> {
    let before = fs::read(existing)?;
    let (code, refused) = site.json(&["backup", "export", "latest", "-o", existing])?;
    ensure!(
        code == 10 && refused["code"] == "target-exists",
        "{refused}"
    );
    ensure!(fs::read(existing)? == before);
    site.ok(&["backup", "export", "latest", "-o", existing, "--force"])?;
    let nowhere = site.dir().join("absent/x").display().to_string();
    let (code, refused) = site.json(&["backup", "export", "latest", "-o", &nowhere])?;
    ensure!(code == 3, "{refused}");
    let (code, refused) = site.json(&["backup", "export", "latest", "-c", "no", "-o", &nowhere])?;
    ensure!(code == 9, "{refused}");
    let viewer = site.cli_as("viewer", &["backup", "export", "latest", "-o", &nowhere])?;
    ensure!(viewer.status.code() == Some(13), "{viewer:?}");
    let left = fs::read_dir(site.dir())?.filter_map(Result::ok);
    let mut left = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
    ensure!(
        !left.any(|name| name.contains(".part")),
        "a half file is left"
    );
    Ok(())
}

/// Runs the printed command, but for the server's address.
fn load(qdrant: &Qdrant, file: &Value) -> Result<()> {
    let command = file["load"].as_str().context("no command")?;
    let command = command.replace("http://localhost:6333", &qdrant.url);
    let output = Command::new("sh").arg("-c").arg(&command).output()?;
    ensure!(output.status.success(), "{command}: {output:?}");
    Ok(())
}

async fn searchable(qdrant: &Qdrant) -> Result<()> {
    let query = json!({
        "query": DOCS.vector(7, 1), "limit": 3,
        "filter": {"must": [{"key": "city", "match": {"value": "Lagos"}}]},
    });
    let path = "/collections/docs%20%26%20more/points/query";
    let found = qdrant.post(path, query).await?;
    ensure!(found["points"][0]["id"] == 7, "{found}");
    Ok(())
}

fn without_aliases(captured: &Contents) -> Contents {
    Contents {
        aliases: Vec::new(),
        ..captured.clone()
    }
}

/// Whether there is a server that loads files, and a curl.
fn loadable(test: &str) -> Result<bool> {
    let (kind, _) = program()?;
    if kind == Kind::Devnode {
        skipped(&format!(
            "{test}: holdfast-devnode has no upload of collection snapshots"
        ));
        return Ok(false);
    }
    if Command::new("curl").arg("--version").output().is_err() {
        skipped(&format!("{test}: there is no curl"));
        return Ok(false);
    }
    Ok(true)
}
