//! The store is out of reach, full, or takes no writes: said as such, with an exit code and what to type next. Nothing that it holds
//! is lost, and when that is over the next backup works.

use crate::bad_input::{coordinator, refused};
use crate::copies::copy_folder;
use crate::s3::move_to_bucket;
use anyhow::{Context as _, Result, ensure};
use holdfast_store_suite::{S3Server, Weed};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::gate::{Gate, Pass};
use holdfast_tests::mount::Mount;
use holdfast_tests::site::Site;
use serde_json::Value;
use std::fs;
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 2000,
    dim: 48,
};

/// Longest wait for a coordinator to stop.
const STOP: Duration = Duration::from_secs(30);

/// What a failed command must say: its exit code and code, what is at risk, and what to type.
pub(crate) fn failed(
    (exit, said): &(i32, Value),
    (code, name): (i32, &str),
    at_risk: &str,
    to_do: &str,
) -> Result<()> {
    ensure!(
        *exit == code && said["exit_code"] == code && said["code"] == name,
        "{exit} in place of {code}, {name}: {said}"
    );
    for (field, words) in [("at_risk", at_risk), ("to_do", to_do)] {
        let text = said[field].as_str().unwrap_or_default();
        ensure!(text.contains(words), "{field} lacks {words:?}: {said}");
    }
    Ok(())
}

/// What a failed backup leaves behind.
pub(crate) const NO_POINT: &str =
    "no new recovery point was committed; earlier ones and the data in Qdrant are untouched";

fn points(site: &Site) -> Result<usize> {
    let listed = site.ok(&["backup", "list"])?;
    Ok(listed["backups"].as_array().context("no list")?.len())
}

/// One collection of a recovery point, written to a file by a program that has only the repository.
fn export_alone(site: &Site, id: &str) -> Result<()> {
    let config = site.dir().join("coordinator.toml").display().to_string();
    let file = site.dir().join(format!("{id}.snapshot"));
    let path = file.display().to_string();
    site.ok(&[
        "backup",
        "export",
        id,
        "-c",
        DOCS.name,
        "-o",
        &path,
        "--coordinator-config",
        &config,
    ])?;
    ensure!(fs::metadata(&file)?.len() > 100_000, "{path} is too small");
    Ok(())
}

async fn backup_and_contents(site: &Site) -> Result<(String, String)> {
    let made = site.ok(&["backup", "create"])?;
    let id = made["backup"]["recovery_point"].as_str().context("no id")?;
    Ok((
        id.to_owned(),
        contents(&site.qdrant, DOCS.name).await?.digest,
    ))
}

async fn comes_back(site: &Site, id: &str, digest: &str, name: &str) -> Result<()> {
    site.ok(&["restore", "run", id, "-c", DOCS.name, "--as", name])?;
    ensure!(contents(&site.qdrant, name).await?.digest == digest);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_out_of_reach_is_no_defect_and_the_next_backup_works() -> Result<()> {
    const TEST: &str = "a_bucket_out_of_reach_is_no_defect_and_the_next_backup_works";
    let Some(weed) = Weed::find(TEST)? else {
        return Ok(());
    };
    let server = tokio::task::spawn_blocking(move || weed.start()).await??;
    let gate = Gate::start(server.address()).await?;
    let mut site = Site::start().await?;
    site.coordinator.stop(STOP)?;
    move_to_bucket(&site, &server, S3Server::BUCKET, S3Server::WRITER, "")?;
    let file = site.dir().join("coordinator.toml");
    let text = fs::read_to_string(&file)?;
    ensure!(text.contains(&server.endpoint()), "{text}");
    fs::write(&file, text.replace(&server.endpoint(), &gate.endpoint()))?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    DOCS.create(&site.qdrant).await?;
    let (first, digest) = backup_and_contents(&site).await?;

    for (made, (pass, says)) in [(Pass::Shut, "unavailable"), (Pass::Busy, "503")]
        .into_iter()
        .enumerate()
    {
        gate.set(pass);
        let told = site.json(&["backup", "create"])?;
        failed(
            &told,
            (8, "store-unreachable"),
            NO_POINT,
            "holdfast repo probe",
        )?;
        let message = told.1["message"].as_str().unwrap_or_default();
        ensure!(message.contains(says), "{pass:?}: {message}");
        ensure!(
            message.contains("what is stored there is not concerned"),
            "{message}"
        );
        gate.set(Pass::Open);
        ensure!(points(&site)? == made + 1, "a failed backup made a point");
        site.ok(&["backup", "create"])?;
    }

    // A coordinator that starts meanwhile is told the same.
    site.coordinator.stop(STOP)?;
    gate.set(Pass::Shut);
    let output = coordinator(site.dir(), "coordinator.toml")?;
    refused(&output, 8, "holdfast repo probe")?;
    gate.set(Pass::Open);
    site.coordinator.restart()?;
    site.wait_connected().await?;
    ensure!(points(&site)? == 3);
    comes_back(&site, &first, &digest, "older").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_key_that_may_not_write_is_told_which_rights_it_lacks() -> Result<()> {
    const TEST: &str = "an_access_key_that_may_not_write_is_told_which_rights_it_lacks";
    let Some(weed) = Weed::find(TEST)? else {
        return Ok(());
    };
    let server = tokio::task::spawn_blocking(move || weed.start()).await??;
    let mut site = Site::start().await?;
    for profile in [S3Server::WRITER, S3Server::READER] {
        site.coordinator.stop(STOP)?;
        move_to_bucket(&site, &server, S3Server::BUCKET, profile, "")?;
        if profile == S3Server::WRITER {
            site.coordinator.restart()?;
            site.wait_connected().await?;
        }
    }
    let output = coordinator(site.dir(), "coordinator.toml")?;
    refused(&output, 8, "the bucket's access key")?;
    refused(&output, 8, "docs/reference/s3.md")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_keeps_what_it_has() -> Result<()> {
    let mut site = Site::start().await?;
    site.coordinator.stop(STOP)?;
    let made = site.dir().join("made");
    fs::rename(site.repository(), &made)?;
    fs::create_dir(site.repository())?;
    let test = "a_full_store_keeps_what_it_has";
    let Some(small) = Mount::small(test, &site.repository(), 64) else {
        return Ok(());
    };
    copy_folder(&made, &site.repository())?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    DOCS.create(&site.qdrant).await?;
    let (first, digest) = backup_and_contents(&site).await?;

    small.fill(128 << 20)?;
    DOCS.upsert(&site.qdrant, 0..DOCS.points, 1).await?;
    let told = site.json(&["backup", "create"])?;
    failed(
        &told,
        (8, "disk-full"),
        NO_POINT,
        "free space on the disk that is full",
    )?;
    let message = told.1["message"].as_str().unwrap_or_default();
    let place = site.repository().display().to_string();
    ensure!(message.contains(&place), "{message}");
    ensure!(message.contains("`holdfast backup export ID"), "{message}");
    ensure!(points(&site)? == 1, "a failed backup made a point");
    export_alone(&site, &first)?;
    comes_back(&site, &first, &digest, "meanwhile").await?;

    small.relieve()?;
    let (second, newer) = backup_and_contents(&site).await?;
    ensure!(newer != digest);
    let config = site.dir().join("coordinator.toml").display().to_string();
    site.ok(&["repo", "verify", "--full", "--coordinator-config", &config])?;
    comes_back(&site, &first, &digest, "older").await?;
    comes_back(&site, &second, &newer, "newer").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_store_is_read_and_not_written() -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let (first, digest) = backup_and_contents(&site).await?;
    DOCS.upsert(&site.qdrant, 0..DOCS.points, 1).await?;
    let test = "a_read_only_store_is_read_and_not_written";
    let Some(sealed) = Mount::read_only(test, &site.repository())? else {
        return Ok(());
    };
    let told = site.json(&["backup", "create"])?;
    failed(
        &told,
        (8, "read-only"),
        NO_POINT,
        "make the file system writable",
    )?;
    let message = told.1["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("is on a read-only file system"),
        "{message}"
    );
    comes_back(&site, &first, &digest, "meanwhile").await?;

    site.coordinator.stop(STOP)?;
    let output = coordinator(site.dir(), "coordinator.toml")?;
    refused(&output, 8, "is on a read-only file system")?;
    refused(&output, 8, "mount it writable")?;
    refused(&output, 8, "`holdfast backup export ID")?;
    export_alone(&site, &first)?;

    drop(sealed);
    site.coordinator.restart()?;
    site.wait_connected().await?;
    let (second, newer) = backup_and_contents(&site).await?;
    ensure!(points(&site)? == 2);
    comes_back(&site, &second, &newer, "newer").await
}
