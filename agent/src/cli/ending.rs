//! How a command of the agent ends without success: what happened, what is at risk, and what to do, in the form that
//! the operator's CLI has.

use crate::failure::{Failed, chain};
use holdfast_service::exit::ExitCode;
use holdfast_types::ByteCount;
use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What was being done, as far as it matters for what is at risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Running,
    Restoring,
    Enrolling,
    Looking,
}

/// A failure, with the code that the process ends with.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) code: ExitCode,
    message: String,
    left: Option<String>,
}

impl Ending {
    pub(super) fn new(code: ExitCode, error: &dyn Error) -> Self {
        Self::said(code, chain(error))
    }

    pub(super) fn said(code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            left: None,
        }
    }

    /// Of a cold restore: what it has built so far is kept on purpose, and takes space.
    pub(super) fn of_restore(failed: &Failed, data_dir: &Path) -> Self {
        Self {
            left: unfinished(data_dir).map(|(dir, bytes)| {
                format!(
                    "{} holds what is built so far, {} on the disk, at most as much as the collections: run the same command \
                     again and it goes on there; to give it up, delete that folder",
                    dir.display(),
                    ByteCount(bytes)
                )
            }),
            ..Self::said(failed.code.exit_code(), failed.to_string())
        }
    }

    /// The message for people, without a final newline.
    pub(super) fn render(&self, doing: Doing) -> String {
        let mut text = format!("error: {}\n  at risk  {}", self.message, doing.risk());
        if let Some(left) = &self.left {
            text += &format!("\n  left     {left}");
        }
        if let Some(todo) = todo(self.code, doing) {
            text += &format!("\n  to do    {todo}");
        }
        text
    }
}

impl Doing {
    const fn risk(self) -> &'static str {
        match self {
            Self::Running => {
                "recovery points and the data in Qdrant are untouched; while this agent does not run, its node gets no new \
                 recovery points"
            }
            Self::Restoring => {
                "nothing is deleted and no collection is half there; those that were laid out before the failure stay, and \
                 what --overwrite replaced is below holdfast-restore/replaced of the data directory"
            }
            Self::Enrolling => {
                "nothing: no certificate, key or authority was written; if the message does not say that the token is spent, it can be \
                 used again"
            }
            Self::Looking => "nothing: this command only reads",
        }
    }
}

/// What to do, where the message does not say it better.
const fn todo(code: ExitCode, doing: Doing) -> Option<&'static str> {
    match code {
        // The message says it.
        ExitCode::Certificate | ExitCode::PermissionDenied if matches!(doing, Doing::Enrolling) => {
            None
        }
        ExitCode::Coordinator if matches!(doing, Doing::Enrolling) => Some(
            "check that --coordinator names the address at which the coordinator enrols ([enrolment] listen), and that it runs",
        ),
        ExitCode::Config => {
            Some("mend what the message names, then `holdfast-agent --config FILE config check`")
        }
        ExitCode::Certificate => Some(
            "compare the certificates with `holdfast certs show`: all must come from one authority, and the clocks must agree",
        ),
        ExitCode::Coordinator => Some(
            "check that holdfast-coordinator runs and that `coordinator` of the configuration names its address",
        ),
        ExitCode::Qdrant => {
            Some("check that Qdrant runs, and [qdrant] url and api_key_file of the configuration")
        }
        ExitCode::Repository => {
            Some("look into the coordinator's log; `holdfast repo verify` names what is damaged")
        }
        ExitCode::Storage => {
            Some("free space on the disk that the message names, or make it writable")
        }
        ExitCode::Usage => Some("`holdfast-agent --help` shows how it is used"),
        ExitCode::PermissionDenied => {
            Some("`holdfast restore ticket ID --node NAME` makes a ticket for this node")
        }
        ExitCode::Internal => Some("look into the log; if it comes again, report it"),
        ExitCode::Ok
        | ExitCode::NotFound
        | ExitCode::Refused
        | ExitCode::JobFailed
        | ExitCode::ProofFailed
        | ExitCode::Interrupted => None,
    }
}

/// The folder in which an interrupted cold restore goes on, with its bytes on the disk; `None` if nothing is there.
fn unfinished(data_dir: &Path) -> Option<(PathBuf, u64)> {
    let data_dir = std::fs::canonicalize(data_dir).ok()?;
    let staged = data_dir.join("holdfast-restore").join("staged");
    let bytes = on_disk(&staged);
    (bytes > 0).then_some((staged, bytes))
}

fn on_disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => on_disk(&entry.path()),
        // Blocks of stat are of 512 bytes everywhere.
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::{Doing, Ending};
    use crate::failure::Failed;
    use holdfast_service::exit::ExitCode;
    use holdfast_service::failure::Code;

    #[test]
    fn every_failure_says_what_is_at_risk() {
        for doing in [
            Doing::Running,
            Doing::Restoring,
            Doing::Enrolling,
            Doing::Looking,
        ] {
            for code in ExitCode::ALL {
                let said = Ending::said(code, "it failed").render(doing);
                assert!(said.starts_with("error: it failed\n  at risk  "), "{said}");
            }
        }
        let said = Ending::said(ExitCode::Storage, "the disk is full").render(Doing::Looking);
        assert_eq!(
            said,
            "error: the disk is full\n  at risk  nothing: this command only reads\n  \
             to do    free space on the disk that the message names, or make it writable"
        );
    }

    #[test]
    fn what_a_failed_cold_restore_leaves_is_named_with_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let failed = Failed::new(Code::CoordinatorUnreachable, "it is away");
        let said = |ending: &Ending| ending.render(Doing::Restoring);
        let nothing = said(&Ending::of_restore(&failed, dir.path()));
        assert!(!nothing.contains("holdfast-restore/staged"), "{nothing}");

        let built = dir.path().join("holdfast-restore/staged/point/docs");
        std::fs::create_dir_all(&built).unwrap();
        std::fs::write(built.join("file"), vec![7; 1 << 20]).unwrap();
        let kept = said(&Ending::of_restore(&failed, dir.path()));
        let staged = dir.path().canonicalize().unwrap();
        let staged = staged.join("holdfast-restore/staged");
        let start = format!("{} holds what is built so far, 1.0 MiB", staged.display());
        assert!(kept.contains(&start), "{kept}");
        assert!(
            kept.contains("goes on there; to give it up, delete"),
            "{kept}"
        );
    }
}
