//! The retention calls of the coordinator.

use super::{Coordinator, unary};
use crate::failure::{Action, Outcome, from_status};
use holdfast_proto::v1;
use tonic::Request;

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $answer:ident, $action:ident;)*) => {
        impl Coordinator {
            $($(#[$doc])*
            pub(crate) async fn $name(&mut self, request: v1::$request) -> Outcome<v1::$answer> {
                let answer = self.retention.$name(unary(request)).await;
                answer
                    .map(tonic::Response::into_inner)
                    .map_err(|status| from_status(Action::$action, &status))
            })*
        }
    };
}

calls! {
    /// `Retention.DeleteBackup`.
    delete_backup(DeleteBackupRequest) -> DeleteBackupResponse, Remove;
    /// `Retention.UndeleteBackup`.
    undelete_backup(UndeleteBackupRequest) -> UndeleteBackupResponse, Remove;
    /// `Retention.PinBackup`.
    pin_backup(PinBackupRequest) -> PinBackupResponse, Remove;
    /// `Retention.UnpinBackup`.
    unpin_backup(UnpinBackupRequest) -> UnpinBackupResponse, Remove;
    /// `Retention.PlaceHold`.
    place_hold(PlaceHoldRequest) -> PlaceHoldResponse, Remove;
    /// `Retention.ReleaseHold`.
    release_hold(ReleaseHoldRequest) -> ReleaseHoldResponse, Remove;
    /// `Retention.ListHolds`.
    list_holds(ListHoldsRequest) -> ListHoldsResponse, Read;
}

impl Coordinator {
    /// `Retention.PlanPrune`, or `Retention.RunPrune` if it is confirmed. Reads every recipe: it may take minutes.
    pub(crate) async fn prune(&mut self, confirm: bool) -> Outcome<v1::PruneReport> {
        let (answer, action) = if confirm {
            let request = Request::new(v1::RunPruneRequest {});
            (self.retention.run_prune(request).await, Action::Remove)
        } else {
            let request = Request::new(v1::PlanPruneRequest {});
            (self.retention.plan_prune(request).await, Action::Read)
        };
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| from_status(action, &status))
    }
}
