//! kill −9 of the agent and of the coordinator at several moments of a capture and of a restore.
//!
//! The moments are fractions of the time that the undisturbed action took in the same run, so they
//! fall into different phases on every machine. After each crash the program is started again and
//! everything must be whole: the job ends with a definite state, a backup can be taken, and what is
//! restored equals what was captured.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::{Contents, contents};
use holdfast_tests::site::Site;
use holdfast_tests::wait::until;
use std::time::{Duration, Instant};

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 12_000,
    dim: 128,
};
const FRACTIONS: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Agent,
    Coordinator,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_dies_during_a_capture() -> Result<()> {
    during_capture(Victim::Agent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_dies_during_a_capture() -> Result<()> {
    during_capture(Victim::Coordinator).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_dies_during_a_restore() -> Result<()> {
    during_restore(Victim::Agent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_dies_during_a_restore() -> Result<()> {
    during_restore(Victim::Coordinator).await
}

async fn during_capture(victim: Victim) -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let mut whole = timed(|| site.ok(&["backup", "create"]))?;
    for (round, fraction) in FRACTIONS.into_iter().enumerate() {
        // New content each round, so that there is something to send.
        DOCS.upsert(&site.qdrant, 0..DOCS.points, 1 + round as u64)
            .await?;
        let expected = contents(&site.qdrant, DOCS.name).await?;
        crash(
            &mut site,
            victim,
            &["backup", "create"],
            whole.mul_f64(fraction),
        )
        .await?;
        settled(&site).await?;
        let started = Instant::now();
        site.ok(&["backup", "create"])
            .with_context(|| format!("after {victim:?} died at {fraction}"))?;
        whole = started.elapsed();
        lost_and_restored(&site, &expected).await?;
    }
    no_snapshots_left(&site).await
}

async fn during_restore(victim: Victim) -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    let expected = contents(&site.qdrant, DOCS.name).await?;
    site.qdrant.delete("/collections/docs").await?;
    let whole = timed(|| site.ok(&["restore", "run", "latest"]))?;
    for fraction in FRACTIONS {
        site.qdrant.delete("/collections/docs").await?;
        crash(
            &mut site,
            victim,
            &["restore", "run", "latest"],
            whole.mul_f64(fraction),
        )
        .await?;
        settled(&site).await?;
        // Either the interrupted restore went on to its end, or nothing of it is left.
        let exists = site.qdrant.get("/collections/docs/exists").await?;
        if exists["exists"] == true {
            ensure!(
                contents(&site.qdrant, DOCS.name).await? == expected,
                "half a restore is left after {victim:?} died at {fraction}\nagent:\n{}\ncoordinator:\n{}",
                site.agent.log(),
                site.coordinator.log()
            );
        } else {
            site.ok(&["restore", "run", "latest"])?;
            ensure!(contents(&site.qdrant, DOCS.name).await? == expected);
        }
    }
    Ok(())
}

/// Starts a command, kills the victim after `delay`, and starts it again.
async fn crash(site: &mut Site, victim: Victim, args: &[&str], delay: Duration) -> Result<()> {
    let mut command = site.spawn_cli(args)?;
    tokio::time::sleep(delay).await; // the moment of the crash, not a synchronisation
    let process = match victim {
        Victim::Agent => &mut site.agent,
        Victim::Coordinator => &mut site.coordinator,
    };
    process.kill9()?;
    process.restart()?;
    site.wait_connected().await?;
    let mut ended = || command.try_wait().ok().flatten();
    until("the interrupted command to end", LIMIT, || {
        let status = ended();
        async move { status }
    })
    .await?;
    Ok(())
}

/// Waits until no job runs any more.
async fn settled(site: &Site) -> Result<()> {
    until("every job to end", LIMIT, || async {
        let (code, status) = site.json(&["status"]).ok()?;
        let running = status["jobs"]
            .as_array()?
            .iter()
            .any(|job| job["state"] == "running");
        (code == 0 && !running).then_some(())
    })
    .await
    .with_context(|| {
        format!(
            "agent:\n{}\ncoordinator:\n{}",
            site.agent.log(),
            site.coordinator.log()
        )
    })
}

async fn lost_and_restored(site: &Site, expected: &Contents) -> Result<()> {
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == *expected);
    Ok(())
}

async fn no_snapshots_left(site: &Site) -> Result<()> {
    let left = site
        .qdrant
        .get("/collections/docs/shards/0/snapshots")
        .await?;
    ensure!(
        left.as_array().is_some_and(Vec::is_empty),
        "snapshots left on the server: {left}"
    );
    Ok(())
}

fn timed<T>(action: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let started = Instant::now();
    action()?;
    Ok(started.elapsed())
}
