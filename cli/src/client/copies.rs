//! The calls of the coordinator that are about copies.

use super::{Coordinator, unary};
use crate::failure::{Action, Outcome, from_status};
use holdfast_proto::v1;
use tonic::Request;

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $answer:ident, $action:ident, $form:path;)*) => {
        impl Coordinator {
            $($(#[$doc])*
            pub(crate) async fn $name(&mut self, request: v1::$request) -> Outcome<v1::$answer> {
                let answer = self.copies.$name($form(request)).await;
                answer
                    .map(tonic::Response::into_inner)
                    .map_err(|status| from_status(Action::$action, &status))
            })*
        }
    };
}

calls! {
    /// `Copies.ListCopies`.
    list_copies(ListCopiesRequest) -> ListCopiesResponse, Read, unary;
    /// `Copies.AddCopy`. It may wait for a run.
    add_copy(AddCopyRequest) -> AddCopyResponse, Copy, Request::new;
    /// `Copies.SyncCopy`. With `release` it may wait for a run.
    sync_copy(SyncCopyRequest) -> SyncCopyResponse, Copy, Request::new;
    /// `Copies.VerifyCopy`.
    verify_copy(VerifyCopyRequest) -> VerifyCopyResponse, Copy, unary;
    /// `Copies.RemoveCopy`. It may wait for a run.
    remove_copy(RemoveCopyRequest) -> RemoveCopyResponse, Copy, Request::new;
    /// `Copies.PruneCopy`. Reads every recipe: it may take minutes.
    prune_copy(PruneCopyRequest) -> PruneReport, Remove, Request::new;
}
