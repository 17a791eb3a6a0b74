//! Identities drawn at random where no name would do: what has a name can be dropped and made anew under it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Length in bytes.
const LEN: usize = 16;

/// A text that is not exactly 32 lowercase hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 lowercase hexadecimal digits, got {0:?}")]
pub struct ParseUidError(String);

macro_rules! uid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; LEN]);

        impl $name {
            /// Of 16 random bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; LEN]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; LEN] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseUidError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let err = || ParseUidError(text.to_owned());
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(err());
                }
                let mut bytes = [0; LEN];
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

uid! {
    /// One life of a collection: dropped and created anew under its name, it is another.
    IncarnationId
}
uid! {
    /// A run of entries of one replica's write-ahead log in which each follows the one before.
    TimelineId
}

#[cfg(test)]
mod tests {
    use super::TimelineId;

    #[test]
    fn texts() {
        let id = TimelineId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "ab",
            &"AB".repeat(16),
            &"ab".repeat(17),
            &"g".repeat(32),
        ] {
            assert!(bad.parse::<TimelineId>().is_err(), "{bad}");
        }
    }
}
