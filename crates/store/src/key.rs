//! Names of objects: relative paths that mean the same on a disk, in memory and in a bucket.

use std::fmt;
use std::str::FromStr;

/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 200;
/// Deepest key, in segments.
pub(crate) const MAX_SEGMENTS: usize = 6;

/// A text that is not an object key; says which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "object key {0:?} is not valid: use 1 to 6 segments of a-z, 0-9, '-', '_' and '.', parted by '/', none beginning with '.', 200 bytes in all"
)]
pub struct ParseKeyError(String);

/// The name of one object: `packs/ab/abcd…`. Lower case only, so that a file system that ignores
/// case keeps keys apart; no segment begins with a dot, so that a store can hide its own files.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

/// Whether a file or folder of this name can be part of a key.
pub(crate) fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
}

fn is_key(text: &str) -> bool {
    text.len() <= MAX_KEY_BYTES
        && text.split('/').all(is_segment)
        && text.split('/').count() <= MAX_SEGMENTS
}

impl FromStr for ObjectKey {
    type Err = ParseKeyError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_key(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseKeyError(text.to_owned()))
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A folder of keys, at any depth below it; or every key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// Every key.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The folder as text, without a slash at its end; empty for every key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `key` lies in this folder.
    #[must_use]
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.0.is_empty()
            || key
                .0
                .strip_prefix(&self.0)
                .is_some_and(|rest| rest.starts_with('/'))
    }
}

impl FromStr for KeyPrefix {
    type Err = ParseKeyError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<ObjectKey>().map(|key| Self(key.0))
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.0)
    }
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyPrefix, ObjectKey};

    #[test]
    fn keys_are_plain_relative_paths() {
        for good in ["holdfast.json", "packs/ab/abcd", "a/b/c/d/e/f", "x-1_2.3"] {
            assert_eq!(good.parse::<ObjectKey>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            ".tmp/x",
            "a/.b",
            "A",
            "a b",
            "a\\b",
            "ä",
            "a\0b",
            "a/b/c/d/e/f/g",
            &"a".repeat(201),
        ] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_a_folder_not_a_beginning() {
        let packs: KeyPrefix = "packs".parse().unwrap();
        assert!(packs.contains(&"packs/ab/abcd".parse().unwrap()));
        assert!(!packs.contains(&"packs".parse().unwrap()));
        assert!(!packs.contains(&"packs2/ab".parse().unwrap()));
        assert!(KeyPrefix::root().contains(&"holdfast.json".parse().unwrap()));
        assert_eq!("points/p1".parse::<ObjectKey>().unwrap().name(), "p1");
    }
}
