//! What a backup may take, and the order in which a restore brings collections back, with real processes.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::qdrant::{Kind, program};
use holdfast_tests::site::Site;
use holdfast_tests::skipped;
use holdfast_tests::wait::until;
use serde_json::{Value, json};
use std::time::Duration;

/// Some 4 MiB of vectors.
const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 4000,
    dim: 256,
};
const LIMIT: Duration = Duration::from_secs(180);
const MIB: u64 = 1 << 20;

/// The lines of a job's log.
fn log(site: &Site, job: &Value) -> Result<Vec<String>> {
    let id = job.as_str().context("no job")?;
    let shown = site.ok(&["jobs", "show", id])?;
    let lines = shown["log"].as_array().context("no log")?;
    let text = |line: &Value| line["text"].as_str().unwrap_or_default().to_owned();
    Ok(lines.iter().map(text).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_backup_takes_its_time_and_is_whole() -> Result<()> {
    let site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let before = contents(&site.qdrant, DOCS.name).await?;
    let planned = site.ok(&["backup", "create", "--max-mib-per-sec", "1", "--dry-run"])?;
    ensure!(planned["limits"]["max_mib_per_sec"] == 1, "{planned}");
    let made = site.ok(&["backup", "create", "--max-mib-per-sec", "1"])?;
    let number = |name: &str| made["backup"][name].as_u64().context("no number");
    let (sent, took) = (number("sent_bytes")?, number("elapsed_ms")?);
    ensure!(sent > 2 * MIB, "too little to be sure of anything: {made}");
    // A little may be owed at the end.
    let least = (sent * 1000 / MIB).saturating_sub(200);
    ensure!(took >= least, "{sent} bytes in {took} ms");

    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_can_not_be_meant_are_refused_before_anything_is_done() -> Result<()> {
    let site = Site::start().await?;
    for wrong in [
        ["--max-nodes", "0"],
        ["--max-mib-per-sec", "9999999"],
        ["--max-query-latency", "soon"],
        ["--max-delay", "10m"],
    ] {
        let (code, answer) = site.json(&["backup", "create", wrong[0], wrong[1]])?;
        ensure!(code == 2, "{wrong:?}: {answer}");
    }
    let late = [
        "backup",
        "create",
        "--max-query-latency",
        "50ms",
        "--max-delay",
        "30h",
    ];
    let (code, answer) = site.json(&late)?;
    ensure!(
        code != 0 && answer.to_string().contains("max_delay"),
        "{answer}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_come_back_in_the_policys_order() -> Result<()> {
    let mut site = Site::start().await?;
    let small = |name| Dataset {
        name,
        points: 20,
        dim: 8,
    };
    for name in ["a-logs", "b-other", "c-users"] {
        let set = small(name);
        set.create_as(
            &site.qdrant,
            json!({"vectors": {"size": set.dim, "distance": "Dot"}}),
        )
        .await?;
    }
    let rule = |name: &str, place: u32| {
        format!("[[rules]]\ncollections = [\"{name}\"]\nrecovery_order = {place}\n")
    };
    let policy = format!(
        "[[schedules]]\nname = \"yearly\"\ncron = \"0 3 29 2 *\"\n{}{}[[rules]]\ncollections = [\"*\"]\n",
        rule("*-users", 1),
        rule("*-logs", 5000)
    );
    let file = site.follow(&policy).await?;
    site.ok(&["backup", "create"])?;
    for name in ["a-logs", "b-other", "c-users"] {
        let path = format!("/collections/{name}");
        site.qdrant.delete(&path).await?;
    }
    let plan = site.ok(&["restore", "plan", "latest"])?;
    let steps = plan["steps"].as_array().context("no steps")?;
    let steps: Vec<_> = steps
        .iter()
        .map(|step| (step["source"].as_str(), step["recovery_order"].as_u64()))
        .collect();
    let wanted = [("c-users", 1), ("b-other", 1000), ("a-logs", 5000)];
    ensure!(
        steps == wanted.map(|(name, place)| (Some(name), Some(place))),
        "{plan}"
    );
    let from = format!("the policy {}", file.display());
    ensure!(plan["order_from"] == from.as_str(), "{plan}");
    let done = site.ok(&["restore", "run", "latest"])?;
    let log = log(&site, &done["job"])?;
    let restored = log.iter().filter_map(|line| line.strip_prefix("restored "));
    let restored: Vec<_> = restored.filter_map(|line| line.split(':').next()).collect();
    ensure!(restored == ["c-users", "b-other", "a-logs"], "{log:?}");
    let said = |line: &String| line.contains(&format!("in the order of {from}"));
    ensure!(log.iter().any(said), "{log:?}");
    Ok(())
}

/// Searches again and again, each time for much at once, until the work is done.
async fn under_searches<T>(site: &Site, work: impl Future<Output = T>) -> Result<T> {
    let search = json!({"vector": DOCS.vector(1, 0), "limit": 100, "params": {"exact": true}});
    let searches = json!({"searches": vec![search; 200]});
    let searching = async {
        loop {
            let path = "/collections/docs/points/search/batch";
            if let Err(error) = site.qdrant.post(path, searches.clone()).await {
                return error;
            }
        }
    };
    tokio::select! {
        done = work => Ok(done),
        error = searching => Err(error),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_gives_way_to_the_searches_of_others() -> Result<()> {
    if !matches!(program(), Ok((Kind::Real, _))) {
        skipped("a real Qdrant server is needed: the devnode does not tell how long searches take");
        return Ok(());
    }
    let site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let begun = site.spawn_cli(&[
        "backup",
        "create",
        "--method",
        "stream",
        "--max-mib-per-sec",
        "1",
        "--max-query-latency",
        "1ms",
        "--max-delay",
        "20s",
    ]);
    let mut begun = begun?;
    let ended = under_searches(&site, crate::jobs::ended(&mut begun)).await??;
    ensure!(ended == Some(0), "{}", site.coordinator.log());
    let jobs = site.ok(&["jobs", "list"])?;
    let log = log(&site, &jobs["jobs"][0]["job"])?;
    let said = |text: &str| log.iter().any(|line| line.contains(text));
    ensure!(said("docs/0 on n1: slowed down: searches take "), "{log:?}");
    ensure!(said("by the searches of others"), "{log:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_tells_nothing_of_searches_is_named() -> Result<()> {
    if matches!(program(), Ok((Kind::Real, _))) {
        skipped("the devnode is needed: a real server tells how long searches take");
        return Ok(());
    }
    let site = Site::start().await?;
    let set = Dataset {
        points: 20,
        dim: 8,
        ..DOCS
    };
    set.create(&site.qdrant).await?;
    let made = site.ok(&["backup", "create", "--max-query-latency", "1ms"])?;
    let told = until("the note", LIMIT, || async {
        let log = log(&site, &made["job"]).ok()?;
        log.iter()
            .any(|line| line.contains("max_query_latency was not kept"))
            .then_some(())
    });
    told.await
}
