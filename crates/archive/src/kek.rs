//! Key-encryption keys (KEK): what people and machines hold to unlock a repository.
//!
//! This module neither reads files nor asks for passphrases; what a KEK wraps is in [`crate::key_file`].

use crate::keys::{DerivedKey, derive};
use crate::recovery_code::{self, RecoveryCodeError};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// Argon2id cost of new passphrase-wrapped keys: 64 MiB, 3 passes, 1 lane (above RFC 9106's
/// second recommendation for memory-constrained machines, in one lane).
const DEFAULT_COSTS: KekParams = KekParams::Argon2id {
    memory_kib: 64 << 10,
    passes: 3,
    lanes: 1,
};

/// Most that a key file may ask of this machine: 1 GiB, 32 passes, 16 lanes.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 32;
const MAX_LANES: u32 = 16;

/// What unlocks a repository. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Kek {
    secret: Secret,
    hint: KeyHint,
}

#[derive(Clone)]
enum Secret {
    /// 32 random bytes.
    Raw(Zeroizing<[u8; 32]>),
    /// Words of a person, stretched by Argon2id.
    Passphrase(Zeroizing<String>),
}

/// Where a KEK comes from: stands in the key file, so that one knows what to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHint {
    /// A file with 64 hexadecimal digits.
    KeyFile,
    /// An environment variable with 64 hexadecimal digits.
    Environment,
    /// The output of a command, such as a KMS's.
    Command,
    /// A passphrase.
    Passphrase,
    /// A printed recovery sheet.
    RecoverySheet,
}

/// The kind of a KEK with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum KekParams {
    /// 32 random bytes.
    Raw,
    /// A passphrase through Argon2id, version 1.3.
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
    /// A recovery sheet's code was mistyped.
    #[error(transparent)]
    RecoveryCode(#[from] RecoveryCodeError),
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
    #[error("key file format {0} is newer than this program knows ({max})", max = crate::key_file::KEY_FORMAT)]
    NewerFormat(u32),
    /// The file's fields make no sense.
    #[error("key file is damaged: {0}")]
    Damaged(&'static str),
}

impl Kek {
    /// Reads a key file's text: 64 hexadecimal digits, surrounding white space allowed.
    ///
    /// # Errors
    /// [`KekError::NotAKey`]; the text itself is not repeated.
    pub fn from_hex(text: &str) -> Result<Self, KekError> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice()).map_err(|_| KekError::NotAKey)?;
        Ok(Self::from_bytes(&key, KeyHint::KeyFile))
    }

    /// Takes 32 random bytes.
    #[must_use]
    pub fn from_bytes(key: &[u8; 32], hint: KeyHint) -> Self {
        let secret = Secret::Raw(Zeroizing::new(*key));
        Self { secret, hint }
    }

    /// Takes what a command printed: 32 bytes, or 64 hexadecimal digits with white space around them.
    ///
    /// # Errors
    /// [`KekError::NotAKey`]; the output is not repeated.
    pub fn from_command_output(output: &[u8]) -> Result<Self, KekError> {
        if let Ok(key) = output.try_into() {
            return Ok(Self::from_bytes(key, KeyHint::Command));
        }
        let text = str::from_utf8(output).map_err(|_| KekError::NotAKey)?;
        Ok(Self::from_hex(text)?.hinting(KeyHint::Command))
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
        Ok(Self {
            secret: Secret::Passphrase(Zeroizing::new(text.to_owned())),
            hint: KeyHint::Passphrase,
        })
    }

    /// Takes a recovery sheet, or a file with its code alone.
    ///
    /// # Errors
    /// [`KekError::RecoveryCode`] says which line is mistyped.
    pub fn from_recovery_sheet(text: &str) -> Result<Self, KekError> {
        let key = recovery_code::parse(text)?;
        Ok(Self::from_bytes(&key, KeyHint::RecoverySheet))
    }

    /// The same KEK from another source.
    #[must_use]
    pub fn hinting(self, hint: KeyHint) -> Self {
        Self { hint, ..self }
    }

    /// Where it comes from.
    #[must_use]
    pub const fn hint(&self) -> KeyHint {
        self.hint
    }

    /// Whether it is of the kind that a key file with these parameters wants.
    #[must_use]
    pub const fn fits(&self, params: KekParams) -> bool {
        matches!(
            (&self.secret, params),
            (Secret::Raw(_), KekParams::Raw) | (Secret::Passphrase(_), KekParams::Argon2id { .. })
        )
    }

    /// The parameters of a new key file.
    pub(crate) const fn params(&self) -> KekParams {
        match self.secret {
            Secret::Raw(_) => KekParams::Raw,
            Secret::Passphrase(_) => DEFAULT_COSTS,
        }
    }

    /// The key that wraps, for a key file with these parameters and this salt. `label` is its format's.
    pub(crate) fn stretch(
        &self,
        params: KekParams,
        salt: &[u8; 32],
        label: &[u8],
    ) -> Result<DerivedKey, KekError> {
        let secret = match (&self.secret, params) {
            (Secret::Raw(key), KekParams::Raw) => key.clone(),
            (
                Secret::Passphrase(text),
                KekParams::Argon2id {
                    memory_kib,
                    passes,
                    lanes,
                },
            ) => argon2id(text.as_bytes(), salt, memory_kib, passes, lanes)?,
            (Secret::Passphrase(_), KekParams::Raw) => {
                return Err(KekError::WrongKind {
                    expected: "a key, not by a passphrase",
                });
            }
            (Secret::Raw(_), KekParams::Argon2id { .. }) => {
                return Err(KekError::WrongKind {
                    expected: "a passphrase",
                });
            }
        };
        Ok(derive(&secret, salt, &[label]))
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({}, …)", self.hint)
    }
}

impl KeyHint {
    /// As it stands in the key file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyFile => "key-file",
            Self::Environment => "environment",
            Self::Command => "command",
            Self::Passphrase => "passphrase",
            Self::RecoverySheet => "recovery-sheet",
        }
    }
}

impl fmt::Display for KeyHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl KekParams {
    /// Number of the kind and the three costs, as they are bound to what is wrapped.
    pub(crate) const fn numbers(self) -> (u8, [u32; 3]) {
        match self {
            Self::Raw => (0, [0; 3]),
            Self::Argon2id {
                memory_kib,
                passes,
                lanes,
            } => (1, [memory_kib, passes, lanes]),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::{Kek, KekError, KeyHint};

    #[test]
    fn texts_that_are_no_keys() {
        for text in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66)] {
            assert_eq!(Kek::from_hex(text).unwrap_err(), KekError::NotAKey);
        }
        assert!(Kek::from_hex(&format!(" {}\n", "AB".repeat(32))).is_ok());
        assert!(Kek::passphrase("\n").is_err());
    }

    #[test]
    fn a_command_prints_bytes_or_digits() {
        for good in [
            vec![0xff; 32],
            "ab".repeat(32).into_bytes(),
            format!("{}\n", "ab".repeat(32)).into_bytes(),
        ] {
            let kek = Kek::from_command_output(&good).unwrap();
            assert_eq!(kek.hint(), KeyHint::Command);
        }
        for bad in [
            vec![],
            vec![0xff; 31],
            vec![0xff; 64],
            b"error: no such key".to_vec(),
        ] {
            assert_eq!(
                Kek::from_command_output(&bad).unwrap_err(),
                KekError::NotAKey
            );
        }
    }

    #[test]
    fn debug_tells_the_source_only() {
        let kek = Kek::from_hex(&"5a".repeat(32)).unwrap();
        assert_eq!(format!("{kek:?}"), "Kek(key-file, …)");
        let kek = Kek::passphrase("secret").unwrap();
        assert_eq!(format!("{kek:?}"), "Kek(passphrase, …)");
    }
}
