//! What is done on the repository itself, with no coordinator between: places are tried, and indexes made anew when that is confirmed.

use crate::copies::reconfigure;
use anyhow::{Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::digest::contents;
use holdfast_tests::site::Site;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 1000,
    dim: 32,
};

fn alone(site: &Site, args: &[&str]) -> Result<(i32, Value)> {
    let config = site.dir().join("coordinator.toml").display().to_string();
    site.json(&[args, &["--coordinator-config", &config]].concat())
}

fn indexes(site: &Site) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(site.repository().join("index"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_made_anew_when_that_is_confirmed() -> Result<()> {
    let mut site = Site::start().await?;
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    DOCS.upsert(&site.qdrant, 0..100, 1).await?;
    let captured = contents(&site.qdrant, DOCS.name).await?;
    site.ok(&["backup", "create"])?;
    let old = indexes(&site)?;
    ensure!(old.len() >= 2, "{old:?}");
    let rebuild = ["repo", "rebuild-index"];
    let confirmed = ["repo", "rebuild-index", "--confirm"];
    // To look takes no lock.
    let (code, shown) = alone(&site, &rebuild)?;
    ensure!(code == 0 && shown["confirmed"] == false, "{code}: {shown}");
    ensure!(
        shown["written"] == 1 && shown["removed"] == old.len(),
        "{shown}"
    );
    ensure!(shown["packs"].as_u64() >= Some(2), "{shown}");
    let (code, refused) = alone(&site, &confirmed)?;
    ensure!(
        code == 7 && refused["code"] == "repository-locked",
        "{refused}"
    );
    ensure!(indexes(&site)? == old, "an index was touched");

    site.coordinator.stop(Duration::from_secs(30))?;
    let (code, done) = alone(&site, &confirmed)?;
    ensure!(code == 0 && done["confirmed"] == true, "{code}: {done}");
    for count in ["packs", "chunks", "written", "removed"] {
        ensure!(done[count] == shown[count], "{count}: {shown} but {done}");
    }
    let new = indexes(&site)?;
    ensure!(new.len() == 1 && new.is_disjoint(&old), "{new:?}");
    site.coordinator.restart()?;
    site.wait_connected().await?;
    site.qdrant.delete("/collections/docs").await?;
    site.ok(&["restore", "run", "latest"])?;
    ensure!(contents(&site.qdrant, DOCS.name).await? == captured);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_of_a_copy_is_tried_before_anything_is_made_there() -> Result<()> {
    let mut site = Site::start().await?;
    let place = site.dir().join("b");
    let path = place.display().to_string();
    let section = format!("[[copy]]\nname = \"b\"\npath = {path:?}\n");
    reconfigure(&mut site, |text| text + &section).await?;
    let (code, refused) = alone(&site, &["repo", "probe", "--copy", "c"])?;
    ensure!(
        code == 9 && refused["code"] == "copy-not-found",
        "{refused}"
    );
    let probe = ["repo", "probe", "--copy", "b"];
    let (code, refused) = alone(&site, &probe)?;
    ensure!(
        code == 7 && refused["code"] == "repository-foreign",
        "{refused}"
    );
    let message = refused["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("copy b: ") && message.contains(&path),
        "{message}"
    );
    ensure!(!place.exists(), "a probe made it");

    fs::create_dir(&place)?;
    let (code, probed) = alone(&site, &probe)?;
    ensure!(
        code == 0 && probed["place"] == path.as_str(),
        "{code}: {probed}"
    );
    let checks = probed["checks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    ensure!(checks.len() > 5, "{probed}");
    ensure!(
        checks.iter().all(|check| check["failure"] == json!(null)),
        "{probed}"
    );
    let left: Vec<_> = fs::read_dir(&place)?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    ensure!(left.is_empty(), "the probe left {left:?}");
    let said = site.cli(&["repo", "copy", "add", "b"])?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(said.contains("`holdfast repo probe --copy b`"), "{said}");
    site.ok(&["repo", "copy", "add", "b", "--confirm"])?;
    // And it can be tried later, with what it holds.
    let (code, probed) = alone(&site, &probe)?;
    ensure!(code == 0, "{probed}");
    Ok(())
}
