//! What the `key` commands show.

use super::{KeyChangeView, KeysView, MasterRotationView};
use crate::output::{View as _, render_json};
use holdfast_repository::{KeyListing, KeyState, MasterRotation};
use holdfast_types::{Epoch, KeyHolder, Timestamp};
use std::path::Path;

fn holder(name: &str) -> KeyHolder {
    name.parse().expect("a name")
}

fn key(name: &str, state: KeyState, is_own: bool) -> KeyListing {
    KeyListing {
        holder: holder(name),
        object: format!("keys/2eced808082adbdd-{name}.json"),
        created: Some(Timestamp::from_micros(1_795_000_000_000_000)),
        hint: "key-file".to_owned(),
        fingerprint: "2eced808082adbdd".to_owned(),
        generation: 1,
        state,
        is_own,
        damaged: Vec::new(),
    }
}

fn keys() -> Vec<KeyListing> {
    vec![
        key("ops", KeyState::Sound, true),
        key("alice", KeyState::Sound, false),
        key("gone", KeyState::Removing, false),
        key("lost", KeyState::Damaged, false),
    ]
}

fn rotation() -> MasterRotation {
    MasterRotation {
        since: Epoch(7),
        fingerprint: "83b1c0f00aa0c1d2".to_owned(),
        generation: 2,
        kept: holder("ops"),
        dropped: vec![holder("alice")],
        resumed: false,
    }
}

#[test]
fn lists_say_what_is_to_do() {
    let text = KeysView::new("/srv/holdfast", &keys()).text();
    insta::assert_snapshot!(text, @r"
    HOLDER  SOURCE    CREATED               STATE     MASTER KEY
    ops     key-file  2026-11-18 11:06:40Z  sound     2eced808082adbdd  configured
    alice   key-file  2026-11-18 11:06:40Z  sound     2eced808082adbdd
    gone    key-file  2026-11-18 11:06:40Z  removing  2eced808082adbdd
    lost    key-file  2026-11-18 11:06:40Z  damaged   2eced808082adbdd

    gone: its removal did not end; `holdfast key remove gone --confirm` ends it

    lost: opens nothing any more; remove it (`holdfast key remove lost --confirm`) and add it again
    ");
}

#[test]
fn changes_say_whether_they_were_done() {
    let planned = KeyChangeView::removed(&holder("alice"), &[], false).text();
    insta::assert_snapshot!(planned, @r"
    the key of alice would open nothing any more
    to do: repeat with --confirm
    ");
    let (ops, new) = (holder("ops"), holder("ops-2"));
    let rotated = KeyChangeView::rotated(&ops, &new, "key_file", &[], true);
    insta::assert_snapshot!(rotated.text(), @r"
    the key of ops-2 opens the repository
    the key of ops opens nothing any more
    to do: name the new key as key_file under [repository] in the coordinator's configuration before it starts again
    ");
    let near = "near".parse().unwrap();
    let removed = KeyChangeView::removed(&ops, &[&near], true);
    insta::assert_snapshot!(removed.text(), @r"
    the key of ops opens nothing any more
    to do: if the key may have leaked: `holdfast key rotate-master`; it opens the copies until they have had a run and then `holdfast repo copy sync near --release --confirm`
    ");
    let exported = KeyChangeView::exported(&holder("safe"), Path::new("sheet.txt")).text();
    insta::assert_snapshot!(exported, @r"
    the key of safe opens the repository
    its recovery sheet is in sheet.txt
    to do: print the sheet, try it, and remove the file: whoever reads it can read every backup
    ");
}

#[test]
fn rotations_name_who_is_dropped() {
    let all = keys();
    let planned = MasterRotationView::planned(&all[0], &all).text();
    insta::assert_snapshot!(planned, @r"
    a new master key would seal what is written from then on
    kept:    ops
    dropped: alice, lost
    to do:   stop the coordinator, repeat with --confirm, and start it again
    ");
    let done = MasterRotationView::done(&rotation()).text();
    insta::assert_snapshot!(done, @r"
    a new master key seals what is written from now on: 83b1c0f00aa0c1d2, from epoch 7 on
    kept:    ops
    dropped: alice
    to do:   start the coordinator again; add the dropped keys with `holdfast key add`, and print new recovery sheets with `holdfast key export`
    ");
}

#[test]
fn the_reference_names_every_field_of_keys() {
    let reference = include_str!("../../../../docs/reference/json-output.md");
    for document in [
        render_json(&KeysView::new("", &keys()), false),
        render_json(&KeyChangeView::added(&holder("a")), false),
        render_json(&MasterRotationView::done(&rotation()), false),
    ] {
        let value: serde_json::Value = serde_json::from_str(&document).expect("JSON");
        let kind = value["kind"].as_str().expect("a kind");
        assert!(reference.contains(&format!("`{kind}`")), "{kind}");
        let of_keys = value["keys"][0].as_object();
        let fields = value.as_object().into_iter().chain(of_keys);
        for name in fields.flat_map(|object| object.keys()) {
            assert!(reference.contains(&format!("`{name}`")), "{kind}: {name}");
        }
    }
}
