//! A failure as the agent keeps and reports it: a stable code, one sentence, and whether it may pass.
//!
//! Errors of the layers below are turned into this once, where a command ends or a heartbeat is made;
//! the whole chain of causes goes into the sentence, so that nobody has to look into the agent's log.

use holdfast_proto::v1;
use holdfast_service::failure::Code;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::error::Error;
use std::fmt;

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What a program branches on.
    #[serde(serialize_with = "write_code", deserialize_with = "read_code")]
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
    /// Whether the same request may succeed later without anyone changing anything.
    pub retryable: bool,
}

impl Failed {
    /// A failure whose code says whether it may pass.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.is_retryable(),
        }
    }

    /// A failure with the whole chain of causes as its sentence.
    #[must_use]
    pub fn from_error(code: Code, error: &dyn Error) -> Self {
        Self::new(code, chain(error))
    }

    /// The same failure with something to add.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(more);
        self
    }

    /// The wire's form.
    #[must_use]
    pub fn to_wire(&self) -> v1::Failure {
        v1::Failure {
            code: self.code.as_str().to_owned(),
            message: self.message.clone(),
            retryable: self.retryable,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// An error and its causes, joined by ": ", without repeating a text that a cause already contains.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// The code of an IO error of the agent's own files.
#[must_use]
pub fn io_code(error: &std::io::Error) -> Code {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "ErrorKind is non-exhaustive and only two kinds have a code of their own"
    )]
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::DiskFull,
        std::io::ErrorKind::ReadOnlyFilesystem => Code::ReadOnly,
        _ => Code::Internal,
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn write_code<S: Serializer>(code: &Code, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(code.as_str())
}

/// A code of a later release, found in the journal after a downgrade, must not make it unreadable.
fn read_code<'de, D: Deserializer<'de>>(d: D) -> Result<Code, D::Error> {
    Ok(String::deserialize(d)?.parse().unwrap_or(Code::Internal))
}

#[cfg(test)]
mod tests {
    use super::{Failed, chain};
    use holdfast_service::failure::Code;

    #[derive(Debug, thiserror::Error)]
    #[error("can't open the spool")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_sentence_has_every_cause_once() {
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "can't open the spool: disk on fire");
        let failed = Failed::from_error(Code::DiskFull, &error).and("free some space");
        assert_eq!(
            failed.to_string(),
            "disk-full: can't open the spool: disk on fire; free some space"
        );
        assert!(!failed.retryable);
    }

    #[test]
    fn is_kept_by_its_code() {
        let failed = Failed::new(Code::SpoolFull, "full");
        let text = serde_json::to_string(&failed).unwrap();
        assert_eq!(
            text,
            r#"{"code":"spool-full","message":"full","retryable":true}"#
        );
        assert_eq!(serde_json::from_str::<Failed>(&text).unwrap(), failed);
        let newer = text.replace("spool-full", "from-the-future");
        assert_eq!(
            serde_json::from_str::<Failed>(&newer).unwrap().code,
            Code::Internal
        );
    }
}
