//! One recovery point of a real cluster of three nodes.

use anyhow::{Context as _, Result, ensure};
use holdfast_archive::{Kek, Manifest};
use holdfast_repository::Repository;
use holdfast_store::DiskStore;
use holdfast_tests::cluster::{ClusterSite, available};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::site::Options;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// Overwrites `docs` round after round, each in a new generation, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    /// The newest generation that is written in full and acknowledged.
    done: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Load {
    fn begin(qdrant: &Qdrant) -> Self {
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
                for from in (0..DOCS.points).step_by(300) {
                    let ids = from..(from + 300).min(DOCS.points);
                    let points: Vec<Value> = ids.map(|id| DOCS.point(id, generation)).collect();
                    let put = http.put(format!("{url}/collections/docs/points?wait=true"));
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

    async fn end(self) -> Result<u64> {
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
    let result = site.ok(&["backup", "create", "--note", "at rest"])?;
    let point = manifest(&site, &result).await?;
    let placed = placed(&point);
    let mut want: Vec<(String, u32)> = (0..6).map(|shard| ("docs".to_owned(), shard)).collect();
    // Shards of a collection with shard keys are numbered from 1.
    want.extend((1..=6).map(|shard| ("tenants".to_owned(), shard)));
    let got: Vec<(String, u32)> = placed.iter().map(|(c, s, _)| (c.clone(), *s)).collect();
    ensure!(got == want, "{got:?}");
    let nodes: BTreeSet<&str> = placed.iter().map(|(.., node)| node.as_str()).collect();
    ensure!(nodes.len() == 3, "one node did not take part: {placed:?}");

    // Under load: everything acknowledged before is there, nothing that came after the end.
    let load = Load::begin(any);
    holdfast_tests::wait::until(
        "a first round",
        std::time::Duration::from_secs(60),
        || async { (load.done() > 0).then_some(()) },
    )
    .await?;
    let least = load.done();
    let loaded = site.ok(&["backup", "create", "--collection", "docs"])?;
    let most = load.end().await? + 1;
    let alone = site.start_alone().await?;
    let id = |result: &Value| {
        result["backup"]["recovery_point"]
            .as_str()
            .map(str::to_owned)
    };
    let (quiet, loaded) = (id(&result).context("id")?, id(&loaded).context("id")?);
    site.ok(&[
        "restore",
        "run",
        &quiet,
        "--collection",
        "docs",
        "--node",
        "alone",
    ])?;
    let after = contents(&alone.qdrant, "docs").await?;
    ensure!((after.points, &after.digest) == (before.points, &before.digest));
    ensure!(after.indexes == before.indexes && after.aliases == before.aliases);
    site.ok(&[
        "restore",
        "run",
        &loaded,
        "--collection",
        "docs",
        "--node",
        "alone",
        "--as",
        "busy",
    ])?;
    let all = generations(&alone.qdrant, "busy").await?;
    ensure!(all.len() as u64 == DOCS.points, "{} points", all.len());
    ensure!(
        all.iter().all(|g| (least..=most).contains(g)),
        "{least} {most} {all:?}"
    );
    // A stand-alone server has no shard keys: refused in its own words, and nothing is left of it.
    let args = [
        "restore",
        "run",
        &quiet,
        "--collection",
        "tenants",
        "--node",
        "alone",
    ];
    let (code, refused) = site.json(&args)?;
    let message = refused["message"].as_str().unwrap_or_default();
    ensure!(
        code != 0 && message.contains("Distributed mode disabled"),
        "{refused}"
    );
    let there = alone.qdrant.get("/collections/tenants/exists").await?;
    ensure!(there["exists"] == false, "half a restore is left: {there}");
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
