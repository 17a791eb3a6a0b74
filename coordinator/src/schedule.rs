//! Schedules: looks every second what is due by the policy, records that, and starts one job.
//!
//! What to do is decided by `holdfast_decide::schedule` and read again by its checker; here it is carried out. The memory of
//! a schedule is durable before its job begins: a restart neither repeats nor forgets. Another coordinator that takes over with
//! another catalogue finds in the notes of recovery points what was answered; runs that nothing needed leave none, and are looked at anew.
//!
//! | while … | a run is recorded | its job begins | its job runs |
//! |---|---|---|---|
//! | kill −9 | begun at the next look | found by its note | goes on after the start |
//! | an operator's job begins | – | fails, tried again in a minute | never: one job at a time |

mod alarm;
mod book;
mod changes;
mod note;
mod standing;
mod watch;

pub use alarm::warnings;
pub use book::ScheduleBook;
pub use standing::{Standing, known_collections, standings};

use crate::catalog::CatalogError;
use crate::config::LoadedPolicy;
use crate::core::Core;
use crate::execute;
use crate::job::{JobRecord, JobState, Work};
use holdfast_decide::policy::{Policy, select, slow};
use holdfast_decide::schedule::{
    Changes, Ended, OpenRun, OpenState, Schedule, ScheduleMemory, Slow, Start, Unchanged, Verdict,
    View, check_verdict, judge,
};
use holdfast_decide::{NodeView, Observation, ServerView};
use holdfast_proto::convert::{BackupOrder, Method};
use holdfast_types::{CaptureLimits, JobId};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_secs(1);

/// What was written is counted so often, for runs before their time.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Looks until the process ends.
pub async fn run(core: Arc<Core>) {
    if core.policy.is_none() {
        return;
    }
    let stop = core.shutdown.token();
    loop {
        if let Err(error) = Box::pin(look(&core)).await {
            tracing::error!(%error, "what schedules did could not be recorded; nothing is begun before that is possible");
        }
        if tokio::time::timeout(TICK, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Takes note of what has ended, and begins what is due.
///
/// # Errors
/// A catalogue that can't be written: then nothing has begun.
pub async fn look(core: &Arc<Core>) -> Result<(), CatalogError> {
    let Some(LoadedPolicy { policy, .. }) = &core.policy else {
        return Ok(());
    };
    for schedule in &policy.schedules {
        remember(core, schedule).await?;
    }
    let mut schedules: Vec<&Schedule> = policy.schedules.iter().collect();
    schedules.sort_by_key(|schedule| std::cmp::Reverse(schedule.priority));
    for schedule in schedules {
        let Some(mut memory) = core.schedules.get(&schedule.name) else {
            continue;
        };
        let view = adapted(core, policy, schedule, &memory).await;
        let verdict = judge(schedule, &memory, &view);
        let wrong = check_verdict(&verdict, schedule, &memory, &view);
        if !wrong.is_empty() {
            let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            tracing::error!(schedule = %schedule.name, wrong = wrong.join("; "), "a verdict was refused by its checker; nothing was done");
            continue;
        }
        match verdict {
            Verdict::Wait { .. } => {}
            Verdict::Skip { planned, covers } => {
                tracing::warn!(schedule = %schedule.name, %planned, covers, "passed over: it came due while no coordinator ran");
                memory.skip(planned, covers, view.now);
                core.schedules
                    .put(&core.catalog, &schedule.name, memory)
                    .await?;
            }
            Verdict::Unchanged { planned, covers } => {
                tracing::info!(schedule = %schedule.name, %planned, covers, "nothing has changed since the newest captures: they answer it");
                memory.answer(planned, view.now);
                core.schedules
                    .put(&core.catalog, &schedule.name, memory)
                    .await?;
            }
            Verdict::Start(start) => begin(core, policy, schedule, memory, &start).await?,
        }
    }
    Ok(())
}

/// What matters now, with what was written, where the verdict goes by that.
async fn adapted(
    core: &Core,
    policy: &Policy,
    schedule: &Schedule,
    memory: &ScheduleMemory,
) -> View {
    let now = async || {
        let busy = core.book.running().await.map(|job| job.id);
        view(core, policy, schedule, busy)
    };
    let mut view = now().await;
    let seen = core.schedules.changes(&schedule.name);
    view.changes = Changes::default();
    let due = matches!(judge(schedule, memory, &view), Verdict::Start(_));
    let asks = due && schedule.unchanged == Unchanged::Skip;
    if asks {
        // What was told before may not have what came since.
        core.observe().await;
    } else if due || schedule.early.is_none() {
        return view;
    } else if let Some((at, seen)) = seen
        && view.now.since(at) < COUNT_EVERY
        && at <= view.now
    {
        view.changes = seen;
        return view;
    }
    let changes = changes::changes(core, policy, schedule, asks).await;
    core.schedules
        .saw(&schedule.name, changes, core.clock.now());
    // That took time: another job may have begun.
    now().await
}

/// What matters now, with the changes that the scheduler saw last.
fn view(core: &Core, policy: &Policy, schedule: &Schedule, busy: Option<JobId>) -> View {
    View {
        now: core.clock.now(),
        watching_since: core.started,
        unsettled: watch::unsettled(core, policy),
        busy,
        slow: slow_node(core, policy, schedule),
        changes: core
            .schedules
            .changes(&schedule.name)
            .map(|(_, seen)| seen)
            .unwrap_or_default(),
    }
}

/// A node of the schedule whose searches take too long.
fn slow_node(core: &Core, policy: &Policy, schedule: &Schedule) -> Option<Slow> {
    schedule.limits.max_query_latency?;
    let seen = core.nodes.observation(core.epoch, None, 0);
    slow(policy, schedule, &seen, core.clock.now())
}

/// Brings the memory of a schedule up to date: a new one, another timing, a job that has ended.
async fn remember(core: &Core, schedule: &Schedule) -> Result<(), CatalogError> {
    let now = core.clock.now();
    let known = core.schedules.get(&schedule.name);
    let mut memory = match known.clone() {
        Some(memory) => memory,
        None => first_memory(core, schedule).await?,
    };
    memory.follow(schedule, now);
    if let Some(open) = memory.open.clone()
        && let OpenState::Running { job } = &open.state
    {
        settle(core, schedule, &mut memory, &open, job.as_ref()).await;
    }
    if known.as_ref() == Some(&memory) {
        return Ok(());
    }
    core.schedules
        .put(&core.catalog, &schedule.name, memory)
        .await
}

/// Nothing is recorded of it here. If the repository has a recovery point of it, another coordinator made that, and what
/// has come due since is due.
async fn first_memory(core: &Core, schedule: &Schedule) -> Result<ScheduleMemory, CatalogError> {
    let mut memory = ScheduleMemory::new(schedule, core.clock.now());
    let points = core.catalog.points().await?;
    // What was imported was captured elsewhere, whatever its note says.
    let captured = points.iter().filter(|point| point.imported.is_none());
    let answered = captured.filter_map(|point| note::answered(&point.note, &schedule.name));
    if let Some(answered) = answered.max().filter(|answered| *answered < memory.handled) {
        memory.handled = answered;
        memory.satisfied = answered;
    }
    Ok(memory)
}

/// Takes note of how the job of a run stands.
async fn settle(
    core: &Core,
    schedule: &Schedule,
    memory: &mut ScheduleMemory,
    open: &OpenRun,
    job: Option<&JobId>,
) {
    let now = core.clock.now();
    let record = match job {
        Some(id) => core.book.get(id).await,
        None => {
            // The process ended between two records.
            let jobs = core.book.list().await;
            let ours = |job: &JobRecord| {
                let run = job_note(job);
                job.started >= open.begun && note::is_of(run, &schedule.name, open.planned)
            };
            let found = jobs.into_iter().find(ours);
            match &found {
                Some(record) => memory.began(record.id.clone()),
                None => return memory.end(Ended::NotBegun, now),
            }
            found
        }
    };
    let failed = |reason: String| Ended::Failed { reason };
    let ended = match record {
        None => failed("its job is not recorded any more".to_owned()),
        Some(record) => match record.state {
            JobState::Running => return,
            JobState::Succeeded => Ended::Succeeded {
                captured: record
                    .backup()
                    .map(|backup| backup.plan.collections.iter().cloned().collect())
                    .unwrap_or_default(),
                left_out: note::left_out(job_note(&record)),
            },
            JobState::Cancelled => Ended::Cancelled,
            JobState::Failed | JobState::Interrupted => failed(record.failure.map_or_else(
                || "its job says no reason".to_owned(),
                |failure| failure.message,
            )),
        },
    };
    memory.end(ended, now);
}

fn job_note(job: &JobRecord) -> &str {
    match &job.work {
        Work::Backup(work) => &work.note,
        Work::Restore(_) | Work::Upkeep(_) => "",
    }
}

/// Records a run, and starts its job.
async fn begin(
    core: &Arc<Core>,
    policy: &Policy,
    schedule: &Schedule,
    mut memory: ScheduleMemory,
    start: &Start,
) -> Result<(), CatalogError> {
    let name = &schedule.name;
    let now = core.clock.now();
    memory.begin(start.planned, start.covers, start.attempt, start.full, now);
    core.schedules
        .put(&core.catalog, name, memory.clone())
        .await?;
    match start_job(core, policy, schedule, start).await {
        Ok(job) => {
            if let Some(slow) = &start.despite {
                tracing::warn!(schedule = %name, reason = %slow, "a run has waited for a calmer moment for as long as it may, and begins all the same");
            }
            tracing::info!(schedule = %name, planned = %start.planned, covers = start.covers, attempt = start.attempt, early = start.early, %job, "a scheduled run begins");
            memory.began(job);
        }
        Err(reason) => {
            tracing::warn!(schedule = %name, planned = %start.planned, attempt = start.attempt, reason, "a scheduled run could not begin; it will be tried again");
            memory.end(Ended::Failed { reason }, core.clock.now());
        }
    }
    core.schedules.put(&core.catalog, name, memory).await
}

async fn start_job(
    core: &Arc<Core>,
    policy: &Policy,
    schedule: &Schedule,
    start: &Start,
) -> Result<JobId, String> {
    let seen = core.observe().await;
    let selection = select(policy, &schedule.name, &seen, core.clock.now());
    if selection.capture.is_empty() {
        return Err(if selection.left_out.is_empty() {
            "no collection that is known follows it".to_owned()
        } else {
            format!("nothing can be captured: {}", selection.left_out.join("; "))
        });
    }
    let order = BackupOrder {
        collections: selection.capture.into_iter().collect(),
        patterns: Vec::new(),
        by_rule: true,
        method: if start.full {
            whole(&seen)
        } else {
            Method::Auto
        },
        note: note::note(&schedule.name, start.planned, &selection.left_out),
        tags: schedule.tags.iter().cloned().collect(),
        limits: limits(schedule, start),
    };
    let asker = format!("schedule {}", schedule.name);
    let feed = Box::pin(execute::start_backup(core, asker, &order)).await;
    feed.map(|feed| feed.job().clone())
        .map_err(|fault| fault.message)
}

/// What is left of the schedule's limits: a run that has waited for calm in vain gives way no longer.
fn limits(schedule: &Schedule, start: &Start) -> CaptureLimits {
    let mut limits = schedule.limits;
    if start.despite.is_some() {
        limits.max_query_latency = None;
    }
    limits
}

/// A way that reads every shard whole, as the quicker ways need not, and that all nodes have.
fn whole(seen: &Observation) -> Method {
    let shared = |node: &NodeView| match &node.server {
        ServerView::Seen(server) => server.snapshots_shared,
        ServerView::Unknown | ServerView::Failing { .. } => true,
    };
    if seen.nodes.values().all(shared) {
        Method::Stored
    } else {
        Method::Stream
    }
}
