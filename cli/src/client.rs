//! The admin API of the coordinator, as the commands and the demo use it: one method a call, every
//! refusal translated into a [`Failure`](crate::failure::Failure).

mod connect;
mod copies;
mod jobs;
mod nodes;
mod retention;
mod schedules;

use crate::failure::{Action, Failure, Outcome, from_status};
use holdfast_proto::v1;
use holdfast_proto::v1::admin_client::AdminClient;
use holdfast_proto::v1::copies_client::CopiesClient;
use holdfast_proto::v1::jobs_client::JobsClient;
use holdfast_proto::v1::nodes_client::NodesClient;
use holdfast_proto::v1::restore_client::RestoreClient;
use holdfast_proto::v1::retention_client::RetentionClient;
use holdfast_proto::v1::schedules_client::SchedulesClient;
use holdfast_service::failure::Code;
use holdfast_types::{ExtraName, NodeId};
use tonic::transport::Channel;
use tonic::{Request, Streaming};

pub(crate) use connect::{connect, explain};

/// The id that stands for the newest recovery point.
pub(crate) const LATEST: &str = "latest";

/// A connection to the coordinator. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    admin: AdminClient<Channel>,
    retention: RetentionClient<Channel>,
    schedules: SchedulesClient<Channel>,
    copies: CopiesClient<Channel>,
    jobs: JobsClient<Channel>,
    members: NodesClient<Channel>,
    /// The copy that recovery points are read from; empty means the repository itself.
    copy: String,
    channel: Channel,
    endpoint: String,
}

/// Events of a job.
pub(crate) type Events = Streaming<v1::JobEvent>;

fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(holdfast_proto::limits::UNARY_DEADLINE);
    request
}

impl Coordinator {
    /// The address that was connected to.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The same connection, for recovery points as this copy holds them.
    #[must_use]
    pub(crate) fn reading(mut self, copy: Option<&str>) -> Self {
        self.copy = copy.unwrap_or_default().to_owned();
        self
    }

    /// The copy that recovery points are read from; empty means the repository itself.
    pub(crate) fn copy(&self) -> String {
        self.copy.clone()
    }

    /// `Admin.Status`.
    pub(crate) async fn status(&mut self) -> Outcome<v1::StatusResponse> {
        let answer = self.admin.status(unary(v1::StatusRequest {})).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.ListNodes`.
    pub(crate) async fn nodes(&mut self) -> Outcome<v1::ListNodesResponse> {
        let answer = self.admin.list_nodes(unary(v1::ListNodesRequest {})).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.ListCollections`.
    pub(crate) async fn collections(&mut self) -> Outcome<v1::ListCollectionsResponse> {
        let answer = self
            .admin
            .list_collections(unary(v1::ListCollectionsRequest {}))
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.ListBackups`; `limit` 0 means all, an empty `collection` any.
    pub(crate) async fn backups(
        &mut self,
        limit: u32,
        collection: &str,
        with_removed: bool,
    ) -> Outcome<v1::ListBackupsResponse> {
        let collection = collection.to_owned();
        let request = unary(v1::ListBackupsRequest {
            limit,
            collection,
            with_removed,
            from_copy: self.copy(),
        });
        let answer = self.admin.list_backups(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.ShowBackup`.
    pub(crate) async fn backup(
        &mut self,
        recovery_point: String,
    ) -> Outcome<v1::ShowBackupResponse> {
        let request = unary(v1::ShowBackupRequest {
            recovery_point,
            from_copy: self.copy(),
        });
        let answer = self.admin.show_backup(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.CreateBackup`.
    pub(crate) async fn create_backup(
        &mut self,
        request: v1::CreateBackupRequest,
    ) -> Outcome<Events> {
        let answer = self.admin.create_backup(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Backup, &s))
    }

    /// `Admin.PlanBackup`.
    pub(crate) async fn plan_backup(
        &mut self,
        request: v1::CreateBackupRequest,
    ) -> Outcome<v1::BackupPlan> {
        let mut request = Request::new(request);
        request.set_timeout(holdfast_proto::limits::PLAN_DEADLINE);
        let answer = self.admin.plan_backup(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Backup, &s))
    }

    /// `Admin.PlanRestore`.
    pub(crate) async fn plan_restore(
        &mut self,
        request: v1::RestoreRequest,
    ) -> Outcome<v1::RestorePlan> {
        let mut request = Request::new(request);
        request.set_timeout(holdfast_proto::limits::PLAN_DEADLINE);
        let answer = self.admin.plan_restore(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.RestoreWindow`; an empty `collection` means every one.
    pub(crate) async fn restore_window(
        &mut self,
        collection: String,
    ) -> Outcome<v1::RestoreWindowResponse> {
        let mut request = Request::new(v1::RestoreWindowRequest { collection });
        request.set_timeout(holdfast_proto::limits::PLAN_DEADLINE);
        let answer = self.admin.restore_window(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.Diff`.
    pub(crate) async fn diff(&mut self, request: v1::DiffRequest) -> Outcome<v1::DiffResponse> {
        let mut request = Request::new(request);
        request.set_timeout(holdfast_proto::limits::PLAN_DEADLINE);
        let answer = self.admin.diff(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.RunRestore`.
    pub(crate) async fn run_restore(&mut self, request: v1::RestoreRequest) -> Outcome<Events> {
        let answer = self.admin.run_restore(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Restore, &s))
    }

    /// `Admin.ImportBackup`.
    pub(crate) async fn import(&mut self, request: v1::ImportBackupRequest) -> Outcome<Events> {
        let answer = self.admin.import_backup(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Backup, &s))
    }

    /// `Admin.CreateTicket`.
    pub(crate) async fn create_ticket(
        &mut self,
        request: v1::CreateTicketRequest,
    ) -> Outcome<v1::CreateTicketResponse> {
        let answer = self.admin.create_ticket(unary(request)).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Admin.OpenExport`.
    pub(crate) async fn open_export(
        &mut self,
        recovery_point: String,
        collection: String,
    ) -> Outcome<v1::OpenExportResponse> {
        let request = v1::OpenExportRequest {
            recovery_point,
            collection,
            ..Default::default()
        };
        self.open(request).await
    }

    /// `Admin.OpenExport` of an extra.
    pub(crate) async fn open_extra(
        &mut self,
        recovery_point: String,
        node: &NodeId,
        name: &ExtraName,
    ) -> Outcome<v1::OpenExportResponse> {
        let request = v1::OpenExportRequest {
            recovery_point,
            extra_node: node.to_string(),
            extra_name: name.to_string(),
            ..Default::default()
        };
        self.open(request).await
    }

    async fn open(
        &mut self,
        mut request: v1::OpenExportRequest,
    ) -> Outcome<v1::OpenExportResponse> {
        request.from_copy = self.copy();
        let answer = self.admin.open_export(unary(request)).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(Action::Read, &s))
    }

    /// `Restore.CloseTicket`. A ticket that stays open ends by itself, so a failure is no matter.
    pub(crate) async fn close_ticket(&mut self, ticket: String, failure: Option<v1::Failure>) {
        let mut restore = RestoreClient::new(self.channel());
        let request = unary(v1::CloseTicketRequest { ticket, failure });
        let _ends_by_itself = restore.close_ticket(request).await;
    }

    /// The connection, for bulk reading.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The id that `id` means: itself, or the newest recovery point that contains every one of
    /// `collections`. Safety captures are passed over: `latest` given again after an overwrite must not
    /// bring back what was overwritten. So are imported ones: they may be of any age.
    pub(crate) async fn resolve(&mut self, id: &str, collections: &[String]) -> Outcome<String> {
        if id != LATEST {
            return match id.parse::<holdfast_types::RecoveryPointId>() {
                Ok(id) => Ok(id.to_string()),
                Err(error) => Err(Failure::new(Code::Usage, error.to_string())),
            };
        }
        let collection = collections.first().map_or("", String::as_str);
        let listed = self.backups(0, collection, false).await?;
        let mut by_id = None;
        // Newest first.
        for backup in listed.backups {
            let complete = collections
                .iter()
                .all(|name| backup.collections.contains(name));
            if complete && backup.safety_for.is_empty() && !backup.imported {
                return Ok(backup.recovery_point);
            }
            if complete {
                by_id.get_or_insert(backup.recovery_point);
            }
        }
        if let Some(id) = by_id {
            return Err(only_by_id(collections, &id));
        }
        let any = !self.backups(1, "", false).await?.backups.is_empty();
        Err(none_yet(collections, any))
    }
}

/// Only imports, or captures made before an overwriting restore, have what is asked for.
fn only_by_id(collections: &[String], id: &str) -> Failure {
    let names = match collections {
        [] => "anything".to_owned(),
        some => some.join(" and "),
    };
    Failure::new(
        Code::PointNotFound,
        format!("no capture contains {names}; `latest` never means an import or a safety capture, and {id} is one that does"),
    )
    .risking("nothing: this command only reads")
    .todo(format!("name it: in place of `latest`, say {id} (`holdfast backup list` shows all)"))
}

/// `any`: there are recovery points, but none with all these collections.
pub(crate) fn none_yet(collections: &[String], any: bool) -> Failure {
    let nothing = "nothing: this command only reads";
    if any {
        let names = collections.join(" and ");
        return Failure::new(
            Code::CollectionNotFound,
            format!("no recovery point contains {names}"),
        )
        .risking(nothing)
        .todo("see which contain what: holdfast backup list");
    }
    Failure::new(Code::PointNotFound, "there is no recovery point yet")
        .risking(nothing)
        .todo("make one: holdfast backup create")
}
