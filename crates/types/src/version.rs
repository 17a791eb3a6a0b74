//! Qdrant server versions and what may be restored into what.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A text that is not a server version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server version {0:?} is not valid: expected a form like 1.18.3")]
pub struct ParseServerVersionError(String);

/// The version a Qdrant server reports in `GET /`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion(semver::Version);

const NEWEST_MINOR: (u64, u64) = (1, 19);

/// Whether data captured from one server may go into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// Same minor, or the next one: Qdrant keeps its storage readable that far.
    Compatible,
    /// The target is older than the source.
    TargetOlder,
    /// The target is more than one minor (or a major) newer: go through the versions between.
    TargetTooNew,
}

impl ServerVersion {
    /// The oldest supported server: before it, stalled snapshot streams held their lock for ever.
    #[must_use]
    pub const fn oldest_supported() -> Self {
        Self(semver::Version::new(1, 18, 2))
    }

    /// The newest minor release whose files are known, as `major.minor`.
    #[must_use]
    pub fn newest_minor() -> String {
        let (major, minor) = NEWEST_MINOR;
        format!("{major}.{minor}")
    }

    /// Whether files of this server can be taken in without it: they are known, and some supported server reads them.
    #[must_use]
    pub fn is_importable(&self) -> bool {
        self.is_supported() && (self.0.major, self.0.minor) <= NEWEST_MINOR
    }

    /// Whether this server is new enough for any Holdfast guarantee.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        *self >= Self::oldest_supported()
    }

    /// Whether a capture of this server may be restored into `target`.
    #[must_use]
    pub fn restores_into(&self, target: &Self) -> Compatibility {
        let (from, to) = (&self.0, &target.0);
        if (to.major, to.minor) < (from.major, from.minor) {
            Compatibility::TargetOlder
        } else if to.major == from.major && to.minor <= from.minor + 1 {
            Compatibility::Compatible
        } else {
            Compatibility::TargetTooNew
        }
    }
}

impl FromStr for ServerVersion {
    type Err = ParseServerVersionError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        semver::Version::parse(text)
            .map(Self)
            .map_err(|_| ParseServerVersionError(text.to_owned()))
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for ServerVersion {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServerVersion {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Compatibility, ServerVersion};

    #[test]
    fn storage_moves_one_minor_forward_at_most() {
        let v = |t: &str| t.parse::<ServerVersion>().unwrap();
        for (from, to, want) in [
            ("1.18.3", "1.18.2", Compatibility::Compatible),
            ("1.18.3", "1.19.0", Compatibility::Compatible),
            ("1.18.3", "1.20.0", Compatibility::TargetTooNew),
            ("1.19.0", "1.18.3", Compatibility::TargetOlder),
            ("1.19.0", "2.0.0", Compatibility::TargetTooNew),
        ] {
            assert_eq!(v(from).restores_into(&v(to)), want, "{from} → {to}");
        }
        assert!(!v("1.17.9").is_supported());
        assert!(v("1.19.4").is_importable() && !v("1.20.0").is_importable());
        assert!(!v("1.18.1").is_importable() && !v("9.9.9").is_importable());
        assert!("1.18".parse::<ServerVersion>().is_err());
    }
}
