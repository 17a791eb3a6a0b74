//! Which recovery points stay, with real processes: rules, pins, holds, deletion, undeletion, the second operator, and that
//! the space comes back.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::ran_on;
use holdfast_tests::site::{Options, Site};
use serde_json::Value;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 2000,
    dim: 64,
};

/// No grace, so that what is marked can go with the next run; nothing by itself.
const AT_ONCE: &str = "[retention]\ngrace_hours = 0\ngarbage_grace_hours = 0\nevery_hours = 0\n";

fn options(rules: &'static str) -> Options {
    Options {
        coordinator: rules,
        ..Options::default()
    }
}

fn backup(site: &Site, more: &[&str]) -> Result<String> {
    let mut args = vec!["backup", "create"];
    args.extend(more);
    let made = site.ok(&args)?;
    let id = made["backup"]["recovery_point"].as_str();
    Ok(id.context("no id")?.to_owned())
}

fn listed(site: &Site) -> Result<Vec<String>> {
    let list = site.ok(&["backup", "list"])?;
    let backups = list["backups"].as_array().context("no list")?;
    let ids = backups.iter().filter_map(|b| b["recovery_point"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

fn of<'a>(report: &'a Value, id: &str) -> Result<&'a Value> {
    let verdicts = report["verdicts"].as_array().context("no verdicts")?;
    let mut verdicts = verdicts.iter();
    verdicts
        .find(|verdict| verdict["recovery_point"] == id)
        .with_context(|| format!("{id} was not judged: {report}"))
}

fn packs_on_disk(site: &Site) -> Result<u64> {
    let mut bytes = 0;
    for folder in std::fs::read_dir(site.repository().join("packs"))? {
        for pack in std::fs::read_dir(folder?.path())? {
            bytes += pack?.metadata()?.len();
        }
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_keeps_goes_and_its_space_comes_back() -> Result<()> {
    const RULES: &str = "[retention]\ngrace_hours = 0\ngarbage_grace_hours = 0\nevery_hours = 0\nmin_proven = 1\n[[retention.rules]]\nkeep_last = 1\n";
    let site = Site::start_with(options(RULES)).await?;
    ran_on(site.qdrant.kind);
    DOCS.create(&site.qdrant).await?;
    let mut ids = vec![backup(&site, &[])?];
    for round in 1..4 {
        // Everything is other than before: little is shared between the points.
        DOCS.upsert(&site.qdrant, 0..DOCS.points, round).await?;
        ids.push(backup(&site, &[])?);
    }
    let before = contents(&site.qdrant, DOCS.name).await?;
    let full = packs_on_disk(&site)?;

    let dry = site.ok(&["backup", "prune"])?;
    ensure!(
        dry["confirmed"] == false && dry["configured"] == true,
        "{dry}"
    );
    ensure!(
        of(&dry, &ids[3])?["keep"] == true && of(&dry, &ids[0])?["keep"] == false,
        "{dry}"
    );
    let reason = of(&dry, &ids[0])?["reasons"][0].to_string();
    ensure!(reason.contains("no rule keeps it: docs"), "{reason}");
    ensure!(listed(&site)?.len() == 4, "a dry run changes nothing");

    // Marks; sweeps the points; dooms their packs; sweeps those.
    for _ in 0..4 {
        site.ok(&["backup", "prune", "--confirm"])?;
    }
    ensure!(listed(&site)? == [ids[3].clone()], "{:?}", listed(&site)?);
    let left = packs_on_disk(&site)?;
    ensure!(left < full * 2 / 3, "{left} of {full} bytes are left");

    // The last one restores, and the next capture works, although what it shares with the removed ones is gone.
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest", "--collection", "docs"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == before);
    DOCS.upsert(&site.qdrant, 0..DOCS.points, 1).await?;
    let again = backup(&site, &[])?;
    let state = contents(&site.qdrant, DOCS.name).await?;
    site.ok(&[
        "restore",
        "run",
        &again,
        "--collection",
        "docs",
        "--as",
        "copy",
    ])?;
    ensure!(contents(&site.qdrant, "copy").await?.digest == state.digest);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn pins_and_holds_keep_and_deletion_can_be_taken_back() -> Result<()> {
    let rules = "[retention]\ngrace_hours = 1\nevery_hours = 0\nmin_proven = 1\n[[retention.rules]]\nkeep_last = 1\n[[retention.rules]]\ntags = [\"golden\"]\nkeep_last = 1\n";
    let mut site = Site::start_with(options(rules)).await?;
    DOCS.create(&site.qdrant).await?;
    let tagged = backup(&site, &["--tag", "golden"])?;
    let pinned = backup(&site, &[])?;
    let plain = backup(&site, &[])?;
    let newest = backup(&site, &[])?;
    site.ok(&["backup", "pin", &pinned, "--reason", "before the migration"])?;
    let pruned = site.ok(&["backup", "prune", "--confirm"])?;
    for (id, keep) in [
        (&tagged, true),
        (&pinned, true),
        (&plain, false),
        (&newest, true),
    ] {
        ensure!(of(&pruned, id)?["keep"] == keep, "{id}: {pruned}");
    }
    ensure!(
        pruned["waiting"][0]["recovery_point"] == plain.as_str(),
        "{pruned}"
    );
    ensure!(
        !listed(&site)?.contains(&plain),
        "marked points are not listed"
    );
    let all = site.ok(&["backup", "list", "--deleted"])?;
    ensure!(all["backups"].as_array().map(Vec::len) == Some(4), "{all}");

    // A mark survives a restart, binds nobody, and can be taken back within the grace.
    site.coordinator.kill9()?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    ensure!(!listed(&site)?.contains(&plain));
    ensure!(site.ok(&["backup", "undelete", &plain])?["changed"] == true);
    ensure!(listed(&site)?.contains(&plain));

    // A hold covers what its pattern names, takes the mark back, and stops every deletion.
    site.ok(&["backup", "prune", "--confirm"])?;
    let hold = [
        "hold", "place", "case-17", "--owner", "legal", "--reason", "a suit", "-c", "do*",
    ];
    let placed = site.ok(&hold)?;
    ensure!(placed["undeleted"][0] == plain.as_str(), "{placed}");
    let (code, refused) =
        site.json(&["backup", "delete", &plain, "--even-the-last", "--confirm"])?;
    ensure!(code == 10 && refused["code"] == "point-kept", "{refused}");
    ensure!(
        refused["message"]
            .to_string()
            .contains("legal hold by legal"),
        "{refused}"
    );
    ensure!(
        site.ok(&["hold", "list"])?["holds"][0]["covers"]
            .as_array()
            .map(Vec::len)
            == Some(4)
    );
    site.ok(&["hold", "release", "case-17"])?;
    ensure!(
        site.ok(&["hold", "list"])?["holds"][0]["active"] == true,
        "a dry run"
    );
    site.ok(&["hold", "release", "case-17", "--confirm"])?;
    let (code, _) = site.json(&["backup", "delete", &plain, "--confirm"])?;
    ensure!(code == 0);

    // The last of a collection goes only if that is meant.
    let (code, refused) = site.json(&["backup", "delete", &newest, "--confirm"])?;
    ensure!(
        code == 10 && refused["message"].to_string().contains("the newest point"),
        "{refused}"
    );
    ensure!(
        site.cli_as("viewer", &["backup", "prune", "--confirm"])?
            .status
            .code()
            == Some(13)
    );
    ensure!(site.cli_as("viewer", &["backup", "prune"])?.status.code() == Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_two_must_agree_one_is_not_enough() -> Result<()> {
    let rules = "[retention]\ngrace_hours = 1\nevery_hours = 0\ntwo_person = true\n";
    let site = Site::start_with(options(rules)).await?;
    DOCS.create(&site.qdrant).await?;
    let old = backup(&site, &[])?;
    backup(&site, &[])?;
    backup(&site, &[])?;
    let delete = [
        "backup",
        "delete",
        &old,
        "--reason",
        "wrong data",
        "--confirm",
    ];
    for _ in 0..2 {
        let (code, refused) = site.json(&delete)?;
        ensure!(
            code == 10 && refused["code"] == "second-operator",
            "{refused}"
        );
    }
    ensure!(listed(&site)?.contains(&old));
    let other = site.cli_as("operator2", &delete)?;
    ensure!(
        other.status.success(),
        "{}",
        String::from_utf8_lossy(&other.stderr)
    );
    ensure!(!listed(&site)?.contains(&old));
    Ok(())
}

/// Without rules nothing is ever marked, and a point can still be removed by name.
#[tokio::test(flavor = "multi_thread")]
async fn without_rules_only_what_is_named_goes() -> Result<()> {
    let site = Site::start_with(options(AT_ONCE)).await?;
    DOCS.create(&site.qdrant).await?;
    let ids = [
        backup(&site, &[])?,
        backup(&site, &[])?,
        backup(&site, &[])?,
    ];
    let pruned = site.ok(&["backup", "prune", "--confirm"])?;
    ensure!(
        pruned["configured"] == false && listed(&site)?.len() == 3,
        "{pruned}"
    );
    site.ok(&["backup", "delete", &ids[0], "--confirm"])?;
    let pruned = site.ok(&["backup", "prune", "--confirm"])?;
    ensure!(pruned["deleted"][0] == ids[0].as_str(), "{pruned}");
    let (code, gone) = site.json(&["backup", "undelete", &ids[0]])?;
    ensure!(code == 9 && gone["code"] == "point-not-found", "{gone}");
    ensure!(listed(&site)?.len() == 2);
    Ok(())
}
