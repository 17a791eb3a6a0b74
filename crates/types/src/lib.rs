//! The vocabulary of Holdfast: identifiers, epochs, timestamps, byte counts.
//!
//! Every value that crosses a module boundary is one of these newtypes, parsed strictly once and
//! trusted afterwards. This crate does no IO, reads no clock and draws no random numbers: callers
//! pass instants and entropy in.

mod bytes;
mod epoch;
mod hash;
mod limits;
mod name;
mod point_id;
mod release;
mod timestamp;
mod uid;
mod version;

pub use bytes::ByteCount;
pub use epoch::Epoch;
pub use hash::{ChunkId, HASH_LEN, PackId, ParseHashError};
pub use limits::CaptureLimits;
pub use name::{
    AliasName, CaptureId, ClusterName, CollectionName, CopyName, ExtraName, HoldId, JobId,
    KeyHolder, Namespace, NodeId, ParseNameError, ScheduleName, ShardId, Tag,
};
pub use point_id::{ParsePointIdError, RecoveryPointId};
pub use release::{fitting_releases, releases_fit};
pub use timestamp::{ParseTimestampError, Timestamp};
pub use uid::{IncarnationId, ParseUidError, TimelineId};
pub use version::{Compatibility, ParseServerVersionError, ServerVersion};
