//! The copies service: what operators ask of copies, in wire form.

use super::retention::report;
use super::{apart, peer};
use crate::copies::{self, Handle, Lag};
use crate::core::Core;
use crate::fault::{Fault, chain};
use holdfast_proto::v1;
use holdfast_proto::v1::copies_server::Copies;
use holdfast_service::failure::Code;
use holdfast_types::CopyName;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone, Debug)]
pub struct CopiesService(Arc<Core>);

impl CopiesService {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }
}

#[tonic::async_trait]
impl Copies for CopiesService {
    async fn list_copies(
        &self,
        _request: Request<v1::ListCopiesRequest>,
    ) -> Result<Response<v1::ListCopiesResponse>, Status> {
        let copies = statuses(&self.0).await;
        Ok(Response::new(v1::ListCopiesResponse { copies }))
    }

    async fn add_copy(
        &self,
        request: Request<v1::AddCopyRequest>,
    ) -> Result<Response<v1::AddCopyResponse>, Status> {
        let request = request.into_inner();
        let (name, confirm) = (name(&request.name)?, request.confirm);
        let (core, take_over) = (Arc::clone(&self.0), request.take_over);
        let added =
            apart(async move { copies::add(&core, &name, confirm, take_over).await }).await?;
        Ok(Response::new(v1::AddCopyResponse {
            place: added.place,
            found: added.found,
            made: added.made,
        }))
    }

    async fn sync_copy(
        &self,
        request: Request<v1::SyncCopyRequest>,
    ) -> Result<Response<v1::SyncCopyResponse>, Status> {
        let (by, asker) = (peer::name(&request)?, peer::in_words(&request)?);
        let request = request.into_inner();
        let name = name(&request.name)?;
        let released = if request.release {
            let (core, name) = (Arc::clone(&self.0), name.clone());
            apart(async move { copies::release(&core, &name, &by).await }).await?
        } else {
            0
        };
        let core = Arc::clone(&self.0);
        let job = apart(async move { copies::ask_for_sync(&core, &name, &asker).await }).await?;
        Ok(Response::new(v1::SyncCopyResponse {
            released,
            job_id: job.to_string(),
        }))
    }

    async fn verify_copy(
        &self,
        request: Request<v1::VerifyCopyRequest>,
    ) -> Result<Response<v1::VerifyCopyResponse>, Status> {
        let asker = peer::in_words(&request)?;
        let request = request.into_inner();
        let (name, full) = (name(&request.name)?, request.full);
        let core = Arc::clone(&self.0);
        let job = apart(async move { copies::ask_for_check(&core, &name, full, &asker).await });
        let job = job.await?;
        Ok(Response::new(v1::VerifyCopyResponse {
            job_id: job.to_string(),
        }))
    }

    async fn remove_copy(
        &self,
        request: Request<v1::RemoveCopyRequest>,
    ) -> Result<Response<v1::RemoveCopyResponse>, Status> {
        let request = request.into_inner();
        let (name, confirm) = (name(&request.name)?, request.confirm);
        let core = Arc::clone(&self.0);
        apart(async move { copies::remove(&core, &name, confirm).await }).await?;
        Ok(Response::new(v1::RemoveCopyResponse { removed: confirm }))
    }

    async fn prune_copy(
        &self,
        request: Request<v1::PruneCopyRequest>,
    ) -> Result<Response<v1::PruneReport>, Status> {
        let by = peer::name(&request)?;
        let request = request.into_inner();
        let name = name(&request.name)?;
        let (core, by) = (Arc::clone(&self.0), request.confirm.then_some(by));
        let pruned = apart(async move { copies::prune(&core, &name, by.as_deref()).await }).await?;
        Ok(Response::new(report(&self.0, pruned).await?))
    }
}

fn name(text: &str) -> Result<CopyName, Fault> {
    let parsed = text.parse::<CopyName>();
    parsed.map_err(|error| Fault::new(Code::Usage, chain(&error)))
}

/// Every copy, in the order of the configuration.
pub(super) async fn statuses(core: &Core) -> Vec<v1::CopyStatus> {
    let mut statuses = Vec::new();
    for handle in core.copies.iter() {
        statuses.push(status(core, handle).await);
    }
    statuses
}

async fn status(core: &Core, handle: &Handle) -> v1::CopyStatus {
    let (memory, section) = (handle.memory(), &handle.section);
    // What keeps it from being known is among the warnings.
    let lag = handle.lag(core).await.ok().flatten();
    let checks = memory
        .verify
        .as_ref()
        .and_then(|checks| checks.last.clone());
    let trouble = memory.trouble.as_ref();
    v1::CopyStatus {
        name: section.name.to_string(),
        place: section.place.to_string(),
        schedule: section.schedule(),
        made: memory.made,
        lag: lag.map(wire_lag),
        max_lag_seconds: section.max_lag.as_secs(),
        recovery_points: memory.listed.as_ref().map_or(0, |ids| ids.len() as u64),
        last_run: memory.last.as_ref().map(|run| v1::CopyRun {
            started_us: run.started.as_micros(),
            ended_us: run.ended.as_micros(),
            points: run.points,
            total: 0,
            bytes: run.bytes,
        }),
        open_run: memory.open.as_ref().map(|run| v1::CopyRun {
            started_us: run.started.as_micros(),
            ended_us: 0,
            points: run.done,
            total: run.total,
            bytes: run.bytes,
        }),
        trouble: trouble.map(|trouble| trouble.fault.to_wire()),
        trouble_at_us: trouble.map_or(0, |trouble| trouble.at.as_micros()),
        again_us: trouble.map_or(0, |trouble| trouble.again.as_micros()),
        last_check: checks.map(|last| v1::CopyCheck {
            ended_us: last.at.as_micros(),
            covered: last.covered,
            needs_attention: last.needs_attention,
        }),
        warnings: copies::warnings_of(core, handle).await,
        run_asked: memory.asked,
        check_asked: memory.check_asked.is_some(),
        only_here: memory.only_here.iter().cloned().collect(),
    }
}

fn wire_lag(lag: Lag) -> v1::CopyLag {
    v1::CopyLag {
        points: lag.points,
        bytes: lag.bytes,
        seconds: lag.age.as_secs(),
    }
}
