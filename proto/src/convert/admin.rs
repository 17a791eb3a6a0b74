//! What operators order.

use super::{ConvertError, Method, parse, parse_all};
use crate::v1;
use holdfast_types::{
    CaptureLimits, CollectionName, CopyName, NodeId, RecoveryPointId, ServerVersion, ShardId, Tag,
    Timestamp,
};
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

/// A `CreateBackupRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupOrder {
    /// Collections by name. Without these and without patterns every one is meant.
    pub collections: Vec<CollectionName>,
    /// Patterns of names: those of the wire's names that have a star in them, which no collection's name has.
    pub patterns: Vec<String>,
    /// Whether a rule chose the collections, and not a person: then one that is dropped meanwhile is left out.
    pub by_rule: bool,
    /// How to capture.
    pub method: Method,
    /// Kept with the recovery point.
    pub note: String,
    /// Words that retention rules may name.
    pub tags: Vec<Tag>,
    /// How much it may take from the database.
    pub limits: CaptureLimits,
}

/// One collection of a restore: its name in the recovery point and the one it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Name in the recovery point.
    pub source: CollectionName,
    /// Name afterwards.
    pub target: CollectionName,
}

/// What is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreFrom {
    /// A recovery point, as it was captured.
    Point(RecoveryPointId),
    /// What a recovery point and archived logs lead to; `None` means the newest that does.
    To(RestoreTarget, Option<RecoveryPointId>),
}

/// Where archived logs lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreTarget {
    /// An instant.
    Instant(Timestamp),
    /// The end of each log.
    Latest,
    /// Right after an operation.
    Operation(u64),
    /// The end of the logs of a collection that was dropped.
    BeforeDrop,
}

/// A `RestoreRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOrder {
    /// What to restore from.
    pub from: RestoreFrom,
    /// What to restore; empty means everything.
    pub collections: Vec<Mapping>,
    /// Where to; `None` means the only connected node, or the only cluster.
    pub node: Option<NodeId>,
    /// Replicas of each shard in a cluster; `None` means as captured.
    pub replication_factor: Option<u32>,
    /// Whether existing targets may be replaced.
    pub overwrite: bool,
    /// Whether aliases are re-created.
    pub with_aliases: bool,
    /// Which copy it is read from; `None` means the repository itself.
    pub from_copy: Option<CopyName>,
    /// Whether archived operations are sent to the running collection.
    pub by_requests: bool,
}

/// An `ImportBackupRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOrder {
    /// The collection's name in the recovery point.
    pub collection: CollectionName,
    /// Its shards, in the order of delivery, each once.
    pub shards: Vec<ShardId>,
    /// Of the server that wrote it.
    pub version: ServerVersion,
    /// Kept with the recovery point.
    pub note: String,
}

/// Most shards of one import.
const MAX_IMPORTED_SHARDS: usize = 4096;

/// A `CreateTicketRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketOrder {
    /// What may be read.
    pub recovery_point: RecoveryPointId,
    /// Which collections of it; empty means all.
    pub collections: Vec<CollectionName>,
    /// Whose agent may.
    pub node: NodeId,
    /// For how long.
    pub valid: Duration,
    /// Which copy it is read from; `None` means the repository itself.
    pub from_copy: Option<CopyName>,
}

/// Bounds of a ticket's validity, in seconds.
const TICKET_SECONDS: std::ops::RangeInclusive<u32> = 60..=7 * 86_400;

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
        let (patterns, names): (Vec<String>, Vec<String>) = wire
            .collections
            .into_iter()
            .partition(|name| name.contains('*'));
        Ok(Self {
            collections: parse_all("collections", &names)?,
            patterns,
            by_rule: false,
            method: Method::from_wire(wire.method)?,
            note: wire.note,
            tags: parse_all("tags", &wire.tags)?,
            limits: wire.limits.unwrap_or_default().try_into()?,
        })
    }
}

impl TryFrom<v1::BackupLimits> for CaptureLimits {
    type Error = ConvertError;
    fn try_from(wire: v1::BackupLimits) -> Result<Self, ConvertError> {
        let v1::BackupLimits {
            max_nodes,
            max_mib_per_sec,
            max_query_latency_ms,
            max_delay_ms,
        } = wire;
        let latency = Duration::from_millis(max_query_latency_ms.into());
        let limits = Self {
            max_nodes: NonZeroU32::new(max_nodes),
            max_mib_per_sec: NonZeroU32::new(max_mib_per_sec),
            max_query_latency: Some(latency).filter(|latency| !latency.is_zero()),
            max_delay: match max_delay_ms {
                0 => Self::default().max_delay,
                millis => Duration::from_millis(millis),
            },
        };
        match limits.out_of_range() {
            Some(rule) => Err(ConvertError::OutOfRange {
                field: "limits",
                rule,
            }),
            None => Ok(limits),
        }
    }
}

impl From<CaptureLimits> for v1::BackupLimits {
    fn from(limits: CaptureLimits) -> Self {
        Self {
            max_nodes: limits.max_nodes.map_or(0, NonZeroU32::get),
            max_mib_per_sec: limits.max_mib_per_sec.map_or(0, NonZeroU32::get),
            max_query_latency_ms: limits.max_query_latency.map_or(0, |latency| {
                u32::try_from(latency.as_millis()).unwrap_or(u32::MAX)
            }),
            max_delay_ms: if limits.max_delay == CaptureLimits::default().max_delay {
                0
            } else {
                u64::try_from(limits.max_delay.as_millis()).unwrap_or(u64::MAX)
            },
        }
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
        let point = match wire.recovery_point.as_str() {
            "" if wire.to.is_some() => None,
            text => Some(parse("recovery_point", text)?),
        };
        let by_requests = wire.to.is_some_and(|to| to.by_requests);
        let target = wire.to.map(RestoreTarget::try_from).transpose()?;
        let from = match (target, point) {
            (Some(target), point) => RestoreFrom::To(target, point),
            (None, Some(point)) => RestoreFrom::Point(point),
            (None, None) => return Err(ConvertError::Missing("recovery_point")),
        };
        Ok(Self {
            from,
            collections: wire
                .collections
                .into_iter()
                .map(Mapping::try_from)
                .collect::<Result<_, _>>()?,
            node,
            replication_factor: Some(wire.replication_factor).filter(|factor| *factor != 0),
            overwrite: wire.overwrite,
            with_aliases: !wire.without_aliases,
            from_copy: copy_name(&wire.from_copy)?,
            by_requests,
        })
    }
}

impl TryFrom<v1::RestoreTarget> for RestoreTarget {
    type Error = ConvertError;
    fn try_from(wire: v1::RestoreTarget) -> Result<Self, ConvertError> {
        use v1::restore_target::Target;
        match wire.target {
            Some(Target::InstantUs(micros)) => Ok(Self::Instant(Timestamp::from_micros(micros))),
            Some(Target::Latest(true)) => Ok(Self::Latest),
            Some(Target::Operation(number)) => Ok(Self::Operation(number)),
            Some(Target::BeforeDrop(true)) => Ok(Self::BeforeDrop),
            Some(Target::Latest(false) | Target::BeforeDrop(false)) | None => {
                Err(ConvertError::Missing("to"))
            }
        }
    }
}

impl TryFrom<v1::ImportBackupRequest> for ImportOrder {
    type Error = ConvertError;
    fn try_from(wire: v1::ImportBackupRequest) -> Result<Self, ConvertError> {
        let distinct: HashSet<u32> = wire.shard_ids.iter().copied().collect();
        let count = wire.shard_ids.len();
        if count == 0 || count > MAX_IMPORTED_SHARDS || distinct.len() != count {
            return Err(ConvertError::OutOfRange {
                field: "shard_ids",
                rule: "1 to 4096, each once",
            });
        }
        if wire.note.len() > MAX_NOTE_BYTES {
            return Err(ConvertError::OutOfRange {
                field: "note",
                rule: "at most 4096 bytes",
            });
        }
        Ok(Self {
            collection: parse("collection", &wire.collection)?,
            shards: wire.shard_ids.into_iter().map(ShardId).collect(),
            version: parse("qdrant_version", &wire.qdrant_version)?,
            note: wire.note,
        })
    }
}

impl TryFrom<v1::CreateTicketRequest> for TicketOrder {
    type Error = ConvertError;
    fn try_from(wire: v1::CreateTicketRequest) -> Result<Self, ConvertError> {
        if !TICKET_SECONDS.contains(&wire.valid_seconds) {
            return Err(ConvertError::OutOfRange {
                field: "valid_seconds",
                rule: "1 minute to 7 days",
            });
        }
        Ok(Self {
            recovery_point: parse("recovery_point", &wire.recovery_point)?,
            collections: parse_all("collections", &wire.collections)?,
            node: parse("node", &wire.node)?,
            valid: Duration::from_secs(wire.valid_seconds.into()),
            from_copy: copy_name(&wire.from_copy)?,
        })
    }
}

/// The field `from_copy`; empty means the repository itself.
///
/// # Errors
/// If it is no name of a copy.
pub fn copy_name(text: &str) -> Result<Option<CopyName>, ConvertError> {
    match text {
        "" => Ok(None),
        text => parse("from_copy", text).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::{BackupOrder, RestoreFrom, RestoreOrder, RestoreTarget};
    use crate::v1;
    use holdfast_types::CaptureLimits;

    #[test]
    fn a_target_needs_no_point_and_is_never_dropped() {
        let order = |point: &str, to| {
            RestoreOrder::try_from(v1::RestoreRequest {
                recovery_point: point.into(),
                to,
                ..Default::default()
            })
        };
        let target = |target| {
            Some(v1::RestoreTarget {
                target,
                by_requests: false,
            })
        };
        let latest = target(Some(v1::restore_target::Target::Latest(true)));
        let found = order("", latest).unwrap().from;
        assert_eq!(found, RestoreFrom::To(RestoreTarget::Latest, None));
        let point = "20261121t101530z-0a1b2c3d";
        let found = order(point, latest).unwrap().from;
        let id = point.parse().unwrap();
        assert_eq!(found, RestoreFrom::To(RestoreTarget::Latest, Some(id)));
        // A target that only a later release knows.
        assert!(order(point, target(None)).is_err());
        assert!(order("", None).is_err());
    }

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
            limits: None,
        };
        assert!(BackupOrder::try_from(wire).is_err());
    }

    #[test]
    fn limits_go_there_and_back() {
        let wire = v1::BackupLimits {
            max_nodes: 3,
            max_mib_per_sec: 40,
            max_query_latency_ms: 50,
            max_delay_ms: 60_000,
        };
        let limits = CaptureLimits::try_from(wire).unwrap();
        assert_eq!(limits.max_nodes.map(u32::from), Some(3));
        assert_eq!(limits.bytes_per_second(), Some(40 << 20));
        assert_eq!(v1::BackupLimits::from(limits), wire);
        let none = CaptureLimits::try_from(v1::BackupLimits::default()).unwrap();
        assert_eq!(none, CaptureLimits::default());
        let wire = v1::BackupLimits {
            max_nodes: u32::MAX,
            ..Default::default()
        };
        let error = CaptureLimits::try_from(wire).unwrap_err().to_string();
        assert!(error.contains("max_nodes"), "{error}");
    }
}
