//! A real cluster whose nodes die, hang and lose replicas around and during captures.

use crate::cluster::{DOCS, Load, manifest, placed};
use anyhow::{Context as _, Result, ensure};
use holdfast_archive::{Manifest, PeerEntry};
use holdfast_tests::cluster::{ClusterSite, Member, available};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::say;
use holdfast_tests::site::Options;
use holdfast_tests::wait::until;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(180);
/// Short patience with nodes that don't answer, and news of them at once.
const HASTY: Options = Options {
    shared_snapshots: true,
    shared_storage: false,
    agent: "",
    spool_mib: 256,
    coordinator: "[limits]\nreplica_grace_secs = 2\nheartbeat_interval_ms = 500\n",
};
const DOCS_ONLY: &[&str] = &["backup", "create", "--collection", "docs"];
/// Large enough to take a while.
const BULK: Dataset<'static> = Dataset {
    name: "docs",
    points: 6000,
    dim: 128,
};

async fn create(dataset: &Dataset<'_>, qdrant: &Qdrant) -> Result<()> {
    let body = json!({"vectors": {"size": dataset.dim, "distance": "Cosine"}, "shard_number": 6, "replication_factor": 2});
    dataset.create_as(qdrant, body).await
}

/// Waits until every node calls every replica of `docs` Active.
async fn all_active(site: &ClusterSite) -> Result<()> {
    let active = until("all replicas to be Active", LIMIT, || async {
        for node in &site.nodes {
            let cluster = node.qdrant.get("/collections/docs/cluster").await.ok()?;
            let lists = [&cluster["local_shards"], &cluster["remote_shards"]];
            let replicas: Vec<&Value> = lists
                .into_iter()
                .filter_map(Value::as_array)
                .flatten()
                .collect();
            let active = replicas.iter().all(|replica| replica["state"] == "Active");
            let still = cluster["shard_transfers"].as_array()?.is_empty();
            if replicas.len() != 12 || !active || !still {
                return None;
            }
        }
        Some(())
    })
    .await;
    let Err(error) = active else { return Ok(()) };
    let mut told = String::new();
    for node in &site.nodes {
        let cluster = node.qdrant.get("/collections/docs/cluster").await;
        let _ = writeln!(told, "{}: {cluster:?}", node.name);
    }
    Err(error.context(told))
}

/// Where shards were captured that `node` did not lose.
fn elsewhere<'a>(
    placed: &'a [(String, u32, String)],
    node: &str,
) -> Vec<&'a (String, u32, String)> {
    placed.iter().filter(|(.., on)| on != node).collect()
}

/// That every shard of `docs` is in the point exactly once.
fn whole(point: &Manifest) -> Result<()> {
    let shards: Vec<u32> = placed(point).iter().map(|(_, shard, _)| *shard).collect();
    ensure!(shards == [0, 1, 2, 3, 4, 5], "{shards:?}");
    Ok(())
}

async fn holds(alone: &Member, site: &ClusterSite, point: &Manifest) -> Result<()> {
    let id = point.id.to_string();
    let args = [
        "restore",
        "run",
        &id,
        "--collection",
        "docs",
        "--node",
        "alone",
        "--as",
        &id,
    ];
    site.ok(&args)?;
    let (got, want) = (
        contents(&alone.qdrant, &id).await?,
        contents(&site.nodes[0].qdrant, "docs").await?,
    );
    ensure!(
        (got.points, got.digest) == (want.points, want.digest),
        "{id}"
    );
    alone.qdrant.delete(&format!("/collections/{id}")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_kept_and_left_for_a_reason() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let mut site = ClusterSite::start(3, HASTY).await?;
    create(&DOCS, &site.nodes[0].qdrant).await?;
    // One replica of each shard: without n3 nobody can describe it, which must hide nothing else.
    let body = json!({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 3});
    site.nodes[0].qdrant.put("/collections/solo", body).await?;
    let first = manifest(&site, &site.ok(DOCS_ONLY)?).await?;
    let pinned = placed(&first);
    let again = site.ok(DOCS_ONLY)?;
    ensure!(placed(&manifest(&site, &again).await?) == pinned);
    let stored = again["backup"]["stored_bytes"]
        .as_u64()
        .context("no bytes")?;
    ensure!(
        stored * 20 <= first.stats.stored_bytes,
        "{stored} bytes for nothing new"
    );

    // n3 dies, and its replicas with it; only what was captured there moves.
    site.node_mut("n3").qdrant.process.kill9()?;
    DOCS.upsert(&site.nodes[0].qdrant, 0..100, 1).await?;
    let (code, plan) = site.json(&["backup", "create", "-c", "d*s", "--dry-run"])?;
    let captures = plan["captures"].as_array().context("no plan")?;
    let left: Vec<&Value> = captures.iter().filter(|c| c["left_node"] == "n3").collect();
    ensure!(code == 0 && !left.is_empty(), "{plan}");
    let why = left[0]["left_because"].as_str().unwrap_or_default();
    ensure!(
        why.contains("its Qdrant can't be used") || why.contains("Dead"),
        "{plan}"
    );
    let (_, refused) = site.json(&["backup", "create"])?;
    let message = refused["message"].as_str().unwrap_or_default();
    let said =
        message.contains("of collection solo") && message.contains("n3: its Qdrant can't be used");
    ensure!(refused["code"] == "plan-blocked" && said, "{refused}");
    let without = manifest(&site, &site.ok(DOCS_ONLY)?).await?;
    whole(&without)?;
    let moved = placed(&without);
    ensure!(elsewhere(&moved, "n3").len() == 6, "{moved:?}");
    for kept in elsewhere(&pinned, "n3") {
        ensure!(moved.contains(kept), "{kept:?} moved: {moved:?}");
    }
    let told = without.shards().filter(|(_, shard)| {
        let mut reasons = shard.reasons.iter();
        reasons.any(|reason| reason.contains("not from n3 as before"))
    });
    ensure!(told.count() == left.len());
    let peers: Vec<_> = without
        .peers
        .iter()
        .filter_map(|peer| peer.node.as_ref())
        .collect();
    ensure!(peers.len() == 3, "{:?}", without.peers);
    let dead = without.shards().flat_map(|(_, shard)| &shard.replicas);
    ensure!(
        dead.filter(|replica| replica.state == "Dead").count() == 4,
        "n3 had four replicas"
    );

    // It comes back: nothing moves again.
    site.node_mut("n3").qdrant.process.restart()?;
    site.node("n3").qdrant.wait_ready().await?;
    all_active(&site).await?;
    site.wait_connected().await?;
    // What agents say of replicas is as old as their last heartbeat.
    nothing_moves(&site).await?;
    let back = manifest(&site, &site.ok(DOCS_ONLY)?).await?;
    let reasons: Vec<_> = back.shards().map(|(_, shard)| &shard.reasons).collect();
    ensure!(placed(&back) == moved, "{reasons:?}");

    let hung = beside_a_hanging_node(&site).await?;
    let alone = site.start_alone().await?;
    holds(&alone, &site, &hung).await
}

/// Waits until a plan captures every shard where it was captured before.
async fn nothing_moves(site: &ClusterSite) -> Result<()> {
    until("a plan that leaves no pin", LIMIT, || async {
        let plan = ["backup", "create", "--collection", "docs", "--dry-run"];
        let (code, plan) = site.json(&plan).ok()?;
        let captures = plan["captures"].as_array()?;
        (code == 0 && captures.iter().all(|c| c["left_node"].is_null())).then_some(())
    })
    .await
}

async fn beside_a_hanging_node(site: &ClusterSite) -> Result<Manifest> {
    // n2 hangs: it is connected, and answers nothing.
    site.node("n2").qdrant.process.freeze()?;
    let began = Instant::now();
    let hung = manifest(site, &site.ok(DOCS_ONLY)?).await?;
    say(&format!("beside a hanging node: {:?}", began.elapsed()));
    site.node("n2").qdrant.process.thaw()?;
    whole(&hung)?;
    ensure!(
        elsewhere(&placed(&hung), "n2").len() == 6,
        "{:?}",
        placed(&hung)
    );
    all_active(site).await?;
    Ok(hung)
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Qdrant,
    Agent,
    Coordinator,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_during_a_capture_the_point_is_whole() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let mut site = ClusterSite::start(3, HASTY).await?;
    create(&BULK, &site.nodes[0].qdrant).await?;
    let alone = site.start_alone().await?;
    let began = Instant::now();
    site.ok(&["backup", "create"])?;
    let took = began.elapsed();
    let (mut generation, mut moved) = (0, 0);
    let mut busy = "n2".to_owned();
    for (victim, fractions) in [
        (Victim::Qdrant, &[0.2][..]),
        (Victim::Agent, &[0.2]),
        (Victim::Coordinator, &[0.2, 0.6]),
    ] {
        for fraction in fractions {
            generation += 1;
            // New content, so that there is something to send.
            BULK.upsert(&site.nodes[0].qdrant, 0..BULK.points, generation)
                .await?;
            let point = with_a_death(&mut site, victim, &busy, took.mul_f64(*fraction)).await?;
            whole(&point)?;
            let told = |reason: &String| reason.contains("as before");
            moved += point
                .shards()
                .filter(|(_, shard)| shard.reasons.iter().any(told))
                .count();
            // The next one to die is pinned, so that its death matters.
            let on = |node: &str| placed(&point).iter().filter(|(.., on)| on == node).count();
            busy = if on("n2") > on("n3") { "n2" } else { "n3" }.to_owned();
            say(&format!(
                "{victim:?} at {fraction}: {moved} moved: {:?}",
                placed(&point)
            ));
            holds(&alone, &site, &point)
                .await
                .with_context(|| format!("{victim:?} at {fraction}"))?;
        }
    }
    ensure!(moved > 0, "no death came in time to matter");
    Ok(())
}

/// A backup during which the victim dies; it stays dead until the backup has ended, except for the coordinator.
async fn with_a_death(
    site: &mut ClusterSite,
    victim: Victim,
    node: &str,
    delay: Duration,
) -> Result<Manifest> {
    let child = site.spawn(&["backup", "create"])?;
    tokio::time::sleep(delay).await; // the moment of the death, not a synchronisation
    match victim {
        Victim::Qdrant => site.node_mut(node).qdrant.process.kill9()?,
        Victim::Agent => site.node_mut(node).agent.kill9()?,
        Victim::Coordinator => {
            site.coordinator.kill9()?;
            site.coordinator.restart()?;
        }
    }
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    let outcome = until("the job to end", LIMIT, || async {
        let (_, status) = site.json(&["status"]).ok()?;
        let job = status["jobs"].as_array()?.first()?.clone();
        (job["state"] != "running").then_some(job)
    })
    .await?;
    ensure!(
        outcome["state"] == "succeeded",
        "{victim:?} after {delay:?}: {outcome}, {}\n{}",
        String::from_utf8_lossy(&ended.stdout),
        site.logs()
    );
    match victim {
        Victim::Qdrant => {
            site.node_mut(node).qdrant.process.restart()?;
            site.node(node).qdrant.wait_ready().await?;
            all_active(site).await?;
        }
        Victim::Agent => site.node_mut(node).agent.restart()?,
        Victim::Coordinator => {}
    }
    site.wait_for(&["n1", "n2", "n3", "alone"]).await?;
    let point = json!({"backup": {"recovery_point": outcome["recovery_point"]}});
    manifest(site, &point).await
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_are_moved_meanwhile_are_captured_where_they_are() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let site = ClusterSite::start(3, HASTY).await?;
    let any = &site.nodes[0].qdrant;
    create(&BULK, any).await?;
    let load = Load::begin(any, BULK);
    let mut last = manifest(&site, &site.ok(&["backup", "create"])?).await?;
    let (mut moves, mut other) = (0, 0);
    for (way, transfer) in [
        ("stream", "stream_records"),
        ("stored", "snapshot"),
        ("stream", "snapshot"),
    ] {
        let child = site.spawn(&["backup", "create", "--method", way])?;
        // The replicas that are being captured go away.
        for (shard, node) in
            [(0, 0), (3, 3), (5, 5)].map(|(at, n)| (at, placed(&last)[n].2.clone()))
        {
            let cluster = any.get("/collections/docs/cluster").await?;
            let holders = holders(&cluster, shard);
            let peer = |p: &&PeerEntry| p.node.as_ref().is_some_and(|n| n.as_str() == node);
            let from = last.peers.iter().find(peer).context("no peer")?.peer_id;
            let to = last
                .peers
                .iter()
                .find(|peer| !holders.contains(&peer.peer_id));
            let to = to.context("nowhere to go")?.peer_id;
            let moved = json!({"move_shard": {"shard_id": shard, "from_peer_id": from, "to_peer_id": to,
                "method": transfer}});
            // One that is on its way already is refused.
            let begun = any.post("/collections/docs/cluster", moved).await;
            moves += u32::from(begun.is_ok());
        }
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
        let result: Value = serde_json::from_slice(&ended.stdout)?;
        ensure!(ended.status.success(), "{result}\n{}", site.logs());
        last = manifest(&site, &result).await?;
        whole(&last)?;
        let told = |reason: &String| reason.contains("as before");
        other += last
            .shards()
            .filter(|(_, shard)| shard.reasons.iter().any(told))
            .count();
        all_active(&site).await?;
    }
    say(&format!("{moves} moves, {other} shards captured elsewhere"));
    ensure!(moves > 0, "nothing was moved");
    load.end().await?;
    Ok(())
}

/// The peers with a replica of the shard.
fn holders(cluster: &Value, shard: u32) -> Vec<u64> {
    let of = |list: &'static str| {
        let replicas = cluster[list].as_array().into_iter().flatten();
        replicas.filter(move |replica| replica["shard_id"] == shard)
    };
    let own = of("local_shards").filter_map(|_| cluster["peer_id"].as_u64());
    let others = of("remote_shards").filter_map(|replica| replica["peer_id"].as_u64());
    own.chain(others).collect()
}
