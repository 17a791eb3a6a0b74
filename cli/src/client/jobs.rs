//! The calls about jobs.

use super::{Coordinator, Events, unary};
use crate::failure::{Action, Outcome, from_status};
use holdfast_proto::v1;

impl Coordinator {
    /// `Jobs.ShowJob`.
    pub(crate) async fn show_job(&mut self, job_id: String) -> Outcome<v1::JobDetail> {
        let answer = self
            .jobs
            .show_job(unary(v1::ShowJobRequest { job_id }))
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| from_status(Action::Read, &status))
    }

    /// `Jobs.WatchJob`.
    pub(crate) async fn watch_job(&mut self, job_id: String) -> Outcome<Events> {
        let answer = self.jobs.watch_job(v1::WatchJobRequest { job_id }).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| from_status(Action::Read, &status))
    }

    /// `Jobs.VerifyRepository`.
    pub(crate) async fn verify(&mut self, percent: u32) -> Outcome<Events> {
        let request = v1::VerifyRepositoryRequest { percent };
        let answer = self.jobs.verify_repository(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| from_status(Action::Verify, &status))
    }

    /// `Admin.CancelJob`.
    pub(crate) async fn cancel(&mut self, job_id: String) -> Outcome<v1::CancelJobResponse> {
        let answer = self
            .admin
            .cancel_job(unary(v1::CancelJobRequest { job_id }))
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Cancel, &s))
    }
}
