//! Restores to instants: the logs of two collections are read while they are written to, archived, and replayed on captures; the state at
//! every recorded moment comes back.
//!
//! The test reads and archives the logs itself, with the agent's reader, and marks the captures with the timelines.

mod logs;

use self::logs::Logs;
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::digest::{Contents, contents};
use holdfast_tests::qdrant::{Kind, Qdrant};
use holdfast_tests::ran_on;
use holdfast_tests::site::{Options, Site};
use holdfast_tests::wait::now;
use holdfast_types::{RecoveryPointId, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

const COLLECTIONS: [&str; 2] = ["docs", "books"];

/// Docs has two shards, each with a log of its own, where the server can have them.
fn shards(kind: Kind, name: &str) -> u32 {
    match (kind, name) {
        (Kind::Real, "docs") => 2,
        (Kind::Real | Kind::Devnode, _) => 1,
    }
}

/// The state at an instant.
struct Moment {
    at: Timestamp,
    states: Vec<Contents>,
    /// The operation of `books` that comes next.
    next: u64,
}

async fn create(qdrant: &Qdrant) -> Result<()> {
    for name in COLLECTIONS {
        let body = json!({
            "vectors": {"size": 4, "distance": "Dot"},
            "shard_number": shards(qdrant.kind, name),
            "optimizers_config": {"flush_interval_sec": 1},
        });
        qdrant.put(&format!("/collections/{name}"), body).await?;
        let index = json!({"field_name": "group", "field_schema": "integer"});
        let path = format!("/collections/{name}/index?wait=true");
        qdrant.put(&path, index).await?;
    }
    Ok(())
}

/// The `n`th change of both collections; each takes away something that another one wrote.
async fn change(qdrant: &Qdrant, n: u64) -> Result<()> {
    for name in COLLECTIONS {
        let path = |what: &str| format!("/collections/{name}/points{what}?wait=true");
        let points: Vec<Value> = (0..12)
            .map(|k| {
                let vector = [n, k, n * k, 1];
                json!({"id": n * 5 + k, "vector": vector, "payload": {"group": k % 3, "by": n}})
            })
            .collect();
        qdrant.put(&path(""), json!({ "points": points })).await?;
        let filter = json!({"must": [{"key": "group", "match": {"value": n % 3}}]});
        let ids = [n * 5, n * 5 + 3];
        match n % 3 {
            0 => {
                qdrant
                    .post(&path("/delete"), json!({ "points": ids }))
                    .await?
            }
            1 => {
                let body = json!({"payload": {"mark": n}, "filter": filter});
                qdrant.post(&path("/payload"), body).await?
            }
            _ => {
                let body = json!({"keys": ["by"], "points": ids});
                qdrant.post(&path("/payload/delete"), body).await?
            }
        };
    }
    Ok(())
}

async fn moment(site: &Site, logs: &mut Logs) -> Result<Moment> {
    logs.poll()?;
    let at = now();
    let mut states = Vec::new();
    for name in COLLECTIONS {
        states.push(contents(&site.qdrant, name).await?);
    }
    let next = logs.next("books", 0).context("nothing was read")?;
    Ok(Moment { at, states, next })
}

/// Writes, captures twice in between, and remembers what was there.
async fn history(site: &Site, logs: &mut Logs) -> Result<(Vec<Moment>, Vec<RecoveryPointId>)> {
    let (mut moments, mut points) = (Vec::new(), Vec::new());
    for n in 0..24 {
        change(&site.qdrant, n).await?;
        logs.poll()?;
        if n == 6 || n == 15 {
            let backup = site.ok(&["backup", "create"])?;
            let id = backup["backup"]["recovery_point"].as_str();
            points.push(id.context("no id")?.parse()?);
        } else if n > 6 && n % 4 == 0 {
            moments.push(moment(site, logs).await?);
        }
    }
    moments.push(moment(site, logs).await?);
    Ok((moments, points))
}

/// Restores both collections under new names and compares them.
async fn restored(site: &Site, to: &[&str], suffix: &str, want: &[Contents]) -> Result<Value> {
    let names: Vec<String> = COLLECTIONS.map(|name| format!("{name}-{suffix}")).into();
    let mut args = vec!["restore", "run"];
    args.extend(to);
    for (source, target) in COLLECTIONS.iter().zip(&names) {
        args.extend(["--collection", source, "--as", target]);
    }
    let done = site.ok(&args)?;
    for (name, want) in names.iter().zip(want) {
        let found = contents(&site.qdrant, name).await?;
        let same = (found.points, &found.digest) == (want.points, &want.digest);
        ensure!(same, "{name} with {to:?}: {found:?}, {want:?}\n{done}");
        site.qdrant.delete(&format!("/collections/{name}")).await?;
    }
    Ok(done)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_moment_comes_back() -> Result<()> {
    let mut site = Site::start_with(Options {
        shared_storage: true,
        ..Options::default()
    })
    .await?;
    ran_on(site.qdrant.kind);
    create(&site.qdrant).await?;
    let shards = COLLECTIONS.map(|name| (name, shards(site.qdrant.kind, name)));
    let mut logs = Logs::open(&site.qdrant.storage, &shards)?;
    let (moments, points) = history(&site, &mut logs).await?;
    let last = moments.last().context("no moment")?;

    site.coordinator.stop(Duration::from_secs(60))?;
    let marked = logs.archive(&site, &points).await?;
    site.rebuild_catalogue()?;
    site.coordinator.restart()?;
    site.wait_connected().await?;

    let window = site.ok(&["restore", "window", "docs"])?;
    let stretch = &window["collections"][0]["stretches"][0];
    let time =
        |value: &Value| -> Result<Timestamp> { Ok(value.as_str().context("no instant")?.parse()?) };
    let (from, to) = (time(&stretch["from"])?, time(&stretch["to"])?);
    ensure!(from < moments[0].at && to <= last.at, "{window}");
    // What the captures were before they were marked can be restored as they are only.
    ensure!(
        window["collections"][0]["singles"].as_array().map(Vec::len) == Some(2),
        "{window}"
    );

    let mut used = std::collections::BTreeSet::new();
    for (nth, moment) in moments.iter().enumerate() {
        // The last one lies behind the last archived operation.
        let at = if moment.at <= to { moment.at } else { continue };
        let at = at.to_string();
        for by in ["splice", "requests"] {
            let to = ["--to", &at, "--by", by];
            let done = restored(&site, &to, &format!("{by}{nth}"), &moment.states).await?;
            ensure!(done["instant"]["instant"] == at.as_str(), "{done}");
            ensure!(done["instant"]["by"] == by, "{done}");
            used.insert(done["recovery_point"].as_str().context("no id")?.to_owned());
        }
    }
    let marked: std::collections::BTreeSet<_> = marked.iter().map(ToString::to_string).collect();
    ensure!(used == marked, "{used:?} of {marked:?}");
    restored(&site, &["--to", "latest"], "latest", &last.states).await?;
    overwritten(&site, &moments[0]).await?;
    one_operation(&site, &moments[1]).await?;
    refused(&site, last).await
}

/// In place of what is there, which is captured first; then back again.
async fn overwritten(site: &Site, moment: &Moment) -> Result<()> {
    let before = contents(&site.qdrant, "docs").await?;
    let at = moment.at.to_string();
    let args = [
        "restore",
        "run",
        "--to",
        &at,
        "-c",
        "docs",
        "--overwrite",
        "--yes",
    ];
    let done = site.ok(&args)?;
    let found = contents(&site.qdrant, "docs").await?;
    ensure!(
        found == moment.states[0],
        "{found:?}, {:?}",
        moment.states[0]
    );
    let safety = done["safety_recovery_point"].as_str();
    let safety = safety.context("no safety capture")?;
    site.ok(&[
        "restore",
        "run",
        safety,
        "-c",
        "docs",
        "--overwrite",
        "--yes",
    ])?;
    ensure!(contents(&site.qdrant, "docs").await? == before);
    Ok(())
}

async fn one_operation(site: &Site, moment: &Moment) -> Result<()> {
    let last = (moment.next - 1).to_string();
    let args = [
        "restore", "run", "--to-op", &last, "-c", "books", "--as", "books-op",
    ];
    let done = site.ok(&args)?;
    let found = contents(&site.qdrant, "books-op").await?;
    let want = &moment.states[1];
    ensure!(
        (found.points, &found.digest) == (want.points, &want.digest),
        "{done}"
    );
    // One less is another state.
    let less = (moment.next - 2).to_string();
    let args = [
        "restore",
        "run",
        "--to-op",
        &less,
        "-c",
        "books",
        "--as",
        "books-less",
    ];
    site.ok(&args)?;
    ensure!(contents(&site.qdrant, "books-less").await?.digest != want.digest);
    if shards(site.qdrant.kind, "docs") == 1 {
        return Ok(());
    }
    // Each of the two shards of docs counts on its own.
    let (code, refused) = site.json(&["restore", "plan", "--to-op", &last, "-c", "docs"])?;
    ensure!(
        code == 10 && refused["message"].to_string().contains("2 shards"),
        "{refused}"
    );
    Ok(())
}

async fn refused(site: &Site, last: &Moment) -> Result<()> {
    let late = last.at.after(Duration::from_secs(3600)).to_string();
    let (code, refused) = site.json(&["restore", "run", "--to", &late])?;
    ensure!(
        code == 10 && refused["code"] == "instant-not-recoverable",
        "{refused}"
    );
    ensure!(
        refused["message"]
            .to_string()
            .contains("the nearest before it: --to"),
        "{refused}"
    );
    Ok(())
}
