//! What the job of a prune tells ([`crate::upkeep`]).

use super::Pruned;
use crate::core::Core;
use crate::fault::Fault;
use crate::job::upkeep::{Extent, Task};
use crate::upkeep::{Ended, Run};
use holdfast_decide::Decision;
use holdfast_repository::GarbageWatcher;
use holdfast_service::failure::Code;
use holdfast_types::{ByteCount, CopyName};
use std::sync::Arc;

/// What it means that a prune was cancelled.
pub(super) const CANCELLED: &str =
    "what was marked or deleted until then stays so; the next run goes on";

/// A run on a copy, asked for by this operator, or by itself.
pub struct OnCopy<'a> {
    /// The coordinator.
    pub core: &'a Arc<Core>,
    /// Which copy.
    pub copy: &'a CopyName,
    /// The operator's name; `None` means that nobody asked.
    pub by: Option<&'a str>,
}

/// A run begins, on the repository or on a copy.
pub(super) async fn begin(core: &Arc<Core>, copy: Option<&CopyName>, by: Option<&str>) -> Run {
    let copy = copy.cloned();
    let asker = by.map(|by| format!("operator {by}"));
    Run::begin(core, Task::Prune { copy }, asker.as_deref()).await
}

/// The run has ended.
pub(super) async fn end(run: Run, done: &Result<Pruned, Fault>) {
    let ended = match done {
        Ok(pruned) => {
            for (id, why) in &pruned.refused {
                run.warn(format!("{id} can't be deleted: {why}"));
            }
            let found = found(pruned);
            run.tell("", extent(pruned));
            Ended {
                idle: found.is_empty() && pruned.refused.is_empty(),
                failure: refused(pruned),
                found: or_nothing(found),
            }
        }
        Err(fault) => Ended {
            failure: Some(fault.clone()),
            ..Ended::default()
        },
    };
    run.end(ended).await;
}

/// Tells how far the collection of garbage is, and stops it.
pub(super) struct Watcher<'a>(pub(super) &'a Run);

impl GarbageWatcher for Watcher<'_> {
    fn marked(&self, points: usize, of: usize) {
        let extent = Extent {
            parts: points as u64,
            parts_total: Some(of as u64),
            ..Extent::default()
        };
        self.0.tell("looking what is needed", extent);
    }

    fn is_stopped(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Everything else was done.
fn refused(pruned: &Pruned) -> Option<Fault> {
    let refused = pruned.refused.len();
    (refused > 0).then(|| {
        Fault::new(
            Code::ReadOnly,
            format!(
                "the store refuses to delete {refused} recovery points; everything else was done"
            ),
        )
    })
}

fn extent(pruned: &Pruned) -> Extent {
    let logs: u64 = pruned.logs.iter().map(|log| log.bytes).sum();
    let gone = pruned.swept.len() as u64;
    Extent {
        bytes: pruned.garbage.swept.bytes.saturating_add(logs),
        parts: gone,
        parts_total: Some(gone + pruned.refused.len() as u64),
        ..Extent::default()
    }
}

fn or_nothing(found: Vec<String>) -> Vec<String> {
    if found.is_empty() {
        return vec!["there was nothing to do".to_owned()];
    }
    found
}

/// What was done, in words.
fn found(pruned: &Pruned) -> Vec<String> {
    let removed = |verdict: &&holdfast_decide::Verdict| verdict.decision == Decision::Remove;
    let marked = pruned.verdicts.iter().filter(removed).count();
    let logs: u64 = pruned.logs.iter().map(|log| log.bytes).sum();
    let garbage = &pruned.garbage;
    let doomed = garbage.dead.packs + garbage.rewritten.packs;
    let points = |verb: &str, count: usize| (count > 0).then(|| format!("{verb}: {count}"));
    let packs = |verb: &str, count: u64, bytes: u64| {
        (count > 0).then(|| format!("{verb}: {count}, {}", ByteCount(bytes)))
    };
    [
        points("recovery points marked for removal", marked),
        points("recovery points deleted", pruned.swept.len()),
        points("recovery points kept after all", pruned.spared.len()),
        (logs > 0).then(|| format!("entries of logs deleted: {}", ByteCount(logs))),
        packs(
            "packs that nothing needs any more",
            doomed,
            garbage.dead.bytes + garbage.rewritten.bytes,
        ),
        packs("packs deleted", garbage.swept.packs, garbage.swept.bytes),
        packs(
            "packs kept after all",
            garbage.spared.packs,
            garbage.spared.bytes,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{found, or_nothing, refused};
    use crate::retention::Pruned;
    use holdfast_repository::{GarbageReport, PackCount};

    #[test]
    fn what_was_done_in_words() {
        let nothing = Pruned::default();
        assert_eq!(found(&nothing), Vec::<String>::new());
        assert_eq!(or_nothing(found(&nothing)), ["there was nothing to do"]);
        assert_eq!(refused(&nothing), None);
        let id = || "20261121t101530z-0a1b2c3d".parse().unwrap();
        let two = PackCount {
            packs: 2,
            bytes: 2048,
        };
        let pruned = Pruned {
            swept: vec![id()],
            refused: vec![(id(), "locked".to_owned())],
            garbage: GarbageReport {
                swept: two,
                dead: two,
                ..GarbageReport::default()
            },
            ..Pruned::default()
        };
        assert_eq!(
            found(&pruned),
            [
                "recovery points deleted: 1",
                "packs that nothing needs any more: 2, 2.0 KiB",
                "packs deleted: 2, 2.0 KiB"
            ]
        );
        assert_eq!(refused(&pruned).unwrap().code, "read-only");
    }
}
