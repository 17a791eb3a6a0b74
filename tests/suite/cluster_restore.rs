//! Recovery points of real clusters, restored into clusters of every size.

use crate::cluster::{DOCS, fill};
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::cluster::{ClusterSite, Member, available};
use holdfast_tests::digest::{Contents, common_digest, contents};
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::site::Options;
use holdfast_tests::wait::until;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// As [`fill`]; then a shard key is removed, so that the numbers of its shards are missing.
async fn fill_with_gap(qdrant: &Qdrant) -> Result<()> {
    fill(qdrant).await?;
    let path = "/collections/tenants/shards/delete";
    qdrant.post(path, json!({"shard_key": "bob"})).await?;
    Ok(())
}

/// A recovery point of everything, and what both collections held.
pub(crate) struct Captured {
    pub(crate) point: String,
    pub(crate) docs: Contents,
    pub(crate) tenants: Contents,
}

impl Captured {
    async fn of(site: &ClusterSite) -> Result<Self> {
        let any = &site.nodes[0].qdrant;
        fill_with_gap(any).await?;
        agree(&site.nodes, &["docs", "tenants"]).await?;
        let result = site.ok(&["backup", "create"])?;
        let point = result["backup"]["recovery_point"].as_str();
        Ok(Self {
            point: point.with_context(|| format!("{result}"))?.to_owned(),
            docs: contents(any, "docs").await?,
            tenants: contents(any, "tenants").await?,
        })
    }

    /// That these nodes have both, under names with this prefix.
    async fn is_on(&self, nodes: &[Member], prefix: &str, replicas: [usize; 2]) -> Result<()> {
        let names = [format!("{prefix}docs"), format!("{prefix}tenants")];
        for ((name, want), replicas) in names.iter().zip([&self.docs, &self.tenants]).zip(replicas)
        {
            holds(nodes, name, want, replicas).await?;
        }
        for node in nodes {
            keys_as_captured(&node.qdrant, &names[1]).await?;
        }
        Ok(())
    }
}

/// That every node of a healthy cluster has it whole: same content by its own replicas, all replicas equal and Active, none on its way.
pub(crate) async fn holds(
    nodes: &[Member],
    name: &str,
    want: &Contents,
    replicas: usize,
) -> Result<()> {
    let mut told = BTreeSet::new();
    for node in nodes {
        let at = || format!("{name} on {}", node.name);
        let got = contents(&node.qdrant, name).await.with_context(at)?;
        ensure!(
            (got.points, &got.digest, &got.indexes) == (want.points, &want.digest, &want.indexes),
            "{}: {} points, {} wanted",
            at(),
            got.points,
            want.points
        );
        let common = common_digest(&node.qdrant, name).await.with_context(at)?;
        ensure!(common == want.digest, "{}: replicas differ", at());
        let cluster = node
            .qdrant
            .get(&format!("/collections/{name}/cluster"))
            .await?;
        let still = cluster["shard_transfers"]
            .as_array()
            .is_some_and(Vec::is_empty);
        let placed = placed(&cluster);
        ensure!(
            still && placed.values().all(|on| on.len() == replicas),
            "{}: {cluster}",
            at()
        );
        told.insert(format!("{placed:?}"));
        healthy(node, nodes.len()).await?;
    }
    ensure!(told.len() == 1, "the nodes don't agree: {told:?}");
    Ok(())
}

/// Waits until every node tells the same of these collections: what was written to one reaches the others a moment later.
async fn agree(nodes: &[Member], names: &[&str]) -> Result<()> {
    until("the nodes to agree", Duration::from_secs(180), || async {
        for name in names {
            let mut told = BTreeSet::new();
            for node in nodes {
                let path = format!("/collections/{name}/cluster");
                let cluster = node.qdrant.get(&path).await.ok()?;
                told.insert(format!("{:?}", placed(&cluster)));
            }
            if told.len() != 1 {
                return None;
            }
        }
        Some(())
    })
    .await
}

/// The peers of each shard's Active replicas.
fn placed(cluster: &Value) -> BTreeMap<u64, BTreeSet<u64>> {
    let mut placed: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let own = &cluster["peer_id"];
    for (list, local) in [("local_shards", true), ("remote_shards", false)] {
        for shard in cluster[list].as_array().into_iter().flatten() {
            let peer = if local { own } else { &shard["peer_id"] };
            let id = shard["shard_id"].as_u64().unwrap_or(u64::MAX);
            let on = placed.entry(id).or_default();
            if shard["state"] == "Active" {
                on.extend(peer.as_u64());
            }
        }
    }
    placed
}

async fn healthy(node: &Member, nodes: usize) -> Result<()> {
    let cluster = node.qdrant.get("/cluster").await?;
    let good = cluster["consensus_thread_status"]["consensus_thread_status"] == "working"
        && cluster["raft_info"]["leader"]
            .as_u64()
            .is_some_and(|leader| leader != 0)
        && cluster["peers"]
            .as_object()
            .is_some_and(|peers| peers.len() == nodes);
    ensure!(good, "{}: {cluster}", node.name);
    Ok(())
}

/// That each key has the shards that it was captured with, and finds its own points only.
async fn keys_as_captured(qdrant: &Qdrant, name: &str) -> Result<()> {
    let cluster = qdrant.get(&format!("/collections/{name}/cluster")).await?;
    let mut keys: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for list in ["local_shards", "remote_shards"] {
        for shard in cluster[list].as_array().into_iter().flatten() {
            let of = keys.entry(shard["shard_key"].to_string()).or_default();
            of.extend(shard["shard_id"].as_u64());
        }
    }
    let want = [
        ("\"ada\"".to_owned(), [1, 2].into()),
        ("7".to_owned(), [5, 6].into()),
    ];
    ensure!(keys == BTreeMap::from(want), "{keys:?}");
    for (key, first) in [(json!("ada"), 0), (json!(7), 600)] {
        let body = json!({"limit": 1000, "with_payload": false, "shard_key": key});
        let page = qdrant
            .post(&format!("/collections/{name}/points/scroll"), body)
            .await?;
        let ids = page["points"].as_array().context("no points")?.iter();
        let ids: BTreeSet<u64> = ids.filter_map(|point| point["id"].as_u64()).collect();
        ensure!(
            ids == (first..first + 300).collect(),
            "{key}: {} points",
            ids.len()
        );
        // A point that is written again takes the place of the old one: it is in the shard where Qdrant looks for it.
        let point = json!({"points": [{"id": first, "vector": vec![0.5; 16], "payload": {}}], "shard_key": key});
        qdrant
            .put(&format!("/collections/{name}/points?wait=true"), point)
            .await?;
        let body = json!({"exact": true, "shard_key": key});
        let count = qdrant
            .post(&format!("/collections/{name}/points/count"), body)
            .await?;
        ensure!(count["count"] == 300, "{key}: {count}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_back_after_its_collections_were_dropped() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let site = ClusterSite::start(3, Options::default()).await?;
    let captured = Captured::of(&site).await?;
    let any = &site.nodes[0].qdrant;
    any.delete("/collections/docs").await?;
    any.delete("/collections/tenants").await?;
    let marks: Vec<usize> = site.nodes.iter().map(|node| calls(node).len()).collect();
    planned(&site, &captured)?;
    let result = site.ok(&["restore", "run", &captured.point])?;
    calls_in_order(&site, &marks)?;
    let collections = result["collections"].as_array();
    let points: Vec<&Value> = collections
        .context("none")?
        .iter()
        .map(|c| &c["points"])
        .collect();
    ensure!(points == [&json!(DOCS.points), &json!(600)], "{result}");
    captured.is_on(&site.nodes, "", [2, 1]).await?;
    let after = contents(any, "docs").await?;
    ensure!(
        after.aliases == captured.docs.aliases,
        "{:?}",
        after.aliases
    );
    ensure!(after.params == captured.docs.params, "{}", after.params);

    // Beside what is there, with more replicas; aliases stay where they are.
    let args = [
        "restore",
        "run",
        &captured.point,
        "--prefix",
        "copy_",
        "--replication-factor",
        "3",
    ];
    site.ok(&args)?;
    captured.is_on(&site.nodes, "copy_", [3, 3]).await?;
    let copy = contents(any, "copy_docs").await?;
    ensure!(copy.aliases.is_empty() && copy.params["replication_factor"] == 3);
    ensure!(contents(any, "docs").await?.aliases == captured.docs.aliases);
    let args = [
        "restore",
        "run",
        &captured.point,
        "--prefix",
        "x_",
        "--replication-factor",
        "4",
    ];
    let (code, refused) = site.json(&args)?;
    ensure!(code != 0 && refused["code"] == "plan-blocked", "{refused}");
    over_existing_data(&site, &captured).await
}

/// What is there is captured first, and can be brought back in turn.
async fn over_existing_data(site: &ClusterSite, captured: &Captured) -> Result<()> {
    let any = &site.nodes[1].qdrant;
    DOCS.upsert(any, 0..1000, 9).await?;
    any.post(
        "/collections/docs/points/delete?wait=true",
        json!({"points": [2999]}),
    )
    .await?;
    let alias =
        json!({"actions": [{"create_alias": {"collection_name": "docs", "alias_name": "later"}}]});
    any.post("/collections/aliases", alias).await?;
    let changed = contents(any, "docs").await?;
    let args = [
        "restore",
        "plan",
        &captured.point,
        "--collection",
        "docs",
        "--overwrite",
    ];
    let plan = site.ok(&args)?;
    ensure!(
        plan["warnings"]
            .to_string()
            .contains("stop its writers first"),
        "{plan}"
    );
    let args = [
        "restore",
        "run",
        &captured.point,
        "--collection",
        "docs",
        "--overwrite",
        "--yes",
    ];
    let result = site.ok(&args)?;
    holds(&site.nodes, "docs", &captured.docs, 2).await?;
    let aliases = contents(any, "docs").await?.aliases;
    ensure!(aliases == ["docs-live", "docs-old", "later"], "{aliases:?}");
    let safety = result["safety_recovery_point"]
        .as_str()
        .context("no safety")?;
    site.ok(&["restore", "run", safety, "--overwrite", "--yes"])?;
    holds(&site.nodes, "docs", &changed, 2).await
}

/// The plan tells who gets how much.
fn planned(site: &ClusterSite, captured: &Captured) -> Result<()> {
    let plan = site.ok(&["restore", "plan", &captured.point])?;
    let nodes = plan["nodes"].as_array().context("no nodes")?;
    let names: Vec<&Value> = nodes.iter().map(|node| &node["node"]).collect();
    ensure!(
        names == ["n1", "n2", "n3"] && plan["node"] == "n1",
        "{plan}"
    );
    let shares = nodes
        .iter()
        .all(|n| n["needed_bytes"].as_u64() > Some(0) && n["qdrant_version"] != "");
    ensure!(shares && plan["estimated_ms"].as_u64() > Some(0), "{plan}");
    let docs = &plan["steps"][0];
    ensure!(
        docs["replicas"] == 2 && docs["shard_sizes"].as_array().map(Vec::len) == Some(6),
        "{plan}"
    );
    Ok(())
}

/// What a node's Qdrant was asked over its public API, in the order of the answers.
fn calls(node: &Member) -> Vec<String> {
    let log = node.qdrant.process.log();
    let call = |line: &str| {
        let (_, rest) = line.split_once("logger: ")?;
        let call = rest.split('"').nth(1)?;
        Some(call.strip_suffix(" HTTP/1.1").unwrap_or(call).to_owned())
    };
    log.lines().filter_map(call).collect()
}

/// That each shard is uploaded once, to one node, with the snapshot's priority, after its collection was made; and that nothing dangerous is asked.
fn calls_in_order(site: &ClusterSite, marks: &[usize]) -> Result<()> {
    let mut uploads = BTreeMap::new();
    for (node, mark) in site.nodes.iter().zip(marks) {
        for call in &calls(node)[*mark..] {
            if call.contains("/snapshots/upload") {
                ensure!(call.contains("priority=snapshot"), "{call}");
                *uploads.entry(call.clone()).or_insert(0) += 1;
            }
            let forbidden = [
                "/recover",
                "no_sync",
                "priority=replica",
                "priority=no",
                "peer",
            ];
            ensure!(!forbidden.iter().any(|word| call.contains(word)), "{call}");
            let changes = !call.starts_with("GET ") && !call.contains("/points/count");
            let known = [
                "PUT /collections/",
                "POST /collections/aliases",
                "POST /collections/tenants/shards/delete",
            ];
            let upload = call.contains("/snapshots/upload");
            ensure!(
                !changes || upload || known.iter().any(|k| call.starts_with(k)),
                "{call}"
            );
            ensure!(
                !changes || upload || node.name == "n1",
                "{} was told to change something: {call}",
                node.name
            );
        }
    }
    // Six shards of docs, and four of tenants; each once.
    ensure!(
        uploads.len() == 10 && uploads.values().all(|n| *n == 1),
        "{uploads:?}"
    );
    let first = &calls(&site.nodes[0])[marks[0]..];
    let at = |start: &str| first.iter().position(|call| call.starts_with(start));
    let made = at("PUT /collections/docs?").context("docs was not created")?;
    let indexed = at("PUT /collections/docs/index").context("docs has no index")?;
    ensure!(made < indexed, "{first:?}");
    // Aliases when everything is there and counted.
    let counted = at("POST /collections/docs/points/count").context("docs was not counted")?;
    let pointed = at("POST /collections/aliases").context("no alias was pointed")?;
    let uploads = first.iter().enumerate();
    let uploads =
        uploads.filter(|(_, call)| call.contains("docs/shards/") && call.contains("upload"));
    let mut uploads = uploads.map(|(nth, _)| nth);
    ensure!(
        counted < pointed && uploads.all(|nth| indexed < nth && nth < counted),
        "{first:?}"
    );
    let key = |nth: usize| {
        first
            .iter()
            .filter(|call| call.starts_with("PUT /collections/tenants/shards?"))
            .nth(nth)
    };
    ensure!(
        key(2).is_some() && key(3).is_none(),
        "two keys and a placeholder: {first:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_go_into_one_and_into_five() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let site = ClusterSite::start(3, Options::default()).await?;
    let captured = Captured::of(&site).await?;
    let one = site.start_others(1).await?;
    // Which cluster is meant must be said.
    let (_, refused) = site.json(&["restore", "run", &captured.point])?;
    ensure!(
        refused["message"]
            .to_string()
            .contains("choose one with --node"),
        "{refused}"
    );
    site.ok(&["restore", "run", &captured.point, "--node", "b1"])?;
    captured.is_on(&one, "", [1, 1]).await?;
    drop((one, site));

    let site = ClusterSite::start(3, Options::default()).await?;
    let captured = Captured::of(&site).await?;
    let five = site.start_others(5).await?;
    let plan = site.ok(&["restore", "plan", &captured.point, "--node", "b3"])?;
    ensure!(plan["nodes"].as_array().map(Vec::len) == Some(5), "{plan}");
    site.ok(&["restore", "run", &captured.point, "--node", "b3"])?;
    captured.is_on(&five, "", [2, 1]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_goes_into_three() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let site = ClusterSite::start(1, Options::default()).await?;
    let captured = Captured::of(&site).await?;
    let three = site.start_others(3).await?;
    // All replicas fit now.
    site.ok(&["restore", "run", &captured.point, "--node", "b2"])?;
    captured.is_on(&three, "", [2, 1]).await?;
    // Without cluster mode there are no shard keys.
    let alone = site.start_alone().await?;
    let args = ["restore", "run", &captured.point, "--node", "alone"];
    let (_, refused) = site.json(&args)?;
    ensure!(refused["code"] == "plan-blocked", "{refused}");
    site.ok(&[
        "restore",
        "run",
        &captured.point,
        "--node",
        "alone",
        "--collection",
        "docs",
    ])?;
    let got = contents(&alone.qdrant, "docs").await?;
    ensure!((got.points, got.digest) == (captured.docs.points, captured.docs.digest.clone()));
    Ok(())
}
