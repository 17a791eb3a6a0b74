//! What can go wrong with a Qdrant server, sorted by what the caller can do about it.

use holdfast_types::ServerVersion;

/// A call that failed. The texts say what to do; `context` names the call, such as `GET /collections/docs`.
#[derive(Debug, thiserror::Error)]
pub enum QdrantError {
    /// No connection, or it broke.
    #[error("can't reach Qdrant at {url}: check that it runs and that the address is right")]
    Unreachable {
        /// The configured base address.
        url: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time. Whether the server carried out the request is unknown.
    #[error("Qdrant did not answer {context} in time")]
    Timeout {
        /// The call.
        context: String,
    },
    /// The API key is missing or wrong.
    #[error("Qdrant refused {context}: the API key is missing or wrong")]
    Unauthorized {
        /// The call.
        context: String,
    },
    /// The API key lacks a right.
    #[error("Qdrant forbade {context}: {message}; the API key needs manage access")]
    Forbidden {
        /// The call.
        context: String,
        /// The server's words.
        message: String,
    },
    /// No such collection, shard or snapshot.
    #[error("Qdrant found nothing for {context}: {message}")]
    NotFound {
        /// The call.
        context: String,
        /// The server's words.
        message: String,
    },
    /// What was to be created exists.
    #[error("Qdrant answered {context}: {message}")]
    AlreadyExists {
        /// The call.
        context: String,
        /// The server's words.
        message: String,
    },
    /// The server is older than anything Holdfast supports.
    #[error("Qdrant {found} is too old: Holdfast needs {needed} or newer")]
    TooOld {
        /// What the server says it is.
        found: ServerVersion,
        /// The oldest supported version.
        needed: ServerVersion,
    },
    /// The server is starting, recovering or overloaded: later may do.
    #[error("Qdrant is not ready for {context}: {message}")]
    NotReady {
        /// The call.
        context: String,
        /// The server's words.
        message: String,
    },
    /// The server runs in recovery mode: it loads no collections until it is restarted without.
    #[error(
        "Qdrant runs in recovery mode and loads no collections: restart it without `recovery_mode`"
    )]
    InRecovery,
    /// The server refuses the request as such.
    #[error("Qdrant refused {context}: {message}")]
    BadRequest {
        /// The call.
        context: String,
        /// The server's words.
        message: String,
    },
    /// The server failed.
    #[error("Qdrant failed at {context} with status {status}: {message}")]
    Server {
        /// The call.
        context: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// Something answers at the address, but not a Qdrant server.
    #[error("what answers at {url} is not a Qdrant server: {why}")]
    NotQdrant {
        /// The configured base address.
        url: String,
        /// What gave it away.
        why: String,
    },
    /// The answer ended before it was complete.
    #[error("the answer to {context} was cut off")]
    Truncated {
        /// The call.
        context: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// The settings make no client.
    #[error("the Qdrant client can't be set up: {0}")]
    Config(String),
    /// A captured configuration that can't be turned into a request.
    #[error("the captured configuration can't be recreated")]
    Mapping(#[from] crate::MappingError),
}

impl QdrantError {
    /// The failure code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => "qdrant-unreachable",
            Self::Unauthorized { .. } | Self::Forbidden { .. } => "qdrant-unauthorized",
            Self::NotFound { .. } => "collection-not-found",
            Self::AlreadyExists { .. } => "target-exists",
            Self::TooOld { .. } => "qdrant-too-old",
            Self::NotReady { .. } | Self::InRecovery => "qdrant-not-ready",
            Self::BadRequest { .. }
            | Self::Server { .. }
            | Self::NotQdrant { .. }
            | Self::Mapping(_) => "qdrant-error",
            Self::Truncated { .. } => "snapshot-truncated",
            Self::Config(_) => "config",
        }
    }

    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NotReady { .. }
            | Self::Server { .. }
            | Self::Truncated { .. } => true,
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::TooOld { .. }
            | Self::InRecovery
            | Self::BadRequest { .. }
            | Self::NotQdrant { .. }
            | Self::Config(_)
            | Self::Mapping(_) => false,
        }
    }
}
