//! 32-byte content identities: chunks and packs.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Length in bytes of a BLAKE3 digest.
pub const HASH_LEN: usize = 32;

/// A text that is not exactly 64 lowercase hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 lowercase hexadecimal digits, got {0:?}")]
pub struct ParseHashError(String);

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; HASH_LEN]);

        impl $name {
            /// Wraps a digest that was computed or read elsewhere.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; HASH_LEN]) -> Self {
                Self(bytes)
            }

            /// The digest.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; HASH_LEN] {
                &self.0
            }

            /// Reads a digest from a slice; `None` unless it has exactly 32 bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}…)"), hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = ParseHashError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let err = || ParseHashError(text.to_owned());
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(err());
                }
                let mut bytes = [0; HASH_LEN];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| err())?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash_id! {
    /// Identity of a chunk: BLAKE3 of its plain bytes, keyed per namespace.
    ChunkId
}
hash_id! {
    /// Identity of a pack: unkeyed BLAKE3 of the whole stored object, so that anyone can verify a
    /// copy without holding a key.
    PackId
}

#[cfg(test)]
mod tests {
    use super::ChunkId;

    #[test]
    fn round_trips() {
        let id = ChunkId::from_bytes([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ChunkId::from_slice(&[0xab; 32]), Some(id));
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        for text in [
            "",
            "ab",
            &"g".repeat(64),
            &"AB".repeat(32),
            &"ab".repeat(33),
        ] {
            assert!(text.parse::<ChunkId>().is_err(), "{text}");
        }
        assert_eq!(ChunkId::from_slice(&[0; 31]), None);
    }
}
