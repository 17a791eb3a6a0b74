//! What was written between two instants, as the archived logs say: a mass delete is found, and undone to just before it.

use crate::archive::{empty_site, recoverable};
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::site::Site;
use holdfast_tests::wait::now;
use holdfast_types::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 400,
    dim: 8,
};

/// Ids that are deleted by mistake.
const DELETED: std::ops::Range<u64> = 100..250;

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_delete_is_found_and_undone() -> Result<()> {
    let Some(site) = empty_site().await? else {
        return Ok(());
    };
    let body = json!({"vectors": {"size": 8, "distance": "Cosine"}, "shard_number": 2});
    DOCS.create_as(&site.qdrant, body).await?;
    recoverable(&site).await?;
    let from = now();
    DOCS.upsert(&site.qdrant, 0..20, 1).await?;
    recoverable(&site).await?;
    let before = contents(&site.qdrant, "docs").await?;
    delete(&site).await?;
    // Nobody has noticed.
    DOCS.upsert(&site.qdrant, 15..40, 2).await?;
    // Else the last operations may have been written after it, for all that the log says.
    recoverable(&site).await?;
    let to = now();
    recoverable(&site).await?;

    let told = diff(&site, from, to)?;
    found(&told)?;
    // Each of the two shards has its part of the delete: the earlier one counts.
    let parts = list(&told, "largest")?.iter();
    let parts = parts.filter(|large| large["operation"] == "delete_points");
    let instants: Vec<Timestamp> = parts
        .map(|large| instant(&large["at"]["restore_to"]))
        .collect::<Result<_>>()?;
    ensure!(instants.len() == 2, "{told}");
    let undo = instants.into_iter().min().context("none")?.to_string();
    let restore = [
        "restore", "run", "--to", &undo, "-c", "docs", "--as", "undone",
    ];
    site.ok(&restore)?;
    let undone = contents(&site.qdrant, "undone").await?;
    ensure!(
        (undone.points, &undone.digest) == (before.points, &before.digest),
        "{undone:?}, {before:?}"
    );
    shown(&site, from, to, &undo)?;
    lacking(&site, from, to)
}

async fn delete(site: &Site) -> Result<()> {
    let path = "/collections/docs/points/delete?wait=true";
    let ids: Vec<u64> = DELETED.collect();
    site.qdrant.post(path, json!({ "points": ids })).await?;
    let oslo = json!({"must": [{"key": "city", "match": {"value": "Oslo"}}]});
    site.qdrant.post(path, json!({ "filter": oslo })).await?;
    Ok(())
}

fn diff(site: &Site, from: Timestamp, to: Timestamp) -> Result<Value> {
    let (from, to) = (from.to_string(), to.to_string());
    site.ok(&[
        "diff", "docs", "--from", &from, "--to", &to, "--ids", "1000",
    ])
}

fn list<'a>(told: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    told[name].as_array().with_context(|| told.to_string())
}

fn instant(value: &Value) -> Result<Timestamp> {
    Ok(value.as_str().context("no instant")?.parse()?)
}

/// Exactly what was done.
fn found(told: &Value) -> Result<()> {
    ensure!(told["complete"] == true, "{told}");
    ensure!(list(told, "unread")?.is_empty(), "{told}");
    let points = list(told, "kinds")?.iter();
    let points: Vec<(&str, u64)> = points
        .filter_map(|kind| Some((kind["operation"].as_str()?, kind["points"].as_u64()?)))
        .collect();
    let wanted = [
        ("delete_points", 150),
        ("delete_points_by_filter", 0),
        ("upsert_points", 45),
    ];
    ensure!(points == wanted, "{told}");
    let wanted = [
        ("put", (0..40).collect()),
        ("perhaps-put", vec![]),
        ("changed", vec![]),
        ("removed", DELETED.collect::<Vec<u64>>()),
    ];
    for (fate, (name, ids)) in list(told, "points")?.iter().zip(wanted) {
        let same = fate["fate"] == name && fate["ids"] == json!(ids);
        ensure!(same && fate["count"] == ids.len(), "{fate}");
    }
    let by_filter = list(told, "by_filter")?;
    ensure!(by_filter.len() == 1, "{told}");
    let filter: Value = serde_json::from_str(by_filter[0]["filter"].as_str().context("none")?)?;
    let oslo = json!({"must": [{"key": "city", "match": {"value": "Oslo"}}]});
    // Once in each shard.
    ensure!(filter == oslo && by_filter[0]["count"] == 2, "{told}");
    Ok(())
}

/// People see the instant, and viewers don't.
fn shown(site: &Site, from: Timestamp, to: Timestamp, undo: &str) -> Result<()> {
    let (from, to) = (from.to_string(), to.to_string());
    let args = ["diff", "docs", "--from", &from, "--to", &to];
    let text = String::from_utf8(site.cli(&args)?.stdout)?;
    let line = format!("  --to {undo}  delete_points of ");
    ensure!(
        text.contains(&line) && !text.contains("INCOMPLETE"),
        "{text}"
    );
    let viewer = site.cli_as("viewer", &args)?;
    ensure!(viewer.status.code() == Some(13), "{viewer:?}");
    Ok(())
}

/// What is not known is said.
fn lacking(site: &Site, from: Timestamp, to: Timestamp) -> Result<()> {
    let told = diff(site, from, to.after(Duration::from_secs(3600)))?;
    ensure!(told["complete"] == false, "{told}");
    let gaps = list(&told, "gaps")?.iter();
    let gaps: Vec<(u64, bool)> = gaps
        .filter_map(|gap| {
            let known_until = gap["why"].as_str()?.contains("is known until");
            Some((gap["shard"].as_u64()?, known_until))
        })
        .collect();
    ensure!(gaps == [(0, true), (1, true)], "{told}");
    Ok(())
}
