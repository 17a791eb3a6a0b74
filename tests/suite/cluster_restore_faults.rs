//! Restores into a real cluster whose coordinator, agents and servers are killed meanwhile.

use crate::cluster_restore::holds;
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::cluster::{ClusterSite, available};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::{Contents, contents};
use holdfast_tests::say;
use holdfast_tests::site::Options;
use holdfast_tests::wait::until;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(180);
const HASTY: Options = Options {
    shared_snapshots: true,
    shared_storage: false,
    agent: "",
    spool_mib: 256,
    coordinator: "[limits]\nreplica_grace_secs = 2\nagent_grace_secs = 10\nheartbeat_interval_ms = 500\n",
};
/// Large enough to take a while.
const BULK: Dataset<'static> = Dataset {
    name: "docs",
    points: 6000,
    dim: 128,
};

#[derive(Clone, Copy, Debug)]
enum Victim {
    Coordinator,
    Leader,
    Agent,
    Qdrant,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_during_a_restore_it_goes_on_or_says_how() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let mut site = ClusterSite::start(3, HASTY).await?;
    let any = &site.nodes[0].qdrant;
    let body = json!({"vectors": {"size": BULK.dim, "distance": "Cosine"}, "shard_number": 6, "replication_factor": 2});
    BULK.create_as(any, body).await?;
    let want = contents(any, "docs").await?;
    let point = site.ok(&["backup", "create"])?["backup"]["recovery_point"]
        .as_str()
        .context("no point")?
        .to_owned();
    let began = Instant::now();
    site.ok(&["restore", "run", &point, "--prefix", "first_"])?;
    let took = began.elapsed();
    say(&format!("undisturbed: {took:?}"));
    drop_it(&site, "first_docs").await?;
    for victim in [
        Victim::Coordinator,
        Victim::Leader,
        Victim::Agent,
        Victim::Qdrant,
    ] {
        for fraction in [0.1, 0.4, 0.7] {
            let name = format!("{victim:?}_{fraction}");
            let job =
                with_a_death(&mut site, victim, &point, &name, took.mul_f64(fraction)).await?;
            say(&format!("{name}: {}", job["state"]));
            if job.is_null() {
                // It died before the job was recorded.
                site.ok(&["restore", "run", &point, "--prefix", &format!("{name}_")])?;
            } else if job["state"] != "succeeded" {
                // A server may be away for longer than is waited; processes of Holdfast always go on.
                ensure!(matches!(victim, Victim::Qdrant), "{name}: {job}");
                went_back(&site, &job, &name, &want).await?;
            }
            let copy = format!("{name}_docs");
            holds(&site.nodes, &copy, &want, 2)
                .await
                .with_context(|| name.clone())?;
            drop_it(&site, &copy).await?;
        }
    }
    Ok(())
}

async fn drop_it(site: &ClusterSite, name: &str) -> Result<()> {
    site.nodes[0]
        .qdrant
        .delete(&format!("/collections/{name}"))
        .await?;
    Ok(())
}

/// The job in which the victim died, when it has ended; null if there was none yet.
async fn with_a_death(
    site: &mut ClusterSite,
    victim: Victim,
    point: &str,
    name: &str,
    delay: Duration,
) -> Result<Value> {
    let prefix = format!("{name}_");
    let newest = |site: &ClusterSite| {
        let (_, status) = site.json(&["status"]).ok()?;
        Some(status["jobs"].as_array()?.first()?.clone())
    };
    let before = newest(site).context("no jobs")?;
    let child = site.spawn(&["restore", "run", point, "--prefix", &prefix])?;
    tokio::time::sleep(delay).await; // the moment of the death, not a synchronisation
    match victim {
        Victim::Coordinator => {
            site.coordinator.kill9()?;
            site.coordinator.restart()?;
        }
        Victim::Leader => {
            site.node_mut("n1").agent.kill9()?;
            site.node_mut("n1").agent.restart()?;
        }
        Victim::Agent => {
            site.node_mut("n2").agent.kill9()?;
            site.node_mut("n2").agent.restart()?;
        }
        Victim::Qdrant => {
            site.node_mut("n3").qdrant.process.kill9()?;
            site.node_mut("n3").qdrant.process.restart()?;
        }
    }
    tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    let outcome = until("the job to end", LIMIT, || async {
        let job = newest(site)?;
        (job["state"] != "running").then_some(job)
    })
    .await
    .with_context(|| site.logs())?;
    site.node("n3").qdrant.wait_ready().await?;
    site.wait_connected().await?;
    Ok(if outcome["job"] == before["job"] {
        Value::Null
    } else {
        outcome
    })
}

/// A restore that failed has said what it left, and goes on by the very commands that it has printed.
async fn went_back(site: &ClusterSite, outcome: &Value, name: &str, want: &Contents) -> Result<()> {
    let message = outcome["failure"]["message"].as_str().unwrap_or_default();
    say(&format!("{name}: {message}"));
    ensure!(
        message.contains("to go on: holdfast restore run"),
        "{outcome}\n{}",
        site.logs()
    );
    let (_, on) = message.split_once("to go on: ").context("no command")?;
    for command in on.split(" && ") {
        let mut words: Vec<&str> = command.split_whitespace().skip(1).collect();
        if words.contains(&"--overwrite") {
            words.push("--yes");
        }
        site.ok(&words)?;
    }
    holds(&site.nodes, &format!("{name}_docs"), want, 2).await
}
