//! Write-ahead logs on their way into the repository: everything that is written is archived, in one history through crashes of every
//! part, and what is said to be recoverable is never more than what is durable.

use anyhow::{Context as _, Result, ensure};
use holdfast_archive::{Kek, WalObject};
use holdfast_repository::Repository;
use holdfast_store::DiskStore;
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::{Contents, contents};
use holdfast_tests::qdrant::{Kind, program};
use holdfast_tests::site::{Options, Site};
use holdfast_tests::wait::{now, until};
use holdfast_tests::{say, skipped};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 200,
    dim: 32,
};
const LIMIT: Duration = Duration::from_secs(90);

/// An instant, in microseconds since the Unix epoch.
type Micros = i64;

/// An operation that was acknowledged: its number, and an instant after that.
type Acknowledged = (u64, Micros);

async fn site() -> Result<Option<Site>> {
    let site = empty_site().await?;
    if let Some(site) = &site {
        DOCS.create(&site.qdrant).await?;
    }
    Ok(site)
}

/// A site whose agent archives logs, if there is a server that keeps them.
pub(crate) async fn empty_site() -> Result<Option<Site>> {
    if !matches!(program(), Ok((Kind::Real, _))) {
        skipped("a real Qdrant server is needed: the devnode keeps no log as a server does");
        return Ok(None);
    }
    let site = Site::start_with(Options {
        shared_storage: true,
        agent: "[wal]\narchive = true\npoll_ms = 20\n",
        coordinator: "[wal]\nflush_ms = 100\n",
        ..Options::default()
    })
    .await?;
    Ok(Some(site))
}

/// Overwrites one point.
async fn write(site: &Site, id: u64) -> Result<Acknowledged> {
    let point = json!({"id": id % 50, "vector": vec![0.5; 32], "payload": {"n": id}});
    let body = json!({"points": [point]});
    let answer = site.qdrant.put("/collections/docs/points?wait=true", body);
    let number = answer.await?["operation_id"].as_u64();
    Ok((number.context("no operation_id")?, now().as_micros()))
}

/// What is said of the collection: recoverable up to which instant, and whether that advances.
fn recency(site: &Site) -> Result<(Option<Micros>, bool)> {
    let seen = site.ok(&["collections"])?;
    let docs = seen["collections"].as_array().context("no list")?;
    let docs = docs.iter().find(|c| c["collection"] == "docs");
    let docs = docs.context("docs is not there")?;
    let until = docs["recoverable_until"].as_str();
    let until = until.map(|text| text.parse::<holdfast_types::Timestamp>());
    let until = until.transpose()?.map(holdfast_types::Timestamp::as_micros);
    Ok((until, docs["continuous"] == true))
}

/// Waits until everything of `docs` that is acknowledged so far is said to be recoverable.
pub(crate) async fn recoverable(site: &Site) -> Result<()> {
    let since = now().as_micros();
    let found = until("everything to be recoverable", LIMIT, || async {
        let (until, continuous) = recency(site).ok()?;
        (continuous && until? > since).then_some(())
    });
    found.await.with_context(|| logs(site))
}

/// What the timelines are, for a message.
fn told(archive: &BTreeMap<String, Vec<WalObject>>) -> String {
    let line = |(id, parts): (&String, &Vec<WalObject>)| {
        let (origin, run) = (parts[0].origin(), parts[0].run());
        let next = parts.last().map(|part| part.run().next);
        format!(
            "{id} of {}: {} to {next:?}, because {:?}",
            origin.incarnation, run.first, origin.because
        )
    };
    archive.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn logs(site: &Site) -> String {
    let (coordinator, agent) = (site.coordinator.log(), site.agent.log());
    format!("coordinator:\n{coordinator}\nagent:\n{agent}")
}

/// Every archived part, by timeline, in order.
async fn archived(site: &Site) -> Result<BTreeMap<String, Vec<WalObject>>> {
    let key = std::fs::read_to_string(site.dir().join("repository.key"))?;
    let store = Arc::new(DiskStore::open(site.repository())?);
    let repository = Repository::open(store, Kek::from_hex(key.trim())?).await?;
    let namespace = repository.namespace();
    let mut all = BTreeMap::new();
    for listing in repository.list_wal(&namespace).await? {
        let mut parts: Vec<WalObject> = Vec::new();
        for stored in listing.parts.values() {
            let part = repository.read_wal(&listing.series, stored.part).await?;
            let part = part.context("a part is gone")?;
            if let Some(before) = parts.last() {
                part.follows(before)?;
            }
            parts.push(part);
        }
        all.insert(listing.series.timeline.to_string(), parts);
    }
    Ok(all)
}

/// The number after the last archived operation of the only timeline.
fn end(archive: &BTreeMap<String, Vec<WalObject>>) -> Result<u64> {
    ensure!(archive.len() == 1, "timelines: {:?}", archive.keys());
    let parts = archive.values().next().context("none")?;
    Ok(parts.last().context("no part")?.run().next)
}

/// What is said to be recoverable is durable: every operation that was acknowledged before.
async fn never_better(site: &Site, acknowledged: &[Acknowledged]) -> Result<u64> {
    let (until, _) = recency(site)?;
    // The archive is read after the claim, so it may hold more; never less.
    let end = end(&archived(site).await?)?;
    let mut claimed = 0;
    for (number, at) in acknowledged {
        if until.is_some_and(|until| *at < until) {
            claimed += 1;
            ensure!(
                *number < end,
                "operation {number} was acknowledged before {until:?}, and the archive ends at {end}"
            );
        }
    }
    Ok(claimed)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_archived_in_one_history_through_crashes() -> Result<()> {
    let Some(mut site) = site().await? else {
        return Ok(());
    };
    // A base is made by itself.
    recoverable(&site).await?;
    let mut acknowledged = Vec::new();
    let mut claimed = 0;
    for round in 0..6_u64 {
        for n in 0..25 {
            acknowledged.push(write(&site, round * 100 + n).await?);
            if n % 10 == 7 {
                claimed += never_better(&site, &acknowledged).await?;
            }
        }
        // Looked at again and again while it advances over what was written in this round.
        let before = acknowledged.len() as u64 - 20;
        while claimed < before {
            claimed = never_better(&site, &acknowledged).await?;
        }
        disturb(&mut site, round, &mut acknowledged).await?;
    }
    recoverable(&site).await?;
    let all = never_better(&site, &acknowledged).await?;
    ensure!(
        all == acknowledged.len() as u64,
        "{all} of all are recoverable"
    );
    let archive = archived(&site).await?;
    let parts = archive.values().next().context("none")?;
    // From the collection's creation on, and each exactly once.
    ensure!(parts[0].run().first == 0);
    let frames: usize = parts.iter().map(|part| part.frames().count()).sum();
    ensure!(frames as u64 == end(&archive)?);
    say(&format!(
        "{frames} entries in {} parts, {claimed} claims looked at",
        parts.len()
    ));
    all_is_well(&site)
}

/// kill −9 of each part, by round.
async fn disturb(site: &mut Site, round: u64, acknowledged: &mut Vec<Acknowledged>) -> Result<()> {
    match round {
        0 => {
            site.agent.kill9()?;
            // Written while nobody looks.
            acknowledged.push(write(site, 7).await?);
            site.agent.restart()?;
        }
        1 => {
            site.coordinator.kill9()?;
            acknowledged.push(write(site, 8).await?);
            site.coordinator.restart()?;
        }
        2 => {
            site.qdrant.process.kill9()?;
            site.qdrant.process.restart()?;
            site.qdrant.wait_ready().await?;
        }
        3 => {
            site.agent.kill9()?;
            site.coordinator.kill9()?;
            site.coordinator.restart()?;
            site.agent.restart()?;
        }
        _ => return Ok(()),
    }
    site.wait_connected().await
}

/// The repository is whole, and no log is complained about.
fn all_is_well(site: &Site) -> Result<()> {
    let verify = site.cli(&[
        "repo",
        "verify",
        "--full",
        "--coordinator-config",
        &site.dir().join("coordinator.toml").display().to_string(),
    ])?;
    let said = String::from_utf8_lossy(&verify.stderr);
    ensure!(verify.status.success(), "{said}");
    let warnings = site.ok(&["status"])?["warnings"].clone();
    let about = |w: &&Value| w.as_str().is_some_and(|w| w.contains("log"));
    let about: Vec<_> = warnings
        .as_array()
        .into_iter()
        .flatten()
        .filter(about)
        .collect();
    ensure!(about.is_empty(), "{about:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_made_anew_and_a_restored_one_get_histories_and_bases_of_their_own()
-> Result<()> {
    let Some(site) = site().await? else {
        return Ok(());
    };
    write(&site, 1).await?;
    recoverable(&site).await?;
    let first = archived(&site).await?;
    site.qdrant.delete("/collections/docs").await?;
    DOCS.create(&site.qdrant).await?;
    write(&site, 2).await?;
    recoverable(&site).await?;
    let second = archived(&site).await?;
    ensure!(second.len() == first.len() + 1, "{}", told(&second));
    // A restore over it replaces the log.
    site.ok(&[
        "restore",
        "run",
        "latest",
        "--collection",
        "docs",
        "--overwrite",
        "--yes",
    ])?;
    write(&site, 3).await?;
    recoverable(&site).await?;
    let third = archived(&site).await?;
    ensure!(third.len() == second.len() + 1, "{}", told(&third));
    let newest = third.iter().find(|(line, _)| !second.contains_key(*line));
    let (_, parts) = newest.context("no new timeline")?;
    ensure!(parts[0].origin().because.is_some());
    Ok(())
}

/// The user's way: nothing is prepared, a collection is dropped by mistake, and it comes back to the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_collection_comes_back_to_the_instant_before() -> Result<()> {
    let Some(site) = site().await? else {
        return Ok(());
    };
    recoverable(&site).await?;
    let mut moments = Vec::new();
    for round in 0..3 {
        for n in 0..20 {
            write(&site, round * 100 + n).await?;
        }
        // The look that finds the last write may end later than the write is acknowledged.
        recoverable(&site).await?;
        let at = now();
        moments.push((at.to_string(), contents(&site.qdrant, "docs").await?));
    }
    recoverable(&site).await?;
    site.qdrant.delete("/collections/docs").await?;
    for (at, want) in moments.iter().rev() {
        site.ok(&[
            "restore",
            "run",
            "--to",
            at,
            "--collection",
            "docs",
            "--as",
            "copy",
        ])?;
        let found = contents(&site.qdrant, "copy").await?;
        ensure!(
            (found.points, &found.digest) == (want.points, &want.digest),
            "{at}: {found:?}, {want:?}"
        );
        site.qdrant.delete("/collections/copy").await?;
    }
    // Under its own name, to the end of what is known.
    site.ok(&["restore", "run", "--to", "latest", "--collection", "docs"])?;
    let found = contents(&site.qdrant, "docs").await?;
    ensure!(found == moments[2].1, "{found:?}");
    Ok(())
}

/// Whatever has its name now: the last operation before the drop is contained, also if nobody had said yet that it was archived.
#[tokio::test(flavor = "multi_thread")]
async fn a_drop_is_undone_when_another_collection_has_the_name() -> Result<()> {
    let Some(mut site) = site().await? else {
        return Ok(());
    };
    recoverable(&site).await?;
    refused(&site, "that was dropped")?;
    for n in 0..40 {
        write(&site, n).await?;
    }
    let first = contents(&site.qdrant, "docs").await?;
    site.qdrant.delete("/collections/docs").await?;
    DOCS.create(&site.qdrant).await?;
    write(&site, 1).await?;
    recoverable(&site).await?;
    let second = contents(&site.qdrant, "docs").await?;
    ensure!(first.digest != second.digest);
    before_drop(&site, "first", &first, true).await?;
    ensure!(contents(&site.qdrant, "docs").await? == second);
    site.qdrant.delete("/collections/docs").await?;
    before_drop(&site, "second", &second, false).await?;
    site.ok(&["restore", "run", "--before-drop", "docs"])?;
    ensure!(contents(&site.qdrant, "docs").await? == second);
    site.agent.kill9()?;
    until("the agent's stream to end", LIMIT, || async {
        refused(&site, "is not known").ok()
    })
    .await
}

/// Brings it back under another name, when the agent has seen whether another one is there.
async fn before_drop(site: &Site, name: &str, want: &Contents, another: bool) -> Result<()> {
    let restore = ["restore", "run", "--before-drop", "docs", "--as", name];
    until("the drop to be seen", LIMIT, || async {
        let plan = ["restore", "plan", "--before-drop", "docs", "--as", name];
        let plan = site.ok(&plan).ok()?;
        let warnings = plan["warnings"].to_string();
        let whole = !warnings.contains("may be missing");
        (whole && warnings.contains("is there now") == another).then_some(())
    })
    .await?;
    site.ok(&restore)?;
    let found = contents(&site.qdrant, name).await?;
    ensure!(
        (found.points, &found.digest) == (want.points, &want.digest),
        "{name}: {found:?}, {want:?}"
    );
    Ok(())
}

fn refused(site: &Site, word: &str) -> Result<()> {
    let plan = ["restore", "plan", "--before-drop", "docs", "--as", "x"];
    let (code, shown) = site.json(&plan)?;
    ensure!(
        code != 0 && shown.to_string().contains(word),
        "{code}: {shown}"
    );
    Ok(())
}
