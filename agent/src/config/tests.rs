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

fn with_extra(text: &str) -> Result<Vec<super::ExtraSection>, String> {
    let config = load(&format!("{DEFAULT_CONFIG}\n[[extra]]\n{text}"));
    config
        .map(|config| config.extras)
        .map_err(|error| crate::failure::chain(&error))
}

#[test]
fn an_extra_has_defaults_and_shows_no_arguments() {
    let extras = with_extra(
        "name = \"redis\"\npaths = [\"/var/lib/redis/dump.rdb\"]\nbefore = [\"/bin/redis-cli\", \"-a\", \"hunter2\"]",
    )
    .unwrap();
    let extra = &extras[0];
    assert_eq!(extra.timeout, Duration::from_secs(300));
    assert_eq!(extra.limit, ByteCount::mib(1024));
    assert!(!extra.required && !extra.config && extra.after.is_none());
    assert_eq!(extra.before.as_ref().unwrap().args, ["-a", "hunter2"]);
    let shown = format!("{extra:?}");
    assert!(
        shown.contains("redis-cli") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn the_extra_that_the_default_shows_is_valid() {
    let shown = DEFAULT_CONFIG
        .lines()
        .skip_while(|line| *line != "# [[extra]]");
    let shown = shown.take_while(|line| !line.is_empty());
    let lines = shown.filter_map(|line| line.strip_prefix("# "));
    let keys = lines.filter(|line| line.contains(" = "));
    let text = keys.collect::<Vec<_>>().join("\n");
    let shown = with_extra(&text).unwrap();
    let least = with_extra(
        "name = \"redis\"\npaths = [\"/var/lib/redis/dump.rdb\"]\nbefore = [\"/usr/bin/redis-cli\", \"save\"]",
    );
    assert_eq!(shown, least.unwrap(), "what it shows are the defaults");
}

#[test]
fn an_extra_that_must_not_be_is_refused_with_the_reason() {
    let paths = |paths: &str| format!("name = \"a\"\npaths = {paths}");
    for (text, want) in [
        (
            "name = \"A b\"\npaths = [\"/a\"]".to_owned(),
            "extra's name \"A b\" is not valid",
        ),
        (paths("[]"), "paths must name 1 to 256"),
        (paths("[\"/\"]"), "must not name /"),
        (paths("[\"etc/qdrant\"]"), "must be absolute"),
        (paths("[\"/a/../etc\"]"), "must be absolute"),
        (paths("[\"/a\\\\b\"]"), "must be absolute"),
        (paths("[\"/etc/a\", \"/etc/a/b\"]"), "overlap: name one"),
        (paths("[\"/etc/a\", \"/etc/a\"]"), "overlap: name one"),
        (paths("[\"/var/lib\"]"), "overlaps state_dir"),
        (
            paths("[\"/var/lib/holdfast-agent/x\"]"),
            "overlaps state_dir",
        ),
        (
            paths("[\"/etc/holdfast\"]"),
            "holds this agent's private key",
        ),
        (paths("[\"/a\"]\ntimeout_secs = 0"), "timeout_secs must be"),
        (paths("[\"/a\"]\nmax_mib = 0"), "max_mib must be"),
        (
            paths("[\"/a\"]\nbefore = [\"redis-cli save\"]"),
            "before must begin with the absolute path",
        ),
        (
            paths("[\"/a\"]\nafter = [\"rm\"]"),
            "after must begin with the absolute path",
        ),
        (
            paths("[\"/a\"]\n[[extra]]\nname = \"a\"\npaths = [\"/b\"]"),
            "two have this name",
        ),
        (paths("[\"/a\"]\nbefor = []"), "befor"),
    ] {
        let error = with_extra(&text).unwrap_err();
        assert!(error.contains(want), "{text}: {error}");
    }
    let seen = DEFAULT_CONFIG.replace("# storage_dir", "storage_dir");
    for bad in ["/qdrant", "/qdrant/storage", "/qdrant/storage/collections"] {
        let text = format!("{seen}\n[[extra]]\nname = \"a\"\npaths = [\"{bad}\"]");
        let error = load(&text).unwrap_err().to_string();
        assert!(error.contains("overlaps Qdrant's storage"), "{error}");
    }
}

#[test]
fn an_extras_programs_and_files_are_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("there"), "x").unwrap();
    let check = |text: String| {
        let extras = with_extra(&text).unwrap();
        super::check_extra(&extras[0]).map_err(|error| error.to_string())
    };
    let of = |file: &str, more: &str| {
        let file = path(file);
        check(format!(
            "name = \"a\"\npaths = [\"{}\"]\n{more}",
            file.display()
        ))
    };
    assert_eq!(of("there", ""), Ok(()));
    assert!(of("gone", "").unwrap_err().contains("extra.paths"));
    // A hook may make it.
    assert_eq!(of("gone", "before = [\"/bin/sh\"]"), Ok(()));
    assert!(
        of("there", "after = [\"/no/such\"]")
            .unwrap_err()
            .contains("extra.after")
    );
    let text = format!("before = [\"{}\"]", path("there").display());
    assert!(of("there", &text).unwrap_err().contains("extra.before"));
}
