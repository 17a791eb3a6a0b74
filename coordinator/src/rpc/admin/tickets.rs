//! Leave to read, as operators ask for it: for themselves to export, for a node's agent to restore cold.

use super::bad_argument;
use crate::core::Core;
use crate::dispatch::Readable;
use crate::export::{self, Reading};
use crate::fault::Fault;
use crate::job::upkeep::Task;
use crate::tickets::read_id;
use crate::upkeep::Run;
use holdfast_archive::{CollectionEntry, Manifest};
use holdfast_certs::{Identity, Role};
use holdfast_proto::convert::{TicketOrder, copy_name};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{
    CollectionName, CopyName, ExtraName, NodeId, ParseNameError, ParsePointIdError, RecoveryPointId,
};
use std::sync::Arc;

/// Opens a collection to the caller.
pub(super) async fn export(
    core: &Arc<Core>,
    caller: Identity,
    request: v1::OpenExportRequest,
) -> Result<v1::OpenExportResponse, Fault> {
    let id = request.recovery_point.parse();
    let id: RecoveryPointId = id.map_err(|error: ParsePointIdError| bad_argument(&error))?;
    if !request.extra_name.is_empty() {
        return extra(core, caller, id, &request).await;
    }
    let name = request.collection.parse();
    let name: CollectionName = name.map_err(|error: ParseNameError| bad_argument(&error))?;
    let copy = copy_name(&request.from_copy).map_err(|error| bad_argument(&error))?;
    let not_removing = core.retention.removing.lock().await;
    let manifest = read(core, &id, copy.as_ref()).await?;
    let entry = find(&manifest, &name)?.clone();
    let (now, reading) = (core.clock.now(), Arc::<Reading>::default());
    let (tickets, holder) = (&core.tickets, caller.clone());
    let ticket = tickets.export(holder, manifest, &entry, copy.clone(), &reading, now)?;
    // The ticket keeps it from now on.
    drop(not_removing);
    let command = read_id(&ticket, 0)
        .ok_or_else(|| Fault::new(Code::Internal, "a ticket's id is too long to be extended"))?;
    tracing::info!(%caller, recovery_point = %id, collection = %name, "an export begins");
    let task = Task::Export {
        point: id,
        collection: name,
        copy,
    };
    let asker = format!("{} {}", caller.role(), caller.name());
    let run = Run::begin(core, task, Some(&asker)).await;
    let job_id = run.id().to_string();
    let total = entry.shards.iter().map(|shard| shard.logical_bytes).sum();
    let ours = Arc::clone(core);
    let following = export::follow(ours, run, reading, ticket.clone(), caller, total);
    drop(core.shutdown.clone().spawn(following));
    Ok(v1::OpenExportResponse {
        ticket: ticket.to_string(),
        command_id: command.to_string(),
        epoch: core.epoch.0,
        job_id,
    })
}

/// Opens an extra to the caller. It makes no job: its files are small beside a collection's.
async fn extra(
    core: &Core,
    caller: Identity,
    id: RecoveryPointId,
    request: &v1::OpenExportRequest,
) -> Result<v1::OpenExportResponse, Fault> {
    let bad = |error: ParseNameError| bad_argument(&error);
    let node: NodeId = request.extra_node.parse().map_err(bad)?;
    let name: ExtraName = request.extra_name.parse().map_err(bad)?;
    let copy = copy_name(&request.from_copy).map_err(|error| bad_argument(&error))?;
    let not_removing = core.retention.removing.lock().await;
    let manifest = read(core, &id, copy.as_ref()).await?;
    let entry = manifest.extra(&node, &name);
    let captured = entry.and_then(|entry| entry.captured.clone());
    let extra = captured.ok_or_else(|| {
        let why = entry.and_then(|entry| entry.missing.as_deref());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let what = format!("recovery point {id} has no extra {name} of node {node}{why}");
        Fault::new(Code::ExtraNotFound, what)
    })?;
    tracing::info!(%caller, recovery_point = %id, %node, extra = %name, "an export begins");
    let what = Readable::Extra { node, name, extra };
    let now = core.clock.now();
    let ticket = core.tickets.extra(caller, manifest, what, copy, now)?;
    // The ticket keeps it from now on.
    drop(not_removing);
    let command = read_id(&ticket, 0)
        .ok_or_else(|| Fault::new(Code::Internal, "a ticket's id is too long to be extended"))?;
    Ok(v1::OpenExportResponse {
        ticket: ticket.to_string(),
        command_id: command.to_string(),
        epoch: core.epoch.0,
        job_id: String::new(),
    })
}

/// Opens collections to the agent of a node.
pub(super) async fn restore(
    core: &Core,
    caller: &Identity,
    order: &TicketOrder,
) -> Result<v1::CreateTicketResponse, Fault> {
    let _not_removing = core.retention.removing.lock().await;
    let copy = order.from_copy.clone();
    let manifest = read(core, &order.recovery_point, copy.as_ref()).await?;
    let entries: Vec<CollectionEntry> = if order.collections.is_empty() {
        manifest.collections.clone()
    } else {
        let wanted = order.collections.iter();
        wanted
            .map(|name| find(&manifest, name).cloned())
            .collect::<Result<_, _>>()?
    };
    if entries.is_empty() {
        let what = format!("{} contains no collection", order.recovery_point);
        return Err(Fault::new(Code::CollectionNotFound, what));
    }
    // Agents of this deployment have certificates of the authority that vouches for the operator.
    let domain = caller.trust_domain().clone();
    let holder = Identity::new(domain, Role::Agent, order.node.as_str())
        .map_err(|error| Fault::from_error(Code::Usage, &error))?;
    let now = core.clock.now();
    let tickets = &core.tickets;
    let ticket = tickets.restore(holder, manifest, &entries, copy, now, order.valid)?;
    tracing::info!(
        %caller,
        node = %order.node,
        recovery_point = %order.recovery_point,
        collections = entries.len(),
        "a restore ticket was made"
    );
    let shards = entries.iter().flat_map(|entry| &entry.shards);
    Ok(v1::CreateTicketResponse {
        ticket: ticket.to_string(),
        ends_us: now.after(order.valid).as_micros(),
        logical_bytes: shards.map(|shard| shard.logical_bytes).sum(),
        collections: entries.iter().map(|entry| entry.name.to_string()).collect(),
    })
}

/// The recovery point, unless it is being removed. Called while nothing can be marked for removal: an open ticket then
/// keeps it.
async fn read(
    core: &Core,
    id: &RecoveryPointId,
    copy: Option<&CopyName>,
) -> Result<Arc<Manifest>, Fault> {
    if copy.is_none() && core.retention.marks().tombstones.contains_key(id) {
        return Err(Fault::new(
            Code::PlanBlocked,
            format!(
                "{id} is marked for removal: take that back with `holdfast backup undelete {id}`"
            ),
        ));
    }
    let manifest = core.source(copy).await?.read_point(id).await;
    let manifest = manifest.map_err(|error| core.read_failed(copy, &error))?;
    Ok(Arc::new(manifest))
}

fn find<'a>(manifest: &'a Manifest, name: &CollectionName) -> Result<&'a CollectionEntry, Fault> {
    manifest.collection(name).ok_or_else(|| {
        let what = format!("recovery point {} has no collection {name}", manifest.id);
        Fault::new(Code::CollectionNotFound, what)
    })
}
