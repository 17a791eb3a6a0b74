//! Patterns of collection names.

use holdfast_types::CollectionName;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is no pattern; says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pattern {text:?} is not valid: use a collection name in which '*' stands for any characters, like docs-*"
)]
pub struct ParsePatternError {
    text: String,
}

/// Bytes that a pattern may have: as many as a collection name.
const MAX_PATTERN: usize = 255;

/// Collection names by their shape: `*` stands for any number of characters, none included;
/// everything else stands for itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NamePattern(String);

impl FromStr for NamePattern {
    type Err = ParsePatternError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No collection name contains a star, so a star never stands for itself.
        let name = text.replace('*', "x").parse::<CollectionName>();
        if text.len() <= MAX_PATTERN && name.is_ok() {
            return Ok(Self(text.to_owned()));
        }
        let text = text.to_owned();
        Err(ParsePatternError { text })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
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
    use super::NamePattern;
    use crate::fixture::name;

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
    fn a_pattern_is_shown_as_it_was_written() {
        let pattern: NamePattern = "docs-*".parse().unwrap();
        assert_eq!(format!("{pattern} {pattern:?}"), r#"docs-* "docs-*""#);
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
