//! The name of a recovery point.

use crate::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is not a recovery point id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "recovery point id {0:?} is not valid: expected a form like 20261121t101530z-0a1b2c3d; `holdfast backup list` shows them"
)]
pub struct ParsePointIdError(String);

/// Identity of a recovery point: the second in which it was begun, and eight random hexadecimal
/// digits: `20261121t101530z-0a1b2c3d`. The time is for people; order is by recorded time only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RecoveryPointId(String);

impl RecoveryPointId {
    /// Names a point begun at `begun`; `entropy` keeps points of one second apart.
    #[must_use]
    pub fn new(begun: Timestamp, entropy: u32) -> Self {
        let compact: String = begun
            .to_string()
            .chars()
            .take(19)
            .filter(|c| !"-:".contains(*c))
            .collect();
        Self(format!("{}z-{entropy:08x}", compact.to_ascii_lowercase()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RecoveryPointId {
    type Err = ParsePointIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pattern = |(i, b): (usize, u8)| match i {
            8 => b == b't',
            15 => b == b'z',
            16 => b == b'-',
            0..=14 => b.is_ascii_digit(),
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        };
        if text.len() == 25 && text.bytes().enumerate().all(pattern) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParsePointIdError(text.to_owned()))
        }
    }
}

impl fmt::Display for RecoveryPointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RecoveryPointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RecoveryPointId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::RecoveryPointId;
    use crate::Timestamp;

    #[test]
    fn names_the_second_it_was_begun() {
        let begun: Timestamp = "2026-11-21T10:15:30.25Z".parse().unwrap();
        let id = RecoveryPointId::new(begun, 0x0a1b_2c3d);
        assert_eq!(id.as_str(), "20261121t101530z-0a1b2c3d");
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn refuses_other_texts() {
        for bad in [
            "",
            "latest",
            "20261121T101530Z-0a1b2c3d",
            "20261121t101530z-0a1b2c3",
            "../../etc/passwd",
        ] {
            assert!(bad.parse::<RecoveryPointId>().is_err(), "{bad}");
        }
    }
}
