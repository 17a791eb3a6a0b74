//! The repository's place goes away, or rots, under a running coordinator: nothing seems to be saved that is not.

use crate::s3::{FOLDER, move_to_bucket, open_bucket};
use crate::storage::{NO_POINT, failed};
use anyhow::{Result, ensure};
use holdfast_store::{KeyPrefix, ObjectStore as _};
use holdfast_store_suite::{S3Server, Weed};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::site::Site;
use serde_json::Value;
use std::fs;
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 2000,
    dim: 48,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_gone_takes_no_backup() -> Result<()> {
    let site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    let away = site.dir().join("unmounted");
    for mount_point_stays in [false, true] {
        fs::rename(site.repository(), &away)?;
        if mount_point_stays {
            fs::create_dir(site.repository())?;
        }
        let refused = site.json(&["backup", "create"])?;
        gone(&refused, "mount the volume")?;
        let status = site.ok(&["status"])?;
        let warnings = status["warnings"].to_string();
        ensure!(
            warnings.contains("gone") || warnings.contains("not an existing"),
            "{status}"
        );
        if mount_point_stays {
            ensure!(
                fs::read_dir(site.repository())?.count() == 0,
                "something was written"
            );
            fs::remove_dir(site.repository())?;
        }
        ensure!(!site.repository().exists(), "it was made anew");
        fs::rename(&away, site.repository())?;
        site.ok(&["backup", "create"])?;
    }
    ensure!(
        site.ok(&["backup", "list"])?["backups"]
            .as_array()
            .map(Vec::len)
            == Some(3)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_bucket_takes_no_backup() -> Result<()> {
    let Some(weed) = Weed::find("an_emptied_bucket_takes_no_backup")? else {
        return Ok(());
    };
    let server = tokio::task::spawn_blocking(move || weed.start()).await??;
    let mut site = Site::start().await?;
    site.coordinator.stop(Duration::from_secs(30))?;
    let (bucket, writer) = (S3Server::BUCKET, S3Server::WRITER);
    move_to_bucket(&site, &server, bucket, writer, "")?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    let store = open_bucket(&server, bucket, FOLDER).await?;
    for found in store.list(&KeyPrefix::root()).await? {
        store.delete(&found.key).await?;
    }
    let refused = site.json(&["backup", "create"])?;
    gone(&refused, "look who emptied the bucket")?;
    let points = store.list(&"points".parse()?).await?;
    ensure!(points.is_empty(), "{points:?}");
    let status = site.ok(&["status"])?;
    ensure!(status["warnings"].to_string().contains("gone"), "{status}");
    Ok(())
}

/// The exit code, and what to do: of this very case in the message, of all like it after it.
fn gone(refused: &(i32, Value), message: &str) -> Result<()> {
    let runbook = "\"The repository is gone from its place\"";
    failed(refused, (7, "repository-foreign"), NO_POINT, runbook)?;
    let said = refused.1["message"].as_str().unwrap_or_default();
    ensure!(said.contains(message), "{said}");
    Ok(())
}

/// Damage that a check of another process has found is healed by the next backup of the running coordinator.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_has_found_is_captured_again() -> Result<()> {
    let site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    site.ok(&["backup", "create"])?;
    for pack in files_below(&site.repository().join("packs"))? {
        let rotten: Vec<u8> = fs::read(&pack)?.iter().map(|byte| byte ^ 1).collect();
        fs::write(&pack, rotten)?;
    }
    let config = site.dir().join("coordinator.toml").display().to_string();
    let verify = ["repo", "verify", "--full", "--coordinator-config", &config];
    let (code, found) = site.json(&verify)?;
    ensure!(code == 7, "{found}");
    let again = site.ok(&["backup", "create"])?;
    ensure!(
        again["backup"]["sent_bytes"].as_u64() > Some(100_000),
        "{again}"
    );
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == captured);
    Ok(())
}

fn files_below(dir: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
