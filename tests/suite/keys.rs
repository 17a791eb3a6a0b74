//! Keys with real processes: every source opens a coordinator, none that is wrong does, and what removes or rotates a key does so
//! only when it is confirmed.

use crate::bad_input::{coordinator, refused};
use crate::storage::failed;
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::process::{Process, Recipe, built};
use holdfast_tests::site::Site;
use holdfast_tests::wait::until;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 1000,
    dim: 32,
};

/// Variables that hold keys, as a service manager would set them.
const ENV: [(&str, &str); 2] = [
    (
        "HOLDFAST_TEST_KEY",
        "abababababababababababababababababababababababababababababababab",
    ),
    ("HOLDFAST_TEST_WORDS", "correct horse battery staple"),
];

const STOP: Duration = Duration::from_secs(30);
const NOTHING: &str = "nothing: the keys are as they were";

/// `holdfast … --coordinator-config FILE --output json`, with the variables; yields the exit code and the document.
fn with_keys(site: &Site, args: &[&str]) -> Result<(i32, Value)> {
    let output = Command::new(built("holdfast")?)
        .args(args)
        .args(["--output", "json", "--coordinator-config"])
        .arg(site.dir().join("coordinator.toml"))
        .envs(ENV)
        .output()?;
    let code = output.status.code().context("killed")?;
    let said = serde_json::from_slice(&output.stdout);
    let said = said.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((code, said))
}

fn ok(site: &Site, args: &[&str]) -> Result<Value> {
    let (code, said) = with_keys(site, args)?;
    ensure!(code == 0, "{args:?} ended with {code}: {said}");
    Ok(said)
}

/// Each holder with the state of the key and whether it is the configured one.
fn holders(site: &Site) -> Result<Vec<(String, String, bool)>> {
    let listed = ok(site, &["key", "list"])?;
    let keys = listed["keys"].as_array().context("no keys")?;
    let text = |key: &Value, field: &str| key[field].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                text(key, "holder"),
                text(key, "state"),
                key["configured"] == true,
            )
        })
        .collect();
    all.sort();
    Ok(all)
}

fn sound(holder: &str, configured: bool) -> (String, String, bool) {
    (holder.to_owned(), "sound".to_owned(), configured)
}

/// Names the key in the coordinator's configuration in place of whatever is named there.
fn configure(site: &Site, key: &str) -> Result<()> {
    let file = site.dir().join("coordinator.toml");
    let text = fs::read_to_string(&file)?;
    let named = |line: &&str| {
        let option = line.split(' ').next().unwrap_or_default();
        [
            "key_file",
            "key_env",
            "key_command",
            "passphrase_file",
            "passphrase_env",
        ]
        .contains(&option)
    };
    let old = text.lines().find(named).context("no key is configured")?;
    fs::write(&file, text.replace(old, key))?;
    Ok(())
}

/// A coordinator of the site with the variables in its environment.
fn start(site: &Site) -> Result<Process> {
    Process::start(Recipe {
        program: built("holdfast-coordinator")?,
        args: vec![
            "--config".into(),
            site.dir().join("coordinator.toml").into(),
        ],
        env: ENV
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        dir: site.dir().to_owned(),
        log: site.dir().join("with-env.log"),
    })
}

/// Starts a coordinator with this key, which must come up and see the points, and stops it.
async fn opens(site: &Site, key: &str, points: usize) -> Result<()> {
    configure(site, key)?;
    let mut coordinator = start(site)?;
    let answers = until("the coordinator to answer", STOP, || async {
        let (code, listed) = site.json(&["backup", "list"]).ok()?;
        (code == 0).then(|| listed["backups"].as_array().map(Vec::len))
    })
    .await
    .with_context(|| format!("{key}: {}", coordinator.log()))?;
    ensure!(answers == Some(points), "{key}: {answers:?}");
    ensure!(coordinator.stop(STOP)? == Some(0), "{}", coordinator.log());
    Ok(())
}

/// Starts a coordinator with this key, which must not come up.
fn does_not_open(site: &Site, key: &str, exit: i32, says: &[&str]) -> Result<()> {
    configure(site, key)?;
    let output = coordinator(site.dir(), "coordinator.toml")?;
    for words in says {
        refused(&output, exit, words)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_of_a_key_opens_a_coordinator_and_a_wrong_one_does_not() -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = site.dir().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let words = file("words.txt", "words of a file\n")?;
    let wrong = file("wrong.txt", "words of another file\n")?;
    let printed = file("kms.key", &"cd".repeat(32))?;
    let command = format!("cat {printed}");
    for (holder, option, value) in [
        ("env", "--new-key-env", ENV[0].0),
        ("words", "--new-passphrase-file", words.as_str()),
        ("spoken", "--new-passphrase-env", ENV[1].0),
        ("kms", "--new-key-command", command.as_str()),
    ] {
        let added = ok(&site, &["key", "add", "--holder", holder, option, value])?;
        ensure!(added["done"] == true && added["added"] == holder, "{added}");
    }
    site.coordinator.stop(STOP)?;
    opens(&site, &format!("key_env = {:?}", ENV[0].0), 1).await?;
    opens(&site, &format!("passphrase_file = {words:?}"), 1).await?;
    opens(&site, &format!("passphrase_env = {:?}", ENV[1].0), 1).await?;
    opens(&site, &format!("key_command = [\"cat\", {printed:?}]"), 1).await?;
    let configured: Vec<_> = holders(&site)?.into_iter().filter(|key| key.2).collect();
    ensure!(configured == [sound("kms", true)], "{configured:?}");

    let place = site.repository().display().to_string();
    let advice = [
        "`holdfast key add`",
        "repository.recovery_sheet",
        place.as_str(),
    ];
    does_not_open(&site, &format!("passphrase_file = {wrong:?}"), 7, &advice)?;
    let told = with_keys(&site, &["key", "list"])?;
    failed(&told, (7, "wrong-key"), NOTHING, "")?;
    let message = told.1["message"].as_str().unwrap_or_default();
    for words in advice {
        ensure!(message.contains(words), "{words:?} is not in {message}");
    }
    let absent = site.dir().join("absent.key").display().to_string();
    does_not_open(
        &site,
        &format!("key_file = {absent:?}"),
        3,
        &["there is no file", "put back the copy of its own key"],
    )?;
    does_not_open(
        &site,
        "key_env = \"HOLDFAST_TEST_UNSET\"",
        3,
        &["HOLDFAST_TEST_UNSET is not set"],
    )?;
    // Nothing was changed by any of that.
    opens(&site, &format!("passphrase_file = {words:?}"), 1).await?;
    ensure!(holders(&site)?.len() == 5);
    Ok(())
}

/// The key of that file is added and removed; the configured one is never removed, and nobody's without --confirm.
fn removed_when_confirmed(site: &Site, own: &str, ops: &str) -> Result<()> {
    ok(
        site,
        &["key", "add", "--holder", "ops", "--new-key-file", ops],
    )?;
    let told = with_keys(site, &["key", "remove", own, "--confirm"])?;
    failed(&told, (10, "key-in-use"), NOTHING, "")?;
    let told = with_keys(site, &["key", "remove", "nobody"])?;
    failed(&told, (9, "key-not-found"), NOTHING, "")?;
    let shown = ok(site, &["key", "remove", "ops"])?;
    ensure!(
        shown["done"] == false && shown["removed"] == "ops",
        "{shown}"
    );
    ensure!(
        holders(site)?.contains(&sound("ops", false)),
        "a dry run removed it"
    );
    let shown = ok(site, &["key", "remove", "ops", "--confirm"])?;
    ensure!(
        shown["done"] == true && shown["removed"] == "ops",
        "{shown}"
    );
    ensure!(holders(site)? == [sound(own, true)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_removed_and_rotated_when_that_is_confirmed() -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    site.ok(&["backup", "create"])?;
    let file = |name: &str, digits: &str| -> Result<String> {
        let path = site.dir().join(name);
        fs::write(&path, digits.repeat(32))?;
        Ok(path.display().to_string())
    };
    let (ops, new) = (file("ops.key", "11")?, file("new.key", "22")?);
    let own = holders(&site)?.remove(0).0;
    removed_when_confirmed(&site, &own, &ops)?;

    // While the coordinator runs.
    let rotate = [
        "key",
        "rotate",
        "--new-key-file",
        &new,
        "--holder",
        "main-2",
    ];
    let shown = ok(&site, &rotate)?;
    ensure!(
        shown["done"] == false && shown["added"] == "main-2",
        "{shown}"
    );
    ensure!(
        holders(&site)? == [sound(&own, true)],
        "a dry run rotated it"
    );
    let done = ok(&site, &[&rotate[..], &["--confirm"]].concat())?;
    ensure!(
        done["done"] == true && done["removed"] == own.as_str(),
        "{done}"
    );
    site.ok(&["backup", "create"])?;
    site.coordinator.stop(STOP)?;
    let old = site.dir().join("repository.key").display().to_string();
    for gone in [&old, &ops] {
        let advice = ["configure a key that was not removed"];
        does_not_open(&site, &format!("key_file = {gone:?}"), 7, &advice)?;
    }
    configure(&site, &format!("key_file = {new:?}"))?;
    ensure!(holders(&site)? == [sound("main-2", true)]);
    site.coordinator.restart()?;
    site.wait_connected().await?;
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == captured);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_key_drops_the_others_and_keeps_what_was_written() -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    let made = site.ok(&["backup", "create"])?;
    let first = made["backup"]["recovery_point"].as_str().context("no id")?;
    let own = holders(&site)?.remove(0).0;
    let ops = site.dir().join("ops.key");
    fs::write(&ops, "33".repeat(32))?;
    let ops = ops.display().to_string();
    ok(
        &site,
        &["key", "add", "--holder", "ops", "--new-key-file", &ops],
    )?;

    let rotate = ["key", "rotate-master"];
    let confirmed = ["key", "rotate-master", "--confirm"];
    let shown = ok(&site, &rotate)?;
    ensure!(
        shown["done"] == false && shown["kept"] == own.as_str(),
        "{shown}"
    );
    ensure!(shown["dropped"] == json!(["ops"]), "{shown}");
    // Not while a coordinator holds the repository.
    let told = with_keys(&site, &confirmed)?;
    failed(
        &told,
        (7, "repository-locked"),
        NOTHING,
        "stop the coordinator, repeat the command",
    )?;
    ensure!(holders(&site)?.len() == 2, "a refusal dropped a key");
    site.coordinator.stop(STOP)?;
    let done = ok(&site, &confirmed)?;
    ensure!(
        done["done"] == true && done["dropped"] == json!(["ops"]),
        "{done}"
    );
    ensure!(done["master_keys"] == 2, "{done}");
    ensure!(holders(&site)? == [sound(&own, true)]);

    site.coordinator.restart()?;
    site.wait_connected().await?;
    let again = site.ok(&["backup", "create"])?;
    ensure!(
        again["backup"]["sent_bytes"].as_u64() < Some(100_000),
        "what was stored under the old master key is sent again: {again}"
    );
    DOCS.upsert(&site.qdrant, 0..100, 1).await?;
    let newest = contents(&site.qdrant, DOCS.name).await?;
    site.ok(&["backup", "create"])?;
    for (id, name, expected) in [(first, "older", &captured), ("latest", "newer", &newest)] {
        site.ok(&["restore", "run", id, "-c", DOCS.name, "--as", name])?;
        ensure!(contents(&site.qdrant, name).await?.digest == expected.digest);
    }
    site.coordinator.stop(STOP)?;
    let key = fs::read_to_string(site.dir().join("coordinator.toml"))?;
    does_not_open(
        &site,
        &format!("key_file = {ops:?}"),
        7,
        &["configure a key that was not removed"],
    )?;
    fs::write(site.dir().join("coordinator.toml"), key)?;
    ok(&site, &["repo", "verify", "--full"]).map(drop)
}
