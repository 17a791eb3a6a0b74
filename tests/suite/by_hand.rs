//! What is done on a place itself, with no coordinator between: it is tried before anything is made there.

use crate::copies::reconfigure;
use anyhow::{Result, ensure};
use holdfast_tests::site::Site;
use serde_json::{Value, json};
use std::fs;

fn alone(site: &Site, args: &[&str]) -> Result<(i32, Value)> {
    let config = site.dir().join("coordinator.toml").display().to_string();
    site.json(&[args, &["--coordinator-config", &config]].concat())
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
