//! What is recorded of one run of the coordinator's own upkeep, or of an export.
//!
//! Such runs go beside the jobs that capture and restore, and none waits for one. A restart ends them: what they do
//! begins again when it is due, and finds what has been done.

use holdfast_repository::VerifyLevel;
use holdfast_types::{ByteCount, CollectionName, CopyName, RecoveryPointId};
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpkeepWork {
    /// What it does.
    pub task: Task,
    /// Whether nobody asked for it.
    pub automatic: bool,
    /// How far it is, as of not long ago; once it has ended, how far it got.
    pub extent: Extent,
    /// What it found and did, in words; known once it has ended.
    pub found: Vec<String>,
}

/// What a run does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Checks the repository.
    Verify {
        /// How thoroughly.
        level: VerifyLevel,
    },
    /// Applies the rules and collects garbage.
    Prune {
        /// On this copy; `None` means the repository itself.
        copy: Option<CopyName>,
    },
    /// Brings a copy up to date.
    CopySync {
        /// Which.
        copy: CopyName,
    },
    /// Checks a copy.
    CopyVerify {
        /// Which.
        copy: CopyName,
        /// How thoroughly.
        level: VerifyLevel,
    },
    /// Lets an operator's program read a collection.
    Export {
        /// Of which recovery point.
        point: RecoveryPointId,
        /// Which.
        collection: CollectionName,
        /// Read from this copy; `None` means the repository itself.
        copy: Option<CopyName>,
    },
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Bytes that are done.
    pub bytes: u64,
    /// Bytes in all, if that is known.
    pub bytes_total: Option<u64>,
    /// Whether that is only about right.
    pub estimated: bool,
    /// Packs or recovery points that are done.
    pub parts: u64,
    /// Of how many, if that is known.
    pub parts_total: Option<u64>,
}

impl Task {
    /// In one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Verify { .. } => "verify",
            Self::Prune { .. } => "prune",
            Self::CopySync { .. } => "copy-sync",
            Self::CopyVerify { .. } => "copy-verify",
            Self::Export { .. } => "export",
        }
    }

    /// The copy that it is about, or reads.
    #[must_use]
    pub fn copy(&self) -> Option<&CopyName> {
        match self {
            Self::Verify { .. } => None,
            Self::Prune { copy } | Self::Export { copy, .. } => copy.as_ref(),
            Self::CopySync { copy } | Self::CopyVerify { copy, .. } => Some(copy),
        }
    }

    /// The recovery point that it reads; `None` if it is about many.
    #[must_use]
    pub fn point(&self) -> Option<&RecoveryPointId> {
        match self {
            Self::Export { point, .. } => Some(point),
            Self::Verify { .. }
            | Self::Prune { .. }
            | Self::CopySync { .. }
            | Self::CopyVerify { .. } => None,
        }
    }

    /// What its parts are; empty if it has none.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Verify { .. } | Self::CopyVerify { .. } => "packs",
            Self::Prune { .. } | Self::CopySync { .. } => "recovery points",
            Self::Export { .. } => "",
        }
    }

    /// What it does, as a phrase.
    #[must_use]
    pub fn plan(&self) -> String {
        match self {
            Self::Verify { level } => format!("check the repository: {}", how(*level)),
            Self::Prune { copy: None } => "apply the rules and collect garbage".to_owned(),
            Self::Prune { copy: Some(copy) } => {
                format!("apply the rules of copy {copy} and collect its garbage")
            }
            Self::CopySync { copy } => format!("bring copy {copy} up to date"),
            Self::CopyVerify { copy, level } => format!("check copy {copy}: {}", how(*level)),
            Self::Export {
                point,
                collection,
                copy,
            } => {
                let from = copy.as_ref().map(|copy| format!(", read from copy {copy}"));
                format!("export {collection} of {point}{}", from.unwrap_or_default())
            }
        }
    }
}

fn how(level: VerifyLevel) -> String {
    match level {
        VerifyLevel::Quick => "sizes and small objects".to_owned(),
        VerifyLevel::Sample(sample) => {
            format!("everything small, and {} % of the packs", sample.percent())
        }
        VerifyLevel::Full => "everything small, and every pack".to_owned(),
    }
}

impl Extent {
    /// In words, with what its parts are.
    #[must_use]
    pub fn text(&self, unit: &str) -> String {
        let bytes = ByteCount(self.bytes);
        match (unit, self.parts_total) {
            ("", _) => bytes.to_string(),
            (unit, None) => format!("{} {unit}, {bytes}", self.parts),
            (unit, Some(total)) => format!("{} of {total} {unit}, {bytes}", self.parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, Task};
    use holdfast_repository::{Sample, VerifyLevel};

    #[test]
    fn tasks_say_what_they_do() {
        let sample = VerifyLevel::Sample(Sample::new(5, 7, 10).unwrap());
        let copy = || "offsite".parse().unwrap();
        let tasks = [
            Task::Verify { level: sample },
            Task::Prune { copy: None },
            Task::Prune { copy: Some(copy()) },
            Task::CopySync { copy: copy() },
            Task::CopyVerify {
                copy: copy(),
                level: VerifyLevel::Full,
            },
            Task::Export {
                point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
                collection: "docs".parse().unwrap(),
                copy: Some(copy()),
            },
        ];
        let told = tasks.map(|task| format!("{}: {}", task.kind(), task.plan()));
        assert_eq!(
            told,
            [
                "verify: check the repository: everything small, and 5 % of the packs",
                "prune: apply the rules and collect garbage",
                "prune: apply the rules of copy offsite and collect its garbage",
                "copy-sync: bring copy offsite up to date",
                "copy-verify: check copy offsite: everything small, and every pack",
                "export: export docs of 20261121t101530z-0a1b2c3d, read from copy offsite",
            ]
        );
    }

    #[test]
    fn extents_in_words() {
        let mut extent = Extent {
            bytes: 2048,
            parts: 3,
            ..Extent::default()
        };
        assert_eq!(extent.text("packs"), "3 packs, 2.0 KiB");
        extent.parts_total = Some(9);
        assert_eq!(extent.text("packs"), "3 of 9 packs, 2.0 KiB");
        assert_eq!(extent.text(""), "2.0 KiB");
    }
}
