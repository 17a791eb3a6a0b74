//! The loss of the repository is survived by a command: two stores, captures, a copy kept up to date, the primary's folder
//! destroyed, the copy promoted, and everything goes on there.

use crate::s3::open_bucket;
use anyhow::{Context as _, Result, ensure};
use holdfast_store::{ObjectKeeper as _, ObjectStore as _};
use holdfast_store_suite::{S3Server, Weed};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::ran_on;
use holdfast_tests::site::Site;
use holdfast_tests::wait::until;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 2000,
    dim: 64,
};

/// Of a copy in a bucket.
const FOLDER: &str = "copy";

/// The keys that name a place, without the name of their section.
enum Place {
    Folder(String),
    Bucket(String),
}

impl Place {
    fn keys(&self, section: &str) -> String {
        match self {
            Self::Folder(path) => format!("path = {path:?}\n"),
            Self::Bucket(keys) => format!("[{section}.s3]\n{keys}"),
        }
    }
}

fn bucket(server: &S3Server) -> Place {
    Place::Bucket(keys_of(server, S3Server::BUCKET))
}

/// The keys that name a folder in a bucket.
fn keys_of(server: &S3Server, bucket: &str) -> String {
    format!(
        "bucket = {bucket:?}\nprefix = \"{FOLDER}\"\nendpoint = {:?}\npath_style = true\nprofile = {:?}\n\
         profile_file = {:?}\nmax_concurrent = 16\n",
        server.endpoint(),
        S3Server::WRITER,
        server.credentials().display().to_string(),
    )
}

/// Stops the coordinator, changes its configuration, and starts it.
pub(crate) async fn reconfigure(
    site: &mut Site,
    change: impl FnOnce(String) -> String,
) -> Result<()> {
    site.coordinator.stop(Duration::from_secs(30))?;
    start(site, change).await
}

/// Changes the configuration of the coordinator, which does not run, and starts it.
async fn start(site: &mut Site, change: impl FnOnce(String) -> String) -> Result<()> {
    let file = site.dir().join("coordinator.toml");
    fs::write(&file, change(fs::read_to_string(&file)?))?;
    site.coordinator.restart()?;
    site.wait_connected().await
}

fn copy(site: &Site) -> Result<Value> {
    let listed = site.ok(&["repo", "copy", "list"])?;
    let first = listed["copies"].get(0);
    Ok(first.context("no copy is listed")?.clone())
}

async fn up_to_date(site: &Site, points: u64) -> Result<()> {
    let look = || async {
        let copy = copy(site).ok()?;
        let lacks = copy["lag"]["recovery_points"].as_u64()?;
        (lacks == 0 && copy["recovery_points"] == points).then_some(())
    };
    let brought = until("the copy to be up to date", Duration::from_secs(90), look).await;
    brought.with_context(|| format!("{:?}\n{}", copy(site), site.coordinator.log()))
}

fn config(site: &Site) -> String {
    let file = site.dir().join("coordinator.toml");
    file.display().to_string()
}

fn flip_packs(packs: &Path) -> Result<()> {
    for folder in fs::read_dir(packs)? {
        for pack in fs::read_dir(folder?.path())? {
            let path = pack?.path();
            let mut bytes = fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes)?;
        }
    }
    Ok(())
}

pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// From the first capture to life on the promoted copy. Returns the site, with what is left of the old primary in `lost`.
async fn lose_and_promote(place: &Place) -> Result<Site> {
    let mut site = Site::start().await?;
    ran_on(site.qdrant.kind);
    let section = format!("[[copy]]\nname = \"b\"\n{}", place.keys("copy"));
    reconfigure(&mut site, |text| text + &section).await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    let looked = site.ok(&["repo", "copy", "add", "b"])?;
    ensure!(looked["made"] == false, "{looked}");
    ensure!(copy(&site)?["made"] == false && copy(&site)?["lag"].is_null());
    let made = site.ok(&["repo", "copy", "add", "b", "--confirm"])?;
    ensure!(made["made"] == true, "{made}");
    up_to_date(&site, 1).await?;
    DOCS.upsert(&site.qdrant, 0..40, 1).await?;
    let before = contents(&site.qdrant, DOCS.name).await?;
    site.ok(&["backup", "create"])?;
    let synced = site.ok(&["repo", "copy", "sync", "b", "--wait"])?;
    ensure!(synced["copy"]["lag"]["recovery_points"] == 0, "{synced}");
    up_to_date(&site, 2).await?;
    let checked = site.ok(&["repo", "copy", "verify", "b", "--full", "--wait"])?;
    let check = &checked["copy"]["last_check"];
    ensure!(check["needs_attention"] == false, "{checked}");

    site.coordinator.kill9()?;
    copy_folder(&site.repository(), &site.dir().join("lost"))?;
    fs::remove_dir_all(site.repository())?;
    let config = config(&site);
    let promote = [
        "repo",
        "copy",
        "promote",
        "b",
        "--coordinator-config",
        &config,
    ];
    let dry = site.ok(&promote)?;
    ensure!(
        dry["promoted"] == false && dry["recovery_points"] == 2,
        "{dry}"
    );
    ensure!(dry["missing"] == serde_json::json!([]), "{dry}");
    ensure!(dry["missing_known_by"] == "catalogue", "{dry}");
    ensure!(dry["primary_unreachable"].is_string(), "{dry}");
    let mut confirmed = promote.to_vec();
    confirmed.extend(["--full", "--confirm"]);
    let done = site.ok(&confirmed)?;
    ensure!(
        done["promoted"] == true && done["primary_told"] == false,
        "{done}"
    );
    ensure!(done["epoch"].as_u64() > Some(1_000_000), "{done}");

    let repository = site.repository().display().to_string();
    start(&mut site, |text| {
        // The section comes last, and tables of a bucket must not be in the middle of [repository].
        let (head, _) = text.split_once("[[copy]]").unwrap_or((&text, ""));
        let head = head.replace(&format!("path = {repository:?}\n"), "");
        head + &place.keys("repository")
    })
    .await?;
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == before);
    DOCS.upsert(&site.qdrant, 0..40, 2).await?;
    let newest = contents(&site.qdrant, DOCS.name).await?;
    site.ok(&["backup", "create"])?;
    site.ok(&["restore", "run", "latest", "-c", "docs", "--as", "again"])?;
    ensure!(contents(&site.qdrant, "again").await?.digest == newest.digest);
    Ok(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_the_repository_is_survived_by_a_command() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = Place::Folder(folder.path().join("b").display().to_string());
    let mut site = lose_and_promote(&place).await?;
    // The old primary comes back. Its own coordinator would be refused by the agent; here it becomes a copy.
    let old = site.dir().join("lost").display().to_string();
    let section = format!("[[copy]]\nname = \"old\"\npath = {old:?}\n");
    reconfigure(&mut site, |text| text + &section).await?;
    let (code, refused) = site.json(&["repo", "copy", "add", "old", "--confirm"])?;
    ensure!(
        code == 7 && refused["code"] == "repository-role",
        "{refused}"
    );
    site.ok(&["repo", "copy", "add", "old", "--take-over", "--confirm"])?;
    up_to_date(&site, 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_may_be_in_a_bucket() -> Result<()> {
    let Some(weed) = Weed::find("the_copy_may_be_in_a_bucket")? else {
        return Ok(());
    };
    let server = tokio::task::spawn_blocking(move || weed.start()).await??;
    lose_and_promote(&bucket(&server)).await.map(drop)
}

/// What has come to a copy in a bucket with locks can't be removed there, whatever becomes of it on the primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_can_be_locked() -> Result<()> {
    let Some(weed) = Weed::find("a_copy_can_be_locked")? else {
        return Ok(());
    };
    let server = tokio::task::spawn_blocking(move || weed.start()).await??;
    let mut site = Site::start().await?;
    let section = |bucket: &str| {
        format!(
            "[[copy]]\nname = \"b\"\n[copy.s3]\n{}lock_days = 1\n[copy.retention]\nmin_proven = 1\n\
             [[copy.retention.rules]]\nkeep_last = 1\n",
            keys_of(&server, bucket)
        )
    };
    let without = section(S3Server::BUCKET);
    reconfigure(&mut site, |text| text + &without).await?;
    for confirm in [&[][..], &["--confirm"]] {
        let add = [&["repo", "copy", "add", "b"], confirm].concat();
        let (code, refused) = site.json(&add)?;
        ensure!(code == 3 && refused["code"] == "config", "{refused}");
        let said = refused["message"].as_str().unwrap_or_default();
        ensure!(said.contains("no object lock"), "{refused}");
    }
    let with = section(S3Server::LOCKING);
    reconfigure(&mut site, |text| text.replace(&without, &with)).await?;
    site.ok(&["repo", "copy", "add", "b", "--confirm"])?;
    DOCS.create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    let created = site.ok(&["backup", "create"])?;
    let oldest = created["backup"]["recovery_point"]
        .as_str()
        .context("no id")?;
    up_to_date(&site, 1).await?;
    all_locked(&server).await?;

    site.ok(&["backup", "create"])?;
    up_to_date(&site, 2).await?;
    let pruned = site.ok(&["repo", "copy", "prune", "b", "--confirm"])?;
    let verdicts = pruned["verdicts"].as_array().context("no verdicts")?;
    let of_oldest = verdicts.iter().find(|of| of["recovery_point"] == oldest);
    let of_oldest = of_oldest.context("nothing on the oldest")?;
    ensure!(of_oldest["keep"] == true, "{pruned}");
    let why = of_oldest["reasons"].to_string();
    ensure!(why.contains("locked by the store until"), "{pruned}");
    all_locked(&server).await?;
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", oldest, "--from-copy", "b"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == captured);
    Ok(())
}

/// Waits until everything is locked that recovery points of the copy need.
async fn all_locked(server: &S3Server) -> Result<()> {
    let store = open_bucket(server, S3Server::LOCKING, FOLDER).await?;
    let all = || async {
        let mut locked = 0;
        for prefix in ["packs", "points", "keys"] {
            for found in store.list(&prefix.parse().ok()?).await.ok()? {
                store.lock_of(&found.key).await.ok()??;
                locked += 1;
            }
        }
        (locked >= 3).then_some(())
    };
    until("the locks of the copy", Duration::from_secs(60), all).await
}

/// A site whose copy `b` was away for a while, and has caught up.
async fn caught_up(site: &mut Site) -> Result<()> {
    let place = site.dir().join("b").display().to_string();
    let section = format!("[[copy]]\nname = \"b\"\npath = {place:?}\n");
    reconfigure(site, |text| text + &section).await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    site.ok(&["repo", "copy", "add", "b", "--confirm"])?;
    up_to_date(site, 1).await?;
    fs::rename(&place, site.dir().join("away"))?;
    // The lag is told, and the backup goes on.
    site.ok(&["backup", "create"])?;
    let told = || async {
        let copy = copy(site).ok()?;
        (!copy["trouble"].is_null()).then_some(copy)
    };
    let behind = until("the trouble to be told", Duration::from_secs(60), told).await?;
    ensure!(behind["lag"]["recovery_points"] == 1, "{behind}");
    let status = site.ok(&["status"])?;
    let lag = &status["copies"][0]["lag"];
    ensure!(lag["recovery_points"] == 1, "{status}");
    fs::rename(site.dir().join("away"), &place)?;
    site.ok(&["repo", "copy", "sync", "b", "--wait"])?;
    up_to_date(site, 2).await
}

/// A damaged repository is read past, and healed, by the copy's name.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_repository_lost_comes_from_the_copy() -> Result<()> {
    let mut site = Site::start().await?;
    caught_up(&mut site).await?;
    let before = contents(&site.qdrant, DOCS.name).await?;
    site.coordinator.stop(Duration::from_secs(30))?;
    flip_packs(&site.repository().join("packs"))?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    site.qdrant.delete("/collections/docs").await?;
    let (code, refused) = site.json(&["restore", "run", "latest"])?;
    ensure!(code != 0, "{refused}");
    site.ok(&["restore", "run", "latest", "--from-copy", "b"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == before);
    let ticket = ["restore", "ticket", "latest", "--node", "n1"];
    site.ok(&[&ticket[..], &["--from-copy", "b"]].concat())?;
    let (file, config) = (site.dir().join("docs.snapshot"), config(&site));
    let file = file.display().to_string();
    let export = ["backup", "export", "latest", "-c", "docs", "-o", &file];
    let export = [&export[..], &["--from-copy", "b"]].concat();
    site.ok(&export)?;
    let alone = ["--force", "--coordinator-config", &config];
    site.ok(&[&export[..], &alone[..]].concat())?;

    site.coordinator.stop(Duration::from_secs(30))?;
    let heal = ["repo", "heal", "--from-copy", "b", "--full", "--confirm"];
    let direct = ["--coordinator-config", &config];
    site.ok(&[&heal[..], &direct[..]].concat())?;
    let verify = ["repo", "verify", "--full"];
    site.ok(&[&verify[..], &direct[..]].concat())?;
    Ok(())
}
