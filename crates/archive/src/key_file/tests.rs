//! Key files: what wraps unwraps, nothing else does, and old ones stay readable.

use super::{FIRST_HOLDER, KeyFile, RemovedKey, WrappedKeys};
use crate::kek::{Kek, KekError, KekParams, KeyHint};
use crate::keyring::{Keyring, RingKey};
use crate::keys::MasterKey;
use holdfast_types::{Epoch, Timestamp};

const CHEAP: KekParams = KekParams::Argon2id {
    memory_kib: 64,
    passes: 1,
    lanes: 1,
};

fn raw(byte: u8) -> Kek {
    Kek::from_bytes(&[byte; 32], KeyHint::KeyFile)
}

fn words() -> Kek {
    Kek::passphrase("correct horse\n").unwrap()
}

fn ring(keys: u8) -> Keyring {
    let mut ring = Keyring::new(MasterKey::from_bytes([7; 32]));
    for n in 1..keys {
        let key = RingKey {
            master: MasterKey::from_bytes([7 + n; 32]),
            since: Epoch(n.into()),
        };
        ring = ring.with(key).unwrap();
    }
    ring
}

fn wrap(ring: &Keyring, kek: &Kek, params: KekParams) -> WrappedKeys {
    let holder = "ops.de-1".parse().unwrap();
    let created = Timestamp::from_micros(1_795_000_000_000_001);
    WrappedKeys::wrap_with(ring, kek, params, (holder, created), [5; 32]).unwrap()
}

fn exposed(ring: &Keyring) -> Vec<([u8; 32], Epoch)> {
    let keys = ring.iter().map(|key| (*key.master.expose(), key.since));
    keys.collect()
}

#[test]
fn every_kind_wraps_and_unwraps_every_ring() {
    for n in [1, 2, 5] {
        for (kek, params) in [(raw(1), KekParams::Raw), (words(), CHEAP)] {
            let wrapped = wrap(&ring(n), &kek, params);
            let json = KeyFile::Wrapped(wrapped.clone()).to_json().unwrap();
            assert_eq!(
                KeyFile::from_json(&json).unwrap(),
                KeyFile::Wrapped(wrapped.clone())
            );
            let opened = wrapped.unwrap(&kek).unwrap();
            assert_eq!(exposed(&opened), exposed(&ring(n)));
            assert_eq!(wrapped.generation(), usize::from(n));
            assert!(kek.fits(params));
        }
    }
}

#[test]
fn another_key_and_another_kind_are_told_apart() {
    let by_key = wrap(&ring(2), &raw(1), KekParams::Raw);
    assert_eq!(by_key.unwrap(&raw(2)).unwrap_err(), KekError::WrongKey);
    let kind = by_key.unwrap(&words()).unwrap_err();
    assert!(matches!(kind, KekError::WrongKind { .. }), "{kind}");
    let by_words = wrap(&ring(2), &words(), CHEAP);
    let other = Kek::passphrase("incorrect horse").unwrap();
    assert_eq!(by_words.unwrap(&other).unwrap_err(), KekError::WrongKey);
    let kind = by_words.unwrap(&raw(1)).unwrap_err();
    assert!(matches!(kind, KekError::WrongKind { .. }), "{kind}");
    assert!(!raw(1).fits(CHEAP) && !words().fits(KekParams::Raw));
}

#[test]
fn every_change_of_a_field_is_an_error() {
    let good = wrap(&ring(2), &words(), CHEAP);
    let changes: [fn(&mut WrappedKeys); 14] = [
        |k| k.format = 3,
        |k| k.format = 1,
        |k| k.format = 0,
        |k| k.holder = "mallory".parse().unwrap(),
        |k| k.created = Some(Timestamp::EPOCH),
        |k| k.created = None,
        |k| k.hint = "command".to_owned(),
        |k| k.masters[1].fingerprint = "00".repeat(8),
        |k| k.masters[1].since = Epoch(9),
        |k| k.masters.swap(0, 1),
        |k| drop(k.masters.pop()),
        |k| k.salt = "00".repeat(32),
        |k| k.wrapped.replace_range(0..2, "zz"),
        |k| {
            k.kek = KekParams::Argon2id {
                memory_kib: u32::MAX,
                passes: 1,
                lanes: 1,
            }
        },
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad.unwrap(&words()).is_err(), "change {i}");
    }
}

#[test]
fn every_flipped_byte_of_the_json_is_an_error_or_changes_nothing() {
    let kek = raw(1);
    let json = KeyFile::Wrapped(wrap(&ring(2), &kek, KekParams::Raw))
        .to_json()
        .unwrap();
    for at in 0..json.len() {
        let mut bad = json.clone();
        bad[at] ^= 1;
        let Ok(KeyFile::Wrapped(keys)) = KeyFile::from_json(&bad) else {
            continue;
        };
        // White space and the case of digits mean nothing.
        if let Ok(opened) = keys.unwrap(&kek) {
            assert_eq!(exposed(&opened), exposed(&ring(2)), "{at}");
        }
    }
    for len in 0..json.len() - 1 {
        assert!(KeyFile::from_json(&json[..len]).is_err(), "{len}");
    }
}

#[test]
fn newer_and_senseless_files_are_told_apart() {
    assert_eq!(
        KeyFile::from_json(br#"{"format":9,"anything":1}"#),
        Err(KekError::NewerFormat(9))
    );
    for senseless in [
        &b"{}"[..],
        b"",
        b"[1]",
        br#"{"format":0}"#,
        br#"{"format":2}"#,
    ] {
        let error = KeyFile::from_json(senseless).unwrap_err();
        assert!(matches!(error, KekError::Damaged(_)), "{error}");
    }
}

#[test]
fn a_removed_key_reads_as_such_and_as_newer_by_format_1() {
    let holder = FIRST_HOLDER.parse().unwrap();
    let mark = KeyFile::Removed(RemovedKey::new(holder, Timestamp::EPOCH));
    let json = mark.to_json().unwrap();
    assert_eq!(KeyFile::from_json(&json).unwrap(), mark);
    assert!(str::from_utf8(&json).unwrap().contains("\"format\": 2"));
}

/// Changing this makes every existing key file unreadable.
#[test]
fn golden_key_files() {
    let by_key = wrap(&ring(2), &raw(1), KekParams::Raw).wrapped;
    let by_words = wrap(&ring(1), &words(), CHEAP).wrapped;
    assert_eq!(
        by_key,
        "7a0dd604c46eba56f13ed3a40230acdf6346806cdd848d49a49269b3f233b2c54eba92c767cbeb5d2901d57ea287dfd0bd71a1ba170ff75253ddc39e3f2d87cc2846467870ab81e4d33c585b1161898a"
    );
    assert_eq!(
        by_words,
        "c0a405e24a19fed2a781c01d299c4479df08664092849956228e0215728f27ce4f9a3aced702323d3f221cad3367c0da"
    );
}

/// Written by the first program: they must open for ever.
#[test]
fn files_of_format_1_open() {
    let raw_params = r#""kind": "raw""#;
    let cheap = r#""kind": "argon2id", "memory_kib": 64, "passes": 1, "lanes": 1"#;
    for (kek, params, wrapped) in [
        (
            raw(1),
            raw_params,
            "95a4768162f082add132ebc12b20d92a7318713590ded9f34fbf2e42d612b33af995a1e1f87b35b9078168201473f139",
        ),
        (
            words(),
            cheap,
            "3c93474162042dca673421dc9def873ab61ededfcc2c31d9e1ff1f3ab9075a7f0d1ed9da8d6fe64b7cd92c2dfbb8a0fe",
        ),
    ] {
        let json = format!(
            r#"{{"format": 1, "fingerprint": "2eced808082adbdd", "kek": {{{params}}}, "salt": "{}", "wrapped": "{wrapped}"}}"#,
            "05".repeat(32)
        );
        let KeyFile::Wrapped(keys) = KeyFile::from_json(json.as_bytes()).unwrap() else {
            panic!("a key of format 1 is wrapped");
        };
        assert_eq!(keys.holder.as_str(), FIRST_HOLDER);
        assert_eq!(exposed(&keys.unwrap(&kek).unwrap()), exposed(&ring(1)));
        let mut forged = keys.clone();
        forged.format = 2;
        forged.created = Some(Timestamp::EPOCH);
        assert!(forged.unwrap(&kek).is_err());
    }
}
