//! Captures that go by what is written, and the watch of the storage directory: on a real server, since the devnode has neither its log
//! nor its files.

use crate::archive::{empty_site, recoverable};
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::site::Site;
use holdfast_tests::wait::until;
use serde_json::{Value, json};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 500,
    dim: 16,
};
const LONG: Duration = Duration::from_secs(120);

/// A site whose agent archives logs, and whose coordinator follows a policy with this schedule; `None` where the server keeps none.
async fn site(schedule: &str) -> Result<Option<Site>> {
    let Some(mut site) = empty_site().await? else {
        return Ok(None);
    };
    let policy = format!("nodes = [\"n1\"]\n[[schedules]]\nname = \"steady\"\n{schedule}");
    site.follow(&policy).await?;
    DOCS.create(&site.qdrant).await?;
    Ok(Some(site))
}

fn points(site: &Site) -> Result<Vec<String>> {
    let listed = site.ok(&["backup", "list"])?;
    let points = listed["backups"].as_array().context("no list")?;
    let id = |point: &Value| Some(point["recovery_point"].as_str()?.to_owned());
    points
        .iter()
        .map(|point| id(point).context("no id"))
        .collect()
}

/// The last run of the schedule, once it is another one than that for `planned` and ended so.
async fn ran(site: &Site, outcome: &str, planned: &Value) -> Result<Value> {
    let what = format!("a run that ends as {outcome}");
    let found = until(&what, LONG, || async {
        let (code, answer) = site.json(&["schedules"]).ok()?;
        let last = answer["schedules"][0]["last_run"].clone();
        (code == 0 && last["outcome"] == outcome && last["planned"] != *planned).then_some(last)
    });
    found.await.with_context(|| site.coordinator.log())
}

async fn upsert(site: &Site, id: u64) -> Result<()> {
    let point = json!({"id": id, "vector": vec![0.25; DOCS.dim], "payload": {"n": id}});
    let body = json!({"points": [point]});
    let put = site.qdrant.put("/collections/docs/points?wait=true", body);
    put.await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nothing_needs_captures_nothing() -> Result<()> {
    let Some(site) = site("every = \"3s\"\nunchanged = \"skip\"\n").await? else {
        return Ok(());
    };
    ran(&site, "succeeded", &Value::Null).await?;
    let quiet = ran(&site, "unchanged", &Value::Null).await?;
    ensure!(quiet["job"].is_null(), "{quiet}");
    let before = points(&site)?;
    let again = ran(&site, "unchanged", &quiet["planned"]).await?;
    ensure!(points(&site)? == before, "a capture that nothing needed");

    upsert(&site, 7).await?;
    ran(&site, "succeeded", &again["planned"]).await?;
    let written = points(&site)?;
    ensure!(written.len() > before.len(), "what was written is captured");
    let quiet = ran(&site, "unchanged", &Value::Null).await?;

    // No log tells of an alias, and of settings.
    let written = points(&site)?;
    let alias =
        json!({"actions": [{"create_alias": {"collection_name": "docs", "alias_name": "live"}}]});
    site.qdrant.post("/collections/aliases", alias).await?;
    ran(&site, "succeeded", &quiet["planned"]).await?;
    ensure!(
        points(&site)?.len() > written.len(),
        "the alias is captured"
    );
    let quiet = ran(&site, "unchanged", &Value::Null).await?;
    let written = points(&site)?;
    let settings = json!({"optimizers_config": {"default_segment_number": 3}});
    site.qdrant.patch("/collections/docs", settings).await?;
    ran(&site, "succeeded", &quiet["planned"]).await?;
    ensure!(
        points(&site)?.len() > written.len(),
        "settings are captured"
    );
    ensure!(site.ok(&["schedules"])?["schedules"][0]["late_secs"].is_null());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn much_that_is_written_brings_a_run_forward() -> Result<()> {
    let schedule = "cron = \"0 3 1 1 *\"\nearly_after = 20\nearly_apart = \"1m\"\n";
    let Some(site) = site(schedule).await? else {
        return Ok(());
    };
    site.ok(&["backup", "create"])?;
    recoverable(&site).await?;
    let last = |site: &Site| {
        site.ok(&["schedules"])
            .map(|seen| seen["schedules"][0]["last_run"].clone())
    };
    ensure!(last(&site)?.is_null(), "nothing is due");
    // A base may have been made by itself.
    let before = points(&site)?.len();
    for id in 0..25 {
        upsert(&site, id).await?;
    }
    ran(&site, "succeeded", &Value::Null).await?;
    ensure!(points(&site)?.len() == before + 1);
    Ok(())
}

fn shards(site: &Site) -> Option<Vec<Value>> {
    let seen = site.ok(&["nodes", "--shards"]).ok()?;
    Some(seen["nodes"][0]["storage"]["shards"].as_array()?.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_in_the_storage_is_seen_and_no_server_is_accused() -> Result<()> {
    let Some(site) = empty_site().await? else {
        return Ok(());
    };
    DOCS.create(&site.qdrant).await?;
    let seen = until("the collection's files", LONG, || async {
        shards(&site)?
            .into_iter()
            .find(|shard| shard["collection"] == "docs")
    });
    let first = seen.await?;
    ensure!(first["stored_bytes"].as_u64() > Some(0), "{first}");
    // Writes in place, deletions, an index and a segment that an optimizer makes anew.
    for id in 0..50 {
        upsert(&site, id).await?;
    }
    let half: Vec<u64> = (0..DOCS.points / 2).collect();
    let delete = site.qdrant.post(
        "/collections/docs/points/delete?wait=true",
        json!({"points": half}),
    );
    delete.await?;
    let index = json!({"field_name": "n", "field_schema": "integer"});
    site.qdrant
        .put("/collections/docs/index?wait=true", index)
        .await?;
    let settings =
        json!({"optimizers_config": {"indexing_threshold": 1, "vacuum_min_vector_number": 100}});
    site.qdrant.patch("/collections/docs", settings).await?;
    let touched = first["touched_bytes"].clone();
    until("changes of its files", LONG, || async {
        let docs = shards(&site)?
            .into_iter()
            .find(|shard| shard["collection"] == "docs")?;
        (docs["touched_bytes"].as_u64() > touched.as_u64() && !docs["changed"].is_null())
            .then_some(())
    })
    .await?;
    site.qdrant.delete("/collections/docs").await?;
    until("the collection's files to be gone", LONG, || async {
        shards(&site)?.is_empty().then_some(())
    })
    .await?;
    let seen = site.ok(&["nodes", "--shards"])?;
    let storage = &seen["nodes"][0]["storage"];
    ensure!(storage["troubles"] == json!([]), "{storage}");
    ensure!(storage["polling_because"].is_null(), "{storage}");
    Ok(())
}
