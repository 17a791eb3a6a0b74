//! What a running command may use, and how its stages end.

use crate::commands::phase::Phase;
use crate::config::AgentConfig;
use crate::failure::Failed;
use crate::grpc;
use crate::journal::Journal;
use crate::link::LinkWatch;
use crate::order::CommandId;
use crate::pace::Pace;
use crate::progress::Meter;
use crate::tail::Board;
use holdfast_qdrant::{QdrantClient, QdrantError};
use holdfast_service::clock::Clock;
use holdfast_service::failure::Code;
use std::sync::Arc;
use tonic::Status;

/// The surroundings of every command.
#[derive(Clone)]
pub struct Site {
    /// The configuration.
    pub config: Arc<AgentConfig>,
    /// The journal.
    pub journal: Journal,
    /// The connection to the coordinator.
    pub link: LinkWatch,
    /// The local Qdrant.
    pub qdrant: QdrantClient,
    /// In which timeline each log is.
    pub board: Board,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// One running command.
#[derive(Clone)]
pub struct Job {
    /// Its surroundings.
    pub site: Site,
    /// Its id.
    pub id: CommandId,
    /// Its progress.
    pub meter: Arc<Meter>,
    /// How fast it may go.
    pub pace: Arc<Pace>,
}

/// Why an attempt, or a stage of one, ended early.
#[derive(Debug)]
pub enum Halt {
    /// A neighbouring stage has gone; its own error is the one to report.
    Stopped,
    /// The connection broke: the next attempt goes on with what is there.
    Broken(Failed),
    /// The command has failed.
    Failed(Failed),
}

impl From<Failed> for Halt {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<Status> for Halt {
    fn from(status: Status) -> Self {
        let failed = grpc::failed(&status);
        if grpc::is_transient(&status) {
            Self::Broken(failed)
        } else {
            Self::Failed(failed)
        }
    }
}

impl From<QdrantError> for Halt {
    fn from(error: QdrantError) -> Self {
        Self::Failed(qdrant_failed(&error))
    }
}

/// An error of Qdrant as a failure to report.
#[must_use]
pub fn qdrant_failed(error: &QdrantError) -> Failed {
    let code = error.code().parse().unwrap_or(Code::QdrantError);
    Failed::from_error(code, error)
}

impl Job {
    /// Records what the command is about to do, or has done. Returns when it is durable.
    ///
    /// # Errors
    /// A failure if the journal can't be written: the command must then not go on.
    pub async fn advance(&self, phase: Phase) -> Result<(), Failed> {
        let id = self.id.clone();
        self.site
            .journal
            .update(move |table| table.advance(&id, phase))
            .await
            .map_err(|error| error.failed())
    }

    /// What the journal says of this command.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.site
            .journal
            .read(|table| table.find_open(&self.id).map(|open| open.phase.clone()))
            .unwrap_or(Phase::Accepted)
    }
}

impl Halt {
    /// The failure of something that can't go on, for stages that are run in threads.
    #[must_use]
    pub fn crashed(error: &tokio::task::JoinError) -> Self {
        Self::Failed(Failed::from_error(Code::Internal, error))
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
