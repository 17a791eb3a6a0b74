//! The log of a job: what happened, line by line. It is kept in the catalogue beside the job's record and removed with it.
//!
//! Bounded, in memory and on disk: a job keeps at most [`MAX_LINES`] lines with [`MAX_BYTES`] of text. Beyond that the oldest go, after the first
//! [`HEAD`], so that both the beginning and the end stay to be read; how many went is told.

use holdfast_types::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Lines kept of one job.
pub const MAX_LINES: usize = 1000;
/// Bytes of text kept of one job.
pub const MAX_BYTES: usize = 256 << 10;
/// Lines of the beginning, which stay whatever comes.
pub const HEAD: u64 = 50;
/// Bytes kept of one line.
pub const MAX_TEXT: usize = 1000;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As planned.
    Info,
    /// Something went wrong, also if it was made good.
    Warning,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it happened.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// For a person.
    pub text: String,
}

/// Lines by their number, which is never given twice in one job.
pub type Rows = BTreeMap<u64, LogLine>;

/// What is to be written so that the catalogue has the log as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChange {
    /// New lines.
    pub add: Rows,
    /// Numbers of lines that are to be removed.
    pub remove: BTreeSet<u64>,
}

/// The log of a job that runs.
#[derive(Clone, Debug, Default)]
pub struct JobLog {
    rows: Rows,
    bytes: usize,
    next: u64,
    /// Below it, lines are in the catalogue.
    written: u64,
    /// Written lines that are to be removed.
    removed: BTreeSet<u64>,
}

impl LogLine {
    /// A line; a text that is too long is cut.
    #[must_use]
    pub fn new(at: Timestamp, level: Level, mut text: String) -> Self {
        if text.len() > MAX_TEXT {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text.push('…');
        }
        Self { at, level, text }
    }
}

impl LogChange {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

impl JobLog {
    /// The log as the catalogue has it.
    #[must_use]
    pub fn of(rows: Rows) -> Self {
        let next = rows.last_key_value().map_or(0, |(last, _)| last + 1);
        Self {
            bytes: rows.values().map(|line| line.text.len()).sum(),
            rows,
            next,
            written: next,
            removed: BTreeSet::new(),
        }
    }

    /// Adds a line.
    pub fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        self.rows.insert(self.next, line);
        self.next += 1;
        while self.rows.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some((&oldest, _)) = self.rows.range(HEAD..).next() else {
                return;
            };
            let line = self.rows.remove(&oldest);
            self.bytes -= line.map_or(0, |line| line.text.len());
            if oldest < self.written {
                self.removed.insert(oldest);
            }
        }
    }

    /// The lines that are kept.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// What is to be written.
    #[must_use]
    pub fn change(&self) -> LogChange {
        let fresh = self.rows.range(self.written..);
        LogChange {
            add: fresh.map(|(nth, line)| (*nth, line.clone())).collect(),
            remove: self.removed.clone(),
        }
    }

    /// Takes note that a change is in the catalogue.
    pub fn wrote(&mut self, change: &LogChange) {
        if let Some((last, _)) = change.add.last_key_value() {
            self.written = self.written.max(last + 1);
        }
        self.removed.retain(|nth| !change.remove.contains(nth));
        // A line that went while it was being written.
        let gone = change.add.keys().filter(|nth| !self.rows.contains_key(nth));
        self.removed.extend(gone);
    }
}

/// How many lines are not among these any more.
#[must_use]
pub fn dropped(rows: &Rows) -> u64 {
    let last = rows.last_key_value().map_or(0, |(last, _)| last + 1);
    last - rows.len() as u64
}

#[cfg(test)]
mod tests {
    use super::{HEAD, JobLog, Level, LogLine, MAX_BYTES, MAX_LINES, MAX_TEXT, Rows, dropped};
    use holdfast_types::Timestamp;

    fn line(text: &str) -> LogLine {
        LogLine::new(Timestamp::EPOCH, Level::Info, text.to_owned())
    }

    /// Writes to `disk` what a catalogue would.
    fn write(log: &mut JobLog, disk: &mut Rows) {
        let change = log.change();
        disk.extend(change.add.clone());
        disk.retain(|nth, _| !change.remove.contains(nth));
        log.wrote(&change);
    }

    #[test]
    fn the_beginning_and_the_end_stay_in_memory_and_on_disk() {
        let (mut log, mut disk) = (JobLog::default(), Rows::new());
        let all = 3 * MAX_LINES as u64;
        for nth in 0..all {
            log.push(line(&nth.to_string()));
            if nth % 7 == 0 {
                write(&mut log, &mut disk);
                assert!(disk.len() <= MAX_LINES, "{} lines", disk.len());
            }
        }
        write(&mut log, &mut disk);
        assert!(log.change().is_empty());
        assert_eq!(*log.rows(), disk);
        assert_eq!(disk.len(), MAX_LINES);
        assert_eq!(dropped(&disk), all - MAX_LINES as u64);
        let numbers: Vec<u64> = disk.keys().copied().collect();
        let kept = all - (MAX_LINES as u64 - HEAD);
        let expected: Vec<u64> = (0..HEAD).chain(kept..all).collect();
        assert_eq!(numbers, expected);
        assert_eq!(disk[&(all - 1)].text, (all - 1).to_string());
        // As after a restart.
        let mut log = JobLog::of(disk.clone());
        log.push(line("more"));
        write(&mut log, &mut disk);
        assert_eq!(disk[&all].text, "more");
        assert_eq!(disk.len(), MAX_LINES);
    }

    #[test]
    fn long_texts_are_cut_and_bounded_together() {
        let cut = line(&"ä".repeat(MAX_TEXT));
        assert_eq!(cut.text, format!("{}…", "ä".repeat(MAX_TEXT / 2)));
        let mut log = JobLog::default();
        for _ in 0..MAX_LINES {
            log.push(cut.clone());
        }
        let bytes: usize = log.rows().values().map(|line| line.text.len()).sum();
        assert!(
            bytes <= MAX_BYTES && bytes > MAX_BYTES - 2 * MAX_TEXT,
            "{bytes}"
        );
    }

    #[test]
    fn a_line_that_goes_while_it_is_written_goes_from_the_disk_too() {
        let (mut log, mut disk) = (JobLog::default(), Rows::new());
        for nth in 0..MAX_LINES {
            log.push(line(&nth.to_string()));
        }
        let change = log.change();
        log.push(line("one more"));
        disk.extend(change.add.clone());
        log.wrote(&change);
        write(&mut log, &mut disk);
        assert_eq!(*log.rows(), disk);
    }
}
