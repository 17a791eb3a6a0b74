//! The retention service: pruning, deletion, pins and holds, in wire form.

use super::{peer, wire};
use crate::core::Core;
use crate::fault::{Fault, chain};
use crate::missed;
use crate::retention::{self, HoldOrder, LogRemoval, Pruned, Removal};
use holdfast_decide::{Decision, Verdict};
use holdfast_proto::v1;
use holdfast_proto::v1::retention_server::Retention;
use holdfast_repository::{GarbageReport, PackCount, PlacedHold};
use holdfast_service::failure::Code;
use holdfast_types::{RecoveryPointId, Timestamp};
use std::error::Error;
use std::str::FromStr;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Longest reason or owner, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// The service.
#[derive(Clone, Debug)]
pub struct RetentionService(Arc<Core>);

impl RetentionService {
    /// The service of this coordinator.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }
}

/// A run in wire form.
pub(super) async fn report(core: &Core, pruned: Pruned) -> Result<v1::PruneReport, Fault> {
    let points = core.catalog.points().await;
    let points = points.map_err(|error| Fault::from_error(Code::Internal, &error))?;
    let verdict = |verdict: &Verdict| {
        let point = points.iter().find(|point| point.id == verdict.id);
        v1::PointVerdict {
            recovery_point: verdict.id.to_string(),
            committed_us: point.map_or(0, |point| point.committed.as_micros()),
            collections: point
                .map(|point| texts(&point.collections))
                .unwrap_or_default(),
            keep: verdict.decision == Decision::Keep,
            reasons: texts(&verdict.reasons),
        }
    };
    Ok(v1::PruneReport {
        configured: pruned.configured,
        verdicts: pruned.verdicts.iter().map(verdict).collect(),
        swept: texts(&pruned.swept),
        spared: texts(&pruned.spared),
        waiting: pruned.waiting.iter().map(wire::removal_mark).collect(),
        garbage: Some(garbage(&pruned.garbage)),
        refused: pruned.refused.iter().map(refusal).collect(),
        logs: pruned.logs.iter().map(log_removal).collect(),
    })
}

fn log_removal(removal: &LogRemoval) -> v1::LogRemoval {
    let collection = removal.collection.as_ref();
    v1::LogRemoval {
        collection: collection.map(ToString::to_string).unwrap_or_default(),
        shard: removal.shard.0,
        timeline: removal.timeline.to_string(),
        parts: removal.parts,
        of_parts: removal.of,
        bytes: removal.bytes,
        refused: removal.refused,
        reason: removal.why.clone(),
    }
}

fn refusal((id, reason): &(RecoveryPointId, String)) -> v1::RefusedRemoval {
    v1::RefusedRemoval {
        recovery_point: id.to_string(),
        reason: reason.clone(),
    }
}

#[tonic::async_trait]
impl Retention for RetentionService {
    async fn plan_prune(
        &self,
        _request: Request<v1::PlanPruneRequest>,
    ) -> Result<Response<v1::PruneReport>, Status> {
        let pruned = Box::pin(retention::plan(&self.0)).await?;
        Ok(Response::new(report(&self.0, pruned).await?))
    }

    async fn run_prune(
        &self,
        request: Request<v1::RunPruneRequest>,
    ) -> Result<Response<v1::PruneReport>, Status> {
        let by = peer::name(&request)?;
        // On a task of its own: a caller that goes away does not stop it half way.
        let core = Arc::clone(&self.0);
        let running = tokio::spawn(async move { retention::prune(&core, Some(&by)).await });
        let pruned = running
            .await
            .map_err(|join| Status::internal(join.to_string()))??;
        Ok(Response::new(report(&self.0, pruned).await?))
    }

    async fn delete_backup(
        &self,
        request: Request<v1::DeleteBackupRequest>,
    ) -> Result<Response<v1::DeleteBackupResponse>, Status> {
        let by = peer::name(&request)?;
        let request = request.into_inner();
        let removal = Removal {
            point: parse(&request.recovery_point)?,
            reason: text("reason", request.reason)?,
            despite_floor: request.despite_floor,
            dry_run: request.dry_run,
        };
        if missed::acknowledge(&self.0, &removal, &by).await? {
            return Ok(Response::new(v1::DeleteBackupResponse {
                mark: None,
                gone_before: true,
            }));
        }
        let mark = retention::delete(&self.0, &removal, &by).await?;
        Ok(Response::new(v1::DeleteBackupResponse {
            mark: mark.as_ref().map(wire::removal_mark),
            gone_before: false,
        }))
    }

    async fn undelete_backup(
        &self,
        request: Request<v1::UndeleteBackupRequest>,
    ) -> Result<Response<v1::UndeleteBackupResponse>, Status> {
        let by = peer::name(&request)?;
        let id = parse(&request.into_inner().recovery_point)?;
        let undeleted = retention::undelete(&self.0, &id, &by).await?;
        Ok(Response::new(v1::UndeleteBackupResponse { undeleted }))
    }

    async fn pin_backup(
        &self,
        request: Request<v1::PinBackupRequest>,
    ) -> Result<Response<v1::PinBackupResponse>, Status> {
        let by = peer::name(&request)?;
        let request = request.into_inner();
        let id = parse(&request.recovery_point)?;
        let reason = text("reason", request.reason)?;
        let undeleted = retention::pin(&self.0, &id, reason, &by).await?;
        Ok(Response::new(v1::PinBackupResponse { undeleted }))
    }

    async fn unpin_backup(
        &self,
        request: Request<v1::UnpinBackupRequest>,
    ) -> Result<Response<v1::UnpinBackupResponse>, Status> {
        let by = peer::name(&request)?;
        let id = parse(&request.into_inner().recovery_point)?;
        let unpinned = retention::unpin(&self.0, &id, &by).await?;
        Ok(Response::new(v1::UnpinBackupResponse { unpinned }))
    }

    async fn place_hold(
        &self,
        request: Request<v1::PlaceHoldRequest>,
    ) -> Result<Response<v1::PlaceHoldResponse>, Status> {
        let by = peer::name(&request)?;
        let wanted = request.into_inner().hold.unwrap_or_default();
        let expires = wanted.expires_us;
        let order = HoldOrder {
            id: parse(&wanted.id)?,
            reason: text("reason", wanted.reason)?,
            owner: text("owner", wanted.owner)?,
            expires: (expires != 0).then(|| Timestamp::from_micros(expires)),
            points: parse_all(&wanted.recovery_points)?,
            collections: parse_all(&wanted.collections)?,
        };
        let (placed, undeleted) = retention::place_hold(&self.0, order, &by).await?;
        Ok(Response::new(v1::PlaceHoldResponse {
            hold: Some(hold(&placed, &[], self.0.clock.now())),
            undeleted: texts(&undeleted),
        }))
    }

    async fn release_hold(
        &self,
        request: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        let by = peer::name(&request)?;
        let id = parse(&request.into_inner().id)?;
        let released = retention::release_hold(&self.0, &id, &by).await?;
        Ok(Response::new(v1::ReleaseHoldResponse {
            hold: Some(hold(&released, &[], self.0.clock.now())),
        }))
    }

    async fn list_holds(
        &self,
        _request: Request<v1::ListHoldsRequest>,
    ) -> Result<Response<v1::ListHoldsResponse>, Status> {
        let now = self.0.clock.now();
        let holds = retention::list_holds(&self.0).await?;
        Ok(Response::new(v1::ListHoldsResponse {
            holds: holds
                .iter()
                .map(|(placed, covers)| hold(placed, covers, now))
                .collect(),
        }))
    }
}

fn hold(placed: &PlacedHold, covers: &[RecoveryPointId], now: Timestamp) -> v1::Hold {
    let hold = &placed.hold;
    v1::Hold {
        id: hold.id.to_string(),
        reason: hold.reason.clone(),
        owner: hold.owner.clone(),
        placed_us: hold.placed.as_micros(),
        expires_us: hold.expires.map_or(0, Timestamp::as_micros),
        recovery_points: texts(&placed.points),
        collections: texts(&placed.collections),
        covers: texts(covers),
        active: hold.is_active(now),
    }
}

fn garbage(report: &GarbageReport) -> v1::GarbageSummary {
    let sum = |count: PackCount| {
        let PackCount { packs, bytes } = count;
        Some(v1::PackSum { packs, bytes })
    };
    v1::GarbageSummary {
        kept: sum(report.kept),
        dead: sum(report.dead),
        rewritten: sum(report.rewritten),
        swept: sum(report.swept),
        spared: sum(report.spared),
        waiting: sum(report.waiting),
        next_sweep_us: report.next_sweep.map_or(0, Timestamp::as_micros),
    }
}

fn texts<'a, T: ToString + 'a>(values: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    values.into_iter().map(ToString::to_string).collect()
}

fn parse<T: FromStr<Err: Error + 'static>>(text: &str) -> Result<T, Fault> {
    text.parse()
        .map_err(|error: T::Err| Fault::new(Code::Usage, chain(&error)))
}

fn parse_all<T, C>(texts: &[String]) -> Result<C, Fault>
where
    T: FromStr<Err: Error + 'static>,
    C: FromIterator<T>,
{
    texts.iter().map(|text| parse(text)).collect()
}

fn text(what: &str, text: String) -> Result<String, Fault> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(text);
    }
    let message = format!("the {what} is longer than {MAX_TEXT_BYTES} bytes: shorten it");
    Err(Fault::new(Code::Usage, message))
}
