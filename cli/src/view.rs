//! Results as they are shown: the stable field names of the JSON contract, and the text for people.
//!
//! Wire messages stop here: each view is made from one, and prints. Nothing here asks anybody anything.

mod backups;
mod certs;
mod collections;
mod config;
mod copy;
mod diff;
mod event;
mod export;
mod extras;
mod job;
mod jobs;
mod key;
mod member;
mod nodes;
mod policy;
mod promotion;
mod prune;
mod removal;
mod repo;
mod restore;
mod run;
mod schedules;
mod status;
mod storage;
mod text;
mod ticket;
mod token;
mod upkeep;
mod verify;
mod window;

pub(crate) use backups::{
    BackupDetailView, BackupPlanView, BackupResultView, BackupView, BackupsView,
};
pub(crate) use certs::{CaView, CertificateView, CertificatesView, IssuedView};
pub(crate) use collections::CollectionsView;
pub(crate) use config::ConfigCheckView;
pub(crate) use copy::{CopiesView, CopyAddedView, CopyChangeView, CopyView};
pub(crate) use diff::DiffView;
pub(crate) use event::EventView;
pub(crate) use export::{ExportView, ExportedView};
pub(crate) use extras::{ExtraExportView, ExtraFilesView, ExtraView};
pub(crate) use job::{JobDetailView, action_of};
pub(crate) use jobs::{CancelView, JobsView};
pub(crate) use key::{KeyChangeView, KeysView, MasterRotationView};
pub(crate) use member::{DrainView, NodeRemovalView};
pub(crate) use nodes::NodesView;
pub(crate) use policy::{PolicyCheckView, PolicyDiffView, PolicyExplainView, PolicyView};
pub(crate) use promotion::{Known, Promoted, PromotionView};
pub(crate) use prune::PruneView;
pub(crate) use removal::{HoldView, HoldsView, MarkedView, RemovalView};
pub(crate) use repo::ProbeView;
pub(crate) use restore::{PlanView, RestoreView};
pub(crate) use run::{UpkeepEndView, UpkeepView};
pub(crate) use schedules::SchedulesView;
pub(crate) use status::StatusView;
pub(crate) use storage::ShardsView;
pub(crate) use text::{millis, rate};
pub(crate) use ticket::TicketView;
pub(crate) use token::{NewTokenView, TokenRevokedView, TokensView};
pub(crate) use upkeep::{HealView, LeftoversView, RebuiltIndexView};
pub(crate) use verify::{Resumption, VerifyView};
pub(crate) use window::WindowsView;

use holdfast_proto::v1;
use serde::Serialize;

/// A failure that is part of a result, not the result itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FailureLine {
    /// Kebab-case code.
    pub(crate) code: String,
    /// One sentence.
    pub(crate) message: String,
    /// Whether it may go away by itself.
    pub(crate) retryable: bool,
}

impl From<&v1::Failure> for FailureLine {
    fn from(wire: &v1::Failure) -> Self {
        Self {
            code: wire.code.clone(),
            message: wire.message.clone(),
            retryable: wire.retryable,
        }
    }
}

/// `None` for the wire's empty string.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
