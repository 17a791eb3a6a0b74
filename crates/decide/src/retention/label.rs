//! Short names that people give: tags of recovery points, ids of legal holds, patterns of
//! collection names.

use holdfast_types::CollectionName;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is no tag, hold id or pattern; says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct ParseLabelError {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

const PLAIN: &str = "use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit";
const PATTERN: &str = "use a collection name in which '*' stands for any characters, like docs-*";

/// Bytes that a pattern may have: as many as a collection name.
const MAX_PATTERN: usize = 255;

fn is_plain(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 63
        && text.bytes().next().is_some_and(edge)
        && text
            .bytes()
            .all(|b| edge(b) || matches!(b, b'-' | b'_' | b'.'))
}

/// No collection name contains a star, so a star never stands for itself.
fn is_pattern(text: &str) -> bool {
    text.len() <= MAX_PATTERN && text.replace('*', "x").parse::<CollectionName>().is_ok()
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl FromStr for $name {
            type Err = ParseLabelError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseLabelError { kind: $kind, text: text.to_owned(), rule: $rule })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

label! {
    /// A word that a recovery point was marked with, such as `before-migration`.
    Tag, "tag", is_plain, PLAIN
}
label! {
    /// One legal hold.
    HoldId, "hold id", is_plain, PLAIN
}
label! {
    /// Collection names by their shape: `*` stands for any number of characters, none included;
    /// everything else stands for itself.
    NamePattern, "pattern", is_pattern, PATTERN
}

impl NamePattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name has this shape.
    #[must_use]
    pub fn matches(&self, name: &CollectionName) -> bool {
        let (first, rest) = match self.0.split_once('*') {
            Some(parts) => parts,
            None => return self.0 == name.as_str(),
        };
        let Some(mut left) = name.as_str().strip_prefix(first) else {
            return false;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        // the leftmost place leaves the most room for what follows
        for part in middle.split('*') {
            match left.find(part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::{HoldId, NamePattern, Tag};
    use crate::fixture::name;

    #[test]
    fn tags_and_hold_ids_are_plain_words() {
        for good in ["a", "2026-q3", "before_migration.v2", &"a".repeat(63)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
            assert!(good.parse::<HoldId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "A",
            "a b",
            "a/b",
            "a*",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
            assert!(bad.parse::<HoldId>().is_err(), "{bad}");
        }
        let error = "A b".parse::<Tag>().unwrap_err().to_string();
        assert!(error.starts_with("tag \"A b\" is not valid: use 1 to 63"));
    }

    #[test]
    fn patterns_are_names_with_stars() {
        for good in ["*", "docs", "docs-*", "*-v*", "größe*", &"a".repeat(255)] {
            assert!(good.parse::<NamePattern>().is_ok(), "{good}");
        }
        for bad in ["", "a/b", "a?", ".", "..", "a\n*", &"*".repeat(256)] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_any_run() {
        let cases = [
            ("docs", "docs", true),
            ("docs", "docs2", false),
            ("*", "docs", true),
            ("docs*", "docs", true),
            ("docs-*", "docs", false),
            ("*docs", "my docs", true),
            ("*docs", "docs2", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
            ("*a*b*", "xbxaxb", true),
            ("*a*b*", "xbxa", false),
            ("a**b", "ab", true),
            ("gr*ße", "größe", true),
        ];
        for (pattern, text, fits) in cases {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&name(text)), fits, "{pattern} {text}");
        }
    }
}
