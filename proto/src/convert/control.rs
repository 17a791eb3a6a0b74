//! What agents and coordinator say on the control stream.

use super::{ConvertError, parse, parse_all};
use crate::v1;
use holdfast_types::{CaptureId, ClusterName, NodeId, Timestamp};

/// A `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The node the agent says it serves.
    pub node: NodeId,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// The agent's release, such as "0.1.0".
    pub program: String,
    /// The agent's clock.
    pub now: Timestamp,
    /// Commands that its journal has open.
    pub open_commands: Vec<CaptureId>,
}

/// A `Failure` that a peer reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedFailure {
    /// Kebab-case code.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// Whether trying again may help.
    pub retryable: bool,
}

impl TryFrom<v1::Hello> for Greeting {
    type Error = ConvertError;
    fn try_from(wire: v1::Hello) -> Result<Self, ConvertError> {
        Ok(Self {
            node: parse("node", &wire.node)?,
            cluster: parse("cluster", &wire.cluster)?,
            program: wire
                .program
                .ok_or(ConvertError::Missing("program"))?
                .version,
            now: Timestamp::from_micros(wire.now_us),
            open_commands: parse_all("open_commands", &wire.open_commands)?,
        })
    }
}

impl From<v1::Failure> for ReportedFailure {
    fn from(wire: v1::Failure) -> Self {
        Self {
            code: wire.code,
            message: wire.message,
            retryable: wire.retryable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Greeting;
    use crate::v1;

    #[test]
    fn a_greeting_needs_a_release_and_valid_names() {
        let hello = v1::Hello {
            node: "n1".into(),
            cluster: "demo".into(),
            program: Some(v1::ProgramVersion {
                version: "0.1.0".into(),
            }),
            ..Default::default()
        };
        assert!(Greeting::try_from(hello.clone()).is_ok());
        let nameless = v1::Hello {
            node: "N 1".into(),
            ..hello.clone()
        };
        assert!(Greeting::try_from(nameless).is_err());
        let nothing = v1::Hello {
            program: None,
            ..hello
        };
        assert!(Greeting::try_from(nothing).is_err());
    }
}
