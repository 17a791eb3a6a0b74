//! What a user can get wrong, or the world can do: each a clear message, its exit code, nothing lost.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::process::{Process, Recipe, built, free_port};
use holdfast_tests::site::{Options, Site};
use holdfast_tests::wait::until;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 1000,
    dim: 32,
};
/// A store that does not answer is asked several times; a busy machine takes its time, too.
const REFUSED_WITHIN: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_are_not_found() -> Result<()> {
    let site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    for (args, code, name) in [
        (
            &["backup", "create", "--collection", "nope"][..],
            9,
            "collection-not-found",
        ),
        (
            &["backup", "show", "20260101t000000z-00000000"],
            9,
            "point-not-found",
        ),
        (
            &["restore", "run", "20260101t000000z-00000000"],
            9,
            "point-not-found",
        ),
        (&["restore", "plan", "latest"], 9, "point-not-found"),
    ] {
        let (exit, document) = site.json(args)?;
        ensure!(
            exit == code && document["code"] == name,
            "{args:?}: {exit}: {document}"
        );
    }
    site.ok(&["backup", "create"])?;
    let (exit, document) = site.json(&[
        "restore",
        "run",
        "latest",
        "--node",
        "n9",
        "--collection",
        "docs",
        "--as",
        "x",
    ])?;
    ensure!(
        exit == 9 && document["code"] == "node-not-found",
        "{exit}: {document}"
    );
    let (exit, document) = site.json(&["restore", "run", "latest", "--collection", "nope"])?;
    ensure!(
        exit == 9 && document["code"] == "collection-not-found",
        "{exit}: {document}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_qdrant_is_reported_and_nothing_is_half_done() -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    site.qdrant.process.kill9()?;
    let (exit, document) = until(
        "the node to be reported as unreachable",
        Duration::from_secs(60),
        || async {
            let (exit, document) = site.json(&["backup", "create"]).ok()?;
            (exit != 0).then_some((exit, document))
        },
    )
    .await?;
    ensure!(
        exit == 6 && document["code"] == "qdrant-unreachable",
        "{exit}: {document}"
    );
    let list = site.ok(&["backup", "list"])?;
    ensure!(
        list["backups"].as_array().is_some_and(|all| all.len() == 1),
        "{list}"
    );
    site.qdrant.process.restart()?;
    site.qdrant.wait_ready().await?;
    site.wait_connected().await?;
    site.ok(&["backup", "create"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_address_authority_and_key_are_told_apart() -> Result<()> {
    let mut site = Site::start().await?;
    // Nobody listens.
    let output = Command::new(built("holdfast")?)
        .env("HOLDFAST_TLS_DIR", site.dir().join("certs/operator"))
        .args(["status", "--coordinator", "https://127.0.0.1:1"])
        .output()?;
    refused(&output, 5, "127.0.0.1:1")?;
    // Another site's authority.
    let other = site.dir().join("other");
    holdfast(site.dir(), &["certs", "init", "other/ca"])?;
    holdfast(
        site.dir(),
        &[
            "certs",
            "issue",
            "--ca",
            "other/ca",
            "--role",
            "operator",
            "--name",
            "eve",
            "--out",
            "other/eve",
        ],
    )?;
    let output = Command::new(built("holdfast")?)
        .env("HOLDFAST_TLS_DIR", other.join("eve"))
        .args(["status", "--coordinator", &site.endpoint])
        .output()?;
    refused(&output, 4, "authority")?;
    // The repository with another key.
    site.coordinator.stop(Duration::from_secs(30))?;
    fs::write(site.dir().join("repository.key"), "f".repeat(64))?;
    let output = coordinator(site.dir(), "coordinator.toml")?;
    for words in [
        site.repository().display().to_string().as_str(),
        "configure a key that was not removed",
        "then make a new key with `holdfast key add`; nothing was changed",
    ] {
        refused(&output, 7, words)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_foreign_newer_or_damaged_is_refused() -> Result<()> {
    let mut site = Site::start().await?;
    site.coordinator.stop(Duration::from_secs(30))?;
    let marker = site.repository().join("holdfast.json");
    let whole = fs::read_to_string(&marker)?;
    let newer = whole
        .replacen("\"format\": 1", "\"format\": 999", 1)
        .replacen("\"format\":1", "\"format\":999", 1);
    ensure!(newer != whole, "the marker has another form: {whole}");
    fs::write(&marker, newer)?;
    let output = coordinator(site.dir(), "coordinator.toml")?;
    for words in ["newer", "upgrade this program; nothing was changed"] {
        refused(&output, 7, words)?;
    }
    // A damaged marker is made good from its sealed copy, and said so.
    fs::write(&marker, "{")?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    ensure!(
        fs::read_to_string(&marker)? == whole,
        "the marker was not made good"
    );
    ensure!(
        site.coordinator.log().contains("damage"),
        "{}",
        site.coordinator.log()
    );
    // Somebody else's folder is never written to.
    site.coordinator.stop(Duration::from_secs(30))?;
    let foreign = site.dir().join("foreign");
    fs::create_dir(&foreign)?;
    fs::write(foreign.join("holiday.jpg"), "precious")?;
    let config = fs::read_to_string(site.dir().join("coordinator.toml"))?;
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let own = quoted(&site.repository());
    fs::write(
        site.dir().join("foreign.toml"),
        config.replace(&own, &quoted(&foreign)),
    )?;
    let output = coordinator(site.dir(), "foreign.toml")?;
    for words in [
        foreign.display().to_string().as_str(),
        "choose an empty or absent directory as repository.path; nothing was changed",
    ] {
        refused(&output, 7, words)?;
    }
    ensure!(
        fs::read_dir(&foreign)?.count() == 1,
        "something was written into a foreign folder"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_checked_with_key_and_line() -> Result<()> {
    let site = Site::start().await?;
    let agent = fs::read_to_string(site.dir().join("agent.toml"))?;
    for (name, text, words) in [
        (
            "typo.toml",
            agent.replacen("snapshots_dir", "snapshot_dir", 1),
            ["snapshot_dir", "snapshots_dir"],
        ),
        (
            "missing.toml",
            agent.replacen("cluster = \"test\"\n", "", 1),
            ["cluster", "missing.toml"],
        ),
        ("broken.toml", format!("{agent}\n[[["), ["broken.toml", ":"]),
        (
            "nofile.toml",
            agent.replacen("cert.pem", "gone.pem", 1),
            ["gone.pem", "read"],
        ),
    ] {
        let file = site.dir().join(name);
        fs::write(&file, text)?;
        let output = Command::new(built("holdfast")?)
            .args(["config", "check", "--kind", "agent"])
            .arg(&file)
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        ensure!(
            code == Some(3) || (name == "nofile.toml" && code == Some(4)),
            "{name}: {code:?}: {stderr}"
        );
        ensure!(
            words.iter().all(|word| stderr.contains(word)),
            "{name}: {stderr}"
        );
    }
    let output = Command::new(built("holdfast")?)
        .args(["config", "check"])
        .arg(site.dir().join("agent.toml"))
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() -> Result<()> {
    let site = Site::start().await?;
    // A second coordinator on the same port, with a repository and a state folder of its own.
    let config = fs::read_to_string(site.dir().join("coordinator.toml"))?;
    let mut own = config;
    for folder in ["coordinator", "repository"] {
        let quoted = |name: &str| format!("{:?}\n", site.dir().join(name).display().to_string());
        own = replaced(&own, &quoted(folder), &quoted(&format!("{folder}2")))?;
    }
    fs::write(site.dir().join("second.toml"), own)?;
    let output = coordinator(site.dir(), "second.toml")?;
    let address = site.endpoint.strip_prefix("https://").context("endpoint")?;
    refused(&output, 3, address)?;
    site.ok(&["status"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_coordinator_on_the_same_repository_is_refused() -> Result<()> {
    let site = Site::start().await?;
    let config = fs::read_to_string(site.dir().join("coordinator.toml"))?;
    let address = site.endpoint.strip_prefix("https://").context("endpoint")?;
    let free = format!("127.0.0.1:{}", free_port()?);
    let own = replaced(&config, address, &free)?;
    let quoted = |name: &str| format!("{:?}\n", site.dir().join(name).display().to_string());
    let own = replaced(&own, &quoted("coordinator"), &quoted("coordinator2"))?;
    fs::write(site.dir().join("second.toml"), own)?;
    let output = coordinator(site.dir(), "second.toml")?;
    let holder = format!("in use by process {}", site.coordinator.pid());
    refused(&output, 7, &holder)?;
    site.ok(&["status"])?;
    Ok(())
}

/// A configuration with another value in place of one that it must hold.
fn replaced(config: &str, old: &str, new: &str) -> Result<String> {
    ensure!(config.contains(old), "{old:?} is not in {config}");
    Ok(config.replacen(old, new, 1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_ends_the_capture_and_not_the_node() -> Result<()> {
    let site = Site::start_with(Options {
        shared_snapshots: false,
        spool_mib: 16,
        ..Options::default()
    })
    .await?;
    // 40 MiB of vectors, which random numbers make incompressible: more than the spool, with what may be on its
    // way to the coordinator, can hold.
    let big = Dataset {
        points: 40_000,
        dim: 256,
        ..DOCS
    };
    big.create(&site.qdrant).await?;
    let (exit, document) = std::thread::scope(|scope| {
        let backup = scope.spawn(|| site.json(&["backup", "create", "--method", "stream"]));
        // From the moment on at which the agent has a spool, the coordinator takes nothing, as a dead network would.
        let paused = pause_coordinator_while_spooling(&site);
        let answer = backup.join().expect("the command line does not panic");
        paused.and(answer)
    })?;
    ensure!(
        exit == 8 && document["code"] == "spool-full",
        "{exit}: {document}"
    );
    let message = document["message"].as_str().context("no message")?;
    ensure!(message.contains("raise [spool] max_mib"), "{message}");
    ensure!(contents(&site.qdrant, "docs").await?.points == big.points);
    let leftovers = fs::read_dir(site.dir().join("agent")).context("state folder")?;
    for entry in leftovers {
        let entry = entry?;
        let size = if entry.path().is_dir() {
            fs::read_dir(entry.path())?.count()
        } else {
            0
        };
        ensure!(
            size == 0 || entry.file_name() != "spool",
            "the spool was not emptied"
        );
    }
    Ok(())
}

/// Stops the coordinator (SIGSTOP) once the agent has a spool, and lets it go on once the spool is given up.
fn pause_coordinator_while_spooling(site: &Site) -> Result<()> {
    let wait = |spooling: bool, limit: Duration| {
        let end = Instant::now() + limit;
        while has_spool(site.agent.pid())? != spooling {
            ensure!(Instant::now() < end, "waiting for the spool took {limit:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    let signal = |name: &str| -> Result<()> {
        let pid = site.coordinator.pid().to_string();
        let status = Command::new("kill").args([name, &pid]).status()?;
        ensure!(status.success(), "kill {name} {pid}");
        Ok(())
    };
    wait(true, Duration::from_secs(60))?;
    signal("-STOP")?;
    let given_up = wait(false, Duration::from_secs(15));
    signal("-CONT")?;
    given_up
}

/// Whether a process has a spool open; its file has no name any more.
fn has_spool(pid: u32) -> Result<bool> {
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(targets
        .into_iter()
        .any(|target| target.to_string_lossy().contains("stream.spool")))
}

/// Runs a coordinator that must refuse to start; one that starts all the same is stopped after a while.
pub(crate) fn coordinator(dir: &Path, config: &str) -> Result<Output> {
    let log = dir.join("refused.log");
    let _ = fs::remove_file(&log);
    let mut process = Process::start(Recipe {
        program: built("holdfast-coordinator")?,
        args: vec!["--config".into(), dir.join(config).into()],
        env: Vec::new(),
        dir: dir.to_owned(),
        log: log.clone(),
    })?;
    let code = process
        .wait(REFUSED_WITHIN)?
        .context("killed by a signal")?;
    let status = std::process::ExitStatus::from_raw(code << 8);
    Ok(Output {
        status,
        stdout: Vec::new(),
        stderr: fs::read(&log)?,
    })
}

fn holdfast(dir: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new(built("holdfast")?)
        .args(args)
        .current_dir(dir)
        .output()?;
    ensure!(
        output.status.success(),
        "holdfast {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

pub(crate) fn refused(output: &Output, code: i32, word: &str) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "{:?} instead of {code}: {stderr}",
        output.status
    );
    ensure!(stderr.contains(word), "{word:?} is not in: {stderr}");
    Ok(())
}
