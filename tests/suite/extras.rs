//! Config files and dumps in the same recovery point, with a real agent and real hooks.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::ran_on;
use holdfast_tests::site::{Options, Site};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 500,
    dim: 16,
};

/// One point is kept, and what is not goes at once.
const RULES: &str = "[retention]\ngrace_hours = 0\ngarbage_grace_hours = 0\nevery_hours = 0\nmin_proven = 1\n[[retention.rules]]\nkeep_last = 1\n";

/// A site whose node has config files, and a "Redis" whose dump a hook writes.
struct Shop {
    site: Site,
}

impl Shop {
    async fn open() -> Result<Self> {
        let options = Options {
            coordinator: RULES,
            ..Options::default()
        };
        let shop = Self {
            site: Site::start_with(options).await?,
        };
        ran_on(shop.site.qdrant.kind);
        let config = shop.at("etc/qdrant");
        fs::create_dir_all(config.join("empty"))?;
        fs::write(config.join("config.yaml"), "service:\n  api_key: secret\n")?;
        fs::set_permissions(
            config.join("config.yaml"),
            fs::Permissions::from_mode(0o600),
        )?;
        symlink("config.yaml", config.join("current.yaml"))?;
        DOCS.create(&shop.site.qdrant).await?;
        Ok(shop)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.site.dir().join(name)
    }

    /// A hook of this text; returns its path.
    fn hook(&self, name: &str, script: &str) -> Result<PathBuf> {
        let path = self.at(name);
        let here = self.site.dir().display();
        fs::write(&path, format!("#!/bin/sh\nset -e\ncd '{here}'\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(path)
    }

    /// Restarts the agent with these sections after its own.
    async fn configure(&mut self, extras: &str) -> Result<()> {
        self.site.agent.stop(Duration::from_secs(30))?;
        let file = self.at("agent.toml");
        let own = fs::read_to_string(&file)?;
        let own = own.split("[[extra]]").next().unwrap_or_default();
        fs::write(&file, format!("{own}{extras}"))?;
        self.site.agent.restart()?;
        self.site.wait_connected().await
    }

    fn config_section(&self) -> String {
        let path = self.at("etc/qdrant").display().to_string();
        format!("[[extra]]\nname = \"qdrant\"\nconfig = true\npaths = [{path:?}]\n")
    }

    fn redis_section(&self, more: &str) -> String {
        let [dump, before, after] =
            ["dump.rdb", "before.sh", "after.sh"].map(|name| self.at(name).display().to_string());
        format!(
            "[[extra]]\nname = \"redis\"\npaths = [{dump:?}]\nbefore = [{before:?}]\nafter = [{after:?}]\n{more}\n"
        )
    }

    fn backup(&self) -> Result<Value> {
        self.site.ok(&["backup", "create"])
    }

    fn export(&self, name: &str, out: &str, more: &[&str]) -> Result<(i32, Value)> {
        let out = self.at(out).display().to_string();
        let mut args = vec!["backup", "export", "latest", "--extra", name, "-o", &out];
        args.extend(more);
        self.site.json(&args)
    }
}

fn below(out: &Path, path: &Path) -> Result<PathBuf> {
    Ok(out.join(path.strip_prefix("/").context("an absolute path")?))
}

/// What the dump is made of, different each time.
fn dump(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..2_000_000).map(next).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn config_files_and_a_dump_are_held_and_come_back_as_they_were() -> Result<()> {
    let mut shop = Shop::open().await?;
    shop.hook(
        "before.sh",
        "cp redis.data dump.rdb; chmod 640 dump.rdb; echo \"$HOLDFAST_RECOVERY_POINT $HOLDFAST_NODE\" > told",
    )?;
    shop.hook(
        "after.sh",
        "rm dump.rdb; echo \"$HOLDFAST_OUTCOME\" > ended",
    )?;
    let sections = shop.config_section() + &shop.redis_section("required = true");
    shop.configure(&sections).await?;

    fs::write(shop.at("redis.data"), dump(1))?;
    shop.backup()?;
    fs::write(shop.at("redis.data"), dump(2))?;
    DOCS.upsert(&shop.site.qdrant, 0..DOCS.points, 1).await?;
    let before = contents(&shop.site.qdrant, DOCS.name).await?;
    let made = shop.backup()?;
    let id = made["backup"]["recovery_point"].as_str().context("no id")?;
    ensure!(made["backup"]["extras"][1]["name"] == "redis", "{made}");
    ensure!(fs::read_to_string(shop.at("told"))? == format!("{id} n1\n"));
    ensure!(fs::read_to_string(shop.at("ended"))? == "captured\n");
    ensure!(!shop.at("dump.rdb").exists());

    // Everything that nothing needs goes; what the extras need stays.
    for _ in 0..4 {
        shop.site.ok(&["backup", "prune", "--confirm"])?;
    }
    ensure!(
        shop.site.ok(&["backup", "list"])?["backups"]
            .as_array()
            .map(Vec::len)
            == Some(1)
    );

    listed(&shop)?;
    exported(&shop)?;
    refused(&shop)?;
    let plan = shop
        .site
        .ok(&["restore", "plan", "latest", "--overwrite"])?;
    ensure!(
        plan["warnings"].to_string().contains("redis of n1"),
        "{plan}"
    );
    shop.site.qdrant.delete("/collections/docs").await?;
    shop.site.ok(&["restore", "run", "latest"])?;
    ensure!(contents(&shop.site.qdrant, DOCS.name).await? == before);
    ensure!(!shop.at("dump.rdb").exists(), "a restore touches no extras");
    without_a_coordinator(&mut shop)
}

fn listed(shop: &Shop) -> Result<()> {
    let files = shop.site.ok(&["backup", "files", "latest"])?;
    let extras = files["extras"].as_array().context("no extras")?;
    ensure!(extras.len() == 2 && extras[0]["config"] == true, "{files}");
    let entries = extras[0]["entries"].as_array().context("no entries")?;
    let kinds: Vec<_> = entries.iter().filter_map(|e| e["kind"].as_str()).collect();
    ensure!(
        kinds == ["directory", "file", "link", "directory"],
        "{files}"
    );
    let dumped = &extras[1]["entries"][0];
    ensure!(
        dumped["size"] == 2_000_000 && dumped["mode"] == "0640",
        "{files}"
    );
    let one = shop.site.ok(&[
        "backup", "files", "latest", "--extra", "redis", "--node", "n1",
    ])?;
    ensure!(one["extras"].as_array().map(Vec::len) == Some(1), "{one}");
    Ok(())
}

fn exported(shop: &Shop) -> Result<()> {
    let (code, done) = shop.export("redis", "out", &["--node", "n1"])?;
    ensure!(code == 0, "{done}");
    let file = below(&shop.at("out"), &shop.at("dump.rdb"))?;
    ensure!(fs::read(&file)? == dump(2), "the dump is not what it was");
    ensure!(file.metadata()?.mode() & 0o777 == 0o640);
    let (code, done) = shop.export("qdrant", "config", &[])?;
    ensure!(code == 0, "{done}");
    let original = shop.at("etc/qdrant");
    let copy = below(&shop.at("config"), &original)?;
    ensure!(fs::read(copy.join("config.yaml"))? == fs::read(original.join("config.yaml"))?);
    let (ours, theirs) = (copy.join("config.yaml"), original.join("config.yaml"));
    let (ours, theirs) = (ours.metadata()?, theirs.metadata()?);
    ensure!(ours.mode() == theirs.mode() && ours.mtime() == theirs.mtime());
    ensure!(fs::read_link(copy.join("current.yaml"))? == Path::new("config.yaml"));
    ensure!(copy.join("empty").is_dir());
    Ok(())
}

fn refused(shop: &Shop) -> Result<()> {
    let (code, refused) = shop.export("redis", "out", &[])?;
    ensure!(
        code == 10 && refused["code"] == "target-exists",
        "{refused}"
    );
    let (code, refused) = shop.export("redis", "out", &["--force"])?;
    ensure!(code == 0, "{refused}");
    let (code, refused) = shop.export("postgres", "other", &[])?;
    ensure!(
        code == 9 && refused["code"] == "extra-not-found",
        "{refused}"
    );
    ensure!(!shop.at("other").exists());
    let out = shop.at("other").display().to_string();
    let args = ["backup", "export", "latest", "--extra", "redis", "-o", &out];
    let viewer = shop.site.cli_as("viewer", &args)?;
    ensure!(viewer.status.code() == Some(13), "{viewer:?}");
    Ok(())
}

/// The repository and its key are enough.
fn without_a_coordinator(shop: &mut Shop) -> Result<()> {
    ensure!(shop.site.coordinator.stop(Duration::from_secs(30))? == Some(0));
    let config = shop.at("coordinator.toml").display().to_string();
    let (code, done) = shop.export("redis", "direct", &["--coordinator-config", &config])?;
    ensure!(code == 0, "{done}");
    let file = below(&shop.at("direct"), &shop.at("dump.rdb"))?;
    ensure!(fs::read(file)? == dump(2));
    let config = shop.at("coordinator.toml").display().to_string();
    let args = ["repo", "verify", "--full", "--coordinator-config", &config];
    let checked = shop.site.ok(&args)?;
    ensure!(checked["needs_attention"] == false, "{checked}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_required_extra_there_is_no_point_and_without_another_it_is_told() -> Result<()> {
    let mut shop = Shop::open().await?;
    shop.hook("before.sh", "echo 'redis is down' >&2; exit 1")?;
    shop.hook("after.sh", "echo \"$HOLDFAST_OUTCOME\" > ended")?;
    let sections = shop.config_section() + &shop.redis_section("required = true");
    shop.configure(&sections).await?;
    let (code, failed) = shop.site.json(&["backup", "create"])?;
    ensure!(code == 11 && failed["code"] == "extra-failed", "{failed}");
    let message = failed["message"].to_string();
    ensure!(message.contains("redis is down"), "{message}");
    ensure!(fs::read_to_string(shop.at("ended"))? == "failed\n");
    let list = shop.site.ok(&["backup", "list"])?;
    ensure!(
        list["backups"].as_array().map(Vec::len) == Some(0),
        "{list}"
    );

    let sections = shop.config_section() + &shop.redis_section("");
    shop.configure(&sections).await?;
    let made = shop.backup()?;
    let redis = &made["backup"]["extras"][1];
    let why = redis["missing"].to_string();
    ensure!(
        redis["name"] == "redis" && why.contains("redis is down"),
        "{made}"
    );
    let (code, refused) = shop.export("redis", "out", &[])?;
    ensure!(
        code == 9 && refused["code"] == "extra-not-found",
        "{refused}"
    );
    let (code, done) = shop.export("qdrant", "config", &[])?;
    ensure!(code == 0, "{done}");

    // One that hangs costs its time and no more.
    shop.hook("before.sh", "sleep 600")?;
    let sections = shop.redis_section("timeout_secs = 1");
    shop.configure(&sections).await?;
    let made = shop.backup()?;
    let why = made["backup"]["extras"][0]["missing"].to_string();
    ensure!(why.contains("did not end within 1 s"), "{made}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_says_at_once_what_is_wrong_with_an_extra() -> Result<()> {
    let mut shop = Shop::open().await?;
    shop.site.agent.stop(Duration::from_secs(30))?;
    let file = shop.at("agent.toml");
    let own = fs::read_to_string(&file)?;
    let key = shop.at("certs").display().to_string();
    fs::write(
        &file,
        format!("{own}\n[[extra]]\nname = \"a\"\npaths = [{key:?}]\n"),
    )?;
    let args: [OsString; 3] = ["config".into(), "check".into(), file.clone().into()];
    let checked = holdfast_tests::site::holdfast(shop.site.dir(), &args)?;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    ensure!(checked.status.code() == Some(3), "{checked:?}");
    ensure!(said.contains("private key"), "{said}");
    Ok(())
}
