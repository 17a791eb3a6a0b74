//! Stretches of an archived log in which each part follows the one before.

use super::history::{ArchivedLog, LogPart, Look, PartView};
use holdfast_types::Timestamp;
use std::fmt;

/// Parts that follow one another, as one list of looks whose instants never go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Index of the first entry.
    pub(super) first: u64,
    /// Index after the last one.
    pub(super) end: u64,
    /// The looks, contiguous.
    pub(super) looks: Vec<Look>,
    /// Why it does not go on.
    pub(super) ended: Ended,
}

/// Why a run of entries ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing that comes after it is archived.
    NothingMore,
    /// Entries are missing.
    Missing {
        /// The first that is missing.
        from: u64,
        /// The first that is there again.
        to: u64,
    },
    /// A part can't be read.
    Unreadable {
        /// Index of its first entry.
        first: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A part is there that contradicts the one before it.
    Contradicts {
        /// Index of its first entry.
        first: u64,
    },
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingMore => f.write_str("nothing more of its log is archived"),
            Self::Missing { from, to } => {
                write!(f, "operations {from} to {} are missing", to - 1)
            }
            Self::Unreadable { first, why } => {
                write!(
                    f,
                    "the part from operation {first} on can't be read ({why})"
                )
            }
            Self::Contradicts { first } => write!(
                f,
                "the part from operation {first} on does not follow the one before it"
            ),
        }
    }
}

/// All runs of a log.
pub(super) fn runs(log: &ArchivedLog) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut open: Option<(Run, u32)> = None;
    for part in &log.parts {
        let part = match part {
            PartView::Read(part) => part,
            PartView::Unreadable { first, why } => {
                let (first, why) = (*first, why.clone());
                close(&mut runs, &mut open, Ended::Unreadable { first, why });
                continue;
            }
        };
        match &mut open {
            Some((run, crc)) if part.first == run.end && part.before == Some(*crc) => {
                run.add(part);
                *crc = part.end;
            }
            Some((run, _)) => {
                let from = run.end;
                let ended = if part.first > from {
                    let to = part.first;
                    Ended::Missing { from, to }
                } else {
                    let first = part.first;
                    Ended::Contradicts { first }
                };
                close(&mut runs, &mut open, ended);
                open = Some(begin(part));
            }
            None => open = Some(begin(part)),
        }
    }
    close(&mut runs, &mut open, Ended::NothingMore);
    runs
}

fn begin(part: &LogPart) -> (Run, u32) {
    let mut run = Run {
        first: part.first,
        end: part.first,
        looks: Vec::new(),
        ended: Ended::NothingMore,
    };
    run.add(part);
    (run, part.end)
}

fn close(runs: &mut Vec<Run>, open: &mut Option<(Run, u32)>, ended: Ended) {
    if let Some((mut run, _)) = open.take() {
        run.ended = ended;
        runs.push(run);
    }
}

impl Run {
    /// An entry was not in the log before its predecessors, and not later than they were: so instants that go back between two
    /// parts are replaced by those that came before.
    fn add(&mut self, part: &LogPart) {
        let latest = self.looks.last();
        let (mut after, mut by) = latest.map_or((Timestamp::EPOCH, Timestamp::EPOCH), |look| {
            (look.after, look.by)
        });
        for look in &part.looks {
            (after, by) = (after.max(look.after), by.max(look.by));
            self.looks.push(Look { after, by, ..*look });
        }
        self.end = part.next;
    }

    /// The looks that found entries from `index` on; the first may have found earlier ones as well.
    pub(super) fn looks_from(&self, index: u64) -> &[Look] {
        let earlier = self.looks.partition_point(|look| look.next <= index);
        &self.looks[earlier..]
    }

    /// The newest look that found an entry below `index`.
    pub(super) fn look_below(&self, index: u64) -> Option<&Look> {
        let begun = self.looks.partition_point(|look| look.first < index);
        self.looks[..begun].last()
    }
}
