//! Everything is lost but the repository and the printed recovery sheet: what the sheet says is typed, and the data is back.

use crate::s3::move_to_bucket;
use anyhow::{Context as _, Result, ensure};
use holdfast_store_suite::{S3Server, Weed};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::process::{Process, Recipe, built, free_port};
use holdfast_tests::qdrant::Qdrant;
use holdfast_tests::site::Site;
use holdfast_tests::skipped;
use holdfast_tests::wait::until;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 2000,
    dim: 48,
};

/// Where the programs of step 5 listen, as printed.
const PORT: &str = "6350";

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_the_sheet_are_enough() -> Result<()> {
    let site = Site::start().await?;
    let kept = tempfile::tempdir()?;
    let page = lose_all_but_the_sheet(site, async |site: &Site| {
        fs::rename(site.repository(), kept.path().join("repository"))?;
        Ok(())
    })
    .await?;
    // As the sheet says: make the place reachable, and correct the path.
    let place = kept.path().join("repository").display().to_string();
    let correct = |line: &str| match line.starts_with("path = ") {
        true => format!("path = {place:?}"),
        false => line.to_owned(),
    };
    restore_from_nothing(&page, correct, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_and_the_sheet_are_enough() -> Result<()> {
    let Some(weed) = Weed::find("a_bucket_and_the_sheet_are_enough")? else {
        return Ok(());
    };
    let server = tokio::task::spawn_blocking(move || weed.start()).await??;
    let mut site = Site::start().await?;
    site.coordinator.stop(Duration::from_secs(30))?;
    move_to_bucket(&site, &server, S3Server::BUCKET, S3Server::WRITER, "")?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    let page = lose_all_but_the_sheet(site, async |_: &Site| Ok(())).await?;
    let credentials = server.credentials().display().to_string();
    let keys = [
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.as_str()),
        ("AWS_PROFILE", S3Server::WRITER),
    ];
    restore_from_nothing(&page, str::to_owned, &keys).await
}

/// Captures a collection and prints a sheet; then nothing is left but the page and what `save` saves.
async fn lose_all_but_the_sheet(
    mut site: Site,
    save: impl AsyncFnOnce(&Site) -> Result<()>,
) -> Result<String> {
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    let config = site.dir().join("coordinator.toml").display().to_string();
    let sheet = site.dir().join("page.txt");
    let out = sheet.display().to_string();
    let config = ["--coordinator-config", config.as_str()];
    let export = ["key", "export", "--holder", "safe", "--out", out.as_str()];
    site.ok(&[&export[..], &config[..]].concat())?;
    site.coordinator.kill9()?;
    let page = fs::read_to_string(sheet)?;
    save(&site).await?;
    Ok(page)
}

/// Types what the page says, step by step, in an empty folder.
async fn restore_from_nothing(
    page: &str,
    correct: impl Fn(&str) -> String,
    env: &[(&str, &str)],
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path();
    let port = free_port()?.to_string();
    let typed = Typed { root, env };

    let lines = page.lines().skip_while(|line| !line.contains("BEGIN"));
    let code: Vec<&str> = lines.skip(1).take(4).collect();
    fs::write(root.join("sheet.txt"), code.join("\n") + "\n")?;
    // The printed one may be another test's.
    let page = page.replace(PORT, &port);
    for command in commands(step(&page, 3)?) {
        typed.run(&command)?;
    }
    let config: Vec<String> = step(&page, 4)?
        .lines()
        .skip(1)
        .map(str::trim_start)
        .map(correct)
        .collect();
    fs::write(root.join("coordinator.toml"), config.join("\n"))?;
    let mut services = commands(step(&page, 5)?).into_iter();
    typed.run(&services.next().context("rebuild")?)?;
    let coordinator = typed.start("holdfast-coordinator", "coordinator.toml")?;

    let qdrant = Qdrant::start(&root.join("qdrant")).await?;
    ensure!(page.contains("node = \"n1\""), "{page}");
    let agent = format!(
        "node = \"n1\"\ncluster = {:?}\nstate_dir = \"agent\"\n[coordinator]\nendpoint = \"https://127.0.0.1:{port}\"\n\
         [tls]\ncert = \"tls/agent/cert.pem\"\nkey = \"tls/agent/key.pem\"\nca = \"tls/agent/ca.pem\"\n[qdrant]\nurl = {:?}\n",
        holdfast_tests::site::CLUSTER,
        qdrant.url,
    );
    fs::write(root.join("agent.toml"), agent)?;
    let agent = typed.start("holdfast-agent", "agent.toml")?;

    let restore = commands(step(&page, 7)?);
    let (exports, restore): (Vec<_>, Vec<_>) = restore
        .into_iter()
        .partition(|command| command.starts_with("export "));
    let typed = |command: &str| typed.output(&format!("{}; {command}", exports.join("; ")));
    until(
        "the agent to be connected",
        Duration::from_secs(60),
        || async {
            let nodes = typed("holdfast nodes").ok()?;
            let text = String::from_utf8_lossy(&nodes.stdout).into_owned();
            (nodes.status.success() && text.contains("1.18")).then_some(())
        },
    )
    .await
    .with_context(|| format!("{}\n{}", coordinator.log(), agent.log()))?;
    for command in &restore {
        succeeded(command, &typed(command)?)?;
    }
    let expected = tempfile::tempdir()?;
    let fresh = Qdrant::start(expected.path()).await?;
    DOCS.create(&fresh).await?;
    ensure!(contents(&qdrant, DOCS.name).await? == contents(&fresh, DOCS.name).await?);

    if !typed("command -v openssl")?.status.success() {
        skipped("step 8 of the recovery sheet: no openssl");
        return Ok(());
    }
    for command in commands(step(&page, 8)?) {
        succeeded(&command, &typed(&command)?)?;
    }
    let keys = typed("holdfast key list --coordinator-config coordinator.toml")?;
    let listed = String::from_utf8_lossy(&keys.stdout).into_owned();
    ensure!(
        listed.contains("main") && listed.contains("safe"),
        "{listed}"
    );
    Ok(())
}

/// A shell in the folder, with the programs on its path.
struct Typed<'a> {
    root: &'a Path,
    env: &'a [(&'a str, &'a str)],
}

impl Typed<'_> {
    fn run(&self, command: &str) -> Result<()> {
        succeeded(command, &self.output(command)?)
    }

    fn output(&self, command: &str) -> Result<Output> {
        let programs = built("holdfast")?;
        let programs = programs.parent().context("a folder")?.display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).current_dir(self.root);
        shell.env("PATH", format!("{programs}:{path}"));
        Ok(shell.envs(self.env.iter().copied()).output()?)
    }

    fn start(&self, program: &str, config: &str) -> Result<Process> {
        let env = self.env.iter();
        Process::start(Recipe {
            program: built(program)?,
            args: vec!["--config".into(), config.into()],
            env: env
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            dir: self.root.to_owned(),
            log: self.root.join(format!("{program}.log")),
        })
    }
}

fn succeeded(command: &str, output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{command}: {output:?}");
    Ok(())
}

/// The text of a numbered step.
fn step(page: &str, number: u8) -> Result<&str> {
    let begin = page.find(&format!("\n {number}. ")).context("the step")? + 1;
    let rest = &page[begin..];
    let end = rest.find(&format!("\n {}. ", number + 1));
    Ok(end.map_or(rest, |end| &rest[..end]))
}

/// Its commands, each on one line: those are indented by five.
fn commands(step: &str) -> Vec<String> {
    let joined = step.replace("\\\n", " ");
    let typed = joined.lines().filter_map(|line| line.strip_prefix("     "));
    typed.map(str::to_owned).collect()
}
