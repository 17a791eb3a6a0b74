//! Cold restore: a stopped node's storage is laid out by its agent, and the node starts with what was captured.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::process::built;
use holdfast_tests::qdrant::Kind;
use holdfast_tests::site::Site;
use holdfast_tests::{ran_on, skipped};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 4000,
    dim: 64,
};
const MORE: Dataset<'static> = Dataset {
    name: "more",
    points: 500,
    dim: 8,
};
const LARGE: Dataset<'static> = Dataset {
    name: "docs",
    points: 20_000,
    dim: 256,
};
const STOP: Duration = Duration::from_secs(30);
/// Between two looks at what a restore has laid out.
const LOOK: Duration = Duration::from_millis(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_starts_with_what_was_captured() -> Result<()> {
    let mut site = Site::start().await?;
    if site.qdrant.kind == Kind::Devnode {
        skipped(
            "a_wiped_node_starts_with_what_was_captured: holdfast-devnode has its own storage layout",
        );
        return Ok(());
    }
    ran_on(site.qdrant.kind);
    DOCS.create(&site.qdrant).await?;
    let body = json!({"vectors": {"size": MORE.dim, "distance": "Dot"}, "shard_number": 3});
    site.qdrant.put("/collections/more", body).await?;
    MORE.upsert(&site.qdrant, 0..MORE.points, 0).await?;
    let (docs, more) = (
        contents(&site.qdrant, "docs").await?,
        contents(&site.qdrant, "more").await?,
    );
    site.ok(&["backup", "create"])?;

    let mine = ticket(&site, "n1", &[])?;
    exits(&restore(&site, &mine, &[])?, 10, "in use")?;
    ensure!(site.qdrant.process.stop(STOP)?.is_some());
    wipe(&site.qdrant.storage)?;
    exits(
        &restore(&site, &ticket(&site, "n2", &[])?, &[])?,
        13,
        "opens nothing",
    )?;
    ensure!(
        fs::read_dir(&site.qdrant.storage)?.count() == 0,
        "a refusal wrote something"
    );
    exits(&restore(&site, "", &[])?, 0, "nothing to restore")?;
    let wiped = restore(&site, &mine, &[])?;
    exits(&wiped, 0, "start Qdrant now")?;
    let wiped = Told::of(&wiped, "docs")?;
    let vectors = (DOCS.points * DOCS.dim as u64 * 4) as f64;
    ensure!(
        wiped.bytes - wiped.kept >= 0.9 * vectors,
        "nothing was there, so no vector was: {wiped:?}"
    );

    site.qdrant.process.restart()?;
    site.qdrant.wait_ready().await?;
    ensure!(contents(&site.qdrant, "docs").await? == docs);
    ensure!(contents(&site.qdrant, "more").await? == more);
    // As an init step it is run at every start; and the node takes writes and restarts.
    exits(&restore(&site, &mine, &[])?, 0, "used here before")?;
    DOCS.upsert(&site.qdrant, 0..300, 9).await?;
    let newer = contents(&site.qdrant, "docs").await?;
    ensure!(newer.points == docs.points && newer.digest != docs.digest);
    site.qdrant.process.stop(STOP)?;
    site.qdrant.process.restart()?;
    site.qdrant.wait_ready().await?;
    ensure!(contents(&site.qdrant, "docs").await? == newer);
    overwrite(&mut site, &docs.digest, &wiped).await?;
    ensure!(
        contents(&site.qdrant, "more").await? == more,
        "another collection was touched"
    );
    Ok(())
}

/// Killed at growing amounts of what it has laid out, it goes on where it was; Qdrant never sees half a collection.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_cold_restore_goes_on() -> Result<()> {
    let mut site = Site::start().await?;
    if site.qdrant.kind == Kind::Devnode {
        skipped("a_killed_cold_restore_goes_on: holdfast-devnode has its own storage layout");
        return Ok(());
    }
    ran_on(site.qdrant.kind);
    LARGE.create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, LARGE.name).await?;
    site.ok(&["backup", "create"])?;
    ensure!(site.qdrant.process.stop(STOP)?.is_some());
    wipe(&site.qdrant.storage)?;
    let mine = ticket(&site, "n1", &[])?;
    let mut killed = 0;
    // At first after little, which no restore is too quick for.
    let amounts = [0].into_iter().chain((16..24).map(|bits| 1 << bits));
    for amount in amounts {
        let mut running = restoring(&site, &mine, &[])?
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        while running.try_wait()?.is_none() && laid_out(&site.qdrant.storage) <= amount {
            // Whoever looks has a folder open, and a restore refuses a storage that somebody uses.
            std::thread::sleep(LOOK);
        }
        killed += u32::from(running.try_wait()?.is_none());
        running.kill()?;
        running.wait()?;
        let visible = site.qdrant.storage.join("collections").join(LARGE.name);
        if visible.exists() {
            break;
        }
    }
    ensure!(killed >= 2, "{killed} runs were killed under way");
    // The last kill may have come after the collection took its name, or after the very end.
    exits(&restore(&site, &mine, &[])?, 0, "")?;
    site.qdrant.process.restart()?;
    site.qdrant.wait_ready().await?;
    ensure!(contents(&site.qdrant, LARGE.name).await? == captured);
    Ok(())
}

/// Bytes below a folder that are on the disk.
fn laid_out(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => laid_out(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// What a cold restore prints of a collection: its bytes, and those that did not have to be fetched, to a tenth of their unit.
#[derive(Debug)]
struct Told {
    bytes: f64,
    kept: f64,
}

impl Told {
    fn of(output: &Output, collection: &str) -> Result<Self> {
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| {
            let line = line.strip_prefix(&format!("  {collection}: "))?;
            line.split_once(" were there or are zeros")?
                .0
                .split_once(", of which ")
        });
        let (bytes, kept) = line.with_context(|| format!("nothing of {collection}: {text}"))?;
        Ok(Self {
            bytes: in_bytes(bytes)?,
            kept: in_bytes(kept)?,
        })
    }
}

fn in_bytes(text: &str) -> Result<f64> {
    let (number, unit) = text.split_once(' ').context("a number and its unit")?;
    let power = ["B", "KiB", "MiB", "GiB"]
        .iter()
        .position(|known| *known == unit);
    let power = i32::try_from(power.with_context(|| format!("{unit} is no unit"))?)?;
    Ok(number.parse::<f64>()? * 1024_f64.powi(power))
}

/// What exists is only replaced when told to, and then moved aside. What of it is as it was captured is not fetched again.
async fn overwrite(site: &mut Site, captured: &str, wiped: &Told) -> Result<()> {
    site.qdrant.process.stop(STOP)?;
    let again = ticket(site, "n1", &["-c", "docs"])?;
    exits(&restore(site, &again, &[])?, 10, "exists")?;
    let changed = restore(site, &again, &["--overwrite"])?;
    exits(&changed, 0, "what was there is now")?;
    let changed = Told::of(&changed, "docs")?;
    ensure!(
        changed.bytes == wiped.bytes && changed.kept > wiped.kept,
        "some of it was there: {changed:?}, {wiped:?}"
    );
    let replaced = site.qdrant.storage.join("holdfast-restore/replaced");
    ensure!(fs::read_dir(&replaced)?.count() == 1);
    // Nobody has touched it since: all of it is there but the replica's state, which is always written anew.
    let once_more = ticket(site, "n1", &["-c", "docs"])?;
    let same = restore(site, &once_more, &["--overwrite"])?;
    exits(&same, 0, "what was there is now")?;
    let same = Told::of(&same, "docs")?;
    ensure!(
        same.bytes == wiped.bytes && same.kept == same.bytes,
        "{same:?}"
    );
    ensure!(fs::read_dir(&replaced)?.count() == 2);
    site.qdrant.process.restart()?;
    site.qdrant.wait_ready().await?;
    ensure!(contents(&site.qdrant, "docs").await?.digest == captured);
    Ok(())
}

fn ticket(site: &Site, node: &str, more: &[&str]) -> Result<String> {
    let mut args = vec!["restore", "ticket", "latest", "--node", node];
    args.extend(more);
    let made = site.ok(&args)?;
    Ok(made["ticket"].as_str().context("no ticket")?.to_owned())
}

fn restore(site: &Site, ticket: &str, more: &[&str]) -> Result<Output> {
    Ok(restoring(site, ticket, more)?.output()?)
}

fn restoring(site: &Site, ticket: &str, more: &[&str]) -> Result<Command> {
    let mut command = Command::new(built("holdfast-agent")?);
    command
        .arg("--config")
        .arg(site.dir().join("agent.toml"))
        .args(["restore", "--ticket", ticket, "--data-dir"])
        .arg(&site.qdrant.storage)
        .args(more);
    Ok(command)
}

fn exits(output: &Output, code: i32, word: &str) -> Result<()> {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    ensure!(
        output.status.code() == Some(code) && text.contains(word),
        "{:?}: {text}",
        output.status
    );
    Ok(())
}

fn wipe(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir)?;
    Ok(fs::create_dir(dir)?)
}
