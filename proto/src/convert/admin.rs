//! What operators order.

use super::{ConvertError, Method, parse, parse_all};
use crate::v1;
use holdfast_types::{CollectionName, NodeId, RecoveryPointId, Tag};

/// A `CreateBackupRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupOrder {
    /// Collections by name; empty means every one.
    pub collections: Vec<CollectionName>,
    /// How to capture.
    pub method: Method,
    /// Kept with the recovery point.
    pub note: String,
    /// Words that retention rules may name.
    pub tags: Vec<Tag>,
}

/// One collection of a restore: its name in the recovery point and the one it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Name in the recovery point.
    pub source: CollectionName,
    /// Name afterwards.
    pub target: CollectionName,
}

/// A `RestoreRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOrder {
    /// What to restore from.
    pub recovery_point: RecoveryPointId,
    /// What to restore; empty means everything.
    pub collections: Vec<Mapping>,
    /// Where to; `None` means the only connected node.
    pub node: Option<NodeId>,
    /// Whether existing targets may be replaced.
    pub overwrite: bool,
    /// Whether aliases are re-created.
    pub with_aliases: bool,
}

/// Longest note kept with a recovery point, in bytes.
const MAX_NOTE_BYTES: usize = 4096;

impl TryFrom<v1::CreateBackupRequest> for BackupOrder {
    type Error = ConvertError;
    fn try_from(wire: v1::CreateBackupRequest) -> Result<Self, ConvertError> {
        if wire.note.len() > MAX_NOTE_BYTES {
            return Err(ConvertError::OutOfRange {
                field: "note",
                rule: "at most 4096 bytes",
            });
        }
        Ok(Self {
            collections: parse_all("collections", &wire.collections)?,
            method: Method::from_wire(wire.method)?,
            note: wire.note,
            tags: parse_all("tags", &wire.tags)?,
        })
    }
}

impl TryFrom<v1::CollectionMapping> for Mapping {
    type Error = ConvertError;
    fn try_from(wire: v1::CollectionMapping) -> Result<Self, ConvertError> {
        let source: CollectionName = parse("source", &wire.source)?;
        let target = if wire.target.is_empty() {
            source.clone()
        } else {
            parse("target", &wire.target)?
        };
        Ok(Self { source, target })
    }
}

impl TryFrom<v1::RestoreRequest> for RestoreOrder {
    type Error = ConvertError;
    fn try_from(wire: v1::RestoreRequest) -> Result<Self, ConvertError> {
        let node = match wire.node.as_str() {
            "" => None,
            text => Some(parse("node", text)?),
        };
        Ok(Self {
            recovery_point: parse("recovery_point", &wire.recovery_point)?,
            collections: wire
                .collections
                .into_iter()
                .map(Mapping::try_from)
                .collect::<Result<_, _>>()?,
            node,
            overwrite: wire.overwrite,
            with_aliases: !wire.without_aliases,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{BackupOrder, RestoreOrder};
    use crate::v1;

    #[test]
    fn an_empty_target_means_the_same_name() {
        let order = RestoreOrder::try_from(v1::RestoreRequest {
            recovery_point: "20261121t101530z-0a1b2c3d".into(),
            collections: vec![v1::CollectionMapping {
                source: "docs".into(),
                target: String::new(),
            }],
            ..Default::default()
        })
        .unwrap();
        assert_eq!(order.collections[0].target.as_str(), "docs");
        assert_eq!(order.node, None);
        assert!(order.with_aliases);
    }

    #[test]
    fn the_message_names_the_field() {
        let wire = v1::RestoreRequest {
            recovery_point: "latest".into(),
            ..Default::default()
        };
        let error = RestoreOrder::try_from(wire).unwrap_err().to_string();
        assert!(error.starts_with("field recovery_point"), "{error}");
        let wire = v1::CreateBackupRequest {
            collections: vec!["a/b".into()],
            method: 1,
            note: String::new(),
            tags: vec!["nightly".to_owned()],
        };
        assert!(BackupOrder::try_from(wire).is_err());
    }
}
