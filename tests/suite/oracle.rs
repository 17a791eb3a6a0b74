//! Random operations of every kind on two collections, and what was there at moments between them: every moment comes back, by both ways.
//!
//! The history is that of a printed seed; `HOLDFAST_SEED` repeats it.

use crate::archive::empty_site;
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::digest::{Contents, contents};
use holdfast_tests::history::Dice;
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::say;
use holdfast_tests::site::Site;
use holdfast_tests::wait::{now, until};
use holdfast_types::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

/// One collection has one shard and one vector, the other two shards and named vectors.
const COLLECTIONS: [(&str, bool); 2] = [("plain", false), ("named", true)];

/// Operations on each collection, and between two moments.
const OPERATIONS: u64 = 160;
const BETWEEN: u64 = 32;

/// What was there, and when nothing else had been written yet.
struct Moment {
    at: Timestamp,
    states: Vec<Contents>,
}

async fn create(qdrant: &Qdrant) -> Result<()> {
    for (name, named) in COLLECTIONS {
        let mut body = json!({"vectors": {"size": 4, "distance": "Dot"}, "optimizers_config": {"flush_interval_sec": 1}});
        if named {
            body["vectors"] = json!({
                "d": {"size": 4, "distance": "Dot"},
                "c": {"size": 3, "distance": "Cosine"},
                "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
            });
            body["sparse_vectors"] = json!({"s": {}});
            body["shard_number"] = json!(2);
        }
        qdrant.put(&format!("/collections/{name}"), body).await?;
    }
    Ok(())
}

/// Waits until everything acknowledged so far can be recovered.
async fn recoverable(site: &Site) -> Result<()> {
    let since = now();
    let found = until("everything to be recoverable", LIMIT, || async {
        let seen = site.ok(&["collections"]).ok()?;
        let is_behind = |name: &str| {
            let listed = seen["collections"].as_array()?.iter();
            let found = listed.clone().find(|c| c["collection"] == name)?;
            let until: Timestamp = found["recoverable_until"].as_str()?.parse().ok()?;
            (found["continuous"] == true && until > since).then_some(())
        };
        let all: Option<Vec<()>> = COLLECTIONS
            .iter()
            .map(|(name, _)| is_behind(name))
            .collect();
        all.map(drop)
    });
    found.await.with_context(|| site.coordinator.log())
}

/// Writes at random; with `vectors`, named vectors come and go, too.
async fn history(site: &Site, vectors: bool) -> Result<Vec<Moment>> {
    let given = std::env::var("HOLDFAST_SEED").ok();
    let seed = match given {
        Some(text) => text.parse()?,
        None => u64::from(std::process::id()),
    };
    say(&format!("HOLDFAST_SEED={seed}"));
    let (mut dice, mut moments) = (Dice::new(seed), Vec::new());
    create(&site.qdrant).await?;
    recoverable(site).await?;
    site.ok(&["backup", "create"])?;
    for n in 0..OPERATIONS {
        for (name, named) in COLLECTIONS {
            let (method, path, body) = dice.operation(named, n);
            if path.starts_with("vectors/") && !vectors {
                continue;
            }
            let path = format!("/collections/{name}/{path}?wait=true");
            let body = (!body.is_null()).then_some(body);
            let answer = site.qdrant.call(method.parse()?, &path, body).await;
            // Some are refused: they stand in the log all the same.
            if let Err(error) = answer {
                let refused = [": 400 ", ": 404 "]
                    .iter()
                    .any(|code| error.to_string().contains(code));
                ensure!(refused, "{error:#}");
            }
        }
        if n % BETWEEN == BETWEEN - 1 {
            recoverable(site).await?;
            let mut states = Vec::new();
            for (name, _) in COLLECTIONS {
                states.push(contents(&site.qdrant, name).await?);
            }
            moments.push(Moment { at: now(), states });
        }
        if n == OPERATIONS / 2 {
            site.ok(&["backup", "create"])?;
        }
    }
    recoverable(site).await?;
    Ok(moments)
}

/// What a moment is by one way.
async fn restored(site: &Site, moment: &Moment, by: &str) -> Result<(Vec<Contents>, Value)> {
    let at = moment.at.to_string();
    let mut args = vec!["restore", "run", "--to", &at, "--by", by];
    let names = COLLECTIONS.map(|(name, _)| format!("{name}-{by}"));
    for ((name, _), target) in COLLECTIONS.iter().zip(&names) {
        args.extend(["-c", name, "--as", target]);
    }
    let done = site.ok(&args)?;
    let mut found = Vec::new();
    for name in &names {
        found.push(contents(&site.qdrant, name).await?);
        site.qdrant.delete(&format!("/collections/{name}")).await?;
    }
    Ok((found, done))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_comes_back_by_both_ways() -> Result<()> {
    let Some(site) = empty_site().await? else {
        return Ok(());
    };
    let moments = history(&site, false).await?;
    let mut replayed = 0;
    for moment in &moments {
        for by in ["splice", "requests"] {
            let (found, done) = restored(&site, moment, by).await?;
            for (found, want) in found.iter().zip(&moment.states) {
                let same = (found.points, &found.digest) == (want.points, &want.digest);
                ensure!(same, "by {by}: {found:?}, {want:?}\n{done}");
            }
            let collections = done["collections"].as_array().context("no collections")?;
            let operations = collections.iter().filter_map(|c| c["operations"].as_u64());
            replayed += operations.sum::<u64>();
        }
    }
    let last = moments.last().context("no moment")?;
    ensure!(
        last.states.iter().all(|state| state.points > 10),
        "too few points"
    );
    ensure!(
        replayed > OPERATIONS,
        "only {replayed} operations were replayed"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_also_bring_back_indexes_and_named_vectors() -> Result<()> {
    let Some(site) = empty_site().await? else {
        return Ok(());
    };
    let moments = history(&site, true).await?;
    for moment in &moments {
        let (found, done) = restored(&site, moment, "requests").await?;
        for (found, want) in found.iter().zip(&moment.states) {
            let aliases = Vec::new();
            let want = Contents {
                aliases,
                ..want.clone()
            };
            ensure!(*found == want, "{found:?}\n{want:?}\n{done}");
        }
    }
    Ok(())
}
