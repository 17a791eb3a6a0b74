//! Where two must agree, nothing that removes, or lets something be removed, is done for one: neither on the repository nor on a copy.

use crate::copies::reconfigure;
use crate::storage::failed;
use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::site::Site;
use holdfast_tests::wait::until;
use serde_json::{Value, json};
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 500,
    dim: 32,
};

const RETENTION: &str = "[retention]\ngrace_hours = 0\ngarbage_grace_hours = 0\nevery_hours = 0\nmin_proven = 1\ntwo_person = true\n\
                         [[retention.rules]]\nkeep_last = 1\n";

const COPY_RULES: &str = "[copy.retention]\ngrace_hours = 0\ngarbage_grace_hours = 0\nevery_hours = 0\nmin_proven = 1\n\
                          [[copy.retention.rules]]\nkeep_last = 1\n";

fn backup(site: &Site) -> Result<String> {
    let made = site.ok(&["backup", "create"])?;
    let id = made["backup"]["recovery_point"].as_str();
    Ok(id.context("no id")?.to_owned())
}

fn listed(site: &Site, more: &[&str]) -> Result<Vec<String>> {
    let list = site.ok(&[&["backup", "list"], more].concat())?;
    let backups = list["backups"].as_array().context("no list")?;
    let ids = backups.iter().filter_map(|b| b["recovery_point"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// The same as the other operator.
fn second(site: &Site, args: &[&str]) -> Result<Value> {
    let all = [args, &["--output", "json"]].concat();
    let output = site.cli_as("operator2", &all)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?}: {stderr}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What is asked for by one operator, twice, is refused, and `unchanged` holds; then another asks for it.
fn takes_two(site: &Site, args: &[&str], unchanged: impl Fn() -> Result<bool>) -> Result<Value> {
    for _ in 0..2 {
        let told = site.json(args)?;
        let nothing = "nothing: it was refused before anything was done";
        let other = "have another operator run the same command within the hour";
        failed(&told, (10, "second-operator"), nothing, other)?;
        ensure!(unchanged()?, "{args:?} was done for one operator");
    }
    second(site, args)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_repository_goes_for_one() -> Result<()> {
    let mut site = Site::start().await?;
    reconfigure(&mut site, |text| text + RETENTION).await?;
    DOCS.create(&site.qdrant).await?;
    let (held, pinned) = (backup(&site)?, backup(&site)?);
    backup(&site)?;
    site.ok(&["backup", "pin", &pinned, "--reason", "golden"])?;
    let hold = [
        "hold", "place", "case-7", "--owner", "legal", "--reason", "a suit",
    ];
    site.ok(&[&hold[..], &["--point", &held]].concat())?;
    let holds =
        |site: &Site| -> Result<bool> { Ok(site.ok(&["hold", "list"])?["holds"] != json!([])) };
    let is_pinned = |site: &Site| -> Result<bool> {
        let shown = site.ok(&["backup", "show", &pinned])?;
        Ok(!shown["backup"]["pin"].is_null())
    };

    // A dry run needs nobody, and counts for nobody.
    for dry in [
        &["backup", "prune"][..],
        &["hold", "release", "case-7"],
        &["backup", "unpin", &pinned],
    ] {
        site.ok(dry)?;
        second(&site, dry)?;
    }
    let unpin = ["backup", "unpin", &pinned, "--confirm"];
    let done = takes_two(&site, &unpin, || is_pinned(&site))?;
    ensure!(done["changed"] == true && !is_pinned(&site)?, "{done}");
    let release = ["hold", "release", "case-7", "--confirm"];
    takes_two(&site, &release, || holds(&site))?;
    ensure!(!holds(&site)?, "two have released it");

    let prune = ["backup", "prune", "--confirm"];
    let marked = takes_two(&site, &prune, || Ok(listed(&site, &[])?.len() == 3))?;
    ensure!(marked["confirmed"] == true, "{marked}");
    ensure!(listed(&site, &[])?.len() == 1, "two have marked them");
    let swept = takes_two(&site, &prune, || {
        Ok(listed(&site, &["--deleted"])?.len() == 3)
    })?;
    let mut gone: Vec<_> = swept["deleted"].as_array().context("no list")?.clone();
    gone.sort_by_key(ToString::to_string);
    let mut expected = vec![json!(held), json!(pinned)];
    expected.sort_by_key(ToString::to_string);
    ensure!(gone == expected, "{swept}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_copy_goes_for_one() -> Result<()> {
    let mut site = Site::start().await?;
    let place = site.dir().join("b").display().to_string();
    let section = format!("{RETENTION}[[copy]]\nname = \"b\"\npath = {place:?}\n{COPY_RULES}");
    reconfigure(&mut site, |text| text + &section).await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["repo", "copy", "add", "b", "--confirm"])?;
    let old = backup(&site)?;
    site.ok(&["repo", "copy", "sync", "b", "--wait"])?;
    let hold = [
        "hold", "place", "case-7", "--owner", "legal", "--reason", "a suit",
    ];
    site.ok(&[&hold[..], &["--point", &old]].concat())?;
    backup(&site)?;
    site.ok(&["repo", "copy", "sync", "b", "--wait"])?;
    let release = ["hold", "release", "case-7", "--confirm"];
    takes_two(&site, &release, || {
        Ok(site.ok(&["hold", "list"])?["holds"] != json!([]))
    })?;
    site.ok(&["repo", "copy", "sync", "b", "--wait"])?;

    // Without --confirm it says what would go, and nothing goes.
    let only_here = |site: &Site| -> Result<Value> {
        let copies = site.ok(&["repo", "copy", "list"])?;
        Ok(copies["copies"][0]["only_here"].clone())
    };
    ensure!(
        only_here(&site)? == json!(["holds/case-7"]),
        "{}",
        only_here(&site)?
    );
    let shown = site.ok(&["repo", "copy", "sync", "b", "--release"])?;
    ensure!(
        shown["changed"] == false && shown["job"].is_null(),
        "{shown}"
    );
    ensure!(
        shown["copy"]["only_here"] == json!(["holds/case-7"]),
        "{shown}"
    );
    let on_copy = site.dir().join("b/holds/case-7");
    ensure!(on_copy.exists(), "a dry run removed it");
    let said = site.cli(&["repo", "copy", "sync", "b", "--release"])?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(
        said.contains("holds/case-7") && said.contains("repeat it with --confirm"),
        "{said}"
    );

    let release = ["repo", "copy", "sync", "b", "--release", "--confirm"];
    let done = takes_two(&site, &release, || Ok(on_copy.exists()))?;
    ensure!(done["released"] == 1 && done["changed"] == true, "{done}");
    ensure!(!on_copy.exists(), "two have released it");
    until("its run to end", Duration::from_secs(60), || async {
        let copies = site.ok(&["repo", "copy", "list"]).ok()?;
        copies["copies"][0]["open_run"].is_null().then_some(())
    })
    .await?;
    ensure!(only_here(&site)? == json!([]));

    let prune = ["repo", "copy", "prune", "b", "--confirm"];
    let there = |site: &Site| listed(site, &["--from-copy", "b"]);
    let marked = takes_two(&site, &prune, || Ok(there(&site)?.len() == 2))?;
    ensure!(marked["confirmed"] == true, "{marked}");
    let swept = takes_two(&site, &prune, || {
        Ok(site.dir().join("b/points").join(&old).exists())
    })?;
    ensure!(swept["deleted"] == json!([old]), "{swept}");
    ensure!(!site.dir().join("b/points").join(&old).exists());
    ensure!(
        listed(&site, &[])?.len() == 2,
        "the repository still has both"
    );
    Ok(())
}
