use super::{ConfigError, Strictness, load, parse};
use serde::Deserialize;
use std::path::Path;

#[derive(Debug, Deserialize)]
struct Config {
    node: String,
    tls: Option<Tls>,
    #[serde(default)]
    extra: Vec<Extra>,
}

#[derive(Debug, Deserialize)]
struct Tls {
    cert: String,
}

#[derive(Debug, Deserialize)]
struct Extra {
    name: String,
}

const MISSPELT: &str = r#"node = "n1"
colour = "red"

[tls]
certt = "x"
cert = "c.pem"

[[extra]]
name = "redis"

[[extra]]
name = "files"
nmae = "files"
"#;

fn check(text: &str, strictness: Strictness) -> Result<super::Loaded<Config>, ConfigError> {
    parse(text, Path::new("agent.toml"), strictness)
}

#[test]
fn a_good_file_loads() {
    let loaded = check(
        "node = \"n1\"\n[tls]\ncert = \"c\"\n[[extra]]\nname = \"a\"",
        Strictness::Strict,
    )
    .unwrap();
    assert_eq!(loaded.value.node, "n1");
    assert_eq!(loaded.value.tls.unwrap().cert, "c");
    assert_eq!(loaded.value.extra[0].name, "a");
    assert_eq!(loaded.unknown_keys, []);
}

#[test]
fn unknown_keys_are_named_with_line_and_suggestion() {
    let error = check(MISSPELT, Strictness::Strict).unwrap_err();
    assert_eq!(
        error.to_string(),
        "agent.toml: line 2: unknown key `colour`; line 5: unknown key `tls.certt` (did you mean `tls.cert`?); \
         line 13: unknown key `extra.1.nmae` (did you mean `extra.1.name`?)"
    );
    let loaded = check(MISSPELT, Strictness::Lenient).unwrap();
    assert_eq!(loaded.unknown_keys.len(), 3);
    assert_eq!(loaded.value.tls.unwrap().cert, "c.pem");
}

#[test]
fn an_unknown_section_stands_on_its_line() {
    let text = "node = \"n1\"\n\n[tlss]\ncert = \"c\"\n";
    let loaded = check(text, Strictness::Lenient).unwrap();
    assert_eq!(
        loaded.unknown_keys[0].to_string(),
        "line 3: unknown key `tlss` (did you mean `tls`?)"
    );
}

#[test]
fn a_wrong_type_or_missing_key_names_line_and_key() {
    for (text, want) in [
        (
            "\nnode = 3",
            "agent.toml:2: invalid type: integer `3`, expected a string",
        ),
        ("", "agent.toml:1: missing field `node`"),
        (
            "node = \"a\"\n[tls]\n",
            "agent.toml:2: missing field `cert`",
        ),
    ] {
        assert_eq!(
            check(text, Strictness::Lenient).unwrap_err().to_string(),
            want
        );
    }
    let syntax = check("node = \"a\"\ntls = [", Strictness::Lenient).unwrap_err();
    assert!(syntax.to_string().starts_with("agent.toml:2: "), "{syntax}");
}

#[test]
fn an_unreadable_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing.toml");
    let error = load::<Config>(&path, Strictness::Strict).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert!(error.to_string().contains("missing.toml"), "{error}");

    let huge = dir.path().join("huge.toml");
    std::fs::write(&huge, vec![b'#'; (1 << 20) + 1]).unwrap();
    let error = load::<Config>(&huge, Strictness::Strict).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
}
