//! Commands of the coordinator as domain values, parsed strictly once from the wire.
//!
//! Parsing decides nothing: whether an order is carried out is the command table's business.

use crate::replay::LogOrder;
use holdfast_archive::{CollectionEntry, ShardEntry};
use holdfast_proto::v1;
use holdfast_types::{CollectionName, Epoch, ExtraName, JobId, RecoveryPointId, ShardId};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

/// What the agent is told to do, and by which leadership.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Names the command for ever; the same id again is the same command.
    pub id: CommandId,
    /// The epoch of the coordinator that gives it.
    pub epoch: Epoch,
    /// The order itself.
    pub order: Order,
}

/// The kinds of orders.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Work that is journalled, run one at a time, and answered with one outcome.
    Work(Work),
    /// Stop the named command.
    Cancel(CommandId),
}

/// Journalled work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Work {
    /// Capture one shard.
    Capture(CaptureOrder),
    /// Restore one collection.
    Restore(Box<RestoreOrder>),
    /// Carry out one part of a restore into a cluster: the order's `part`. A kind of its own, so that an older release, put
    /// back in place of this one, can't take it for a restore of all shards into its node.
    RestorePart(Box<RestoreOrder>),
    /// Capture one extra of the configuration.
    Extra(ExtraOrder),
}

/// Capture an extra and deliver it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraOrder {
    /// Its name in the configuration.
    pub name: ExtraName,
    /// The recovery point that it is for.
    pub point: RecoveryPointId,
    /// The job that makes that.
    pub job: JobId,
}

/// Capture one shard and deliver it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureOrder {
    /// The collection.
    pub collection: CollectionName,
    /// The shard within it.
    pub shard: ShardId,
    /// How to obtain the bytes.
    pub method: Method,
    /// Most bytes per second that are read, and most that are sent; `None` for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZeroU64>,
    /// How it gives way to the searches of others; `None` if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courtesy: Option<Courtesy>,
}

/// How a capture gives way to the searches of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Courtesy {
    /// It reads less while they take longer than this.
    pub latency: Duration,
    /// But it is held up no longer than this in all.
    pub delay: Duration,
}

/// Ways to obtain a shard's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// What the agent's configuration says; by default the quickest that is there.
    Auto,
    /// Immutable files straight from the shared storage volume, the rest from a partial snapshot.
    Direct,
    /// What has changed since the last capture.
    Partial,
    /// A stored shard snapshot, read from the shared volume.
    Stored,
    /// A streamed shard snapshot.
    Stream,
}

impl Method {
    /// The wire's number for it.
    #[must_use]
    pub fn to_wire(self) -> v1::CaptureMethod {
        match self {
            Self::Auto => v1::CaptureMethod::Auto,
            Self::Direct => v1::CaptureMethod::Direct,
            Self::Partial => v1::CaptureMethod::Partial,
            Self::Stored => v1::CaptureMethod::Stored,
            Self::Stream => v1::CaptureMethod::Stream,
        }
    }

    /// The name written into manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Partial => "partial",
            Self::Stored => "stored",
            Self::Stream => "stream",
        }
    }
}

/// Bring one captured collection into the local Qdrant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreOrder {
    /// Where it comes from.
    pub recovery_point: RecoveryPointId,
    /// The name it shall have.
    pub target: CollectionName,
    /// Whether an existing collection may be replaced.
    pub overwrite: bool,
    /// Whether to re-create its aliases.
    pub with_aliases: bool,
    /// The manifest's entry of the captured collection.
    pub entry: CollectionEntry,
    /// What is replayed on its shards by splicing, at most one stretch for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogOrder>,
    /// What is sent as requests afterwards, when all shards are there: at most one stretch for each, from where the shard ends then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<LogOrder>,
    /// Which part of it, in a cluster of several nodes; `None` means all, into the local node alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartOrder>,
}

/// One part of a restore into a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOrder {
    /// Which.
    pub kind: PartKind,
    /// The identity of the collection that was prepared, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// The parts of a restore into a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// Create the collection, empty.
    Prepare,
    /// Upload one shard to the local replica of it.
    Upload(ShardId),
    /// Count, and point aliases.
    Finish,
    /// Delete what was prepared.
    Discard,
}

impl RestoreOrder {
    /// What is spliced into a shard.
    #[must_use]
    pub fn log(&self, shard: ShardId) -> Option<LogOrder> {
        self.logs.iter().find(|log| log.shard == shard).copied()
    }

    /// Entries that are spliced, over all shards.
    #[must_use]
    pub fn spliced_entries(&self) -> u64 {
        let uploaded = |log: &&LogOrder| match self.part.as_ref().map(|part| part.kind) {
            None => true,
            Some(PartKind::Upload(shard)) => log.shard == shard,
            Some(PartKind::Prepare | PartKind::Finish | PartKind::Discard) => false,
        };
        self.logs
            .iter()
            .filter(uploaded)
            .map(LogOrder::entries)
            .sum()
    }

    /// The captured shards that it reads. A part that reads none asks for the first one's recipe all the same: only who may
    /// read it may still act.
    pub fn sources(&self) -> impl Iterator<Item = &ShardEntry> {
        let kind = self.part.as_ref().map(|part| part.kind);
        let shards = self.entry.shards.iter().enumerate();
        shards
            .filter(move |(at, shard)| match kind {
                None | Some(PartKind::Prepare) => true,
                Some(PartKind::Upload(only)) => shard.shard_id == only,
                Some(PartKind::Finish | PartKind::Discard) => *at == 0,
            })
            .map(|(_, shard)| shard)
    }
}

/// A command's name: 1 to 128 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CommandId(String);

impl CommandId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CommandId {
    type Err = OrderError;
    fn from_str(text: &str) -> Result<Self, OrderError> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OrderError::Id(text.chars().take(150).collect()))
        }
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CommandId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A command that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Not a command id.
    #[error("command id {0:?} is not valid: use 1 to 128 visible ASCII characters")]
    Id(String),
    /// A oneof or enum this agent does not know.
    #[error("this agent does not know the command's {0}; is it older than the coordinator?")]
    Unknown(&'static str),
    /// A name breaks its rule.
    #[error("a name in the command is not valid")]
    Name(#[source] holdfast_types::ParseNameError),
    /// The recovery point's id breaks its rule.
    #[error("the recovery point in the command is not valid")]
    Point(#[source] holdfast_types::ParsePointIdError),
    /// The manifest entry can't be read.
    #[error("the collection's manifest entry can't be read")]
    Manifest(#[source] serde_json::Error),
    /// A shard to upload that was not captured.
    #[error("shard {shard} is to be uploaded and is not in the manifest entry")]
    Shard {
        /// Which.
        shard: ShardId,
    },
    /// A log that does not fit the captured shard.
    #[error("the log to replay does not fit the capture: shard {shard} {what}")]
    Log {
        /// Which shard.
        shard: ShardId,
        /// What is wrong.
        what: &'static str,
    },
    /// The manifest entry is of another collection.
    #[error("the manifest entry describes collection {entry}, the command says {source_name}")]
    OtherCollection {
        /// Name in the entry.
        entry: String,
        /// Name in the command.
        source_name: String,
    },
}

impl TryFrom<v1::Command> for Command {
    type Error = OrderError;
    fn try_from(wire: v1::Command) -> Result<Self, OrderError> {
        use v1::command::Command as Kind;
        let order = match wire.command.ok_or(OrderError::Unknown("kind"))? {
            Kind::CaptureShard(capture) => Order::Work(Work::Capture(capture.try_into()?)),
            Kind::RestoreCollection(restore) => {
                Order::Work(Work::Restore(Box::new(restore.try_into()?)))
            }
            Kind::RestorePart(part) => Order::Work(Work::RestorePart(Box::new(part.try_into()?))),
            Kind::CaptureExtra(extra) => Order::Work(Work::Extra(extra.try_into()?)),
            Kind::Cancel(cancel) => Order::Cancel(cancel.command_id.parse()?),
        };
        Ok(Self {
            id: wire.command_id.parse()?,
            epoch: Epoch(wire.epoch),
            order,
        })
    }
}

impl TryFrom<v1::CaptureExtra> for ExtraOrder {
    type Error = OrderError;
    fn try_from(wire: v1::CaptureExtra) -> Result<Self, OrderError> {
        Ok(Self {
            name: wire.name.parse().map_err(OrderError::Name)?,
            point: wire.recovery_point.parse().map_err(OrderError::Point)?,
            job: wire.job_id.parse().map_err(OrderError::Name)?,
        })
    }
}

impl TryFrom<v1::CaptureShard> for CaptureOrder {
    type Error = OrderError;
    fn try_from(wire: v1::CaptureShard) -> Result<Self, OrderError> {
        let method = match wire.method() {
            v1::CaptureMethod::Unspecified => return Err(OrderError::Unknown("capture method")),
            v1::CaptureMethod::Auto => Method::Auto,
            v1::CaptureMethod::Direct => Method::Direct,
            v1::CaptureMethod::Partial => Method::Partial,
            v1::CaptureMethod::Stored => Method::Stored,
            v1::CaptureMethod::Stream => Method::Stream,
        };
        Ok(Self {
            collection: wire.collection.parse().map_err(OrderError::Name)?,
            shard: ShardId(wire.shard_id),
            method,
            bytes_per_second: NonZeroU64::new(wire.bytes_per_second),
            courtesy: (wire.max_query_latency_us > 0).then(|| Courtesy {
                latency: Duration::from_micros(wire.max_query_latency_us),
                delay: Duration::from_millis(wire.max_delay_ms),
            }),
        })
    }
}

impl TryFrom<v1::RestoreCollection> for RestoreOrder {
    type Error = OrderError;
    fn try_from(wire: v1::RestoreCollection) -> Result<Self, OrderError> {
        let entry: CollectionEntry =
            serde_json::from_str(&wire.collection_manifest_json).map_err(OrderError::Manifest)?;
        if entry.name.as_str() != wire.source_collection {
            return Err(OrderError::OtherCollection {
                entry: entry.name.to_string(),
                source_name: wire.source_collection,
            });
        }
        let stretches = logs(&wire.logs, &entry)?;
        Ok(Self {
            recovery_point: wire.recovery_point.parse().map_err(OrderError::Point)?,
            target: wire.target_collection.parse().map_err(OrderError::Name)?,
            overwrite: wire.overwrite,
            with_aliases: wire.with_aliases,
            logs: stretches.iter().filter_map(|both| both.0).collect(),
            requests: stretches.iter().filter_map(|both| both.1).collect(),
            part: None,
            entry,
        })
    }
}

impl TryFrom<v1::RestorePart> for RestoreOrder {
    type Error = OrderError;
    fn try_from(wire: v1::RestorePart) -> Result<Self, OrderError> {
        use v1::restore_part::Part;
        let kind = match wire.part.ok_or(OrderError::Unknown("part of a restore"))? {
            Part::Prepare(v1::PrepareTarget {}) => PartKind::Prepare,
            Part::Upload(v1::UploadShard { shard_id }) => PartKind::Upload(ShardId(shard_id)),
            Part::Finish(v1::FinishTarget {}) => PartKind::Finish,
            Part::Discard(v1::DiscardTarget {}) => PartKind::Discard,
        };
        let collection = wire.collection.ok_or(OrderError::Unknown("collection"))?;
        let mut order = Self::try_from(collection)?;
        if let PartKind::Upload(shard) = kind
            && !order.entry.shards.iter().any(|s| s.shard_id == shard)
        {
            return Err(OrderError::Shard { shard });
        }
        order.part = Some(PartOrder {
            kind,
            uuid: Some(wire.collection_uuid).filter(|uuid| !uuid.is_empty()),
        });
        Ok(order)
    }
}

/// What is spliced into a shard, and what is sent afterwards.
type Stretches = (Option<LogOrder>, Option<LogOrder>);

/// Stretches of logs that fit what was captured: each for another shard, and to where that may go at least.
fn logs(wire: &[v1::ShardLog], entry: &CollectionEntry) -> Result<Vec<Stretches>, OrderError> {
    let mut seen = HashSet::new();
    let mut logs = Vec::new();
    for log in wire {
        let v1::ShardLog {
            shard_id,
            from,
            until,
            requests_from,
        } = *log;
        let shard = ShardId(shard_id);
        let refused = |what| Err(OrderError::Log { shard, what });
        let Some(captured) = entry.shards.iter().find(|s| s.shard_id == shard) else {
            return refused("is not in the collection");
        };
        if !seen.insert(shard) {
            return refused("has two logs");
        }
        if captured.wal.is_none_or(|mark| mark.certain != from) {
            return refused("would be replayed from another place than its capture says");
        }
        if from > until || captured.next_operation.is_none_or(|next| next > until) {
            return refused("may contain more than what would be replayed");
        }
        let spliced = match requests_from {
            None => until,
            // Behind it, nothing is contained; before it, something may be missing until it has been spliced.
            Some(place) if captured.next_operation == Some(place) && from <= place => place,
            Some(_) => return refused("does not end where its requests begin"),
        };
        let stretch = |from, until| (from < until).then_some(LogOrder { shard, from, until });
        logs.push((stretch(from, spliced), stretch(spliced, until)));
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::{CaptureOrder, Command, CommandId, Courtesy, Method, Order, Work};
    use holdfast_proto::v1;
    use holdfast_types::{Epoch, ShardId};
    use std::num::NonZeroU64;
    use std::time::Duration;

    fn wire(kind: Option<v1::command::Command>) -> v1::Command {
        v1::Command {
            command_id: "c-1".into(),
            epoch: 7,
            command: kind,
        }
    }

    fn capture(method: i32, collection: &str) -> v1::command::Command {
        v1::command::Command::CaptureShard(v1::CaptureShard {
            collection: collection.into(),
            shard_id: 3,
            method,
            bytes_per_second: 5,
            max_query_latency_us: 50_000,
            max_delay_ms: 9,
        })
    }

    #[test]
    fn a_capture_is_understood() {
        let command = Command::try_from(wire(Some(capture(1, "docs")))).unwrap();
        assert_eq!(
            command,
            Command {
                id: "c-1".parse().unwrap(),
                epoch: Epoch(7),
                order: Order::Work(Work::Capture(CaptureOrder {
                    collection: "docs".parse().unwrap(),
                    shard: ShardId(3),
                    method: Method::Auto,
                    bytes_per_second: NonZeroU64::new(5),
                    courtesy: Some(Courtesy {
                        latency: Duration::from_millis(50),
                        delay: Duration::from_millis(9),
                    }),
                })),
            }
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            wire(None),
            wire(Some(capture(0, "docs"))),
            wire(Some(capture(99, "docs"))),
            wire(Some(capture(1, "a/b"))),
            wire(Some(v1::command::Command::CaptureExtra(v1::CaptureExtra {
                name: "redis".into(),
                recovery_point: "20261121t101530z-0a1b2c3d".into(),
                job_id: "../job".into(),
            }))),
            wire(Some(v1::command::Command::Cancel(v1::Cancel {
                command_id: String::new(),
            }))),
            wire(Some(v1::command::Command::RestoreCollection(
                v1::RestoreCollection {
                    collection_manifest_json: "{".into(),
                    ..Default::default()
                },
            ))),
        ] {
            assert!(Command::try_from(bad.clone()).is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "ä", &"x".repeat(129)] {
            assert!(bad.parse::<CommandId>().is_err(), "{bad}");
        }
    }
}
