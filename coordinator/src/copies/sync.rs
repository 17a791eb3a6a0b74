//! One run: keys, holds and pins, the points that the copy lacks, its own rules.

use super::runs::Lazy;
use super::{CopyMemory, Handle, OpenRun, TICK, give_way, keep};
use crate::core::Core;
use crate::fault::{Fault, chain};
use crate::job::upkeep::Extent;
use crate::keeping::Place;
use crate::retention::{Ground, OnCopy, Pruned, in_use, prune_on};
use crate::upkeep::{Ended, Run, cancelled};
use holdfast_repository::{Repository, RepositoryError, SyncedPoint};
use holdfast_service::failure::Code;
use holdfast_store::StoreError;
use holdfast_types::{ByteCount, RecoveryPointId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a run went.
enum Went {
    Done,
    /// The process ends, or an operator wants something of the copy: it goes on afterwards.
    Stopped,
    /// Somebody asked to stop it.
    Cancelled,
}

/// How it went with one point.
enum Brought {
    Here(SyncedPoint),
    /// It is gone from the primary.
    Gone,
    /// Something that it needs can't be read, or not be written.
    Unreadable(String),
    GaveWay,
    Stopped,
    Cancelled,
}

/// Brings the copy up to date, and remembers how it went.
pub(super) async fn run(core: &Arc<Core>, handle: &Arc<Handle>) {
    let _alone = handle.working.lock().await;
    let (catalog, name) = (&core.catalog, handle.name());
    let mut job = match Lazy::begin(core, handle).await {
        Ok(job) => job,
        Err(error) => {
            tracing::error!(copy = %name, %error, "a run that can't be recorded is not begun");
            tokio::time::sleep(TICK).await;
            return;
        }
    };
    let went = Box::pin(bring_up(core, handle, &mut job)).await;
    let now = core.clock.now();
    let open = open_run(handle, core);
    let mut ended = Ended {
        found: brought(&open),
        ..Ended::default()
    };
    match went {
        Ok(Went::Stopped) => return job.put_by().await,
        Ok(Went::Cancelled) => {
            handle.note(catalog, |memory| memory.cancel(now)).await;
            let then = "what has come stays; the next run goes on, by itself in an hour";
            ended.failure = Some(cancelled(then));
        }
        Ok(Went::Done) => {
            handle.note(catalog, |memory| memory.end(now)).await;
            if open.done > 0 {
                tracing::info!(copy = %name, points = open.done, "a copy is up to date");
            }
        }
        Err(fault) => {
            // The next attempt looks anew who it is.
            handle.close().await;
            tracing::warn!(copy = %name, code = fault.code, reason = %fault, "a copy can't be brought up to date; trying again later");
            ended.failure = Some(fault.clone());
            handle.note(catalog, |memory| memory.fail(now, fault)).await;
        }
    }
    job.end(ended).await;
}

/// How far the run is.
fn open_run(handle: &Handle, core: &Core) -> OpenRun {
    let open = handle.memory().open;
    open.unwrap_or_else(|| OpenRun {
        started: core.clock.now(),
        total: 0,
        done: 0,
        bytes: 0,
    })
}

fn brought(open: &OpenRun) -> Vec<String> {
    let what = extent(open).text("recovery points");
    vec![match open.total {
        0 => "the copy lacked no recovery point".to_owned(),
        _ => format!("brought {what}"),
    }]
}

fn extent(open: &OpenRun) -> Extent {
    Extent {
        bytes: open.bytes,
        parts: open.done,
        parts_total: Some(open.total),
        ..Extent::default()
    }
}

async fn bring_up(core: &Arc<Core>, handle: &Handle, job: &mut Lazy<'_>) -> Result<Went, Fault> {
    if job.is_cancelled() {
        return Ok(Went::Cancelled);
    }
    if let Some(run) = job.open() {
        run.stage("comparing keys, holds and pins");
    }
    let copy = handle.writer(core).await?;
    handle
        .note(&core.catalog, |memory| memory.made = true)
        .await;
    let failed = |error: RepositoryError| handle.failed(&error);
    // What checks of either side have recorded, perhaps in another process.
    let heeded = core.repository.heed_damage().await;
    heeded.map_err(|error| core.repository_failed(&error))?;
    copy.heed_damage().await.map_err(failed)?;
    let keys = core.repository.sync_keys(&copy, None).await;
    let keys = keys.map_err(failed)?;
    let marks = core.repository.sync_marks(&copy, core.epoch, None).await;
    let marks = marks.map_err(failed)?;
    check_primary(core).await?;
    let holders = keys.only_in_copy.iter().map(|name| format!("key {name}"));
    let only_here = holders.chain(marks.only_in_copy).collect();
    let remember = |memory: &mut CopyMemory| {
        memory.only_here = only_here;
        memory.unread_marks = marks.damaged;
    };
    handle.note(&core.catalog, remember).await;
    handle.take_stock(core, &copy).await?;
    match bring_points(core, handle, &copy, job).await? {
        Went::Done => {}
        other @ (Went::Stopped | Went::Cancelled) => return Ok(other),
    }
    if is_prune_due(core, handle)
        && handle.memory().uncopied.is_empty()
        && keep::knows_locks(core, handle, &copy).await
    {
        // They were read before the points came, which may have taken days.
        let marks = core.repository.sync_marks(&copy, core.epoch, None).await;
        let marks = marks.map_err(failed)?;
        check_primary(core).await?;
        // A hold that could not be copied may be on any point.
        if !marks.damaged.is_empty() {
            return Ok(Went::Done);
        }
        match apply_rules(core, handle, &copy, None, |_| Ok(())).await {
            Ok(_) => {}
            // Whoever stops it does not want it to go on in a minute.
            Err(fault) if fault.known_code() == Code::Cancelled => return Ok(Went::Cancelled),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Went::Done)
}

/// Whether the primary is still where it was, and ours: what a place that vanished lists, holds among it, is nothing.
pub(super) async fn check_primary(core: &Core) -> Result<(), Fault> {
    let there = core.repository.check_epoch(core.epoch).await;
    there.map_err(|error| core.repository_failed(&error))
}

/// The newest points come first: they are what a loss would cost.
async fn bring_points(
    core: &Arc<Core>,
    handle: &Handle,
    copy: &Repository,
    job: &mut Lazy<'_>,
) -> Result<Went, Fault> {
    let there = handle.memory().listed.unwrap_or_default();
    let wanted = handle.wanted(core).await?;
    let ids = wanted.0.iter().map(|point| point.id.clone());
    let missing: Vec<RecoveryPointId> = ids.filter(|id| !there.contains(id)).collect();
    let total = missing.len() as u64;
    let begin = |memory: &mut CopyMemory| {
        if let Some(open) = &mut memory.open {
            open.total = open.done + total;
        }
    };
    handle.note(&core.catalog, begin).await;
    let mut uncopied = BTreeMap::new();
    for id in missing {
        let run = job.job().await;
        loop {
            if handle.is_asked_for() || !give_way(core, handle, Some(run)).await {
                return Ok(Went::Stopped);
            }
            let open = open_run(handle, core);
            run.tell(&format!("bringing {id}"), extent(&open));
            match bring(core, handle, copy, &id, run).await? {
                // Once more, when the job has ended.
                Brought::GaveWay => continue,
                Brought::Stopped => return Ok(Went::Stopped),
                Brought::Cancelled => return Ok(Went::Cancelled),
                Brought::Here(synced) => {
                    note_point(core, handle, &id, synced).await;
                    handle.keeping.committed(&id);
                    // After a failure it waits, with all that came meanwhile.
                    if handle.keeping.is_due() {
                        keep::pass(core, handle, copy).await;
                    }
                    let open = open_run(handle, core);
                    run.tell("bringing", extent(&open));
                    run.note(format!("brought {id}, {}", ByteCount(synced.bytes)));
                }
                // Removed a moment ago, and then wanted no more; or lost.
                Brought::Gone => {
                    uncopied.insert(id, "it is gone".to_owned());
                }
                Brought::Unreadable(why) => {
                    tracing::warn!(copy = %handle.name(), point = %id, reason = why, "a recovery point can't be copied");
                    run.warn(format!("{id} can't be copied: {why}"));
                    uncopied.insert(id, why);
                }
            }
            break;
        }
    }
    handle
        .note(&core.catalog, |memory| memory.uncopied = uncopied)
        .await;
    Ok(Went::Done)
}

async fn note_point(core: &Core, handle: &Handle, id: &RecoveryPointId, synced: SyncedPoint) {
    let id = id.clone();
    let change = |memory: &mut CopyMemory| {
        memory.listed.get_or_insert_default().insert(id);
        if let Some(open) = &mut memory.open {
            open.done += 1;
            open.bytes += synced.bytes;
        }
    };
    handle.note(&core.catalog, change).await;
}

async fn bring(
    core: &Core,
    handle: &Handle,
    copy: &Repository,
    id: &RecoveryPointId,
    run: &Run,
) -> Result<Brought, Fault> {
    let stop = core.shutdown.token();
    // Whatever became of the place since the last one: nothing is written where the copy is not.
    let there = copy.check_copy(handle.name()).await;
    there.map_err(|error| handle.failed(&error))?;
    let mut bringing = std::pin::pin!(core.repository.sync_point(copy, core.epoch, id));
    let brought = loop {
        tokio::select! {
            brought = &mut bringing => break brought,
            () = stop.cancelled() => return Ok(Brought::Stopped),
            () = run.cancelled() => return Ok(Brought::Cancelled),
            () = tokio::time::sleep(TICK) => {}
        }
        if handle.is_asked_for() {
            return Ok(Brought::Stopped);
        }
        if handle.must_wait(core).await {
            return Ok(Brought::GaveWay);
        }
    };
    match brought {
        Ok(synced) => Ok(Brought::Here(synced)),
        Err(RepositoryError::PointNotFound { .. }) => Ok(Brought::Gone),
        Err(
            error @ (RepositoryError::Damaged { .. }
            | RepositoryError::ChunkMissing { .. }
            | RepositoryError::Incomplete { .. }
            | RepositoryError::NewerFormat { .. }),
        ) => Ok(Brought::Unreadable(chain(&error))),
        // A disk may fail at one object, of either side, and serve all others.
        Err(error @ RepositoryError::Store(StoreError::Io { .. })) => {
            check_primary(core).await?;
            let there = copy.check_copy(handle.name()).await;
            there.map_err(|error| handle.failed(&error))?;
            Ok(Brought::Unreadable(chain(&error)))
        }
        Err(error) => Err(handle.failed(&error)),
    }
}

/// Two operators can't be asked by a clock, and a clock that may be wrong removes nothing.
fn is_prune_due(core: &Core, handle: &Handle) -> bool {
    let settings = &handle.section.retention;
    let (Some(every), false) = (settings.every, core.retention.settings.two_person) else {
        return false;
    };
    if core.clock_fault().is_some() {
        return false;
    }
    let last = handle.memory().pruned;
    let now = core.clock.now();
    // One from the future is of a clock that was set right since.
    last.is_none_or(|last| last > now || now >= last.after(every))
}

/// Applies the copy's own rules to what it holds.
pub(super) async fn apply_rules(
    core: &Arc<Core>,
    handle: &Handle,
    copy: &Repository,
    by: Option<&str>,
    confirmed: impl FnOnce(&str) -> Result<(), Fault> + Send,
) -> Result<Pruned, Fault> {
    let failed = |error: &RepositoryError| handle.failed(error);
    // Until it is decided and done, nobody may begin to read what goes: who does looks for this, too, and is then seen.
    let alone = core.retention.removing.lock().await;
    let ground = ground(core, handle, copy, &failed).await?;
    let on = OnCopy {
        core,
        copy: handle.name(),
        by,
    };
    let pruned = Box::pin(prune_on(on, &ground, confirmed, alone)).await;
    handle.take_stock(core, copy).await?;
    let pruned = pruned?;
    if pruned.has_moved() {
        handle.keeping.rewritten();
    }
    let now = core.clock.now();
    handle
        .note(&core.catalog, |memory| memory.pruned = Some(now))
        .await;
    Ok(pruned)
}

/// The copy, to be judged by its own rules.
pub(super) async fn ground<'a>(
    core: &Core,
    handle: &'a Handle,
    copy: &'a Repository,
    failed: &'a (dyn Fn(&RepositoryError) -> Fault + Send + Sync),
) -> Result<Ground<'a>, Fault> {
    let place = Place {
        repository: copy,
        failed,
    };
    let asked = handle.keeping.ask(&place).await;
    Ok(Ground {
        repository: copy,
        epoch: core.epoch,
        settings: &handle.section.retention,
        in_use: in_use(core).await,
        // A copy holds no archived logs.
        followed: None,
        said: BTreeMap::new(),
        logs_rest_until: Timestamp::EPOCH,
        // What a copy shall hold is decided without regard to proofs and damage; its own removals must not differ from that.
        affected: None,
        obeys_locks: asked.map_err(|fault| handle.within(fault))?,
        catalog: None,
        failed,
        logs: None,
        now: core.clock.now(),
    })
}
