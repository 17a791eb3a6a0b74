//! From wire messages to domain values: everything a peer sends is validated here, once.
//!
//! Each `TryFrom` names the field that is wrong. Conversions in the other direction live with the
//! sender, because it knows what it means to say. Nothing here knows roles, epochs in force or the
//! state of a job: whether a valid message is also *allowed* is its receiver's business.

use crate::v1;
use holdfast_types::{CaptureId, ChunkId, HASH_LEN};
use std::error::Error;
use std::str::FromStr;

mod admin;
mod control;
mod ingest;
mod inventory;

pub use admin::{
    BackupOrder, ImportOrder, Mapping, RestoreFrom, RestoreOrder, RestoreTarget, TicketOrder,
    copy_name,
};
pub use control::{Greeting, ReportedFailure};
pub use ingest::SentChunk;
pub use inventory::{CollectionSeen, ExtraTold, NodeSeen, ShardSeen};

/// A message that breaks the protocol. The text goes back to the peer.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there is not.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// A field that does not parse.
    #[error("field {field} is not valid: {source}")]
    Invalid {
        /// Name in the .proto file.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A field outside its limits.
    #[error("field {field} is out of range: {rule}")]
    OutOfRange {
        /// Name in the .proto file.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// How a shard's bytes are obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// What the agent's configuration says; by default the quickest that the node allows.
    Auto,
    /// Immutable files from the shared storage volume, the rest from a partial snapshot.
    Direct,
    /// What has changed since the last capture.
    Partial,
    /// A stored shard snapshot read from the shared volume.
    Stored,
    /// A streamed shard snapshot.
    Stream,
}

impl Method {
    /// Reads the number of a `CaptureMethod` field; unspecified and unknown numbers are refused.
    ///
    /// # Errors
    /// `OutOfRange` naming `method`.
    pub fn from_wire(number: i32) -> Result<Self, ConvertError> {
        let refused = ConvertError::OutOfRange {
            field: "method",
            rule: "use auto, direct, partial, stored or stream",
        };
        match v1::CaptureMethod::try_from(number).map_err(|_| ConvertError::OutOfRange {
            field: "method",
            rule: "this release does not know it",
        })? {
            v1::CaptureMethod::Unspecified => Err(refused),
            v1::CaptureMethod::Auto => Ok(Self::Auto),
            v1::CaptureMethod::Direct => Ok(Self::Direct),
            v1::CaptureMethod::Partial => Ok(Self::Partial),
            v1::CaptureMethod::Stored => Ok(Self::Stored),
            v1::CaptureMethod::Stream => Ok(Self::Stream),
        }
    }

    /// The wire's number.
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
}

/// Parses a command id: it obeys the rule of capture ids, for restores too.
///
/// # Errors
/// `Invalid` naming `command_id`.
pub fn command_id(text: &str) -> Result<CaptureId, ConvertError> {
    parse("command_id", text)
}

/// Splits a field of n × 32 bytes into chunk ids, at most `most` of them.
///
/// # Errors
/// `OutOfRange` if the length is not a multiple of 32 or there are too many.
pub fn chunk_ids(bytes: &[u8], most: usize) -> Result<Vec<ChunkId>, ConvertError> {
    let (ids, rest) = bytes.as_chunks::<HASH_LEN>();
    if !rest.is_empty() {
        return Err(ConvertError::OutOfRange {
            field: "chunk_ids",
            rule: "the length must be a multiple of 32 bytes",
        });
    }
    if ids.len() > most {
        return Err(ConvertError::OutOfRange {
            field: "chunk_ids",
            rule: "too many ids in one message",
        });
    }
    Ok(ids.iter().map(|id| ChunkId::from_bytes(*id)).collect())
}

fn parse<T>(field: &'static str, text: &str) -> Result<T, ConvertError>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    text.parse().map_err(|source| ConvertError::Invalid {
        field,
        source: Box::new(source),
    })
}

fn parse_all<T>(field: &'static str, texts: &[String]) -> Result<Vec<T>, ConvertError>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    texts.iter().map(|text| parse(field, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::{ConvertError, Method, chunk_ids, command_id};

    #[test]
    fn ids_come_in_whole_ones_and_not_too_many() {
        assert_eq!(chunk_ids(&[7; 64], 2).unwrap().len(), 2);
        assert_eq!(chunk_ids(&[], 0).unwrap(), []);
        assert!(matches!(
            chunk_ids(&[7; 65], 9),
            Err(ConvertError::OutOfRange { .. })
        ));
        assert!(chunk_ids(&[7; 64], 1).is_err());
    }

    #[test]
    fn unspecified_and_unknown_methods_are_refused() {
        assert!(Method::from_wire(0).is_err());
        assert!(Method::from_wire(99).is_err());
        for method in [Method::Auto, Method::Stored, Method::Stream] {
            assert_eq!(Method::from_wire(method.to_wire().into()).unwrap(), method);
        }
    }

    #[test]
    fn command_ids_are_plain_names() {
        assert!(command_id("backup-20261121t101530z-0a1b2c3d-c0").is_ok());
        assert!(command_id("../x").is_err());
    }
}
