//! A new agent comes with a token and nothing else, takes over a node's place, and the old one is kept out.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::dataset::Dataset;
use holdfast_tests::ran_on;
use holdfast_tests::site::{NODE, Site};
use holdfast_tests::wait::until;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
const DOCS: Dataset<'static> = Dataset {
    name: "docs",
    points: 500,
    dim: 16,
};

/// A token for a node, and where it is presented.
fn token(site: &Site, node: &str) -> Result<(String, String)> {
    let made = site.ok(&["nodes", "enrol", node, "--valid-for", "10m"])?;
    let text = |field: &str| made[field].as_str().map(str::to_owned).context("a field");
    Ok((text("token")?, text("endpoint")?))
}

fn enrol(site: &Site, node: &str, (token, endpoint): &(String, String)) -> Result<Output> {
    site.agent_command(
        node,
        &["enrol", "--coordinator", endpoint, "--token", token],
    )
}

/// It ended with this code, said this, and wrote nothing.
fn refused(site: &Site, node: &str, output: &Output, code: i32, said: &str) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let ended = output.status.code();
    ensure!(ended == Some(code), "{ended:?}, not {code}: {stderr}");
    ensure!(stderr.contains(said), "{said}: {stderr}");
    let dir = site.dir().join("certs").join(node);
    let there: Vec<_> = fs::read_dir(&dir).into_iter().flatten().collect();
    ensure!(there.is_empty(), "{there:?} was written");
    Ok(())
}

fn nodes(site: &Site) -> Result<Value> {
    site.ok(&["nodes"])
}

fn is_connected(site: &Site, node: &str) -> bool {
    let listed = nodes(site).unwrap_or_default();
    let nodes = listed["nodes"].as_array().into_iter().flatten();
    let mut found = nodes.filter(|one| one["node"] == node);
    found.any(|one| one["connected"] == true && !one["qdrant"].is_null())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_enrols_with_a_token_captures_and_takes_the_place_of_another() -> Result<()> {
    let mut site = Site::start().await?;
    ran_on(site.qdrant.kind);
    DOCS.create(&site.qdrant).await?;
    site.ok(&["backup", "create"])?;
    let off = site.cli(&["nodes", "enrol", "n2"])?;
    ensure!(off.status.code() == Some(3), "{off:?}");
    site.enrols().await?;
    site.write_agent("n2")?;
    site.write_agent("n3")?;
    let forbidden = site.cli_as("viewer", &["nodes", "enrol", "n2"])?;
    ensure!(forbidden.status.code() == Some(13), "{forbidden:?}");

    // Refused, each for its reason, and the token stays good.
    let given = token(&site, "n2")?;
    let (secret, pin) = (given.0[5..37].to_owned(), given.0[38..].to_owned());
    let turned = |text: &str| text.replace(['0', '1', '2', '3'], "f").replace('9', "8");
    let wrong_secret = (given.0.replace(&secret, &turned(&secret)), given.1.clone());
    let output = enrol(&site, "n2", &wrong_secret)?;
    refused(&site, "n2", &output, 13, "token-unknown")?;
    let wrong_pin = (given.0.replace(&pin, &turned(&pin)), given.1.clone());
    let output = enrol(&site, "n2", &wrong_pin)?;
    refused(&site, "n2", &output, 4, "pinned fingerprint")?;
    let output = enrol(&site, "n3", &given)?;
    refused(&site, "n3", &output, 13, "token-other-node")?;
    let output = enrol(&site, "n2", &("hfe1.x.y".to_owned(), given.1.clone()))?;
    refused(&site, "n2", &output, 2, "no enrolment token")?;
    // The door for those without a certificate is not the other one.
    let main = (given.0.clone(), site.endpoint.clone());
    let output = enrol(&site, "n2", &main)?;
    refused(&site, "n2", &output, 4, "")?;
    let revoked = token(&site, "n2")?;
    let listed = site.ok(&["nodes", "tokens"])?;
    let id = listed["tokens"][0]["id"].as_str().context("an id")?;
    site.ok(&["nodes", "revoke-token", id])?;
    let output = enrol(&site, "n2", &revoked)?;
    refused(&site, "n2", &output, 13, "token-used")?;

    // Across a crash of the coordinator.
    site.coordinator.kill9()?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    let output = enrol(&site, "n2", &given)?;
    ensure!(output.status.success(), "{output:?}");
    let certs = site.dir().join("certs/n2");
    let mode = fs::metadata(certs.join("key.pem"))?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    // In an init step it may run again; elsewhere the token is spent, after another restart too.
    let again = enrol(&site, "n2", &given)?;
    let said = String::from_utf8_lossy(&again.stdout);
    ensure!(
        again.status.success() && said.contains("nothing was done"),
        "{said}"
    );
    site.coordinator.kill9()?;
    site.coordinator.restart()?;
    site.wait_connected().await?;
    fs::rename(&certs, site.dir().join("certs/kept"))?;
    let output = enrol(&site, "n2", &given)?;
    refused(&site, "n2", &output, 13, "token-used")?;
    let _empty = fs::remove_dir(&certs);
    fs::rename(site.dir().join("certs/kept"), &certs)?;

    take_over(&mut site).await
}

/// n2 takes the place of n1, whose agent is kept out.
async fn take_over(site: &mut Site) -> Result<()> {
    site.agent.stop(Duration::from_secs(60))?;
    let _n2 = site.start_agent("n2")?;
    let here = || async { is_connected(site, "n2").then_some(()) };
    until("the enrolled agent to be connected", LIMIT, here).await?;
    let told = site.ok(&["nodes", "replace", NODE, "--with", "n2"])?;
    ensure!(told["removed"] == false, "{told}");
    let done = site.ok(&["nodes", "replace", NODE, "--with", "n2", "--confirm"])?;
    ensure!(
        done["removed"] == true && done["successor"] == "n2",
        "{done}"
    );
    // A base of it is captured by itself.
    let newest = || async {
        let listed = site.ok(&["backup", "list"]).ok()?;
        let backups = listed["backups"].as_array()?;
        (backups.len() == 2).then(|| backups[0].clone())
    };
    let newest = until("a base of the new node", LIMIT, newest).await?;
    let id = newest["recovery_point"].as_str().context("an id")?;
    let shown = site.ok(&["backup", "show", id])?;
    let shard = &shown["manifest"]["collections"][0]["shards"][0];
    ensure!(shard["node"] == "n2", "{shown}");

    site.agent.restart()?;
    let kept_out = || async { site.agent.log().contains("node-removed").then_some(()) };
    until("the old agent to be turned away", LIMIT, kept_out).await?;
    let listed = nodes(site)?;
    ensure!(
        listed["nodes"].as_array().map(Vec::len) == Some(1),
        "{listed}"
    );
    ensure!(listed["removed"][0]["node"] == NODE, "{listed}");
    let status = site.ok(&["status"])?;
    let alarmed = status["warnings"].to_string().contains("node n1");
    ensure!(!alarmed, "{status}");
    Ok(())
}
