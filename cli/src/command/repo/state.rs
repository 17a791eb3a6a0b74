//! What `repo verify` keeps between two runs: how far an interrupted check is, and which sample comes
//! next. It stands outside the repository, which a check may not be allowed to write to.

use holdfast_repository::{Sample, VerifyCheckpoint, VerifyLevel};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The format that this program writes and the only one it reads.
const FORMAT: u32 = 1;

/// The content of the state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VerifyState {
    format: u32,
    /// Id of the repository that it is about.
    repository: String,
    /// Spreads packs over samples.
    seed: u64,
    /// Where the next sample begins.
    next_slot: u8,
    /// How far a check is that did not end.
    interrupted: Option<VerifyCheckpoint>,
}

/// A state and where it is kept.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    state: VerifyState,
}

impl StateFile {
    /// Reads the state. A file that is absent, damaged or another repository's is begun anew: all it
    /// costs is to read once more.
    pub(super) fn read(path: PathBuf, repository: &str) -> Self {
        let text = fs_err::read(&path).unwrap_or_default();
        let state = serde_json::from_slice::<VerifyState>(&text).ok();
        let fits = |state: &VerifyState| state.format == FORMAT && state.repository == repository;
        let state = state.filter(fits).unwrap_or_else(|| VerifyState {
            format: FORMAT,
            repository: repository.to_owned(),
            // Small enough for every reader of JSON.
            seed: u64::from(rand::random::<u32>()),
            next_slot: 0,
            interrupted: None,
        });
        Self { path, state }
    }

    /// Where it is kept.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The sample that comes next; `None` if the file was edited into nonsense.
    pub(super) fn next_sample(&self, percent: u8) -> Option<Sample> {
        Sample::new(percent, self.state.seed, self.state.next_slot).ok()
    }

    /// The check that was interrupted, if it is of the kind that is asked for.
    pub(super) fn interrupted(&self, wanted: VerifyLevel) -> Option<VerifyCheckpoint> {
        let fits = |found: &&VerifyCheckpoint| match (found.level, wanted) {
            (VerifyLevel::Sample(found), VerifyLevel::Sample(wanted)) => {
                found.percent() == wanted.percent()
            }
            (found, wanted) => found == wanted,
        };
        self.state.interrupted.as_ref().filter(fits).cloned()
    }

    /// Keeps how far a check is.
    pub(super) fn interrupt(&mut self, checkpoint: VerifyCheckpoint) -> io::Result<()> {
        self.state.interrupted = Some(checkpoint);
        self.write()
    }

    /// Keeps that a check has ended.
    pub(super) fn end(&mut self, level: VerifyLevel) -> io::Result<()> {
        match level {
            // Another check may still be interrupted.
            VerifyLevel::Quick => return Ok(()),
            VerifyLevel::Sample(sample) if sample.seed() == self.state.seed => {
                self.state.next_slot = sample.next();
            }
            VerifyLevel::Sample(_) | VerifyLevel::Full => {}
        }
        self.state.interrupted = None;
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.state)?;
        let new = self.path.with_extension("json.new");
        fs_err::write(&new, text)?;
        fs_err::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::StateFile;
    use holdfast_repository::{VerifyCheckpoint, VerifyLevel};
    use holdfast_types::{PackId, Timestamp};

    const ID: &str = "0123";

    fn checkpoint(level: VerifyLevel) -> VerifyCheckpoint {
        VerifyCheckpoint {
            level,
            begun: Timestamp::EPOCH,
            after: PackId::from_bytes([7; 32]),
            packs_read: 1,
            chunks: 2,
            bytes_read: 3,
            findings: Vec::new(),
        }
    }

    #[test]
    fn samples_follow_each_other_across_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verify.json");
        let mut begins = Vec::new();
        let mut seeds = Vec::new();
        for percent in [30, 30, 50] {
            let mut file = StateFile::read(path.clone(), ID);
            let sample = file.next_sample(percent).unwrap();
            begins.push(sample.from());
            seeds.push(sample.seed());
            file.end(VerifyLevel::Sample(sample)).unwrap();
        }
        assert_eq!(begins, [0, 30, 60]);
        assert!(seeds.iter().all(|seed| *seed == seeds[0]));
        let file = StateFile::read(path.clone(), ID);
        assert_eq!(file.next_sample(1).unwrap().from(), 10);
        let other = StateFile::read(path, "another repository");
        assert_eq!(other.next_sample(1).unwrap().from(), 0);
    }

    #[test]
    fn an_interrupted_check_is_found_by_its_own_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verify.json");
        let mut file = StateFile::read(path.clone(), ID);
        let kept = checkpoint(VerifyLevel::Full);
        file.interrupt(kept.clone()).unwrap();
        let mut file = StateFile::read(path.clone(), ID);
        assert_eq!(file.interrupted(VerifyLevel::Full), Some(kept));
        assert_eq!(file.interrupted(VerifyLevel::Quick), None);
        file.end(VerifyLevel::Quick).unwrap();
        let mut file = StateFile::read(path.clone(), ID);
        file.end(VerifyLevel::Full).unwrap();
        let file = StateFile::read(path.clone(), ID);
        assert_eq!(file.interrupted(VerifyLevel::Full), None);
        fs_err::write(&path, "garbage").unwrap();
        let file = StateFile::read(path, ID);
        assert_eq!(file.interrupted(VerifyLevel::Full), None);
    }
}
