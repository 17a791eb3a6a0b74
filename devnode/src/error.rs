//! Why a request failed, in the classes that Qdrant's status codes distinguish.
//!
//! The texts begin like Qdrant's own, because clients match on them; that is why they carry capitals.

use holdfast_engine::EngineError;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The request is wrong (HTTP 400).
    #[error("Wrong input: {0}")]
    BadInput(String),
    /// The body could not be parsed (HTTP 400).
    #[error("Format error in JSON body: {0}")]
    Format(String),
    /// The thing to be made exists (HTTP 409).
    #[error("Wrong input: {0}")]
    AlreadyExists(String),
    /// No such collection, shard, point or snapshot (HTTP 404).
    #[error("Not found: {0}")]
    NotFound(String),
    /// A checksum given by the caller does not match (HTTP 400).
    #[error("Checksum mismatch: expected {expected}, actual {actual}")]
    Checksum {
        /// What the caller expects.
        expected: String,
        /// What was found.
        actual: String,
    },
    /// Qdrant has it, this node has not (HTTP 501).
    #[error("Not supported by holdfast-devnode: {0}")]
    Unsupported(String),
    /// The node failed (HTTP 500).
    #[error("Service internal error: {0}")]
    Service(String),
}

impl NodeError {
    /// The missing collection, as Qdrant words it.
    #[must_use]
    pub fn no_collection(name: &str) -> Self {
        Self::NotFound(format!("Collection `{name}` doesn't exist!"))
    }
}

impl From<EngineError> for NodeError {
    fn from(error: EngineError) -> Self {
        if error.is_rejection() {
            return Self::BadInput(error.to_string());
        }
        Self::Service(with_causes(&error))
    }
}

impl From<std::io::Error> for NodeError {
    fn from(error: std::io::Error) -> Self {
        Self::Service(with_causes(&error))
    }
}

/// The HTTP answer has no place for a chain of causes, so they are joined here.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
