//! Tests of the configuration.

use super::{AgentConfigError, DEFAULT_CONFIG, RawConfig, check};
use holdfast_service::config::{Strictness, parse};
use holdfast_types::ByteCount;
use std::path::Path;
use std::time::Duration;

fn load(text: &str) -> Result<super::AgentConfig, AgentConfigError> {
    let loaded = parse::<RawConfig>(text, Path::new("agent.toml"), Strictness::Strict)?;
    check(loaded.value)
}

fn without(key: &str) -> String {
    DEFAULT_CONFIG
        .lines()
        .filter(|line| !line.starts_with(key))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_printed_default_is_valid_and_shows_the_defaults() {
    let config = load(DEFAULT_CONFIG).unwrap();
    assert_eq!(config.spool_limit, ByteCount::mib(1024));
    assert_eq!(config.limits.retry_for, Duration::from_secs(900));
    assert!((1..=4).contains(&config.limits.encode_threads));
    for key in [
        "max_mib",
        "full_every",
        "optimizer_wait_secs",
        "encode_threads",
        "retry_secs",
        "qdrant_bulk",
        "format",
        "filter",
    ] {
        let shorter = load(&without(key)).unwrap();
        assert_eq!(format!("{shorter:?}"), format!("{config:?}"), "{key}");
    }
}

#[test]
fn what_must_be_there_is_named() {
    for key in [
        "node",
        "cluster",
        "state_dir",
        "endpoint",
        "cert",
        "key",
        "ca",
        "url",
    ] {
        let error = load(&without(key)).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn values_without_sense_are_refused_with_the_rule() {
    let change = |from: &str, to: &str| {
        assert!(DEFAULT_CONFIG.contains(from), "{from}");
        let error = load(&DEFAULT_CONFIG.replace(from, to)).unwrap_err();
        crate::failure::chain(&error)
    };
    for (from, to, want) in [
        ("\"n1\"", "\"N 1\"", "node is not valid: node name"),
        (
            "https://coordinator",
            "http://coordinator",
            "https://host:port",
        ),
        (".example:6350", ".example", "https://host:port"),
        ("http://127.0.0.1:6333", "127.0.0.1:6333", "qdrant.url"),
        (
            "http://127.0.0.1:6333",
            "http://me:secret@127.0.0.1:6333",
            "qdrant.url must not hold a user name",
        ),
        ("max_mib = 1024", "max_mib = 1", "spool.max_mib must be"),
        (
            "encode_threads = 0",
            "encode_threads = 99",
            "limits.encode_threads must be",
        ),
        (
            "filter = \"info\"",
            "filter = \"info,x=loudly\"",
            "log.filter is not valid",
        ),
    ] {
        let message = change(from, to);
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn paths_are_checked_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = load(DEFAULT_CONFIG).unwrap();
    let error = config.check_paths().unwrap_err().to_string();
    assert!(
        error.starts_with("tls.cert: can't read /etc/holdfast"),
        "{error}"
    );
    let file = dir.path().join("pem");
    std::fs::write(&file, "x").unwrap();
    config.tls = super::TlsPaths {
        cert: file.clone(),
        key: file.clone(),
        ca: file,
    };
    config.state_dir = dir.path().join("not/yet");
    config.check_paths().unwrap();
    config.state_dir = dir.path().join("pem/state");
    let error = config.check_paths().unwrap_err();
    let text = crate::failure::chain(&error);
    for part in [
        "state_dir",
        "pem/state",
        "can create or write to",
        "ot a directory",
    ] {
        assert!(text.contains(part), "{text}");
    }
    config.state_dir = "relative".into();
    config.check_paths().unwrap();
    config.qdrant.snapshots_dir = Some(dir.path().join("missing"));
    let error = config.check_paths().unwrap_err().to_string();
    assert!(error.starts_with("qdrant.snapshots_dir"), "{error}");
}
