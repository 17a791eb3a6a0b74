//! What a running coordinator tells Prometheus.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::process::free_port;
use holdfast_tests::site::Site;
use holdfast_tests::wait::until;
use holdfast_types::Timestamp;
use std::fs;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const DOCS: Dataset<'_> = Dataset {
    name: "docs",
    points: 100,
    dim: 8,
};
const UNTIL: &str = "holdfast_collection_recoverable_until_seconds{collection=\"docs\"}";
const RPO: &str = "holdfast_collection_rpo_seconds{collection=\"docs\"}";

/// Starts a site whose coordinator answers at the address that is returned.
async fn site() -> Result<(Site, String)> {
    let mut site = Site::start().await?;
    site.coordinator.stop(LIMIT)?;
    let port = free_port()?;
    let path = site.dir().join("coordinator.toml");
    let config = fs::read_to_string(&path)?;
    fs::write(
        &path,
        format!("health_listen = \"127.0.0.1:{port}\"\n{config}"),
    )?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    Ok((site, format!("http://127.0.0.1:{port}/metrics")))
}

/// The value of a metric; `None` if it is not told.
async fn value(url: &str, metric: &str) -> Result<Option<f64>> {
    let answer = reqwest::get(url).await?;
    let kind = answer.headers().get("content-type").cloned();
    let kind = kind.context("no content type")?;
    ensure!(kind.to_str()?.starts_with("application/openmetrics-text"));
    let text = answer.error_for_status()?.text().await?;
    ensure!(text.ends_with("# EOF\n"), "{text}");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    Ok(line.map(str::parse).transpose()?)
}

/// What would be lost is told from what is durable alone, and stands still while nobody captures.
#[tokio::test(flavor = "multi_thread")]
async fn how_recent_a_collection_is_is_never_told_too_well() -> Result<()> {
    let (mut site, url) = site().await?;
    DOCS.create(&site.qdrant).await?;
    let nothing = until("the collection to be told of", LIMIT, || async {
        value(&url, RPO).await.ok().flatten()
    });
    ensure!(nothing.await? == f64::INFINITY);
    ensure!(value(&url, UNTIL).await?.is_none());

    let before = holdfast_tests::wait::now();
    site.ok(&["backup", "create"])?;
    let after = holdfast_tests::wait::now();
    let first = value(&url, UNTIL).await?.context("nothing is told")?;
    let seconds =
        |at: Timestamp| Duration::from_micros(at.as_micros().unsigned_abs()).as_secs_f64();
    ensure!(
        (seconds(before)..=seconds(after)).contains(&first),
        "{first}"
    );
    let listed = site.ok(&["collections"])?;
    let listed = listed["collections"][0]["recoverable_until"].as_str();
    let listed: Timestamp = listed.context("nothing is listed")?.parse()?;
    ensure!((seconds(listed) - first).abs() < 1e-3, "{listed}, {first}");

    let early = value(&url, RPO).await?.context("nothing is told")?;
    site.agent.kill9()?;
    let gone = "holdfast_node_connected{node=\"n1\"}";
    until("the agent to be missed", LIMIT, || async {
        let told = value(&url, gone).await.ok().flatten();
        (told == Some(0.0)).then_some(())
    })
    .await?;
    let late = value(&url, RPO).await?.context("nothing is told")?;
    ensure!(late > early, "{early}, {late}");
    ensure!(value(&url, UNTIL).await? == Some(first));
    ensure!(value(&url, "holdfast_warnings").await? > Some(0.0));
    Ok(())
}
