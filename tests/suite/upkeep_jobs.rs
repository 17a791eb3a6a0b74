//! Upkeep and exports as jobs, with real processes, across a death of the coordinator.

use crate::jobs::ended;
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::site::{Options, Site};
use holdfast_tests::wait::until;
use serde_json::Value;
use std::time::Duration;

/// 4 MB each that compression does not make smaller: a pack of its own that takes seconds to read at 1 MiB/s.
const PARTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const SLOWLY: &str = "[verify]\nmax_mib_per_sec = 1\n[retention]\ngrace_hours = 0\ngarbage_grace_hours = 0\nevery_hours = 0\n";
const LIMIT: Duration = Duration::from_secs(60);

fn part(name: &str) -> Dataset<'_> {
    Dataset {
        name,
        points: 4000,
        dim: 256,
    }
}

async fn filled(parts: usize) -> Result<Site> {
    let site = Site::start_with(Options {
        coordinator: SLOWLY,
        ..Options::default()
    })
    .await?;
    for name in &PARTS[..parts] {
        part(name).create(&site.qdrant).await?;
        site.ok(&["backup", "create", "--collection", name])?;
    }
    Ok(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_watched_is_cancelled_goes_on_and_is_interrupted() -> Result<()> {
    let mut site = filled(8).await?;
    let mut asked = site.spawn_cli(&["repo", "verify", "--full", "--as-job"])?;
    let shown = reading(&site).await?;
    let id = text(&shown["job"])?;
    ensure!(id.starts_with("verify-"), "{shown}");
    ensure!(shown["asked_by"] == "operator alice", "{shown}");
    ensure!(shown["upkeep"]["unit"] == "packs", "{shown}");
    ensure!(shown["steps"] == Value::Array(vec![]), "{shown}");
    let totals = &shown["totals"];
    let (done, total) = (&totals["bytes_done"], &totals["bytes_total"]);
    ensure!(done.as_u64() < total.as_u64(), "{shown}");

    let (code, refused) = site.json(&["repo", "verify", "--as-job"])?;
    ensure!(code == 10 && refused["code"] == "job-conflict", "{refused}");
    let viewer = site.cli_as("viewer", &["repo", "verify", "--as-job"])?;
    ensure!(viewer.status.code() == Some(13), "{viewer:?}");
    let mut watching = site.spawn_cli(&["jobs", "watch", &id])?;
    // The beginning of its id is enough.
    let cancelled = site.ok(&["jobs", "cancel", "verify"])?;
    ensure!(cancelled["job"] == *id && cancelled["cancelled"] == true);
    ensure!(ended(&mut asked).await? == Some(11));
    ensure!(ended(&mut watching).await? == Some(11));
    let shown = site.ok(&["jobs", "show", "verify-"])?;
    ensure!(
        shown["job"] == *id && shown["state"] == "cancelled",
        "{shown}"
    );
    ensure!(shown["failure"]["code"] == "cancelled", "{shown}");
    says(&site, &id, "operator alice asks to cancel it").await?;

    // The next one reads nothing twice, and dies with the coordinator.
    let mut asked = site.spawn_cli(&["repo", "verify", "--full", "--as-job"])?;
    let next = running(&site, "verify").await?;
    says(&site, &next, " packs that were read before").await?;
    site.coordinator.kill9()?;
    ensure!(ended(&mut asked).await? == Some(5));
    site.coordinator.restart()?;
    site.wait_connected().await?;
    let shown = site.ok(&["jobs", "show", &next])?;
    ensure!(
        shown["state"] == "interrupted" && !shown["ended"].is_null(),
        "{shown}"
    );
    ensure!(shown["failure"]["code"] == "job-failed", "{shown}");
    let (code, watched) = site.json(&["jobs", "watch", &next])?;
    ensure!(code == 11 && watched["code"] == "job-failed", "{watched}");
    // Two begin so now.
    let (code, refused) = site.json(&["jobs", "show", "verify-"])?;
    ensure!(code == 2 && refused["code"] == "usage", "{refused}");
    let message = text(&refused["message"])?;
    ensure!(
        message.contains(&id) && message.contains(&next),
        "{message}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_prunes_and_checks_that_ended_are_listed_also_after_a_kill() -> Result<()> {
    let mut site = filled(2).await?;
    let out = site.dir().join("exported");
    std::fs::create_dir(&out)?;
    let out = out.display().to_string();
    let exported = site.ok(&["backup", "export", "latest", "-c", "b", "-o", &out])?;
    let job = ended_job(&site, "export").await?;
    ensure!(job["state"] == "succeeded", "{job}");
    ensure!(job["recovery_point"] == exported["recovery_point"], "{job}");
    ensure!(job["asked_by"] == "operator alice", "{job}");
    let (id, sent) = (text(&job["job"])?, text(&job["result"])?);
    ensure!(sent.starts_with("sent "), "{job}");
    let watched = site.ok(&["jobs", "watch", &id])?;
    ensure!(
        watched["kind"] == "upkeep" && watched["collection"] == "b",
        "{watched}"
    );
    ensure!(watched["bytes_done"].as_u64() > Some(3 << 20), "{watched}");

    let points = site.ok(&["backup", "list"])?;
    let oldest = points["backups"].as_array().and_then(|list| list.last());
    let oldest = text(&oldest.context("no backups")?["recovery_point"])?;
    site.ok(&[
        "backup",
        "delete",
        &oldest,
        "--reason",
        "test",
        "--even-the-last",
        "--confirm",
    ])?;
    site.ok(&["backup", "prune", "--confirm"])?;
    let pruned = ended_job(&site, "prune").await?;
    ensure!(pruned["result"] == "recovery points deleted: 1", "{pruned}");
    ensure!(pruned["asked_by"] == "operator alice", "{pruned}");

    let checked = site.ok(&["repo", "verify", "--as-job"])?;
    ensure!(checked["kind"] == "upkeep", "{checked}");
    let covered = text(&checked["found"][0])?;
    ensure!(covered.ends_with("packs listed, none read"), "{checked}");
    let listed = site.ok(&["jobs", "list"])?;
    site.coordinator.kill9()?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    ensure!(site.ok(&["jobs", "list"])? == listed);

    // Damage is a failure of the check, and its exit code that of `repo verify`.
    rot(&site)?;
    let (code, damaged) = site.json(&["repo", "verify", "--full", "--as-job"])?;
    ensure!(
        code == 7 && damaged["code"] == "repository-damaged",
        "{damaged}"
    );
    let failed = ended_job(&site, "verify").await?;
    ensure!(failed["state"] == "failed", "{failed}");
    let id = text(&failed["job"])?;
    let (code, _) = site.json(&["jobs", "watch", &id])?;
    ensure!(code == 7);
    says(&site, &id, "packs/").await?;
    Ok(())
}

/// Spoils every pack.
fn rot(site: &Site) -> Result<()> {
    for folder in std::fs::read_dir(site.repository().join("packs"))? {
        for pack in std::fs::read_dir(folder?.path())? {
            let path = pack?.path();
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes)?;
        }
    }
    Ok(())
}

fn jobs(site: &Site, action: &str) -> Option<Vec<Value>> {
    let listed = site.ok(&["jobs", "list"]).ok()?;
    let all = listed["jobs"].as_array()?.iter();
    let found = all.filter(|job| job["action"] == action);
    Some(found.cloned().collect())
}

async fn running(site: &Site, action: &str) -> Result<String> {
    until("the job to run", LIMIT, || async {
        let all = jobs(site, action)?;
        let found = all.iter().find(|job| job["state"] == "running")?;
        text(&found["job"]).ok()
    })
    .await
}

/// The newest of this kind, once it has ended.
async fn ended_job(site: &Site, action: &str) -> Result<Value> {
    until("the job to end", LIMIT, || async {
        let newest = jobs(site, action)?.into_iter().next()?;
        (newest["state"] != "running").then_some(newest)
    })
    .await
}

/// The check, once it has read a pack and not all.
async fn reading(site: &Site) -> Result<Value> {
    let id = running(site, "verify").await?;
    until("a pack to be read", LIMIT, || async {
        let shown = site.ok(&["jobs", "show", &id]).ok()?;
        (shown["upkeep"]["parts_done"].as_u64()? > 0).then_some(shown)
    })
    .await
}

/// Waits until a line of the job's log has this in it.
async fn says(site: &Site, id: &str, words: &str) -> Result<()> {
    let said = until("the log to say it", LIMIT, || async {
        let shown = site.ok(&["jobs", "show", id]).ok()?;
        let log = shown["log"].as_array()?;
        let has = |line: &Value| {
            line["text"]
                .as_str()
                .is_some_and(|text| text.contains(words))
        };
        log.iter().any(has).then_some(())
    });
    said.await
        .with_context(|| format!("{words}: {:?}", site.ok(&["jobs", "show", id])))
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("no text")?.to_owned())
}
