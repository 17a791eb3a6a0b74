//! When to read the files of a pair again: after they have changed and settled, and for as long as what
//! they hold is refused.
//!
//! A refusal may pass without any file changing: the clock is set right, a directory is opened to this
//! user, a network file system comes back. So a refused pair is read again at every look, and only its
//! log is kept short.

use super::reloading::Reloading;
use super::{Reload, TlsError, TlsPaths};
use crate::error_chain::chain;
use crate::log_once::LogOnce;
use std::future::Future;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// Tells whether files were touched.
pub(super) type Signature = [Option<FileSignature>; 3];

/// What changes when a file is written, replaced, or given to somebody else. The change time is among
/// it because nobody can set it: a copy that keeps the modification time is noticed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileSignature {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    inode: u64,
    mode: u32,
    owner: u32,
}

/// What the last look found.
#[derive(Debug)]
struct Looks {
    seen: Signature,
    settled: bool,
    refused: bool,
}

impl Looks {
    fn new(loaded_from: Signature) -> Self {
        Self {
            seen: loaded_from,
            settled: true,
            refused: false,
        }
    }

    /// Whether the files are to be read now. Only after they have stayed the same for one interval:
    /// certificate and key are two files, and between the two writes they don't match.
    fn due(&mut self, now: Signature) -> bool {
        let same = now == self.seen;
        let due = same && (!self.settled || self.refused);
        (self.settled, self.seen) = (same, now);
        due
    }
}

/// Looks every `every` until `stop` completes.
pub(super) async fn watch<C: Send + Sync + 'static>(
    tls: Arc<Reloading<C>>,
    every: Duration,
    stop: impl Future<Output = ()> + Send,
) {
    let mut stop = pin!(stop);
    let mut looks = Looks::new(tls.loaded_from());
    let mut told = LogOnce::new();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = ticks.tick() => {}
        }
        let looked_at = Arc::clone(&tls);
        let task = move || {
            let due = looks.due(signature(looked_at.paths()));
            (looks, due.then(|| looked_at.reload()))
        };
        let Ok((looked, outcome)) = tokio::task::spawn_blocking(task).await else {
            // Only when the runtime is shutting down: a reload doesn't panic.
            return;
        };
        looks = looked;
        if let Some(outcome) = outcome {
            looks.refused = outcome.is_err();
            report(&tls, &outcome, &mut told);
        }
    }
}

fn report<C>(tls: &Reloading<C>, outcome: &Result<Reload, TlsError>, told: &mut LogOnce<String>) {
    match outcome {
        Ok(reload) => {
            // A refusal after this is a new one.
            *told = LogOnce::new();
            if *reload == Reload::Swapped {
                let info = &tls.current().info;
                tracing::info!(serial = info.serial, not_after = %info.not_after, "took over a renewed certificate");
            }
        }
        Err(error) => {
            let error = chain(error);
            if told.should_log(error.clone(), Instant::now()) {
                tracing::warn!(
                    error,
                    "refused a renewed certificate; the old one stays in use, and the files are tried again"
                );
            }
        }
    }
}

pub(super) fn signature(paths: &TlsPaths) -> Signature {
    let of = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some(FileSignature {
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            size: meta.size(),
            inode: meta.ino(),
            mode: meta.mode(),
            owner: meta.uid(),
        })
    };
    [of(&paths.cert), of(&paths.key), of(&paths.ca)]
}

#[cfg(test)]
mod tests {
    use super::{FileSignature, Looks, Signature};

    fn files(changed: i64) -> Signature {
        let file = FileSignature {
            modified: (1, 0),
            changed: (changed, 0),
            size: 9,
            inode: 7,
            mode: 0o600,
            owner: 0,
        };
        [Some(file), None, None]
    }

    #[test]
    fn files_are_read_once_when_they_have_settled() {
        let mut looks = Looks::new(files(1));
        assert!(!looks.due(files(1)), "they are what was loaded");
        assert!(!looks.due(files(2)), "they may still be being written");
        assert!(!looks.due(files(3)));
        assert!(looks.due(files(3)));
        assert!(!looks.due(files(3)));
    }

    #[test]
    fn what_was_refused_is_read_again_at_every_look() {
        let mut looks = Looks::new(files(1));
        looks.due(files(2));
        assert!(looks.due(files(2)));
        looks.refused = true;
        assert!(looks.due(files(2)) && looks.due(files(2)));
        assert!(!looks.due(files(3)), "while they change, nothing is read");
        looks.refused = false;
        assert!(looks.due(files(3)) && !looks.due(files(3)));
    }
}
