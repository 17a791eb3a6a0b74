//! Restores collections, one after the other, after the safety capture of what they replace.
//!
//! The first failure ends the job; its message says in what state everything is and what to type next.

use super::{backup, recorded};
use crate::core::Core;
use crate::dispatch::{Answer, Grant, Readable, RestoreGrant};
use crate::fault::{Fault, blocked};
use crate::instant::pieces::Reader;
use crate::job::feed::{JobFeed, ProgressKey};
use crate::job::log::Level;
use crate::job::{RestoreWork, RestoredStep, Work, restore_id};
use crate::plan;
use crate::rpc::wire;
use holdfast_archive::{CollectionEntry, Manifest};
use holdfast_decide::RestoreStep;
use holdfast_decide::instant::{Choice, InstantTarget, ReplayWay, ShardLog};
use holdfast_proto::v1;
use holdfast_repository::ProofOutcome;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, JobId, NodeId, ShardId};
use order::{logs_of, order};
use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use witness::{Witness, shown};

mod cluster;
mod order;
mod parts;
mod witness;

/// A command that was given before a restart goes on, but none that replaces is given after one.
pub(super) const RESTARTED: &str = "the coordinator restarted after it began to capture what is replaced, which may have changed since: it has to be captured again";

/// Carries out what is not done yet.
pub(super) async fn run(
    core: &Arc<Core>,
    id: &JobId,
    feed: &Arc<JobFeed>,
    cancel: &CancellationToken,
) -> Result<v1::RestoreSummary, Fault> {
    let work = restore_of(core, id).await?;
    let manifest = manifest_of(core, &work).await?;
    let witness = Witness {
        core,
        id,
        feed,
        work: &work,
        since: recorded(core, id).await?.started,
    };
    if !cancel.is_cancelled() {
        refuse_damaged(&witness, &manifest).await?;
    }
    if work.safety.as_ref().is_some_and(|safety| !safety.done) {
        if work.resumed && !cancel.is_cancelled() {
            return Err(Fault::new(
                Code::JobFailed,
                format!(
                    "{RESTARTED}; nothing was restored; to go on: {}",
                    command_line(&work, &work.plan.steps)
                ),
            ));
        }
        feed.note(core.clock.now(), "capturing what will be replaced");
        backup::run(core, id, feed, cancel).await.map_err(|fault| {
            fault.within(
                "nothing was restored, because what would be replaced could not be captured",
            )
        })?;
    }
    for index in work.done.len()..work.plan.steps.len() {
        let step = &work.plan.steps[index];
        let done = if cancel.is_cancelled() {
            Err(Fault::new(Code::Cancelled, "cancelled").into())
        } else if work.resumed && step.replaces && index >= work.begun {
            Err(Fault::new(Code::JobFailed, RESTARTED).into())
        } else {
            let step = RestoreContext::new(core, id, feed, cancel, &work, index, &manifest)?;
            step.restore().await
        };
        let (compared, shown) = judged(&work, step, done);
        let done = match compared {
            Ok(done) => done,
            Err(failed) => {
                witness.record(step, shown).await;
                return Err(explain(failed, &work, index));
            }
        };
        feed.note(core.clock.now(), restored_note(step, &done));
        core.book
            .change(id, |job| {
                if let Work::Restore(work) = &mut job.work {
                    work.done.push(done);
                    work.parts = None;
                }
            })
            .await?;
        witness.record(step, shown).await;
    }
    summary(core, id).await
}

/// Compares what came back, and says what that shows of the recovery point.
fn judged(
    work: &RestoreWork,
    step: &RestoreStep,
    done: Result<RestoredStep, StepFailed>,
) -> (Result<RestoredStep, StepFailed>, Option<ProofOutcome>) {
    let came = done.as_ref().map(|done| done.points).ok();
    let ordered = logs_of(work, step).iter().map(ShardLog::entries).sum();
    let compared = done.and_then(|done| {
        let compared = compare(step, ordered, done);
        compared.map_err(|fault| StepFailed { fault, left: true })
    });
    let by_one_node = came.filter(|_| !work.plan.in_cluster);
    let shown = shown(work, step, by_one_node, &compared);
    (compared, shown)
}

async fn manifest_of(core: &Core, work: &RestoreWork) -> Result<Arc<Manifest>, Fault> {
    let copy = work.from_copy.as_ref();
    let manifest = core.source(copy).await?.read_point(&work.plan.point).await;
    let manifest = manifest.map_err(|error| core.read_failed(copy, &error))?;
    if manifest.namespace != core.namespace {
        return Err(Fault::new(
            Code::PlanBlocked,
            "the recovery point belongs to another namespace",
        ));
    }
    Ok(Arc::new(manifest))
}

/// Nothing is given up for a recovery point that can't be read.
async fn refuse_damaged(witness: &Witness<'_>, manifest: &Manifest) -> Result<(), Fault> {
    let &Witness {
        core, work, feed, ..
    } = witness;
    let (left, copy) = (&work.plan.steps[work.done.len()..], work.from_copy.as_ref());
    let mut damaged = Vec::new();
    for step in left {
        let found = plan::damage(core, copy, manifest, slice::from_ref(step)).await?;
        if let Some(blocker) = found.first() {
            witness.damaged(step, blocker.to_string()).await;
        }
        damaged.extend(found);
    }
    let replacing = || left.iter().filter(|step| step.replaces);
    if damaged.is_empty() && replacing().next().is_some() {
        feed.note(
            core.clock.now(),
            "reading every chunk that will replace existing data",
        );
        for step in replacing() {
            let found = plan::hidden_damage(core, copy, manifest, slice::from_ref(step)).await?;
            if let Some(blocker) = found.first() {
                witness.damaged(step, blocker.to_string()).await;
            }
            damaged.extend(found);
            for log in logs_of(work, step) {
                Reader::open(core, &step.source, &log)
                    .await?
                    .prove()
                    .await?;
            }
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let fault = blocked(&damaged);
    Err(match work.done.len() {
        0 => fault,
        next => explain(fault.into(), work, next),
    })
}

/// Why a step failed.
struct StepFailed {
    fault: Fault,
    /// Whether its target is there, so that whoever goes on has to replace it.
    left: bool,
}

impl From<Fault> for StepFailed {
    fn from(fault: Fault) -> Self {
        Self { fault, left: false }
    }
}

/// One step of a job that runs.
pub(super) struct RestoreContext<'a> {
    core: &'a Arc<Core>,
    id: &'a JobId,
    feed: &'a Arc<JobFeed>,
    cancel: &'a CancellationToken,
    /// The job as it was before the step.
    work: &'a RestoreWork,
    index: usize,
    manifest: &'a Arc<Manifest>,
    /// The captured collection.
    collection: CollectionEntry,
}

impl<'a> RestoreContext<'a> {
    fn new(
        core: &'a Arc<Core>,
        id: &'a JobId,
        feed: &'a Arc<JobFeed>,
        cancel: &'a CancellationToken,
        work: &'a RestoreWork,
        index: usize,
        manifest: &'a Arc<Manifest>,
    ) -> Result<Self, Fault> {
        let source = &work.plan.steps[index].source;
        let collection = manifest.collection(source).cloned().ok_or_else(|| {
            Fault::new(
                Code::CollectionNotFound,
                format!("the recovery point does not hold collection {source}"),
            )
        })?;
        Ok(Self {
            core,
            id,
            feed,
            cancel,
            work,
            index,
            manifest,
            collection,
        })
    }

    fn step(&self) -> &'a RestoreStep {
        &self.work.plan.steps[self.index]
    }

    fn note(&self, text: impl Into<String>) {
        self.feed.note(self.core.clock.now(), text.into());
    }

    fn warn(&self, text: impl Into<String>) {
        self.feed.warn(self.core.clock.now(), text.into());
    }

    fn log(&self, level: Level, text: impl Into<String>) {
        self.feed.log(self.core.clock.now(), level, text.into());
    }

    /// The nodes of the cluster, as planned.
    fn nodes(&self) -> BTreeSet<NodeId> {
        let receivers = self.work.plan.receivers.iter();
        receivers.map(|receiver| receiver.node.clone()).collect()
    }

    async fn restore(&self) -> Result<RestoredStep, StepFailed> {
        let index = self.index;
        self.core.check_epoch().await?;
        self.core
            .book
            .change(self.id, |job| {
                if let Work::Restore(work) = &mut job.work {
                    work.begun = work.begun.max(index + 1);
                }
            })
            .await?;
        self.log(Level::Info, format!("begins: {}", self.step()));
        if self.work.plan.in_cluster {
            return Box::pin(cluster::restore(self)).await;
        }
        self.still_alone().await?;
        Ok(self.one_node().await?)
    }

    /// A node that others have joined would place shards on them, and uploads of all shards to it would add replicas.
    async fn still_alone(&self) -> Result<(), Fault> {
        if self.work.resumed {
            // The command may be under way, and is not given anew to a node that has it.
            return Ok(());
        }
        let (seen, node) = (self.core.observe().await, &self.work.node);
        let view = seen.nodes.get(node);
        let server = view.and_then(|view| view.usable(self.core.clock.now()));
        let peers = server.map_or(0, |server| server.cluster.len());
        if peers <= 1 {
            return Ok(());
        }
        Err(Fault::new(
            Code::PlanBlocked,
            format!(
                "{node} belongs to a cluster of {peers} nodes by now, and was planned as one that stands alone: nothing of {} was changed",
                self.step().target
            ),
        ))
    }

    async fn one_node(&self) -> Result<RestoredStep, Fault> {
        let (core, work, step) = (self.core, self.work, self.step());
        let command = restore_id(self.id, self.index);
        let command = command.map_err(|e| Fault::from_error(Code::Internal, &e))?;
        // The plan says which aliases come back: the agent gets no others to choose from.
        let told = CollectionEntry {
            aliases: step.aliases.clone(),
            ..self.collection.clone()
        };
        let body = order(work, step, told, !step.aliases.is_empty())?;
        let body = v1::command::Command::RestoreCollection(body);
        let grant = Grant::Restore(Arc::new(RestoreGrant {
            from_copy: work.from_copy.clone(),
            manifest: Arc::clone(self.manifest),
            what: Readable::Collection(self.collection.clone()),
            reading: None,
            logs: logs_of(work, step),
            chunks: OnceCell::new(),
        }));
        let key = ProgressKey {
            node: work.node.clone(),
            collection: step.target.clone(),
            shard: ShardId(0),
        };
        let ticket = core
            .dispatcher
            .issue(command, work.node.clone(), body, grant)?;
        let answer = ticket
            .wait(core.patience(), self.cancel, |news| {
                self.feed.news(core.clock.now(), &key, news);
            })
            .await?;
        match answer {
            Answer::Restored(done) => {
                for note in done.notes {
                    self.warn(format!("{}: {note}", step.target));
                }
                Ok(RestoredStep {
                    points: done.points,
                    uploaded_bytes: done.uploaded_bytes,
                    elapsed_ms: done.elapsed_ms,
                    aliases: done.aliases_created,
                    indexes: done.indexes_created,
                    replayed: done.replayed_entries,
                    uploads: BTreeMap::new(),
                })
            }
            Answer::Captured(_) | Answer::Extra(_) | Answer::Failed(_) => Err(Fault::new(
                Code::Internal,
                "the agent answered a restore with something else",
            )),
        }
    }
}

/// The proof that can be had without reading everything: the exact number of points, where it is known, and that every entry was
/// handed to Qdrant.
fn compare(step: &RestoreStep, ordered: u64, done: RestoredStep) -> Result<RestoredStep, Fault> {
    if done.replayed != ordered {
        return Err(Fault::new(
            Code::ProofFailed,
            format!(
                "{} operations of the archived log were to be replayed on {}, the agent says {}: it is not at the instant that was asked for; it was left as it is, to be looked at",
                ordered, step.target, done.replayed
            ),
        ));
    }
    check_points(step, done.points)?;
    Ok(done)
}

fn check_points(step: &RestoreStep, points: u64) -> Result<(), Fault> {
    match step.points {
        Some(expected) if expected != points => Err(Fault::new(
            Code::ProofFailed,
            format!(
                "{} has {points} points after the restore, {expected} were captured; it was left as it is, to be looked at",
                step.target
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Adds in what state everything is and what to type next.
fn explain(why: StepFailed, work: &RestoreWork, failed: usize) -> Fault {
    let StepFailed { fault, left } = why;
    let mut steps = work.plan.steps.clone();
    let names = |steps: &[RestoreStep]| -> String {
        let names: Vec<&str> = steps.iter().map(|step| step.target.as_str()).collect();
        names.join(", ")
    };
    let mut parts = vec![format!(
        "restore of {}: {}",
        steps[failed].target, fault.message
    )];
    if failed > 0 {
        parts.push(format!("restored before it: {}", names(&steps[..failed])));
    }
    if failed + 1 < steps.len() {
        parts.push(format!("not touched: {}", names(&steps[failed + 1..])));
    }
    let replaced = steps[..=failed].iter().filter(|step| step.replaces);
    if let (Some(safety), true) = (&work.safety, replaced.count() > 0) {
        parts.push(format!(
            "what was replaced is kept in recovery point {}: holdfast restore run {} --node {} --overwrite",
            safety.point, safety.point, work.node
        ));
    }
    steps[failed].replaces |= left;
    parts.push(format!(
        "to go on: {}",
        command_line(work, &steps[failed..])
    ));
    Fault {
        message: parts.join("; "),
        ..fault
    }
}

fn command_line(work: &RestoreWork, steps: &[RestoreStep]) -> String {
    let each = steps.iter().map(|step| {
        let (to, collection) = what_options(work.plan.instant.as_ref(), step);
        let mut line = format!(
            "holdfast restore run {}{to} --node {}{collection}",
            work.plan.point, work.node
        );
        if step.source != step.target {
            line.push_str(&format!(" --as {}", step.target));
        }
        if let Some(factor) = step.replication_factor {
            line.push_str(&format!(" --replication-factor {factor}"));
        }
        if step.replaces {
            line.push_str(" --overwrite");
        }
        if let Some(copy) = &work.from_copy {
            line.push_str(&format!(" --from-copy {copy}"));
        }
        // Said only where it is not what the command line does by itself.
        let renamed = step.source != step.target;
        match work.plan.with_aliases {
            true if renamed => line.push_str(" --with-aliases"),
            false if !renamed => line.push_str(" --without-aliases"),
            true | false => {}
        }
        line
    });
    each.collect::<Vec<String>>().join(" && ")
}

/// Where to and how, and which collection.
fn what_options(choice: Option<&Choice>, step: &RestoreStep) -> (String, String) {
    let source = &step.source;
    let by = match choice.map(|choice| choice.way) {
        Some(ReplayWay::Requests) => " --by requests",
        Some(ReplayWay::Splice) | None => "",
    };
    let to = match choice.map(|choice| choice.target) {
        None => String::new(),
        Some(InstantTarget::Instant(instant)) => format!(" --to {instant}{by}"),
        Some(InstantTarget::Latest) => format!(" --to latest{by}"),
        Some(InstantTarget::Operation(number)) => format!(" --to-op {number}{by}"),
        Some(InstantTarget::BeforeDrop) => {
            return (format!(" --before-drop {source}{by}"), String::new());
        }
    };
    (to, format!(" --collection {source}"))
}

fn restored_note(step: &RestoreStep, done: &RestoredStep) -> String {
    format!(
        "restored {}: {} points, {} in {:.1} s",
        step.target,
        done.points,
        ByteCount(done.uploaded_bytes),
        std::time::Duration::from_millis(done.elapsed_ms).as_secs_f64(),
    )
}

async fn summary(core: &Core, id: &JobId) -> Result<v1::RestoreSummary, Fault> {
    let started = recorded(core, id).await?.started;
    let work = restore_of(core, id).await?;
    let took = core.clock.now().since(started);
    Ok(brought(&work, took))
}

/// What a restore that is done has brought.
#[must_use]
pub fn brought(work: &RestoreWork, took: Duration) -> v1::RestoreSummary {
    let restored =
        work.plan
            .steps
            .iter()
            .zip(&work.done)
            .map(|(step, done)| v1::RestoredCollection {
                source_collection: step.source.to_string(),
                target_collection: step.target.to_string(),
                points: done.points,
                points_expected: step.points,
                uploaded_bytes: done.uploaded_bytes,
                elapsed_ms: done.elapsed_ms,
                aliases: done.aliases.clone(),
                indexes: done.indexes.clone(),
                replayed_entries: done.replayed,
            });
    v1::RestoreSummary {
        recovery_point: work.plan.point.to_string(),
        node: work.node.to_string(),
        collections: restored.collect(),
        elapsed_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        safety_recovery_point: work
            .safety
            .as_ref()
            .map(|safety| safety.point.to_string())
            .unwrap_or_default(),
        instant: work.plan.instant.as_ref().map(wire::instant),
    }
}

async fn restore_of(core: &Core, id: &JobId) -> Result<RestoreWork, Fault> {
    match recorded(core, id).await?.work {
        Work::Restore(work) => Ok(*work),
        Work::Backup(_) | Work::Upkeep(_) => {
            Err(Fault::new(Code::Internal, "the job is no restore"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{compare, explain};
    use crate::fault::Fault;
    use crate::fixture::backup_work;
    use crate::job::{RestoreWork, RestoredStep};
    use holdfast_decide::{RestorePlan, RestoreStep};
    use holdfast_service::failure::Code;
    use holdfast_types::Epoch;
    use std::collections::BTreeMap;

    pub(super) fn step(source: &str, target: &str, replaces: bool) -> RestoreStep {
        RestoreStep {
            source: source.parse().unwrap(),
            target: target.parse().unwrap(),
            replaces,
            shards: 1,
            logical_bytes: 1,
            shard_sizes: std::collections::BTreeMap::new(),
            replicas: None,
            replication_factor: None,
            kept_aliases: vec![],
            aliases: vec![],
            indexes: vec![],
            points: Some(3),
            recovery_order: None,
        }
    }

    pub(super) fn work() -> RestoreWork {
        RestoreWork {
            plan: RestorePlan {
                epoch: Epoch(1),
                point: "20261121t101530z-00000001".parse().unwrap(),
                node: None,
                in_cluster: false,
                receivers: vec![],
                with_aliases: false,
                steps: vec![
                    step("a", "a", false),
                    step("b", "b2", true),
                    step("c", "c", false),
                ],
                order_from: None,
                safety: None,
                instant: None,
                blockers: vec![],
                warnings: vec![],
            },
            node: "n1".parse().unwrap(),
            from_copy: None,
            safety: Some(backup_work()),
            begun: 0,
            resumed: false,
            done: vec![],
            parts: None,
        }
    }

    #[test]
    fn a_failure_says_what_is_where_and_what_to_type() {
        let no_space = || Fault::new(Code::QdrantError, "no space");
        let fault = explain(no_space().into(), &work(), 1);
        assert_eq!(
            fault.message.split("; ").collect::<Vec<_>>(),
            [
                "restore of b2: no space",
                "restored before it: a",
                "not touched: c",
                "what was replaced is kept in recovery point 20261121t101530z-0a1b2c3d: holdfast restore run 20261121t101530z-0a1b2c3d --node n1 --overwrite",
                "to go on: holdfast restore run 20261121t101530z-00000001 --node n1 --collection b --as b2 --overwrite && holdfast restore run 20261121t101530z-00000001 --node n1 --collection c --without-aliases",
            ]
        );
        assert_eq!(fault.code, "qdrant-error");
    }

    #[test]
    fn another_number_of_points_is_a_failed_proof() {
        let done = |points| RestoredStep {
            points,
            uploaded_bytes: 0,
            elapsed_ms: 0,
            aliases: vec![],
            indexes: vec![],
            replayed: 0,
            uploads: BTreeMap::new(),
        };
        assert!(compare(&step("a", "a", false), 0, done(3)).is_ok());
        // An agent that does not know logs.
        let fault = compare(&step("a", "a", false), 7, done(3)).unwrap_err();
        assert_eq!(fault.code, "proof-failed");
        let fault = compare(&step("a", "a", false), 0, done(2)).unwrap_err();
        assert_eq!(fault.code, "proof-failed");
        let mut unknown = step("a", "a", false);
        unknown.points = None;
        assert!(compare(&unknown, 0, done(2)).is_ok());
    }
}
