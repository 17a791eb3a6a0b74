//! Restores one collection into a Qdrant cluster of several nodes, by the parts that agents carry out.
//!
//! all nodes of the plan answer → prepare (one node) → all nodes agree where its shards are → each shard is uploaded by one of its holders, one at a
//! time on each node → all nodes agree that every replica is Active and none on its way → every node counts, all counts are as they should be → aliases.
//!
//! | what happens | what follows |
//! |---|---|
//! | the coordinator restarts | commands keep their names: what was done is told again, what was begun goes on; but nothing that replaces is begun |
//! | a node left, or one joined | before anything is changed: nothing is; afterwards: waited for, then as below |
//! | an agent restarts | its command goes on by itself |
//! | a Qdrant node dies during an upload | once all nodes agree again, the shard is uploaded anew, up to [`MAX_TRIES`] times |
//! | a replica is lost afterwards | waited for: Qdrant rebuilds it |
//! | an agent stays away, or anything else fails | what was created is deleted, if it can be; else each shard's state is told |

use super::parts::{Aliases, issue};
use super::{RESTARTED, RestoreContext, StepFailed, check_points};
use crate::core::Core;
use crate::fault::Fault;
use crate::job::log::Level;
use crate::job::{ClusterParts, Prepared, RestoredStep, ShardUpload, Work};
use futures::future::join_all;
use holdfast_decide::{Holders, Unsettled, Wanted, agreed, assign, is_whole};
use holdfast_proto::v1;
use holdfast_proto::v1::restore_part::Part;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Looks in a row by which every node must tell the same.
const AGREEMENTS: usize = 3;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long nothing may change while Qdrant moves a replica: large ones take a while.
const MOVING_FOR: Duration = Duration::from_secs(3600);
/// How long all of this may take at most, so that a node that comes and goes does not keep the job, and every other one, for ever.
const SETTLED_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// How often one shard is uploaded before the restore has failed.
const MAX_TRIES: u32 = 3;

/// Brings the collection back, or says what is left of the attempt.
pub(super) async fn restore(context: &RestoreContext<'_>) -> Result<RestoredStep, StepFailed> {
    match carry_out(context).await {
        Ok(done) => Ok(done),
        Err(fault) => Err(give_up(context, fault).await),
    }
}

async fn carry_out(context: &RestoreContext<'_>) -> Result<RestoredStep, Fault> {
    let began = context.core.clock.now();
    prepare(context).await?;
    go_on(context).await?;
    let holders = settled(context).await?;
    upload_all(context, holders).await?;
    context.note(
        "every shard is uploaded; waiting until all nodes agree that every replica is active",
    );
    settled(context).await?;
    let (points, aliases) = finish(context).await?;
    let parts = parts(context).await?;
    let elapsed = context.core.clock.now().since(began).as_millis();
    Ok(RestoredStep {
        points,
        uploaded_bytes: parts.uploads.values().map(|upload| upload.bytes).sum(),
        replayed: parts.uploads.values().map(|upload| upload.replayed).sum(),
        elapsed_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
        aliases,
        indexes: parts
            .prepared
            .map(|prepared| prepared.indexes)
            .unwrap_or_default(),
        uploads: parts.uploads,
    })
}

/// How far the step is, from the record of the job.
async fn parts(context: &RestoreContext<'_>) -> Result<ClusterParts, Fault> {
    let work = super::restore_of(context.core, context.id).await?;
    let of_step = work.parts.filter(|parts| parts.step == context.index);
    Ok(of_step.unwrap_or_else(|| ClusterParts::new(context.index)))
}

async fn change(
    context: &RestoreContext<'_>,
    change: impl FnOnce(&mut ClusterParts) + Send,
) -> Result<(), Fault> {
    let index = context.index;
    let changed = context.core.book.change(context.id, |job| {
        if let Work::Restore(work) = &mut job.work {
            let of_step = work.parts.take().filter(|parts| parts.step == index);
            let mut parts = of_step.unwrap_or_else(|| ClusterParts::new(index));
            change(&mut parts);
            work.parts = Some(parts);
        }
    });
    changed.await.map(drop)
}

async fn prepare(context: &RestoreContext<'_>) -> Result<(), Fault> {
    if parts(context).await?.prepared.is_some() {
        return Ok(());
    }
    let name = &context.step().target;
    if context.work.resumed && context.work.begun > context.index && context.step().replaces {
        return Err(Fault::new(
            Code::JobFailed,
            format!("{RESTARTED}; {name} is as it was, or was deleted, or is there without data"),
        ));
    }
    if !context.work.resumed {
        // After a restart it may be under way.
        whole(context).await?;
    }
    let leader = &context.work.node;
    let part = Part::Prepare(v1::PrepareTarget {});
    let done = issue(
        context,
        leader,
        "p",
        part,
        Aliases::Leave,
        context.cancel,
        None,
    );
    let done = done.await.map_err(|fault| {
        let code = fault.known_code();
        // What an agent itself could not do, it has told of, and removed.
        if !matches!(code, Code::NodeNotFound | Code::JobFailed | Code::Cancelled) {
            return fault;
        }
        let what = format!(
            "whether {name} was created on the cluster, or deleted to be replaced, is not known: look at it"
        );
        with(fault, &what)
    })?;
    context.note(format!(
        "{} is created on the cluster",
        context.step().target
    ));
    let prepared = Prepared {
        uuid: done.collection_uuid,
        indexes: done.indexes_created,
    };
    change(context, |parts| parts.prepared = Some(prepared)).await
}

/// Waits until all nodes of the plan answer, and no others are there: the plan may be hours old, and what is replaced would be gone.
async fn whole(context: &RestoreContext<'_>) -> Result<(), Fault> {
    let (core, nodes) = (context.core, context.nodes());
    let began = Instant::now();
    loop {
        if context.cancel.is_cancelled() {
            return Err(Fault::new(Code::Cancelled, "cancelled"));
        }
        let seen = core.observe().await;
        let whole = is_whole(&seen, &context.work.node, &nodes, core.clock.now());
        let Err(reasons) = whole else { return Ok(()) };
        let limit = core.limits.agent_grace;
        if began.elapsed() > limit {
            let name = &context.step().target;
            let fault = unsettled(&reasons, limit);
            return Err(with(fault, &format!("nothing of {name} was changed")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until all nodes tell the same several times in a row.
async fn settled(context: &RestoreContext<'_>) -> Result<Holders, Fault> {
    let (core, step) = (context.core, context.step());
    let shards: BTreeSet<ShardId> = step.shard_sizes.keys().copied().collect();
    let nodes = context.nodes();
    let wanted = Wanted {
        collection: &step.target,
        shards: &shards,
        replicas: step.replicas.unwrap_or(1),
        nodes: &nodes,
    };
    let (mut agreements, mut last) = (0, Vec::new());
    let began = Instant::now();
    let mut since = began;
    loop {
        if context.cancel.is_cancelled() {
            return Err(Fault::new(Code::Cancelled, "cancelled"));
        }
        let seen = core.observe().await;
        match agreed(&seen, &context.work.node, wanted, core.clock.now()) {
            Ok(holders) => {
                agreements += 1;
                if agreements == AGREEMENTS {
                    return Ok(holders);
                }
            }
            Err(Unsettled { reasons, moving }) => {
                agreements = 0;
                if reasons != last {
                    context.log(
                        Level::Info,
                        format!("{} is not settled yet: {}", step.target, reasons.join("; ")),
                    );
                    since = Instant::now();
                    last = reasons;
                }
                let limit = if moving { MOVING_FOR } else { patience(core) };
                if since.elapsed() > limit {
                    return Err(unsettled(&last, limit));
                }
                if began.elapsed() > SETTLED_WITHIN {
                    return Err(unsettled(&last, SETTLED_WITHIN));
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How long nothing may change while Qdrant does nothing that can be seen: it notices a lost replica, and begins to rebuild it, within seconds.
fn patience(core: &Core) -> Duration {
    core.limits.agent_grace.max(Duration::from_secs(60))
}

fn unsettled(reasons: &[String], limit: Duration) -> Fault {
    const SHOWN: usize = 10;
    let mut told: Vec<&str> = reasons.iter().take(SHOWN).map(String::as_str).collect();
    if reasons.len() > SHOWN {
        told.push("and more");
    }
    Fault {
        retryable: true,
        ..Fault::new(
            Code::QdrantNotReady,
            format!(
                "the nodes of the cluster have not agreed for {} s: {}",
                limit.as_secs(),
                told.join("; ")
            ),
        )
    }
}

/// Gives every upload again that was begun before a restart, at once: it goes on without waiting for the other nodes.
async fn go_on(context: &RestoreContext<'_>) -> Result<(), Fault> {
    let begun = parts(context).await?;
    let open = begun
        .uploads
        .iter()
        .filter(|(_, upload)| !upload.done && !upload.failed);
    let open: BTreeMap<ShardId, NodeId> = open
        .map(|(shard, upload)| (*shard, upload.node.clone()))
        .collect();
    if let Some(failed) = upload_round(context, &begun, open).await? {
        context.warn(format!(
            "{failed}; it is uploaded again when all nodes agree"
        ));
    }
    Ok(())
}

/// Uploads every shard that is not uploaded yet. What fails because a Qdrant went away is uploaded again once all nodes agree again.
async fn upload_all(context: &RestoreContext<'_>, mut holders: Holders) -> Result<(), Fault> {
    loop {
        let sizes = &context.step().shard_sizes;
        let begun = parts(context).await?;
        let open = sizes.iter().filter(|(shard, _)| {
            let upload = begun.uploads.get(shard);
            upload.is_none_or(|upload| !upload.done)
        });
        let open: BTreeMap<ShardId, u64> = open.map(|(shard, size)| (*shard, *size)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let assigned = assign(&holders, &open);
        if let Some(shard) = open.keys().find(|shard| !assigned.contains_key(shard)) {
            let why = format!("shard {shard} is on no node of the cluster");
            return Err(Fault::new(Code::QdrantError, why));
        }
        let Some(failed) = upload_round(context, &begun, assigned).await? else {
            return Ok(());
        };
        context.warn(format!(
            "{failed}; it is uploaded again when all nodes agree"
        ));
        holders = settled(context).await?;
    }
}

/// Each node uploads its shards one after the other; nodes don't wait for each other. Returns the first failure that may pass.
async fn upload_round(
    context: &RestoreContext<'_>,
    begun: &ClusterParts,
    assigned: BTreeMap<ShardId, NodeId>,
) -> Result<Option<Fault>, Fault> {
    let mut lanes: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
    for (shard, node) in assigned {
        lanes.entry(node).or_default().push(shard);
    }
    let together = context.cancel.child_token();
    let lanes = lanes.into_iter().map(|(node, shards)| {
        let together = &together;
        async move {
            let mut passing = None;
            for shard in shards {
                if together.is_cancelled() {
                    return Err(Fault::new(Code::Cancelled, "cancelled"));
                }
                match upload(context, begun, shard, &node, together).await {
                    Ok(()) => {}
                    Err((fault, true)) => passing = passing.or(Some(fault)),
                    Err((fault, false)) => {
                        together.cancel();
                        return Err(fault);
                    }
                }
            }
            Ok(passing)
        }
    });
    let (mut passing, mut fatal) = (None, Vec::new());
    for ended in join_all(lanes).await {
        match ended {
            Ok(failure) => passing = passing.or(failure),
            Err(fault) => fatal.push(fault),
        }
    }
    // The others were only stopped because of the one that failed by itself.
    let own = fatal
        .iter()
        .position(|fault| fault.known_code() != Code::Cancelled);
    match own.or((!fatal.is_empty()).then_some(0)) {
        Some(cause) => Err(fatal.swap_remove(cause)),
        None => Ok(passing),
    }
}

/// Has one shard uploaded. With a failure goes whether it may be tried again: then the agent has confirmed that it has stopped.
async fn upload(
    context: &RestoreContext<'_>,
    begun: &ClusterParts,
    shard: ShardId,
    node: &NodeId,
    cancel: &CancellationToken,
) -> Result<(), (Fault, bool)> {
    let before = begun.uploads.get(&shard);
    let tries = match before {
        Some(upload) if !upload.failed => upload.tries,
        Some(upload) => upload.tries + 1,
        None => 1,
    };
    let upload = ShardUpload {
        node: node.clone(),
        tries,
        failed: false,
        done: false,
        bytes: 0,
        replayed: 0,
    };
    let noted = upload.clone();
    let recorded = change(context, |parts| drop(parts.uploads.insert(shard, noted))).await;
    recorded.map_err(|fault| (fault, false))?;
    let what = format!("shard {shard} of {}", context.step().target);
    context.log(
        Level::Info,
        format!("upload of {what} by {node} begins, attempt {tries}"),
    );
    let part = Part::Upload(v1::UploadShard { shard_id: shard.0 });
    let suffix = format!("u{shard}-{tries}");
    let done = issue(
        context,
        node,
        &suffix,
        part,
        Aliases::Leave,
        cancel,
        Some(shard),
    )
    .await;
    let ended = match &done {
        Ok(done) => ShardUpload {
            done: true,
            bytes: done.uploaded_bytes,
            replayed: done.replayed_entries,
            ..upload
        },
        Err(_) => ShardUpload {
            failed: true,
            ..upload
        },
    };
    if let Ok(done) = &done {
        context.note(format!(
            "uploaded {what} by {node}: {}",
            ByteCount(done.uploaded_bytes)
        ));
    }
    let recorded = change(context, |parts| drop(parts.uploads.insert(shard, ended))).await;
    recorded.map_err(|fault| (fault, false))?;
    done.map(drop).map_err(|fault| {
        let passes = passes(fault.known_code()) && tries < MAX_TRIES;
        let fault = fault.within(&format!("upload of shard {shard} by {node}"));
        (fault, passes)
    })
}

/// Whether a failure that an agent reported may pass. Of one that was given up nobody knows whether it still uploads.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::QdrantUnreachable | Code::QdrantNotReady | Code::QdrantError | Code::Interrupted
    )
}

/// Every node counts, and all must count what was captured. Only then the one that leads points the aliases.
async fn finish(context: &RestoreContext<'_>) -> Result<(u64, Vec<String>), Fault> {
    let (work, step) = (context.work, context.step());
    let receivers = work.plan.receivers.iter().enumerate();
    let counts = receivers.map(|(nth, receiver)| async move {
        let part = Part::Finish(v1::FinishTarget {});
        let (node, suffix) = (&receiver.node, format!("f{nth}"));
        let done = issue(
            context,
            node,
            &suffix,
            part,
            Aliases::Leave,
            context.cancel,
            None,
        )
        .await;
        done.map(|done| (node, done.points))
    });
    let counts: Vec<(&NodeId, u64)> = join_all(counts)
        .await
        .into_iter()
        .collect::<Result<_, Fault>>()?;
    let Some(((first, points), rest)) = counts.split_first() else {
        return Err(Fault::new(Code::Internal, "the plan names no node"));
    };
    if let Some((other, different)) = rest.iter().find(|(_, count)| count != points) {
        return Err(Fault::new(
            Code::ProofFailed,
            format!(
                "{first} counts {points} points of {}, {other} counts {different}: its replicas differ; it was left as it is, to be looked at",
                step.target
            ),
        ));
    }
    check_points(step, *points)?;
    let part = Part::Finish(v1::FinishTarget {});
    let done = issue(
        context,
        &work.node,
        "fa",
        part,
        Aliases::Point,
        context.cancel,
        None,
    )
    .await?;
    Ok((*points, done.aliases_created))
}

/// Removes what was created, and says so; or says in what state each shard is.
async fn give_up(context: &RestoreContext<'_>, fault: Fault) -> StepFailed {
    let gone = |fault| StepFailed { fault, left: false };
    let left = |fault| StepFailed { fault, left: true };
    let Ok(parts) = parts(context).await else {
        return left(fault);
    };
    let step = context.step();
    let name = &step.target;
    if parts.prepared.is_none() {
        return gone(fault);
    }
    let states = states(&parts, step.shard_sizes.keys().copied());
    if states.iter().all(|(_, state)| *state == RESTORED) {
        return left(with(
            fault,
            &format!(
                "every shard of {name} is restored and stays; {name} was not proven or its aliases not pointed at it: look at it, or restore over it with --overwrite"
            ),
        ));
    }
    let never = CancellationToken::new();
    let part = Part::Discard(v1::DiscardTarget {});
    let node = &context.work.node;
    let discarded = issue(context, node, "d", part, Aliases::Leave, &never, None).await;
    match discarded {
        Ok(_) if step.replaces => gone(with(
            fault,
            &format!("{name} had to be deleted to be replaced and is gone"),
        )),
        Ok(_) => gone(with(
            fault,
            &format!("{name} did not exist before and is deleted again"),
        )),
        Err(why) => {
            let states: Vec<String> = states
                .iter()
                .map(|(shards, state)| format!("shard {shards} of {name}: {state}"))
                .collect();
            left(with(
                fault,
                &format!(
                    "{}; {name} could not be deleted ({why}): delete it, or restore over it with --overwrite",
                    states.join("; ")
                ),
            ))
        }
    }
}

fn with(fault: Fault, what: &str) -> Fault {
    Fault {
        message: format!("{}; {what}", fault.message),
        ..fault
    }
}

const RESTORED: &str = "the restored data";

/// Shards by what they hold.
fn states(
    parts: &ClusterParts,
    shards: impl Iterator<Item = ShardId>,
) -> Vec<(String, &'static str)> {
    let mut by_state: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for shard in shards {
        let state = match parts.uploads.get(&shard) {
            Some(upload) if upload.done => RESTORED,
            Some(_) => "nothing or the restored data, since its upload was interrupted",
            None => "nothing",
        };
        by_state.entry(state).or_default().push(shard.to_string());
    }
    by_state
        .into_iter()
        .map(|(state, shards)| (shards.join(", "), state))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{RESTORED, passes, states};
    use crate::job::{ClusterParts, ShardUpload};
    use holdfast_service::failure::Code;
    use holdfast_types::ShardId;

    #[test]
    fn each_shard_has_a_state() {
        let upload = |done| ShardUpload {
            node: "n1".parse().unwrap(),
            tries: 1,
            failed: false,
            done,
            bytes: 0,
            replayed: 0,
        };
        let mut parts = ClusterParts::new(0);
        parts.uploads = [(ShardId(0), upload(true)), (ShardId(2), upload(false))].into();
        let told = states(&parts, (0..4).map(ShardId));
        assert_eq!(
            told,
            [
                ("1, 3".to_owned(), "nothing"),
                (
                    "2".to_owned(),
                    "nothing or the restored data, since its upload was interrupted"
                ),
                ("0".to_owned(), RESTORED),
            ]
        );
    }

    #[test]
    fn what_an_agent_has_not_confirmed_is_not_tried_elsewhere() {
        assert!(passes(Code::QdrantUnreachable));
        // The ticket's own: the agent is away, or says nothing.
        assert!(!passes(Code::NodeNotFound) && !passes(Code::JobFailed));
        assert!(!passes(Code::RepositoryDamaged) && !passes(Code::Cancelled));
    }
}
