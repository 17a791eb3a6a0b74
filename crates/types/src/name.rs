//! Names chosen by people or by Qdrant, each with the characters it may have.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// A name that breaks its rule; says which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct ParseNameError {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

fn is_plain(text: &str) -> bool {
    let mut bytes = text.bytes();
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.next().is_some_and(ok)
        && bytes.all(|b| ok(b) || matches!(b, b'-' | b'_' | b'.'))
        && text.len() <= 63
}

/// Qdrant's own rule (1.18 `validate_collection_name`), and no control characters.
fn is_qdrant(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text != "."
        && text != ".."
        && !text
            .chars()
            .any(|c| c.is_control() || r#"<>:"/\|?*"#.contains(c))
}

const PLAIN: &str = "use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit";
const QDRANT: &str = "use 1 to 255 bytes without control characters and < > : \" / \\ | ? *";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseNameError { kind: $kind, text: text.to_owned(), rule: $rule })
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

name! {
    /// One Qdrant process and the agent beside it.
    NodeId, "node name", is_plain, PLAIN
}
name! {
    /// One Qdrant deployment.
    ClusterName, "cluster name", is_plain, PLAIN
}
name! {
    /// The boundary within which chunks deduplicate and may be read. By default a cluster's name.
    Namespace, "namespace", is_plain, PLAIN
}
name! {
    /// One long action of the coordinator.
    JobId, "job id", is_plain, PLAIN
}
name! {
    /// One attempt to capture one shard; stable across reconnects, so that a capture can resume.
    CaptureId, "capture id", is_plain, PLAIN
}
name! {
    /// A word that a recovery point is marked with, such as `before-migration`.
    Tag, "tag", is_plain, PLAIN
}
name! {
    /// One schedule of a policy.
    ScheduleName, "schedule name", is_plain, PLAIN
}
name! {
    /// One legal hold.
    HoldId, "hold id", is_plain, PLAIN
}
name! {
    /// A further copy of a repository.
    CopyName, "copy's name", is_plain, PLAIN
}
name! {
    /// Who holds a key of the repository: names a key file.
    KeyHolder, "holder's name", is_plain, PLAIN
}
name! {
    /// Files beside Qdrant's own that a node's agent captures: a section of its configuration.
    ExtraName, "extra's name", is_plain, PLAIN
}
name! {
    /// A collection's name, by Qdrant's rule.
    CollectionName, "collection name", is_qdrant, QDRANT
}
name! {
    /// An alias of a collection, by Qdrant's rule.
    AliasName, "alias", is_qdrant, QDRANT
}

/// A shard's number within its collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{CollectionName, NodeId};

    #[test]
    fn node_names() {
        for good in ["a", "n1", "qdrant-0.zone_b", &"a".repeat(63)] {
            assert!(good.parse::<NodeId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a/b", "a b", "ä", "..", &"a".repeat(64)] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn collection_names_follow_qdrant() {
        for good in ["Docs", "tenant a", "größe", "a.b"] {
            assert!(good.parse::<CollectionName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "..",
            "a/b",
            "a\\b",
            "a\nb",
            "a?b",
            "a*",
            &"a".repeat(256),
        ] {
            assert!(bad.parse::<CollectionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_message_names_the_rule() {
        let error = "A".parse::<NodeId>().unwrap_err().to_string();
        assert!(
            error.starts_with("node name \"A\" is not valid: use 1 to 63"),
            "{error}"
        );
    }
}
