//! One recovery point of a real cluster of three nodes.

use anyhow::{Context as _, Result, ensure};
use holdfast_archive::{Kek, Manifest, ReplicaEntry};
use holdfast_repository::Repository;
use holdfast_store::DiskStore;
use holdfast_tests::cluster::{ClusterSite, Member, available};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::{Contents, contents};
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::site::Options;
use holdfast_tests::wait::until;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(180);

pub(crate) const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 3000,
    dim: 32,
};
pub(crate) const TENANTS: Dataset<'static> = Dataset {
    name: "tenants",
    points: 900,
    dim: 16,
};

/// `docs`: 6 shards, two replicas each, with aliases and indexes. `tenants`: one replica, three shard keys of two shards.
pub(crate) async fn fill(qdrant: &Qdrant) -> Result<()> {
    let body = json!({"vectors": {"size": DOCS.dim, "distance": "Cosine"}, "shard_number": 6, "replication_factor": 2});
    DOCS.create_as(qdrant, body).await?;
    let body = json!({"vectors": {"size": TENANTS.dim, "distance": "Dot"}, "shard_number": 2, "replication_factor": 1,
        "sharding_method": "custom"});
    qdrant.put("/collections/tenants", body).await?;
    for (key, from) in [(json!("ada"), 0), (json!("bob"), 300), (json!(7), 600)] {
        let path = "/collections/tenants";
        qdrant
            .put(&format!("{path}/shards"), json!({"shard_key": key}))
            .await?;
        let points: Vec<Value> = (from..from + 300).map(|id| TENANTS.point(id, 0)).collect();
        let body = json!({"points": points, "shard_key": key});
        qdrant
            .put(&format!("{path}/points?wait=true"), body)
            .await?;
    }
    Ok(())
}

/// The manifest of a recovery point, read from the repository itself.
pub(crate) async fn manifest(site: &ClusterSite, result: &Value) -> Result<Manifest> {
    let id = result["backup"]["recovery_point"].as_str();
    let id = id.with_context(|| format!("no recovery point in {result}"))?;
    let store = Arc::new(DiskStore::open(site.repository())?);
    let key = std::fs::read_to_string(site.dir().join("repository.key"))?;
    let repository = Repository::open(store, Kek::from_hex(key.trim())?).await?;
    Ok(repository.read_point(&id.parse()?).await?)
}

/// The node of every shard, in the order of the manifest.
pub(crate) fn placed(manifest: &Manifest) -> Vec<(String, u32, String)> {
    let shards = manifest.shards();
    shards
        .map(|(collection, shard)| {
            let name = collection.name.to_string();
            (name, shard.shard_id.0, shard.node.to_string())
        })
        .collect()
}

/// Overwrites a collection round after round, each in a new generation, until it is told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    /// The newest generation that is written in full and acknowledged.
    done: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Load {
    pub(crate) fn begin(qdrant: &Qdrant, dataset: Dataset<'static>) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (halt, told, url) = (Arc::clone(&stop), Arc::clone(&done), qdrant.url.clone());
        let task = tokio::spawn(async move {
            let http = reqwest::Client::new();
            let mut generation = 0;
            while !halt.load(Ordering::SeqCst) {
                generation += 1;
                for from in (0..dataset.points).step_by(300) {
                    let ids = from..(from + 300).min(dataset.points);
                    let points: Vec<Value> = ids.map(|id| dataset.point(id, generation)).collect();
                    let put = http.put(format!(
                        "{url}/collections/{}/points?wait=true",
                        dataset.name
                    ));
                    let answer = put.json(&json!({"points": points})).send().await?;
                    answer.error_for_status()?;
                }
                told.store(generation, Ordering::SeqCst);
            }
            Ok(())
        });
        Self { stop, done, task }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    pub(crate) async fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await??;
        Ok(self.done.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_captured_whole_and_every_shard_once() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let site = ClusterSite::start(3, Options::default()).await?;
    let any = &site.nodes[0].qdrant;
    fill(any).await?;
    let before = contents(any, "docs").await?;

    // At rest: what is restored is what the cluster had.
    let marks: Vec<usize> = calls(&site).iter().map(Vec::len).collect();
    let result = site.ok(&[
        "backup", "create", "--note", "at rest", "--method", "stored",
    ])?;
    let point = manifest(&site, &result).await?;
    only_these_calls(&calls(&site), &marks, &point)?;
    catalogued(&point)?;
    let placed = placed(&point);
    let mut want: Vec<(String, u32)> = (0..6).map(|shard| ("docs".to_owned(), shard)).collect();
    // Shards of a collection with shard keys are numbered from 1.
    want.extend((1..=6).map(|shard| ("tenants".to_owned(), shard)));
    let got: Vec<(String, u32)> = placed.iter().map(|(c, s, _)| (c.clone(), *s)).collect();
    ensure!(got == want, "{got:?}");
    let nodes: BTreeSet<&str> = placed.iter().map(|(.., node)| node.as_str()).collect();
    ensure!(nodes.len() == 3, "one node did not take part: {placed:?}");

    // Under load: everything acknowledged before is there, nothing that came after the end.
    let load = Load::begin(any, DOCS);
    until("a first round", LIMIT, || async {
        (load.done() > 0).then_some(())
    })
    .await?;
    let least = load.done();
    let loaded = site.ok(&["backup", "create", "--collection", "docs"])?;
    let most = load.end().await? + 1;
    let busy = manifest(&site, &loaded).await?;

    let alone = site.start_alone().await?;
    let after = restored(&site, &alone, &point, "docs").await?;
    ensure!((after.points, &after.digest) == (before.points, &before.digest));
    ensure!(after.indexes == before.indexes && after.aliases == before.aliases);
    restored(&site, &alone, &busy, "busy").await?;
    let all = generations(&alone.qdrant, "busy").await?;
    ensure!(all.len() as u64 == DOCS.points, "{} points", all.len());
    let fits = all.iter().all(|g| (least..=most).contains(g));
    ensure!(fits, "{least} {most} {all:?}");
    keyed_shards_hold_everything(&site, &alone, &point).await?;
    no_keys_alone(&site, &alone, &point).await
}

/// Restores `docs` into the stand-alone node under a name, and reads it there.
async fn restored(
    site: &ClusterSite,
    alone: &Member,
    point: &Manifest,
    name: &str,
) -> Result<Contents> {
    let id = point.id.to_string();
    let mut args = vec![
        "restore",
        "run",
        &id,
        "--collection",
        "docs",
        "--node",
        "alone",
    ];
    if name != "docs" {
        args.extend(["--as", name]);
    }
    site.ok(&args)?;
    contents(&alone.qdrant, name).await
}

/// Each shard of `tenants`, exported and loaded by itself, together hold exactly what the cluster has.
async fn keyed_shards_hold_everything(
    site: &ClusterSite,
    alone: &Member,
    point: &Manifest,
) -> Result<()> {
    let (id, http) = (point.id.to_string(), reqwest::Client::new());
    let mut found = BTreeMap::new();
    for shard in 1..=6 {
        let file = site.dir().join(format!("tenants-{shard}.snapshot"));
        let (number, path) = (shard.to_string(), file.display().to_string());
        let args = [
            "backup", "export", &id, "-c", "tenants", "--shard", &number, "-o", &path,
        ];
        site.ok(&args)?;
        let body = json!({"vectors": {"size": TENANTS.dim, "distance": "Dot"}});
        alone.qdrant.put("/collections/part", body).await?;
        let form = reqwest::multipart::Form::new();
        let part = reqwest::multipart::Part::bytes(std::fs::read(&file)?).file_name("s.snapshot");
        let url = format!(
            "{}/collections/part/shards/0/snapshots/upload?priority=snapshot",
            alone.qdrant.url
        );
        let answer = http
            .post(url)
            .multipart(form.part("snapshot", part))
            .send()
            .await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        for (id, point) in points(&alone.qdrant, "part").await? {
            ensure!(
                found.insert(id, point).is_none(),
                "point {id} is in two shards"
            );
        }
        alone.qdrant.delete("/collections/part").await?;
    }
    ensure!(found == points(&site.nodes[0].qdrant, "tenants").await?);
    ensure!(found.len() as u64 == TENANTS.points);
    Ok(())
}

/// Points by id, with vectors and payloads.
async fn points(qdrant: &Qdrant, collection: &str) -> Result<BTreeMap<u64, Value>> {
    let path = format!("/collections/{collection}/points/scroll");
    let body = json!({"limit": TENANTS.points, "with_payload": true, "with_vector": true});
    let page = qdrant.post(&path, body).await?;
    let points = page["points"].as_array().context("no points")?.iter();
    let one = |p: &Value| Some((p["id"].as_u64()?, json!([p["vector"], p["payload"]])));
    points
        .map(one)
        .collect::<Option<_>>()
        .context("a point without an id")
}

/// A stand-alone server has no shard keys: refused, and nothing is left of it.
async fn no_keys_alone(site: &ClusterSite, alone: &Member, point: &Manifest) -> Result<()> {
    let id = point.id.to_string();
    let args = [
        "restore",
        "run",
        &id,
        "--collection",
        "tenants",
        "--node",
        "alone",
    ];
    let (code, refused) = site.json(&args)?;
    let message = refused["message"].as_str().unwrap_or_default();
    let said = message.contains("runs without cluster mode");
    ensure!(code != 0 && said, "{refused}");
    let there = alone.qdrant.get("/collections/tenants/exists").await?;
    ensure!(there["exists"] == false, "half a restore is left: {there}");
    Ok(())
}

/// What the recovery point says of the cluster beside the data.
fn catalogued(point: &Manifest) -> Result<()> {
    let names: Vec<_> = point
        .peers
        .iter()
        .filter_map(|peer| peer.node.as_ref())
        .collect();
    ensure!(names.len() == 3, "{:?}", point.peers);
    let known = |peer: u64| point.peers.iter().any(|known| known.peer_id == peer);
    for (collection, shard) in point.shards() {
        let two = collection.name.as_str() == DOCS.name;
        ensure!(shard.replicas.len() == if two { 2 } else { 1 }, "{shard:?}");
        let good = |r: &ReplicaEntry| r.state == "Active" && known(r.peer_id);
        ensure!(shard.replicas.iter().all(good), "{shard:?}");
    }
    let [docs, tenants] = &point.collections[..] else {
        anyhow::bail!("{:?}", point.collections);
    };
    ensure!(docs.aliases.len() == 2 && docs.shard_keys.is_empty());
    ensure!(docs.uuid.is_some() && docs.uuid != tenants.uuid);
    let keys = serde_json::to_value(&tenants.shard_keys)?;
    let want = json!([{"key": "ada", "shards": [1, 2]}, {"key": "bob", "shards": [3, 4]}, {"key": 7, "shards": [5, 6]}]);
    ensure!(keys == want, "{keys}");
    Ok(())
}

/// What each node's Qdrant was asked over its public API, in the order of the answers.
fn calls(site: &ClusterSite) -> Vec<Vec<String>> {
    let line = |line: &str| {
        let (_, rest) = line.split_once("logger: ")?;
        let call = rest.split('"').nth(1)?;
        let call = call.strip_suffix(" HTTP/1.1").unwrap_or(call);
        Some(
            call.split_once('?')
                .map_or(call, |(path, _)| path)
                .to_owned(),
        )
    };
    let logs = site.nodes.iter().map(|node| node.qdrant.process.log());
    logs.map(|log| log.lines().filter_map(line).collect())
        .collect()
}

/// That a stored capture asks for nothing but this, in this order for each shard, and for nothing that changes anything but
/// the snapshot that it deletes again.
fn only_these_calls(calls: &[Vec<String>], marks: &[usize], point: &Manifest) -> Result<()> {
    let node = |index: usize| format!("n{}", index + 1);
    for (index, (calls, mark)) in calls.iter().zip(marks).enumerate() {
        let calls = &calls[*mark..];
        let mine = point
            .shards()
            .filter(|(_, shard)| shard.node.as_str() == node(index));
        let mut rest: Vec<&String> = calls.iter().collect();
        for (collection, shard) in mine {
            let place = format!(
                "/collections/{}/shards/{}/snapshots",
                collection.name, shard.shard_id
            );
            let of_shard: Vec<&str> = calls
                .iter()
                .filter(|call| call.contains(&format!("{place}/")) || call.ends_with(&place))
                .map(|call| {
                    call.split_once(".snapshot")
                        .map_or(call.as_str(), |_| "DELETE it")
                })
                .collect();
            let (get, post) = (format!("GET {place}"), format!("POST {place}"));
            ensure!(
                of_shard == [get.as_str(), post.as_str(), "DELETE it"],
                "{of_shard:?}"
            );
            rest.retain(|call| !call.contains("/snapshots"));
        }
        // Everything else only reads.
        let reads = |call: &str| call.starts_with("GET ") || call.ends_with("/points/count");
        ensure!(rest.iter().all(|call| reads(call)), "{rest:?}");
        ensure!(
            !calls
                .iter()
                .any(|call| call.contains("recover") || call.contains("upload"))
        );
    }
    Ok(())
}

async fn generations(qdrant: &Qdrant, collection: &str) -> Result<Vec<u64>> {
    let body = json!({"limit": DOCS.points, "with_payload": ["generation"]});
    let path = format!("/collections/{collection}/points/scroll");
    let page = qdrant.post(&path, body).await?;
    let points = page["points"].as_array().context("no points")?;
    let of = |point: &Value| point["payload"]["generation"].as_u64();
    points
        .iter()
        .map(of)
        .collect::<Option<_>>()
        .context("a point without a generation")
}
