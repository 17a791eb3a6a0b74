//! Which listings are taken.

use super::{EntryKind, ExtraListing, ListedEntry, ListingError};
use crate::file_class::FileClass;
use crate::recipe::{FileRecipe, ShardRecipe};
use serde_json::{Value, json};

fn file(path: &str, size: u64) -> ListedEntry {
    let kind = EntryKind::File {
        size,
        blake3: "ab".repeat(32),
    };
    entry(path, kind)
}

fn entry(path: &str, kind: EntryKind) -> ListedEntry {
    ListedEntry {
        path: path.to_owned(),
        mode: 0o640,
        mtime_us: 7,
        kind,
    }
}

fn link(path: &str) -> ListedEntry {
    let target = "../elsewhere".to_owned();
    entry(path, EntryKind::Link { target })
}

fn content(path: &str) -> FileRecipe {
    FileRecipe {
        path: path.to_owned(),
        size: 0,
        class: FileClass::General,
        extents: vec![],
    }
}

#[test]
fn a_listing_reads_back_as_it_was_written() {
    let listing = ExtraListing::new(vec![
        file("etc/qdrant/config.yaml", 12),
        entry("etc/qdrant", EntryKind::Directory),
        link("etc/qdrant/current"),
    ]);
    let json = listing.to_json().unwrap();
    assert_eq!(ExtraListing::from_json(&json).unwrap(), listing);
    let value: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        value["entries"][1],
        json!({"path": "etc/qdrant/config.yaml", "mode": 0o640, "mtime_us": 7, "kind": "file",
               "size": 12, "blake3": "ab".repeat(32)})
    );
    let newer = br#"{"format":2,"entries":"other"}"#;
    let newer = ExtraListing::from_json(newer).unwrap_err();
    assert!(matches!(newer, ListingError::NewerFormat(2)), "{newer}");
}

#[test]
fn no_path_leads_out_of_the_directory() {
    for bad in [
        "",
        "/",
        "/etc/passwd",
        "../a",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        "a\nb",
        "a\\b",
        "..",
        &"x/".repeat(2100),
    ] {
        let json = ExtraListing::new(vec![file(bad, 1)]).to_json();
        assert!(matches!(json, Err(ListingError::UnsafePath(_))), "{bad:?}");
    }
    for good in ["a", "..data", "a/..2026", "a b/ü"] {
        assert!(
            ExtraListing::new(vec![file(good, 1)]).to_json().is_ok(),
            "{good}"
        );
    }
}

#[test]
fn nothing_lies_in_a_link_or_a_file() {
    for entries in [
        vec![link("a"), file("a/b", 1)],
        vec![link("a"), file("a/b/c", 1)],
        vec![file("a", 1), entry("a/b", EntryKind::Directory)],
        // Between the two another name sorts.
        vec![link("a"), file("a-b", 1), file("a/b", 1)],
        vec![file("a", 1), file("a", 1)],
    ] {
        let json = ExtraListing::new(entries.clone()).to_json();
        let refused = matches!(json, Err(ListingError::Inconsistent { .. }));
        assert!(refused, "{entries:?}");
    }
}

#[test]
fn hashes_modes_and_links_are_looked_at() {
    let mut hash = file("a", 1);
    hash.kind = EntryKind::File {
        size: 1,
        blake3: "zz".repeat(32),
    };
    let mut mode = file("a", 1);
    mode.mode = 0o100_644;
    let nowhere = entry(
        "a",
        EntryKind::Link {
            target: String::new(),
        },
    );
    for bad in [hash, mode, nowhere] {
        assert!(
            ExtraListing::new(vec![bad.clone()]).to_json().is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn the_recipe_must_be_of_the_listed_files() {
    let listing = ExtraListing::new(vec![file("a", 0), file("b", 0)]);
    let files = |paths: &[&str]| {
        let recipe = ShardRecipe::new(paths.iter().map(|path| content(path)).collect());
        listing.files(&recipe).map(|files| files.len()).ok()
    };
    assert_eq!(files(&["listing.json", "files/a", "files/b"]), Some(2));
    for bad in [
        &["listing.json", "files/a"][..],
        &["listing.json", "files/a", "files/c"],
        &["listing.json", "files/a", "files/b", "files/c"],
        &["listing.json", "a", "b"],
    ] {
        assert_eq!(files(bad), None, "{bad:?}");
    }
    let listing = ExtraListing::new(vec![file("a", 5)]);
    let recipe = ShardRecipe::new(vec![content("files/a")]);
    assert!(listing.files(&recipe).is_err());
}
