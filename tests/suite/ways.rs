//! The direct and the partial way on a real server, with a history made from a seed: what they restore to is what a stored
//! snapshot of the same operation restores to, and under writes a state that the shard had.

use anyhow::{Context as _, Result, ensure};
use holdfast_archive::Kek;
use holdfast_repository::Repository;
use holdfast_store::DiskStore;
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::qdrant::{Kind, Qdrant, program};
use holdfast_tests::site::{Options, Site};
use holdfast_tests::wait::until;
use holdfast_tests::{say, skipped};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 3000,
    dim: 64,
};
const ROUNDS: u64 = 6;
/// Points that the writer beside a capture keeps; older ones are deleted again.
const WINDOW: u64 = 40;
const FIRST: u64 = 1_000_000;
/// Said by recovery points whose snapshot may lack deletions.
const NOTED: &str = "may be in";

const PATIENT: &str = "[capture]\nway = \"auto\"\nfull_every = 5\n";
/// Does not wait long for optimizers, so that some are at work.
const HASTY: &str = "[capture]\nway = \"auto\"\nfull_every = 5\noptimizer_wait_secs = 3\n";

/// A stream of numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }
}

fn real() -> bool {
    let real = matches!(program(), Ok((Kind::Real, _)));
    if !real {
        skipped("a real Qdrant server is needed: the devnode makes no partial snapshots");
    }
    real
}

async fn site(agent: &'static str) -> Result<Site> {
    let site = Site::start_with(Options {
        shared_storage: true,
        agent,
        ..Options::default()
    })
    .await?;
    let optimizers = json!({"indexing_threshold": 40, "default_segment_number": 2, "deleted_threshold": 0.1,
        "vacuum_min_vector_number": 100, "flush_interval_sec": 1});
    let body = json!({"vectors": {"size": DOCS.dim, "distance": "Cosine"}, "optimizers_config": optimizers,
        "hnsw_config": {"full_scan_threshold": 10}});
    site.qdrant.put("/collections/docs", body).await?;
    DOCS.upsert(&site.qdrant, 0..DOCS.points, 0).await?;
    Ok(site)
}

/// One random change.
async fn change(qdrant: &Qdrant, dice: &mut Dice, generation: u64) -> Result<()> {
    let from = dice.below(DOCS.points);
    let ids: Vec<u64> = (from..from + 1 + dice.below(200)).collect();
    // Qdrant refuses ids that are not there in some calls; a filter finds what is.
    let these = json!({"must": [{"has_id": ids}]});
    let path = "/collections/docs";
    let post = |what: &'static str, body: Value| async move {
        qdrant
            .post(&format!("{path}/points{what}?wait=true"), body)
            .await
            .map(drop)
    };
    match dice.below(9) {
        0..3 => {
            DOCS.upsert(qdrant, from..from + 1 + dice.below(400), generation)
                .await
        }
        3 => post("/delete", json!({"points": ids})).await,
        4 => {
            let filter = json!({"must": [{"key": "rank", "range": {"lt": dice.below(100)}}]});
            post("/delete", json!({"filter": filter})).await
        }
        5 => {
            post(
                "/payload",
                json!({"filter": these, "payload": {"mood": generation, "rank": 5}}),
            )
            .await
        }
        6 => {
            post(
                "/payload/delete",
                json!({"filter": these, "keys": ["text", "mood"]}),
            )
            .await
        }
        7 => {
            let body = json!({"field_name": "city", "field_schema": "keyword"});
            qdrant
                .put(&format!("{path}/index?wait=true"), body)
                .await
                .map(drop)
        }
        _ => qdrant
            .delete(&format!("{path}/index/city?wait=true"))
            .await
            .map(drop),
    }
}

fn back_up(site: &Site, method: &str) -> Result<String> {
    let backup = site.ok(&["backup", "create", "-c", "docs", "--method", method])?;
    let id = backup["backup"]["recovery_point"].as_str();
    Ok(id.context("no id")?.to_owned())
}

/// Captures while somebody else makes snapshots of the same collection, and reads all of it.
async fn beside_others(site: &Arc<Site>, way: &'static str, dice: &mut Dice) -> Result<String> {
    let captured = AtomicBool::new(false);
    let taking = Arc::clone(site);
    let capture = async {
        let id = tokio::task::spawn_blocking(move || back_up(&taking, way)).await;
        captured.store(true, Ordering::Relaxed);
        id?
    };
    let pause = Duration::from_millis(dice.below(300));
    let others = async {
        tokio::time::sleep(pause).await;
        while !captured.load(Ordering::Relaxed) {
            let path = "/collections/docs/snapshots";
            let made = site.qdrant.post(path, json!({})).await?;
            contents(&site.qdrant, "docs").await?;
            let name = made["name"].as_str().context("no name")?;
            site.qdrant.delete(&format!("{path}/{name}")).await?;
        }
        anyhow::Ok(())
    };
    let (id, others) = tokio::join!(capture, others);
    others?;
    id
}

/// Restores beside the original, reads everything, and removes it again.
async fn restored<T>(
    site: &Site,
    id: &str,
    read: impl AsyncFnOnce(&Qdrant) -> Result<T>,
) -> Result<T> {
    site.ok(&["restore", "run", id, "--collection", "docs", "--as", "copy"])?;
    let read = read(&site.qdrant).await?;
    site.qdrant.delete("/collections/copy").await?;
    Ok(read)
}

/// How the only shard of a point was captured, and why.
async fn method(site: &Site, id: &str) -> Result<(String, Vec<String>)> {
    let store = Arc::new(DiskStore::open(site.repository())?);
    let key = std::fs::read_to_string(site.dir().join("repository.key"))?;
    let repository = Repository::open(store, Kek::from_hex(key.trim())?).await?;
    let manifest = repository.read_point(&id.parse()?).await?;
    let (_, shard) = manifest.shards().next().context("no shard")?;
    Ok((shard.method.clone(), shard.reasons.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_history_restores_to_the_same_points_by_every_way() -> Result<()> {
    if !real() {
        return Ok(());
    }
    let seed = seed()?;
    history(seed)
        .await
        .with_context(|| format!("HOLDFAST_SEED={seed}"))
}

fn seed() -> Result<u64> {
    let seed = match std::env::var("HOLDFAST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::from(std::process::id()) << 20 | 0xd1ce,
    };
    say(&format!("seed: HOLDFAST_SEED={seed}"));
    Ok(seed)
}

async fn history(seed: u64) -> Result<()> {
    let site = Arc::new(site(PATIENT).await?);
    let mut dice = Dice(seed.max(1));
    let mut seen = BTreeSet::new();
    for round in 1..=ROUNDS {
        for _ in 0..1 + dice.below(6) {
            change(&site.qdrant, &mut dice, round).await?;
        }
        // No write from here on, but optimizers may be at work, as they like, and others make snapshots.
        let live = contents(&site.qdrant, "docs").await?;
        let mut order = ["partial", "direct", "auto"];
        order.rotate_left(usize::try_from(dice.below(3))?);
        let mut points = Vec::new();
        for way in order {
            points.push((way, beside_others(&site, way, &mut dice).await?));
        }
        points.push(("stored", back_up(&site, "stored")?));
        for (asked, id) in points {
            let (took, _) = method(&site, &id).await?;
            let copy = restored(&site, &id, async |qdrant| contents(qdrant, "copy").await).await?;
            ensure!(
                (copy.points, &copy.digest) == (live.points, &live.digest),
                "round {round}: {asked} ({took}) restores {} points with digest {}, not {} with {}",
                copy.points,
                copy.digest,
                live.points,
                live.digest
            );
            seen.insert(took);
        }
    }
    for way in ["direct", "partial", "stored"] {
        ensure!(seen.contains(way), "{way} was never taken: {seen:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn captures_under_writes_are_states_that_the_shard_had() -> Result<()> {
    if !real() {
        return Ok(());
    }
    let site = Arc::new(site(PATIENT).await?);
    without_optimizers(&site.qdrant).await?;
    let ways = ["direct", "partial", "auto", "partial", "direct", "auto"];
    let (points, steps) = captured_under_writes(&site, &ways, None).await?;
    for point in points {
        let state = restored_state(&site, &point, steps).await?;
        ensure!(
            state.is_one_that_was(),
            "{} that became {}: a state that never was: {state:?}",
            point.way,
            point.took
        );
    }
    Ok(())
}

/// A snapshot that Qdrant makes while an optimizer runs may lack deletions that were acknowledged before: such a recovery point says so.
/// One that does not say so lacks none.
#[tokio::test(flavor = "multi_thread")]
async fn what_lacks_deletions_beside_optimizers_says_so() -> Result<()> {
    if !real() {
        return Ok(());
    }
    let seed = seed()?;
    let told = async {
        let site = Arc::new(site(HASTY).await?);
        let ways = ["stream", "partial", "stored", "direct", "auto"].repeat(3);
        let (points, steps) = captured_under_writes(&site, &ways, Some(Dice(seed.max(1)))).await?;
        let (mut noted, mut lacking) = (0, 0);
        for point in &points {
            let state = restored_state(&site, point, steps).await?;
            let says = point.reasons.iter().any(|reason| reason.contains(NOTED));
            let whole = state.is_one_that_was();
            ensure!(whole || says, "{point:?} does not say so: {state:?}");
            ensure!(state.has_all(), "{point:?} lacks points: {state:?}");
            noted += u32::from(says);
            lacking += u32::from(!whole);
        }
        let all = points.len();
        println!(
            "{all} captures beside optimizers: {noted} say that deletions may be missing, in {lacking} some are"
        );
        anyhow::Ok(())
    };
    told.await.with_context(|| format!("HOLDFAST_SEED={seed}"))
}

/// A recovery point that was made under writes.
#[derive(Debug)]
struct Point {
    id: String,
    way: &'static str,
    /// How it was captured in the end.
    took: String,
    reasons: Vec<String>,
    /// The last step that was acknowledged before.
    before: u64,
}

/// Captures by each way while a writer goes from step to step; with dice it also rewrites other points, so that optimizers have
/// work, and pauses, so that they come to an end. Returns how many steps it made, too.
async fn captured_under_writes(
    site: &Arc<Site>,
    ways: &[&'static str],
    mut unrest: Option<Dice>,
) -> Result<(Vec<Point>, u64)> {
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let write = async {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            write_step(&site.qdrant, n).await?;
            acknowledged.store(n, Ordering::Relaxed);
            if let Some(dice) = &mut unrest {
                let from = dice.below(DOCS.points);
                DOCS.upsert(&site.qdrant, from..from + 60, n).await?;
                if dice.below(15) == 0 {
                    tokio::time::sleep(Duration::from_millis(dice.below(3000))).await;
                }
            }
        }
        anyhow::Ok(())
    };
    let capture = async {
        let mut points = Vec::new();
        for way in ways.iter().copied() {
            let before = acknowledged.load(Ordering::Relaxed);
            let taking = Arc::clone(site);
            let id = tokio::task::spawn_blocking(move || back_up(&taking, way)).await??;
            points.push((before, way, id));
        }
        anyhow::Ok(points)
    };
    let capture = async {
        let points = capture.await;
        stop.store(true, Ordering::Relaxed);
        points
    };
    let (written, taken) = tokio::join!(write, capture);
    written?;
    let mut points = Vec::new();
    for (before, way, id) in taken? {
        let (took, reasons) = method(site, &id).await?;
        say(&format!("{way} became {took} after {before}: {reasons:?}"));
        points.push(Point {
            id,
            way,
            took,
            reasons,
            before,
        });
    }
    Ok((points, acknowledged.load(Ordering::Relaxed)))
}

/// What a recovery point holds of what the writer wrote.
struct State {
    /// Numbers of points without their offset.
    found: BTreeSet<u64>,
    last: u64,
    before: u64,
}

impl State {
    /// What is there after the last step that is there, with so many deleted.
    fn ideal(&self, deleted: u64) -> BTreeSet<u64> {
        let all = (1..=self.last).flat_map(|n| [4 * n, 4 * n + 1, 4 * n + 2]);
        all.filter(|id| id % 4 != 0 || id / 4 > deleted).collect()
    }

    /// Whether the collection was in this state, at a time when everything that was acknowledged before was in it. Between
    /// adding and deleting, a step is half done.
    fn is_one_that_was(&self) -> bool {
        let deleted = self.last.saturating_sub(WINDOW);
        let half = deleted.saturating_sub(1);
        let states = [self.ideal(deleted), self.ideal(half)];
        self.last >= self.before && states.contains(&self.found)
    }

    /// Whether nothing is missing that was not deleted.
    fn has_all(&self) -> bool {
        let left = self.ideal(self.last.saturating_sub(WINDOW));
        self.last >= self.before && left.is_subset(&self.found)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let deleted = self.last.saturating_sub(WINDOW);
        let (more, less) = (self.ideal(deleted.saturating_sub(1)), self.ideal(deleted));
        f.debug_struct("State")
            .field("last", &self.last)
            .field("acknowledged before", &self.before)
            .field("too many", &self.found.difference(&more).count())
            .field("missing", &less.difference(&self.found).count())
            .finish()
    }
}

async fn restored_state(site: &Site, point: &Point, steps: u64) -> Result<State> {
    let read = async |qdrant: &Qdrant| written_points(qdrant, steps).await;
    let found = restored(site, &point.id, read).await?;
    let last = found.last().context("no point of the writer")? / 4;
    Ok(State {
        found,
        last,
        before: point.before,
    })
}

/// Lets Qdrant finish, and then build no more segments, so that every capture can be checked strictly.
async fn without_optimizers(qdrant: &Qdrant) -> Result<()> {
    let limit = Duration::from_secs(120);
    until("the collection to be green", limit, || async {
        let info = qdrant.get("/collections/docs").await.ok()?;
        (info["status"] == "green").then_some(())
    })
    .await?;
    let body = json!({"optimizers_config": {"max_optimization_threads": 0}});
    qdrant
        .call(reqwest::Method::PATCH, "/collections/docs", Some(body))
        .await
        .map(drop)
}

/// Adds three points, and deletes one of an earlier step: the number of points is never the same twice.
async fn write_step(qdrant: &Qdrant, n: u64) -> Result<()> {
    let from = FIRST + 4 * n;
    DOCS.upsert(qdrant, from..from + 3, n).await?;
    if n > WINDOW {
        let body = json!({"points": [from - 4 * WINDOW]});
        let path = "/collections/docs/points/delete?wait=true";
        qdrant.post(path, body).await?;
    }
    Ok(())
}

/// The points in the copy that the writer made in so many steps, without their offset.
async fn written_points(qdrant: &Qdrant, steps: u64) -> Result<BTreeSet<u64>> {
    let ids: Vec<u64> = (FIRST..FIRST + 4 * (steps + 1)).collect();
    let mut found = BTreeSet::new();
    for ids in ids.chunks(4000) {
        let body = json!({"ids": ids, "with_payload": true});
        let points = qdrant.post("/collections/copy/points", body).await?;
        for point in points.as_array().context("no points")? {
            let id = point["id"].as_u64().context("no id")? - FIRST;
            ensure!(point["payload"]["generation"] == id / 4, "{point}");
            found.insert(id);
        }
    }
    Ok(found)
}
