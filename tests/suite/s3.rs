//! The same path with the repository in a bucket of a real S3 server.

use anyhow::{Result, ensure};
use holdfast_store::{ObjectKeeper as _, ObjectStore as _};
use holdfast_store_s3::{Credentials, S3Options, S3Store};
use holdfast_store_suite::{S3Server, Weed};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::process::built;
use holdfast_tests::site::Site;
use holdfast_tests::wait::until;
use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 3000,
    dim: 64,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_collection_comes_back_from_a_bucket() -> Result<()> {
    let Some(weed) = Weed::find("a_lost_collection_comes_back_from_a_bucket")? else {
        return Ok(());
    };
    let server = tokio::task::spawn_blocking(move || weed.start()).await??;
    let mut site = Site::start().await?;
    site.coordinator.stop(Duration::from_secs(30))?;
    let bucket = S3Server::BUCKET;
    move_to_bucket(&site, &server, bucket, S3Server::READER, "")?;
    let refused = probe(&site)?;
    ensure!(refused.status.code() == Some(7), "{refused:?}");
    move_to_bucket(&site, &server, bucket, S3Server::WRITER, "")?;
    let probed = probe(&site)?;
    ensure!(probed.status.success(), "{probed:?}");

    site.coordinator.restart()?;
    site.wait_connected().await?;
    DOCS.create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    site.ok(&["backup", "create"])?;
    DOCS.upsert(&site.qdrant, 0..30, 1).await?;
    let newest = contents(&site.qdrant, DOCS.name).await?;
    ensure!(newest != captured);
    site.ok(&["backup", "create"])?;
    let again = site.ok(&["backup", "create"])?;
    ensure!(
        again["backup"]["sent_bytes"].as_u64() < Some(100_000),
        "{again}"
    );

    // Nothing but the bucket and the key is left.
    site.coordinator.kill9()?;
    fs::remove_dir_all(site.dir().join("coordinator"))?;
    site.rebuild_catalogue()?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == newest);
    let listed = site.ok(&["backup", "list"])?;
    let oldest = listed["backups"][2]["recovery_point"]
        .as_str()
        .unwrap_or_default();
    site.ok(&["restore", "run", oldest, "-c", "docs", "--as", "older"])?;
    ensure!(contents(&site.qdrant, "older").await?.digest == captured.digest);
    Ok(())
}

/// Of the site in a bucket.
pub(crate) const FOLDER: &str = "site";

/// What is locked in the store is kept, whatever an operator says.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_recovery_point_can_not_be_deleted() -> Result<()> {
    let Some(weed) = Weed::find("a_locked_recovery_point_can_not_be_deleted")? else {
        return Ok(());
    };
    let server = tokio::task::spawn_blocking(move || weed.start()).await??;
    let mut site = Site::start().await?;
    site.coordinator.stop(Duration::from_secs(30))?;
    let (writer, days) = (S3Server::WRITER, "lock_days = 1\n");
    move_to_bucket(&site, &server, S3Server::BUCKET, writer, days)?;
    let refused = coordinator(&site, &[])?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(3), "{refused:?}");
    ensure!(said.contains("no object lock"), "{said}");

    move_to_bucket(&site, &server, S3Server::LOCKING, writer, days)?;
    let probed = probe(&site)?;
    let said = String::from_utf8_lossy(&probed.stdout);
    ensure!(said.contains("yes     object-lock"), "{probed:?}");
    site.coordinator.restart()?;
    site.wait_connected().await?;
    DOCS.create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    // With three points no floor keeps the first.
    for _ in 0..3 {
        site.ok(&["backup", "create"])?;
    }
    let listed = site.ok(&["backup", "list"])?;
    let oldest = listed["backups"][2]["recovery_point"]
        .as_str()
        .unwrap_or_default();
    until("the lock", Duration::from_secs(60), || async {
        let (code, said) = site.json(&["backup", "delete", oldest]).ok()?;
        (code == 10 && said.to_string().contains("locked")).then_some(())
    })
    .await?;
    let store = open_bucket(&server, S3Server::LOCKING, FOLDER).await?;
    let mut locked = 0;
    for prefix in ["packs", "points", "keys"] {
        for found in store.list(&prefix.parse()?).await? {
            let lock = store.lock_of(&found.key).await?;
            ensure!(lock.is_some(), "{} is not locked", found.key);
            locked += 1;
        }
    }
    ensure!(locked >= 5, "{locked} objects are locked");
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", oldest])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == captured);
    Ok(())
}

/// A folder in a bucket, past Holdfast.
pub(crate) async fn open_bucket(server: &S3Server, bucket: &str, folder: &str) -> Result<S3Store> {
    let options = S3Options {
        prefix: folder.to_owned(),
        endpoint: Some(server.endpoint().parse()?),
        path_style: true,
        credentials: Credentials::Profile {
            name: S3Server::WRITER.to_owned(),
            file: Some(server.credentials()),
        },
        ..S3Options::new(bucket)
    };
    Ok(S3Store::open(options).await?)
}

/// Has the configuration of the stopped coordinator name the bucket, with the keys of one profile.
pub(crate) fn move_to_bucket(
    site: &Site,
    server: &S3Server,
    bucket: &str,
    profile: &str,
    more: &str,
) -> Result<()> {
    let _absent = fs::remove_dir_all(site.dir().join("coordinator"));
    let file = site.dir().join("coordinator.toml");
    let text = fs::read_to_string(&file)?;
    let (head, _) = text.split_once("[repository.s3]").unwrap_or((&text, ""));
    let repository = site.repository().display().to_string();
    let head = head.replace(&format!("path = {repository:?}\n"), "");
    let credentials = server.credentials().display().to_string();
    let s3 = format!(
        "[repository.s3]\nbucket = {:?}\nprefix = \"{FOLDER}\"\nendpoint = {:?}\npath_style = true\n\
         profile = {profile:?}\nprofile_file = {credentials:?}\nmax_concurrent = 16\n{more}",
        bucket,
        server.endpoint(),
    );
    fs::write(&file, format!("{head}{s3}"))?;
    Ok(())
}

fn probe(site: &Site) -> Result<Output> {
    coordinator(site, &["repo", "probe"])
}

/// Runs the program, which must end by itself.
fn coordinator(site: &Site, args: &[&str]) -> Result<Output> {
    let output = Command::new(built("holdfast-coordinator")?)
        .arg("--config")
        .arg(site.dir().join("coordinator.toml"))
        .args(args)
        .output()?;
    Ok(output)
}
