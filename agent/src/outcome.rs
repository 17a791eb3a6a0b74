//! How a command ended, as a domain value that the journal keeps and the wire reports.

use crate::failure::Failed;
use crate::order::{CommandId, Method};
use holdfast_proto::v1;
use serde::{Deserialize, Serialize};

/// The one final answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It failed and left nothing behind, or left what a cleanup removes.
    Failed(Failed),
    /// The capture is committed.
    Captured(CaptureReport),
    /// The collection is restored.
    Restored(RestoreReport),
    /// The files of an extra are committed.
    ExtraCaptured(ExtraReport),
    /// A cancel order was taken note of.
    Cancelled,
}

/// Figures of a capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureReport {
    /// Bytes of all captured files.
    pub logical_bytes: u64,
    /// Bytes of chunks sent, after compression.
    pub sent_bytes: u64,
    /// Milliseconds from the start of the command to the commit.
    pub elapsed_ms: u64,
    /// Of that, milliseconds in which Qdrant made the snapshot.
    pub snapshot_ms: u64,
    /// The way that was used; never [`Method::Auto`].
    pub method: Method,
    /// Why quicker ways were not taken, or Qdrant sent everything.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Milliseconds for which it was held up for the searches of others.
    #[serde(default)]
    pub held_up_ms: u64,
}

/// Figures of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// Bytes uploaded to Qdrant.
    pub uploaded_bytes: u64,
    /// Exact number of points counted afterwards.
    pub points: u64,
    /// Milliseconds from the start of the command.
    pub elapsed_ms: u64,
    /// Aliases that point at the collection now because of this restore.
    pub aliases: Vec<String>,
    /// Payload indexes that were created.
    pub indexes: Vec<String>,
    /// Entries of archived logs that were handed to Qdrant.
    #[serde(default)]
    pub replayed_entries: u64,
    /// The identity of a collection that was prepared, if Qdrant tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_uuid: Option<String>,
    /// What people should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Figures of an extra.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraReport {
    /// Bytes of all its files.
    pub logical_bytes: u64,
    /// Bytes of chunks sent, after compression.
    pub sent_bytes: u64,
    /// Milliseconds from the start of the command to its end.
    pub elapsed_ms: u64,
    /// Why its last hook failed.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Outcome {
    /// The message that reports it.
    #[must_use]
    pub fn to_wire(&self, id: &CommandId) -> v1::CommandResult {
        use v1::command_result::Outcome as Wire;
        let outcome = match self {
            Self::Failed(failed) => Wire::Failure(failed.to_wire()),
            Self::Captured(report) => Wire::Capture(v1::CaptureDone {
                logical_bytes: report.logical_bytes,
                sent_bytes: report.sent_bytes,
                elapsed_ms: report.elapsed_ms,
                snapshot_ms: report.snapshot_ms,
                method: report.method.to_wire().into(),
                reasons: report.reasons.clone(),
                held_up_ms: report.held_up_ms,
            }),
            Self::Restored(report) => Wire::Restore(v1::RestoreDone {
                uploaded_bytes: report.uploaded_bytes,
                points: report.points,
                elapsed_ms: report.elapsed_ms,
                aliases_created: report.aliases.clone(),
                indexes_created: report.indexes.clone(),
                replayed_entries: report.replayed_entries,
                collection_uuid: report.collection_uuid.clone().unwrap_or_default(),
                notes: report.notes.clone(),
            }),
            Self::ExtraCaptured(report) => Wire::Extra(v1::ExtraDone {
                logical_bytes: report.logical_bytes,
                sent_bytes: report.sent_bytes,
                elapsed_ms: report.elapsed_ms,
                warnings: report.warnings.clone(),
            }),
            Self::Cancelled => Wire::Cancelled(v1::Cancelled {}),
        };
        v1::CommandResult {
            command_id: id.as_str().to_owned(),
            outcome: Some(outcome),
        }
    }
}
