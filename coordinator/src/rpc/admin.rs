//! What operators and viewers ask.

use super::follow::{Events, follow};
use super::{apart, peer, wire};
use crate::catalog::{CatalogError, PointSummary};
use crate::core::Core;
use crate::execute;
use crate::fault::{Fault, chain};
use crate::instant;
use crate::logs;
use crate::plan;
use crate::schedule::known_collections;
use crate::verify::Affected;
use holdfast_proto::convert::{
    BackupOrder, ConvertError, ImportOrder, RestoreOrder, TicketOrder, copy_name,
};
use holdfast_proto::v1;
use holdfast_proto::v1::admin_server::Admin;
use holdfast_repository::Marks;
use holdfast_service::failure::Code;
use holdfast_types::{CollectionName, CopyName, ParsePointIdError, RecoveryPointId};
use std::error::Error;
use std::sync::Arc;
use tonic::{Request, Response, Status};

mod status;
mod tickets;

pub(super) use status::status;

/// The service.
#[derive(Clone, Debug)]
pub struct AdminService(Arc<Core>);

impl AdminService {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    async fn live_points(&self) -> Result<Vec<PointSummary>, Fault> {
        live_points(&self.0).await
    }

    /// What is said of recovery points: of the repository as last read, of a copy as it stands there.
    async fn marks_of(&self, copy: Option<&CopyName>) -> Result<Arc<Marks>, Fault> {
        if copy.is_none() {
            return Ok(self.0.retention.marks());
        }
        let marks = self.0.source(copy).await?.read_marks().await;
        let mut marks = marks.map_err(|error| self.0.read_failed(copy, &error))?;
        // A store that was the repository itself may have some; they no longer count there.
        marks.proofs.clear();
        Ok(Arc::new(marks))
    }

    /// What the last check of the repository, or of a copy, found that can't be restored.
    fn affected(&self, copy: Option<&CopyName>) -> Result<Affected, Fault> {
        Ok(match copy {
            None => self.0.verified.get().affected(),
            Some(name) => {
                let checks = self.0.copies.get(name)?.memory().verify;
                checks.map(|checks| checks.affected()).unwrap_or_default()
            }
        })
    }

    /// The points that a copy holds and that can be read, newest first.
    async fn points_of_copy(&self, name: &CopyName) -> Result<Vec<PointSummary>, Fault> {
        let listed = self.0.source(Some(name)).await?.list_points().await;
        let listed = listed.map_err(|error| self.0.read_failed(Some(name), &error))?;
        let readable = listed.into_iter().filter_map(|point| point.manifest.ok());
        let mut points: Vec<_> = readable.map(|found| PointSummary::of(&found)).collect();
        points.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(points)
    }

    async fn points(&self) -> Result<Vec<PointSummary>, Fault> {
        points(&self.0).await
    }
}

/// Every node heard of.
pub(super) fn nodes(core: &Core) -> Vec<v1::NodeStatus> {
    status::nodes(&core.nodes.list(), &core.members.drained())
}

async fn points(core: &Core) -> Result<Vec<PointSummary>, Fault> {
    let points = core.catalog.points().await;
    points.map_err(|error: CatalogError| Fault::from_error(Code::Internal, &error))
}

/// Recovery points that are not marked for removal.
pub(super) async fn live_points(core: &Core) -> Result<Vec<PointSummary>, Fault> {
    let marks = core.retention.marks();
    let mut points = points(core).await?;
    points.retain(|point| !marks.tombstones.contains_key(&point.id));
    Ok(points)
}

#[tonic::async_trait]
impl Admin for AdminService {
    type CreateBackupStream = Events;
    type ImportBackupStream = Events;
    type RunRestoreStream = Events;

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let points = self.live_points().await?;
        Ok(Response::new(status(&self.0, &points).await))
    }

    async fn list_nodes(
        &self,
        _request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        Ok(Response::new(v1::ListNodesResponse {
            nodes: nodes(&self.0),
            removed: super::nodes::removed(&self.0),
        }))
    }

    async fn list_collections(
        &self,
        _request: Request<v1::ListCollectionsRequest>,
    ) -> Result<Response<v1::ListCollectionsResponse>, Status> {
        self.0.look().await;
        let points = self.live_points().await?;
        let nodes = self.0.nodes.list();
        let mut collections = status::collections(&nodes, &points);
        let known = known_collections(&self.0);
        let standings = logs::standings(&self.0, &points, &known);
        status::add_recency(&mut collections, &standings, self.0.clock.now());
        let unseen = status::unseen(&nodes);
        Ok(Response::new(v1::ListCollectionsResponse {
            collections,
            unseen,
        }))
    }

    async fn create_backup(
        &self,
        request: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<Events>, Status> {
        let asker = peer::in_words(&request)?;
        let order = BackupOrder::try_from(request.into_inner()).map_err(usage)?;
        let feed = Box::pin(execute::start_backup(&self.0, asker, &order)).await?;
        Ok(Response::new(follow(&self.0, feed)))
    }

    async fn plan_backup(
        &self,
        request: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<v1::BackupPlan>, Status> {
        let order = BackupOrder::try_from(request.into_inner()).map_err(usage)?;
        let plan = plan::backup(&self.0, &order).await?;
        Ok(Response::new(wire::backup_plan(&plan)))
    }

    async fn import_backup(
        &self,
        request: Request<v1::ImportBackupRequest>,
    ) -> Result<Response<Events>, Status> {
        let caller = peer::identity(&request)?.clone();
        let order = ImportOrder::try_from(request.into_inner()).map_err(usage)?;
        let feed = Box::pin(execute::start_import(&self.0, &caller, order)).await?;
        Ok(Response::new(follow(&self.0, feed)))
    }

    async fn list_backups(
        &self,
        request: Request<v1::ListBackupsRequest>,
    ) -> Result<Response<v1::ListBackupsResponse>, Status> {
        let request = request.into_inner();
        let collection: Option<CollectionName> = match request.collection.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|error| bad_argument(&error))?),
        };
        let limit = match request.limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let copy = copy_name(&request.from_copy).map_err(usage)?;
        let (marks, now) = (self.marks_of(copy.as_ref()).await?, self.0.clock.now());
        let affected = self.affected(copy.as_ref())?;
        let wanted = |point: &&PointSummary| {
            let contains = |name| point.collections.contains(name);
            let shown = request.with_removed || !marks.tombstones.contains_key(&point.id);
            shown && collection.as_ref().is_none_or(contains)
        };
        let points = match &copy {
            None => self.points().await?,
            Some(name) => self.points_of_copy(name).await?,
        };
        let backups = points.iter().filter(wanted).take(limit);
        Ok(Response::new(v1::ListBackupsResponse {
            backups: backups
                .map(|point| wire::marked_summary(point, &marks, &affected, now))
                .collect(),
        }))
    }

    async fn show_backup(
        &self,
        request: Request<v1::ShowBackupRequest>,
    ) -> Result<Response<v1::ShowBackupResponse>, Status> {
        let request = request.into_inner();
        let id: RecoveryPointId = request
            .recovery_point
            .parse()
            .map_err(|error: ParsePointIdError| bad_argument(&error))?;
        let copy = copy_name(&request.from_copy).map_err(usage)?;
        let source = self.0.source(copy.as_ref()).await?;
        let manifest = source.read_point(&id).await;
        let manifest = manifest.map_err(|error| self.0.read_failed(copy.as_ref(), &error))?;
        let marks = self.marks_of(copy.as_ref()).await?;
        let json = manifest
            .to_json()
            .map_err(|error| Fault::from_error(Code::RepositoryDamaged, &error))?;
        Ok(Response::new(v1::ShowBackupResponse {
            summary: Some(wire::marked_summary(
                &PointSummary::of(&manifest),
                &marks,
                &self.affected(copy.as_ref())?,
                self.0.clock.now(),
            )),
            manifest_json: String::from_utf8_lossy(&json).into_owned(),
        }))
    }

    async fn restore_window(
        &self,
        request: Request<v1::RestoreWindowRequest>,
    ) -> Result<Response<v1::RestoreWindowResponse>, Status> {
        let window = instant::window(&self.0, &request.into_inner()).await?;
        Ok(Response::new(window))
    }

    async fn diff(
        &self,
        request: Request<v1::DiffRequest>,
    ) -> Result<Response<v1::DiffResponse>, Status> {
        let answer = instant::diff(&self.0, &request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn plan_restore(
        &self,
        request: Request<v1::RestoreRequest>,
    ) -> Result<Response<v1::RestorePlan>, Status> {
        let order = RestoreOrder::try_from(request.into_inner()).map_err(usage)?;
        let plan = plan::restore_preview(&self.0, &order).await?;
        let estimate = plan::estimate(&plan, &self.0.book.list().await);
        Ok(Response::new(wire::restore_plan(&plan, estimate)))
    }

    async fn run_restore(
        &self,
        request: Request<v1::RestoreRequest>,
    ) -> Result<Response<Events>, Status> {
        let asker = peer::in_words(&request)?;
        let order = RestoreOrder::try_from(request.into_inner()).map_err(usage)?;
        let feed = Box::pin(execute::start_restore(&self.0, asker, &order)).await?;
        Ok(Response::new(follow(&self.0, feed)))
    }

    async fn open_export(
        &self,
        request: Request<v1::OpenExportRequest>,
    ) -> Result<Response<v1::OpenExportResponse>, Status> {
        let caller = peer::identity(&request)?.clone();
        let (core, request) = (Arc::clone(&self.0), request.into_inner());
        let answer = apart(async move { tickets::export(&core, caller, request).await }).await?;
        Ok(Response::new(answer))
    }

    async fn create_ticket(
        &self,
        request: Request<v1::CreateTicketRequest>,
    ) -> Result<Response<v1::CreateTicketResponse>, Status> {
        let caller = peer::identity(&request)?.clone();
        let order = TicketOrder::try_from(request.into_inner()).map_err(usage)?;
        let answer = tickets::restore(&self.0, &caller, &order).await?;
        Ok(Response::new(answer))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        let asker = peer::in_words(&request)?;
        let text = request.into_inner().job_id;
        let job = self.0.book.find(&text).await?;
        let cancelled = execute::cancel(&self.0, &job, &asker).await?;
        Ok(Response::new(v1::CancelJobResponse {
            cancelled,
            job_id: job.id.to_string(),
        }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn usage(error: ConvertError) -> Fault {
    bad_argument(&error)
}

fn bad_argument(error: &dyn Error) -> Fault {
    Fault::new(Code::Usage, chain(error))
}
