//! What operators and viewers ask of schedules.

use crate::core::Core;
use crate::schedule;
use holdfast_decide::policy::schedule_lines;
use holdfast_decide::schedule::{LastRun, OpenState, Outcome};
use holdfast_proto::v1;
use holdfast_proto::v1::schedules_server::Schedules;
use holdfast_types::{JobId, Timestamp};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone, Debug)]
pub struct SchedulesService(Arc<Core>);

impl SchedulesService {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }
}

#[tonic::async_trait]
impl Schedules for SchedulesService {
    async fn list_schedules(
        &self,
        _request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let core = &self.0;
        let busy = core.book.running().await.map(|job| job.id);
        let standings = schedule::standings(core, busy);
        Ok(Response::new(v1::ListSchedulesResponse {
            configured: core.policy.is_some(),
            schedules: standings.iter().map(wire).collect(),
        }))
    }

    async fn get_policy(
        &self,
        _request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        let core = &self.0;
        let now_us = core.clock.now().as_micros();
        let Some(policy) = &core.policy else {
            return Ok(Response::new(v1::GetPolicyResponse {
                now_us,
                ..Default::default()
            }));
        };
        let known = schedule::known_collections(core);
        let since_full = policy.policy.schedules.iter().filter_map(|schedule| {
            let runs = core.schedules.get(&schedule.name)?.since_full?;
            Some((schedule.name.to_string(), runs))
        });
        Ok(Response::new(v1::GetPolicyResponse {
            path: policy.path.display().to_string(),
            text: policy.text.clone(),
            collections: known.iter().map(ToString::to_string).collect(),
            since_full: since_full.collect(),
            now_us,
        }))
    }
}

fn wire(standing: &schedule::Standing<'_>) -> v1::ScheduleStatus {
    let memory = &standing.memory;
    let micros = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_micros);
    let job = match memory.open.as_ref().map(|open| &open.state) {
        Some(OpenState::Running { job }) => job.as_ref().map(JobId::to_string),
        Some(OpenState::Failed { .. }) | None => None,
    };
    v1::ScheduleStatus {
        name: standing.schedule.name.to_string(),
        lines: schedule_lines(standing.schedule),
        collections: standing.follow.iter().map(ToString::to_string).collect(),
        next_start_us: micros(standing.next),
        waits: standing.waits.clone(),
        job_id: job.unwrap_or_default(),
        last_run: memory.last_run.as_ref().map(run),
        last_success: memory.last_success.as_ref().map(run),
        failures: memory.failures,
        late_secs: standing.late.map_or(0, |late| late.by.as_secs().max(1)),
        late_since_us: micros(standing.late.map(|late| late.planned)),
    }
}

fn run(run: &LastRun) -> v1::ScheduleRun {
    let (outcome, reasons) = match &run.outcome {
        Outcome::Succeeded if run.job.is_none() => ("unchanged", Vec::new()),
        Outcome::Succeeded => ("succeeded", Vec::new()),
        Outcome::Incomplete { left_out } => ("incomplete", left_out.clone()),
        Outcome::Failed { reason } => ("failed", vec![reason.clone()]),
        Outcome::Cancelled => ("cancelled", Vec::new()),
    };
    v1::ScheduleRun {
        planned_us: run.planned.as_micros(),
        begun_us: run.begun.as_micros(),
        ended_us: run.ended.as_micros(),
        job_id: run.job.as_ref().map(JobId::to_string).unwrap_or_default(),
        full: run.full,
        outcome: outcome.to_owned(),
        reasons,
    }
}
