//! Dependencies point one way. A new edge between crates is a deliberate event: it is added here first.

use crate::run::cargo;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Which workspace crates each crate may depend on (development dependencies apart).
const ALLOWED: &[(&str, &[&str])] = &[
    ("holdfast-types", &[]),
    ("holdfast-wal", &[]),
    ("holdfast-archive", &["holdfast-types", "holdfast-wal"]),
    ("holdfast-decide", &["holdfast-types"]),
    ("holdfast-store", &["holdfast-types"]),
    ("holdfast-store-s3", &["holdfast-types", "holdfast-store"]),
    (
        "holdfast-store-suite",
        &["holdfast-types", "holdfast-store"],
    ),
    ("holdfast-service", &["holdfast-types"]),
    ("holdfast-engine", &["holdfast-types", "holdfast-wal"]),
    ("holdfast-proto", &["holdfast-types"]),
    ("holdfast-certs", &["holdfast-types"]),
    ("holdfast-qdrant", &["holdfast-types", "holdfast-archive"]),
    (
        "holdfast-repository",
        &[
            "holdfast-types",
            "holdfast-archive",
            "holdfast-decide",
            "holdfast-store",
        ],
    ),
    (
        "holdfast-agent",
        &[
            "holdfast-types",
            "holdfast-archive",
            "holdfast-certs",
            "holdfast-proto",
            "holdfast-qdrant",
            "holdfast-service",
            "holdfast-wal",
        ],
    ),
    (
        "holdfast-coordinator",
        &[
            "holdfast-types",
            "holdfast-archive",
            "holdfast-certs",
            "holdfast-decide",
            "holdfast-proto",
            "holdfast-repository",
            "holdfast-service",
            "holdfast-store",
            "holdfast-store-s3",
            "holdfast-wal",
        ],
    ),
    (
        "holdfast",
        &[
            "holdfast-types",
            "holdfast-agent",
            "holdfast-archive",
            "holdfast-certs",
            "holdfast-coordinator",
            "holdfast-decide",
            "holdfast-proto",
            "holdfast-qdrant",
            "holdfast-repository",
            "holdfast-service",
            "holdfast-store",
        ],
    ),
    (
        "holdfast-devnode",
        &["holdfast-types", "holdfast-engine", "holdfast-service"],
    ),
    (
        "holdfast-tests",
        &[
            "holdfast-types",
            "holdfast-archive",
            "holdfast-certs",
            "holdfast-decide",
            "holdfast-proto",
            "holdfast-qdrant",
            "holdfast-repository",
            "holdfast-service",
            "holdfast-store",
            "holdfast-store-s3",
            "holdfast-store-suite",
        ],
    ),
    (
        "holdfast-bench",
        &[
            "holdfast-types",
            "holdfast-archive",
            "holdfast-decide",
            "holdfast-repository",
            "holdfast-store",
            "holdfast-tests",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that must never be reached from another one, by any path: (from, to, why).
const UNREACHABLE: &[(&str, &str, &str)] = &[
    (
        "holdfast-agent",
        "qdrant-edge",
        "the agent stays a small binary",
    ),
    (
        "holdfast-agent",
        "aws-sdk-s3",
        "the agent stays a small binary",
    ),
    (
        "holdfast-coordinator",
        "qdrant-edge",
        "drills run in a child process",
    ),
    (
        "holdfast-repository",
        "aws-sdk-s3",
        "a repository knows stores by their trait",
    ),
    ("holdfast-store-s3", "aws-lc-rs", "one TLS provider: ring"),
    (
        "holdfast-coordinator",
        "aws-lc-rs",
        "one TLS provider: ring",
    ),
    ("holdfast-agent", "aws-lc-rs", "one TLS provider: ring"),
    ("holdfast", "aws-lc-rs", "one TLS provider: ring"),
    ("holdfast-archive", "tokio", "the format does no IO"),
    ("holdfast-decide", "tokio", "decisions do no IO"),
    ("holdfast-types", "tokio", "the vocabulary does no IO"),
    ("holdfast-wal", "tokio", "the log is read by the caller"),
];

/// What only one of our crates may name: (dependency, that crate, what it is).
const OWNED: &[(&str, &str, &str)] = &[
    ("qdrant-edge", "holdfast-engine", "the embedded engine"),
    ("aws-sdk-s3", "holdfast-store-s3", "the AWS SDK"),
    ("aws-config", "holdfast-store-s3", "the AWS SDK"),
];

/// Normal and build dependencies by package name.
type Graph = BTreeMap<String, BTreeSet<String>>;

pub(crate) fn run() -> Result<()> {
    let output = cargo(&["metadata", "--format-version", "1", "--locked"]).output()?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata = serde_json::from_slice(&output.stdout)?;
    let mut faults = strangers(&members(&metadata)?);
    faults.extend(edge_faults(&graph(&metadata)?));
    for fault in &faults {
        eprintln!("check-deps: {fault}");
    }
    ensure!(
        faults.is_empty(),
        "{} fault(s) in the workspace's dependencies",
        faults.len()
    );
    println!(
        "check-deps: {} workspace crates, every edge allowed",
        ALLOWED.len()
    );
    Ok(())
}

fn edge_faults(graph: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    for (name, deps) in graph {
        for (large, owner, what) in OWNED {
            if deps.contains(*large) && name != owner {
                faults.push(format!("{name} → {large}: only {owner} may link {what}"));
            }
        }
    }
    for (name, allowed) in ALLOWED {
        for dep in graph.get(*name).into_iter().flatten() {
            if ours.contains(dep.as_str()) && !allowed.contains(&dep.as_str()) {
                faults.push(format!("{name} → {dep}: not in the table of allowed edges"));
            }
        }
    }
    for (from, to, why) in UNREACHABLE {
        if reaches(graph, from, to) {
            faults.push(format!("{from} reaches {to}: {why}"));
        }
    }
    faults
}

/// Crates of the workspace that the table does not know, and the other way round.
fn strangers(members: &BTreeSet<String>) -> Vec<String> {
    let table: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let new = members.iter().filter(|name| !table.contains(name.as_str()));
    let gone = table.iter().filter(|name| !members.contains(**name));
    new.map(|name| {
        format!("{name}: add it, with what it may depend on, to the table of allowed edges")
    })
    .chain(gone.map(|name| {
        format!("{name}: in the table of allowed edges, but no crate of the workspace")
    }))
    .collect()
}

/// Names of the workspace's crates.
fn members(metadata: &Value) -> Result<BTreeSet<String>> {
    let names = names(metadata)?;
    let ids = metadata["workspace_members"].as_array();
    let ids = ids.context("cargo metadata has no workspace members")?;
    let name = |id: &Value| names.get(id.as_str()?).map(|name| (*name).to_owned());
    ids.iter()
        .map(|id| name(id).with_context(|| format!("{id} is no package")))
        .collect()
}

/// Names of packages by their ids.
fn names(metadata: &Value) -> Result<BTreeMap<&str, &str>> {
    Ok(metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?
        .iter()
        .filter_map(|p| Some((p["id"].as_str()?, p["name"].as_str()?)))
        .collect())
}

fn reaches(graph: &Graph, from: &str, to: &str) -> bool {
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            open.extend(graph.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

fn graph(metadata: &Value) -> Result<Graph> {
    let names = names(metadata)?;
    let mut graph = Graph::new();
    for node in metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata has no graph")?
    {
        let id = node["id"].as_str().context("a node without id")?;
        let deps = graph
            .entry(names.get(id).copied().unwrap_or(id).to_owned())
            .or_default();
        for dep in node["deps"].as_array().into_iter().flatten() {
            let in_product = dep["dep_kinds"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|k| k["kind"] != "dev");
            if let (true, Some(pkg)) = (in_product, dep["pkg"].as_str()) {
                deps.insert(names.get(pkg).copied().unwrap_or(pkg).to_owned());
            }
        }
    }
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, Graph, edge_faults as faults, strangers};

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        graph
    }

    #[test]
    fn an_edge_against_the_direction_is_a_fault() {
        assert!(faults(&graph(&[("holdfast-archive", "holdfast-types")])).is_empty());
        assert_eq!(
            faults(&graph(&[("holdfast-types", "holdfast-archive")])).len(),
            1
        );
    }

    #[test]
    fn a_large_dependency_is_found_behind_another() {
        let found = faults(&graph(&[("holdfast-agent", "x"), ("x", "aws-sdk-s3")]));
        let wanted = "holdfast-agent reaches aws-sdk-s3: the agent stays a small binary";
        assert!(found.contains(&wanted.to_owned()), "{found:?}");
    }

    #[test]
    fn only_the_s3_crate_links_the_aws_sdk() {
        assert_eq!(
            faults(&graph(&[("holdfast-coordinator", "aws-config")])),
            ["holdfast-coordinator → aws-config: only holdfast-store-s3 may link the AWS SDK"]
        );
        assert!(faults(&graph(&[("holdfast-store-s3", "aws-sdk-s3")])).is_empty());
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_a_fault_and_the_other_way_round() {
        let mut members = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert!(strangers(&members).is_empty());
        members.insert("holdfast-new".to_owned());
        members.remove("xtask");
        let found = strangers(&members);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("holdfast-new: ") && found[1].starts_with("xtask: "));
    }

    #[test]
    fn only_the_engine_crate_links_the_engine() {
        assert_eq!(
            faults(&graph(&[("holdfast-devnode", "qdrant-edge")])).len(),
            1
        );
        assert!(faults(&graph(&[("holdfast-engine", "qdrant-edge")])).is_empty());
    }
}
