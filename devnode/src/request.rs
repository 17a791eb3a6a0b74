//! Bodies of the REST interface, parsed into what a collection takes; gRPC requests arrive through the same types.

pub mod query;
pub mod update;
mod vector_input;

use crate::NodeError;
use serde::de::DeserializeOwned;

/// Parses a JSON body; an empty one counts as `{}`.
///
/// # Errors
/// `Format` with the parser's text.
pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NodeError> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| NodeError::Format(error.to_string()))
}
