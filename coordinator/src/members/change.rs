//! Carries out what an operator says of a node: first the record, then what follows from it.

use super::risk::{self, Risk};
use super::{Mark, Member, Removal, cut};
use crate::core::Core;
use crate::enrolment;
use crate::fault::Fault;
use crate::job::{BackupWork, JobRecord, Work};
use holdfast_service::failure::Code;
use holdfast_types::NodeId;

/// What became of a removal.
#[derive(Debug)]
pub struct Removed {
    /// Whether it is removed now.
    pub removed: bool,
    /// It had been removed before: nothing was done.
    pub before: bool,
    /// What could be lost.
    pub risks: Vec<String>,
    /// What follows from it.
    pub effects: Vec<String>,
}

/// Drains a node, or ends that. Returns the word that was in force before, and the one that is now.
///
/// # Errors
/// `node-not-found` of a node that nobody knows; a failing catalogue.
pub async fn set_drained(
    core: &Core,
    node: &NodeId,
    mark: Option<Mark>,
) -> Result<(Option<Mark>, Option<Mark>), Fault> {
    let members = &core.members;
    let _one_at_a_time = members.changing.lock().await;
    let mut member = members.get(node);
    if mark.is_some() && member.removed.is_some() {
        return Err(gone(node, &member));
    }
    let seen = core.nodes.list().iter().any(|(known, _)| known == node);
    if !seen && member.drained.is_none() {
        return Err(Fault::new(
            Code::NodeNotFound,
            format!("no agent of node {node} has connected since the coordinator started"),
        ));
    }
    let before = member.drained.clone();
    if before.is_some() == mark.is_some() {
        return Ok((before.clone(), before));
    }
    member.drained.clone_from(&mark);
    write(core, vec![(node.clone(), member)]).await?;
    match &mark {
        Some(mark) => {
            tracing::info!(%node, by = mark.by, reason = mark.reason, "a node is drained");
        }
        None => tracing::info!(%node, "a node is not drained any more"),
    }
    Ok((before, mark))
}

/// Removes a node, for `successor` to take its place if one is named; without `confirm` only says what that means.
///
/// # Errors
/// `job-conflict` while a job works on it; `node-not-found` of a successor that is not there; a failing catalogue.
pub async fn remove(
    core: &Core,
    node: &NodeId,
    successor: Option<&NodeId>,
    mark: Mark,
    confirm: bool,
) -> Result<Removed, Fault> {
    if let Some(successor) = successor {
        check_successor(core, node, successor)?;
    }
    let members = &core.members;
    let _one_at_a_time = members.changing.lock().await;
    let mut member = members.get(node);
    let Risk { risks, mut effects } = risk::of(core, node, successor).await;
    if let Some(removal) = &member.removed {
        effects = vec![format!(
            "it was removed at {} by {}",
            removal.mark.since, removal.mark.by
        )];
        if confirm {
            // What it was given since, by a token or by hand, is refused from now on, too.
            member.refused_before = Some(cut(mark.since, &member));
            enrolment::revoke_of(core, node, &mark.by).await?;
            write(core, vec![(node.clone(), member)]).await?;
            expel(core, node);
            effects.push("certificates that it was given since are refused now".to_owned());
        }
        return Ok(Removed {
            removed: true,
            before: true,
            risks: Vec::new(),
            effects,
        });
    }
    if !confirm {
        return Ok(Removed {
            removed: false,
            before: false,
            risks,
            effects,
        });
    }
    check_idle(core, node).await?;
    // A token that lies on the removed machine must not let it in again. First: a crash in between leaves the node as it was, without tokens.
    enrolment::revoke_of(core, node, &mark.by).await?;
    let before = cut(mark.since, &member);
    tracing::warn!(
        %node,
        by = mark.by,
        reason = mark.reason,
        successor = successor.map(NodeId::as_str),
        refused_before = %before,
        "a node is removed"
    );
    member.drained = None;
    member.refused_before = Some(before);
    member.removed = Some(Removal {
        mark,
        successor: successor.cloned(),
    });
    write(core, vec![(node.clone(), member)]).await?;
    expel(core, node);
    Ok(Removed {
        removed: true,
        before: false,
        risks,
        effects,
    })
}

/// Ends what a removed node has open, and forgets it.
pub(crate) fn expel(core: &Core, node: &NodeId) {
    let fault = Fault::new(Code::NodeRemoved, format!("node {node} was removed"));
    core.dispatcher.expel(node, fault.to_status());
    core.logs.forget(node);
    core.nodes.forget(node);
}

fn check_successor(core: &Core, node: &NodeId, successor: &NodeId) -> Result<(), Fault> {
    if node == successor {
        return Err(Fault::new(
            Code::Usage,
            format!("node {node} can't take its own place: name another node"),
        ));
    }
    let nodes = core.nodes.list();
    let mut there = nodes.iter().filter(|(_, record)| record.connected);
    if !there.any(|(known, _)| known == successor) {
        return Err(Fault::new(
            Code::NodeNotFound,
            format!(
                "node {successor} is not connected: start its agent first, so that it can take the place of {node}"
            ),
        ));
    }
    if core.members.get(successor).drained.is_some() {
        return Err(Fault::new(
            Code::PlanBlocked,
            format!("node {successor} is drained: `holdfast nodes undrain {successor}` first"),
        ));
    }
    Ok(())
}

/// A job that works on the node would wait for it in vain.
async fn check_idle(core: &Core, node: &NodeId) -> Result<(), Fault> {
    let jobs = core.book.list().await;
    let mut busy = jobs.iter().filter(|job| job.is_busy());
    match busy.find(|job| works_on(job, node)) {
        None => Ok(()),
        Some(job) => Err(Fault::new(
            Code::JobConflict,
            format!(
                "job {} ({}) works on node {node}: wait until it has ended, or cancel it",
                job.id,
                job.kind()
            ),
        )),
    }
}

fn works_on(job: &JobRecord, node: &NodeId) -> bool {
    let captures = job.backup().into_iter().flat_map(|b| &b.plan.captures);
    let mut extras = job.backup().into_iter().flat_map(BackupWork::open_extras);
    let restored = match &job.work {
        Work::Restore(work) => {
            let mut receivers = work.plan.receivers.iter();
            work.node == *node || receivers.any(|receiver| receiver.node == *node)
        }
        Work::Backup(_) | Work::Upkeep(_) => false,
    };
    restored
        || extras.any(|(_, step)| step.node == *node)
        || captures.into_iter().any(|step| step.node == *node)
}

fn gone(node: &NodeId, member: &Member) -> Fault {
    let since = member.removed.as_ref().map(|removal| removal.mark.since);
    let since = since.map(|since| format!(" at {since}"));
    Fault::new(
        Code::NodeNotFound,
        format!("node {node} was removed{}", since.unwrap_or_default()),
    )
}

async fn write(core: &Core, changed: Vec<(NodeId, Member)>) -> Result<(), Fault> {
    let written = core.members.put(&core.catalog, changed).await;
    written.map_err(|error| Fault::from_error(Code::Internal, &error))
}
