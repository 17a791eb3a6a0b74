//! What is captured by itself: runs come when they are due, what is asked of them is answered, and silence is an alarm.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::site::Site;
use holdfast_tests::wait::{now, until};
use holdfast_types::Timestamp;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 500,
    dim: 16,
};
const LONG: Duration = Duration::from_secs(120);

const POLICY: &str = "nodes = [\"n1\"]
[[schedules]]
name = \"steady\"
every = \"3s\"
tags = [\"by-itself\"]
tolerance = \"10s\"
[[rules]]
collections = [\"docs\"]
schedules = [\"steady\"]
";

/// A site whose coordinator follows the policy.
async fn site() -> Result<(Site, PathBuf)> {
    let mut site = Site::start().await?;
    let policy = site.follow(POLICY).await?;
    Ok((site, policy))
}

fn schedule(site: &Site) -> Option<Value> {
    let (code, answer) = site.json(&["schedules"]).ok()?;
    (code == 0).then(|| answer["schedules"][0].clone())
}

/// The schedule, once a run of it that began later has succeeded.
async fn ran_since(site: &Site, instant: Timestamp) -> Result<Value> {
    until("a scheduled run of docs", LONG, || async {
        let found = schedule(site)?;
        let last = &found["last_success"];
        let begun: Timestamp = last["begun"].as_str()?.parse().ok()?;
        (last["outcome"] == "succeeded"
            && begun > instant
            && found["collections"] == serde_json::json!(["docs"]))
        .then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_runs_is_explained_and_is_missed() -> Result<()> {
    let (mut site, policy) = site().await?;
    DOCS.create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    // A run that began before may have captured the collection half made.
    let ran = ran_since(&site, now()).await?;
    ensure!(ran["late_secs"].is_null(), "{ran}");
    let listed = site.ok(&["backup", "list"])?;
    let newest = &listed["backups"][0];
    ensure!(
        newest["tags"] == serde_json::json!(["by-itself"]),
        "{newest}"
    );

    let checked = site.ok(&["policy", "check", &policy.display().to_string()])?;
    ensure!(
        checked["advice"].to_string().contains("for tests"),
        "{checked}"
    );
    let told = site.ok(&["policy", "explain", "docs"])?;
    ensure!(
        told["schedules"][0]["runs"][4]["begins"].is_string(),
        "{told}"
    );
    let nothing = site.ok(&["policy", "explain", "other"])?;
    ensure!(nothing["rule"].is_null(), "{nothing}");
    let changed = site.dir().join("changed.toml");
    fs::write(&changed, POLICY.replace("3s", "1h"))?;
    let diff = site.ok(&["policy", "diff", &changed.display().to_string()])?;
    ensure!(
        diff["changes"].to_string().contains("schedule steady"),
        "{diff}"
    );
    fs::write(&changed, POLICY.replace("every", "evry"))?;
    let (code, refused) = site.json(&["policy", "check", &changed.display().to_string()])?;
    ensure!(code == 3, "{refused}");

    // A run that can't come is told of wherever one looks.
    site.agent.kill9()?;
    let late = until("the alarm", LONG, || async {
        schedule(&site).filter(|found| found["late_secs"].as_u64() > Some(0))
    })
    .await?;
    ensure!(
        late["late_since"].is_string() && late["waits"].is_string(),
        "{late}"
    );
    let status = site.ok(&["status"])?;
    ensure!(
        status["warnings"]
            .to_string()
            .contains("schedule steady is late"),
        "{status}"
    );
    site.agent.restart()?;
    until("the end of the alarm", LONG, || async {
        schedule(&site).filter(|found| found["late_secs"].is_null())
    })
    .await?;
    site.qdrant.delete("/collections/docs").await?;
    let point = newest["recovery_point"].as_str().context("a point")?;
    // The scheduler's own runs are jobs like others: one at a time.
    until("a restore between runs", LONG, || async {
        let (code, _) = site.json(&["restore", "run", point]).ok()?;
        (code == 0).then_some(())
    })
    .await?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == captured);
    Ok(())
}
