//! `jobs show` and `jobs watch` with real processes, across a death of the coordinator.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::site::Site;
use holdfast_tests::wait::until;
use serde_json::Value;
use std::process::{Child, Command};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 500,
    dim: 16,
};
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_job_is_shown_and_watched_as_it_was_also_after_a_kill() -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let made = site.ok(&["backup", "create", "--note", "why"])?;
    let job = text(&made["job"])?;
    let shown = site.ok(&["jobs", "show", &job])?;
    ensure!(
        shown["kind"] == "job" && shown["state"] == "succeeded",
        "{shown}"
    );
    ensure!(shown["asked_by"] == "operator alice", "{shown}");
    ensure!(shown["note"] == "why", "{shown}");
    let steps = shown["steps"].as_array().context("no steps")?;
    ensure!(!steps.is_empty(), "{shown}");
    for step in steps {
        ensure!(
            step["state"] == "done" && step["node"] == "n1" && step["collection"] == "docs",
            "{step}"
        );
        ensure!(step["bytes_done"] == step["bytes_total"], "{step}");
    }
    let captured = &made["backup"]["logical_bytes"];
    ensure!(
        shown["totals"]["bytes_done"] == *captured,
        "{shown}\n{made}"
    );
    let log = shown["log"].as_array().context("no log")?;
    ensure!(
        log.last().is_some_and(|line| line["text"] == "succeeded"),
        "{shown}"
    );

    site.coordinator.kill9()?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    ensure!(site.ok(&["jobs", "show", &job])? == shown);
    let watched = site.ok(&["jobs", "watch", &job])?;
    ensure!(watched == made, "{watched}\n{made}");

    let (code, refused) = site.json(&["jobs", "show", "backup-x"])?;
    ensure!(code == 9 && refused["code"] == "job-not-found", "{refused}");
    let (code, refused) = site.json(&["jobs", "watch", "backup-x"])?;
    ensure!(code == 9 && refused["code"] == "job-not-found", "{refused}");
    let viewer = site.cli_as("viewer", &["jobs", "show", &job])?;
    ensure!(viewer.status.success(), "{viewer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_may_be_interrupted_and_ends_as_the_job_does() -> Result<()> {
    let site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    // This has the coordinator look; then it takes the agent for connected, and waits for it.
    let seen = site.ok(&["collections"])?;
    ensure!(seen["collections"][0]["collection"] == DOCS.name, "{seen}");
    site.agent.freeze()?;
    let mut first = site.spawn_cli(&["backup", "create"])?;
    let job = until("a job to run", LIMIT, || async {
        let listed = site.ok(&["jobs", "list"]).ok()?;
        let job = listed["jobs"].as_array()?.first()?.clone();
        (job["state"] == "running").then(|| text(&job["job"]).ok())?
    })
    .await?;
    interrupted(&mut first).await?;
    let mut second = site.spawn_cli(&["jobs", "watch", &job])?;
    tokio::time::sleep(Duration::from_millis(500)).await; // any moment of the watching
    interrupted(&mut second).await?;
    let shown = site.ok(&["jobs", "show", &job])?;
    ensure!(shown["state"] == "running", "{shown}");
    ensure!(shown["steps"][0]["state"] == "running", "{shown}");
    let mut third = site.spawn_cli(&["jobs", "watch", &job])?;
    site.ok(&["jobs", "cancel", &job])?;
    site.agent.thaw()?;
    ensure!(ended(&mut third).await? == Some(11));
    let (code, again) = site.json(&["jobs", "watch", &job])?;
    ensure!(code == 11 && again["code"] == "cancelled", "{again}");
    let shown = site.ok(&["jobs", "show", &job])?;
    ensure!(shown["state"] == "cancelled", "{shown}");
    let log = shown["log"].as_array().context("no log")?;
    let asked = |line: &Value| line["text"] == "operator alice asks to cancel it";
    ensure!(log.iter().any(asked), "{shown}");
    Ok(())
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("no text")?.to_owned())
}

/// Ctrl-C, and what follows from it.
async fn interrupted(program: &mut Child) -> Result<()> {
    let pid = program.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status()?;
    ensure!(sent.success());
    ensure!(ended(program).await? == Some(130));
    Ok(())
}

/// Waits for a command to end by itself; its exit code.
pub(crate) async fn ended(program: &mut Child) -> Result<Option<i32>> {
    let mut look = || program.try_wait().ok().flatten();
    let status = until("the command to end", LIMIT, || {
        let status = look();
        async move { status }
    });
    Ok(status.await?.code())
}
