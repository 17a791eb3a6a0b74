//! The calls about what is done by itself.

use super::{Coordinator, unary};
use crate::failure::{Action, Outcome, from_status};
use holdfast_proto::v1;

impl Coordinator {
    /// `Schedules.ListSchedules`.
    pub(crate) async fn list_schedules(
        &mut self,
        request: v1::ListSchedulesRequest,
    ) -> Outcome<v1::ListSchedulesResponse> {
        let answer = self.schedules.list_schedules(unary(request)).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| from_status(Action::Read, &status))
    }

    /// `Schedules.GetPolicy`.
    pub(crate) async fn get_policy(
        &mut self,
        request: v1::GetPolicyRequest,
    ) -> Outcome<v1::GetPolicyResponse> {
        let answer = self.schedules.get_policy(unary(request)).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| from_status(Action::Read, &status))
    }
}
