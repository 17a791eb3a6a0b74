//! The master key at rest: wrapped by a key-encryption key (KEK), in `keys/<name>.json`.
//!
//! Any number of files may wrap the same master key; replacing one rewrites no data. This module
//! neither reads files nor asks for passphrases.

use crate::aead::{AeadKey, nonce};
use crate::keys::{DerivedKey, MasterKey, derive};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// The key file format that this program writes and the newest it reads.
pub const KEY_FORMAT: u32 = 1;

/// Argon2id cost of new passphrase-wrapped keys: 64 MiB, 3 passes, 1 lane (above RFC 9106's
/// second recommendation for memory-constrained machines, in one lane).
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// Most that a key file may ask of this machine: 1 GiB, 32 passes, 16 lanes.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 32;
const MAX_LANES: u32 = 16;

/// What unlocks a repository. Wiped from memory when dropped.
#[derive(Clone)]
pub enum Kek {
    /// 32 random bytes, from a key file or an environment variable.
    Raw(Zeroizing<[u8; 32]>),
    /// Words of a person, stretched by Argon2id.
    Passphrase(Zeroizing<String>),
}

/// A master key wrapped by one KEK: the JSON of `keys/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// [`KEY_FORMAT`] of the writer.
    pub format: u32,
    /// Fingerprint of the master key inside, 16 hexadecimal digits.
    pub fingerprint: String,
    /// Which kind of KEK unwraps it, and its parameters.
    pub kek: KekParams,
    /// Random salt, 64 hexadecimal digits.
    pub salt: String,
    /// AES-256-GCM of the master key with its tag, 96 hexadecimal digits.
    pub wrapped: String,
}

/// The kind of a KEK with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum KekParams {
    /// [`Kek::Raw`].
    Raw,
    /// [`Kek::Passphrase`] through Argon2id, version 1.3.
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Number of passes.
        passes: u32,
        /// Number of lanes.
        lanes: u32,
    },
}

/// Why a key can't be read, wrapped or unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KekError {
    /// A key text that is not 64 hexadecimal digits.
    #[error("a key is 64 hexadecimal digits; this text is not")]
    NotAKey,
    /// An empty passphrase.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The key does not fit.
    #[error("the key or passphrase does not fit this repository")]
    WrongKey,
    /// The file wants the other kind of key.
    #[error("this repository is unlocked by {expected}")]
    WrongKind {
        /// `a key file` or `a passphrase`.
        expected: &'static str,
    },
    /// Written by a newer program.
    #[error("key file format {0} is newer than this program knows ({KEY_FORMAT})")]
    NewerFormat(u32),
    /// The file's fields make no sense.
    #[error("key file is damaged: {0}")]
    Damaged(&'static str),
}

impl Kek {
    /// Reads a key file's or variable's text: 64 hexadecimal digits, surrounding white space allowed.
    ///
    /// # Errors
    /// [`KekError::NotAKey`]; the text itself is not repeated.
    pub fn from_hex(text: &str) -> Result<Self, KekError> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice()).map_err(|_| KekError::NotAKey)?;
        Ok(Self::Raw(key))
    }

    /// Takes a passphrase; one line ending is dropped.
    ///
    /// # Errors
    /// [`KekError::EmptyPassphrase`].
    pub fn passphrase(text: &str) -> Result<Self, KekError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(KekError::EmptyPassphrase);
        }
        Ok(Self::Passphrase(Zeroizing::new(text.to_owned())))
    }

    fn params(&self) -> KekParams {
        match self {
            Self::Raw(_) => KekParams::Raw,
            Self::Passphrase(_) => KekParams::Argon2id {
                memory_kib: MEMORY_KIB,
                passes: PASSES,
                lanes: LANES,
            },
        }
    }

    fn stretch(&self, params: KekParams, salt: &[u8; 32]) -> Result<DerivedKey, KekError> {
        let secret = match (self, params) {
            (Self::Raw(key), KekParams::Raw) => key.clone(),
            (
                Self::Passphrase(text),
                KekParams::Argon2id {
                    memory_kib,
                    passes,
                    lanes,
                },
            ) => argon2id(text.as_bytes(), salt, memory_kib, passes, lanes)?,
            (Self::Passphrase(_), KekParams::Raw) => {
                return Err(KekError::WrongKind {
                    expected: "a key file",
                });
            }
            (Self::Raw(_), KekParams::Argon2id { .. }) => {
                return Err(KekError::WrongKind {
                    expected: "a passphrase",
                });
            }
        };
        Ok(derive(&secret, salt, &[b"holdfast v1 wrap"]))
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw(_) => "Kek::Raw(…)",
            Self::Passphrase(_) => "Kek::Passphrase(…)",
        })
    }
}

impl WrappedKey {
    /// Wraps a master key. `entropy` is random and never used twice.
    ///
    /// # Errors
    /// None for a key made by [`Kek::from_hex`] or [`Kek::passphrase`] with memory to spare.
    pub fn wrap(master: &MasterKey, kek: &Kek, entropy: [u8; 32]) -> Result<Self, KekError> {
        Self::wrap_with(master, kek, kek.params(), entropy)
    }

    fn wrap_with(
        master: &MasterKey,
        kek: &Kek,
        params: KekParams,
        salt: [u8; 32],
    ) -> Result<Self, KekError> {
        let fingerprint = master.fingerprint();
        let key = AeadKey::new(&*kek.stretch(params, &salt)?);
        let mut wrapped = master.expose().to_vec();
        let tag = key.seal(nonce(0, 0), &aad(params, fingerprint), &mut wrapped);
        wrapped.extend_from_slice(&tag);
        Ok(Self {
            format: KEY_FORMAT,
            fingerprint: hex::encode(fingerprint),
            kek: params,
            salt: hex::encode(salt),
            wrapped: hex::encode(wrapped),
        })
    }

    /// Unwraps the master key.
    ///
    /// # Errors
    /// The wrong key, the wrong kind of key, or a file that makes no sense.
    pub fn unwrap(&self, kek: &Kek) -> Result<MasterKey, KekError> {
        if self.format > KEY_FORMAT {
            return Err(KekError::NewerFormat(self.format));
        }
        if self.format == 0 {
            return Err(KekError::Damaged("format"));
        }
        let fingerprint = field::<8>(&self.fingerprint, "fingerprint")?;
        let salt = field::<32>(&self.salt, "salt")?;
        let mut wrapped = Zeroizing::new(field::<48>(&self.wrapped, "wrapped")?);
        let key = AeadKey::new(&*kek.stretch(self.kek, &salt)?);
        let aad = aad(self.kek, fingerprint);
        let plain = key
            .open(nonce(0, 0), &aad, wrapped.as_mut_slice())
            .ok_or(KekError::WrongKey)?;
        let master = plain
            .try_into()
            .map(MasterKey::from_bytes)
            .map_err(|_| KekError::Damaged("wrapped"))?;
        if master.fingerprint() == fingerprint {
            Ok(master)
        } else {
            Err(KekError::Damaged("fingerprint"))
        }
    }

    /// The file's content: readable JSON and a newline.
    ///
    /// # Errors
    /// Never for values of this type; the signature leaves the decision to the caller.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// [`KekError::Damaged`] or [`KekError::NewerFormat`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, KekError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |_| KekError::Damaged("not the JSON of a wrapped key");
        let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > KEY_FORMAT {
            return Err(KekError::NewerFormat(format));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// Binds the visible fields to the wrapped key.
fn aad(params: KekParams, fingerprint: [u8; 8]) -> Vec<u8> {
    let (kind, costs) = match params {
        KekParams::Raw => (0_u8, [0; 3]),
        KekParams::Argon2id {
            memory_kib,
            passes,
            lanes,
        } => (1, [memory_kib, passes, lanes]),
    };
    let mut aad = b"holdfast v1 wrapped key ".to_vec();
    aad.push(kind);
    for cost in costs {
        aad.extend_from_slice(&cost.to_le_bytes());
    }
    aad.extend_from_slice(&fingerprint);
    aad
}

fn argon2id(
    passphrase: &[u8],
    salt: &[u8; 32],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
) -> Result<DerivedKey, KekError> {
    if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
        return Err(KekError::Damaged("Argon2id asks for too much"));
    }
    let params = Params::new(memory_kib, passes, lanes, Some(32))
        .map_err(|_| KekError::Damaged("Argon2id parameters"))?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, key.as_mut_slice())
        .map_err(|_| KekError::Damaged("Argon2id parameters"))?;
    Ok(key)
}

fn field<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], KekError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| KekError::Damaged(name))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Kek, KekError, KekParams, WrappedKey};
    use crate::MasterKey;

    fn raw(byte: u8) -> Kek {
        Kek::from_hex(&hex::encode([byte; 32])).unwrap()
    }

    const CHEAP: KekParams = KekParams::Argon2id {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    #[test]
    fn raw_keys_wrap_and_unwrap() {
        let master = MasterKey::from_bytes([7; 32]);
        let wrapped = WrappedKey::wrap(&master, &raw(1), [5; 32]).unwrap();
        let json = wrapped.to_json().unwrap();
        let read = WrappedKey::from_json(&json).unwrap();
        assert_eq!(read, wrapped);
        let master_again = read.unwrap(&raw(1)).unwrap();
        assert_eq!(master_again.expose(), master.expose());
        assert_eq!(read.unwrap(&raw(2)).unwrap_err(), KekError::WrongKey);
        let words = Kek::passphrase("x").unwrap();
        assert!(matches!(
            read.unwrap(&words),
            Err(KekError::WrongKind { .. })
        ));
    }

    #[test]
    fn passphrases_wrap_and_unwrap() {
        let master = MasterKey::from_bytes([7; 32]);
        let kek = Kek::passphrase("correct horse\n").unwrap();
        let wrapped = WrappedKey::wrap_with(&master, &kek, CHEAP, [5; 32]).unwrap();
        let same = Kek::passphrase("correct horse").unwrap();
        assert_eq!(wrapped.unwrap(&same).unwrap().expose(), master.expose());
        let other = Kek::passphrase("incorrect horse").unwrap();
        assert_eq!(wrapped.unwrap(&other).unwrap_err(), KekError::WrongKey);
        assert!(matches!(
            wrapped.unwrap(&raw(1)),
            Err(KekError::WrongKind { .. })
        ));
    }

    /// Changing this makes every existing key file unreadable.
    #[test]
    fn golden_key_files() {
        let master = MasterKey::from_bytes([7; 32]);
        let words = Kek::passphrase("correct horse").unwrap();
        let by_key = WrappedKey::wrap(&master, &raw(1), [5; 32]).unwrap();
        let by_words = WrappedKey::wrap_with(&master, &words, CHEAP, [5; 32]).unwrap();
        assert_eq!(
            by_key.wrapped,
            "95a4768162f082add132ebc12b20d92a7318713590ded9f34fbf2e42d612b33af995a1e1f87b35b9078168201473f139"
        );
        assert_eq!(
            by_words.wrapped,
            "3c93474162042dca673421dc9def873ab61ededfcc2c31d9e1ff1f3ab9075a7f0d1ed9da8d6fe64b7cd92c2dfbb8a0fe"
        );
    }

    #[test]
    fn every_change_of_a_field_is_an_error() {
        let master = MasterKey::from_bytes([7; 32]);
        let kek = Kek::passphrase("correct horse").unwrap();
        let good = WrappedKey::wrap_with(&master, &kek, CHEAP, [5; 32]).unwrap();
        let changes: [fn(&mut WrappedKey); 7] = [
            |k| k.format = 2,
            |k| k.format = 0,
            |k| k.fingerprint = "00".repeat(8),
            |k| k.salt = "00".repeat(32),
            |k| k.wrapped.truncate(94),
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
            assert!(bad.unwrap(&kek).is_err(), "change {i}");
        }
        assert!(WrappedKey::from_json(b"{}").is_err());
        assert_eq!(
            WrappedKey::from_json(br#"{"format":9}"#),
            Err(KekError::NewerFormat(9))
        );
    }

    #[test]
    fn texts_that_are_no_keys() {
        for text in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66)] {
            assert_eq!(Kek::from_hex(text).unwrap_err(), KekError::NotAKey);
        }
        assert!(Kek::from_hex(&format!(" {}\n", "AB".repeat(32))).is_ok());
        assert!(Kek::passphrase("\n").is_err());
        assert_eq!(format!("{:?}", raw(1)), "Kek::Raw(…)");
    }
}
