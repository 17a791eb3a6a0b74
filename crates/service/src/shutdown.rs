//! Orderly ending of a process: one token that says "stop", one tracker that knows which tasks still run.
//!
//! The first SIGINT or SIGTERM cancels the token; the second ends the process at once with exit code
//! 130, for the person who can't wait. What must survive that is written so that it survives `kill -9`.

use crate::exit::ExitCode;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What asked the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
    /// SIGTERM, as a service manager sends it.
    Terminate,
    /// The program itself.
    Requested,
}

impl StopReason {
    /// The exit code of a daemon that drained in order: an interrupt is reported, a TERM is success.
    #[must_use]
    pub const fn exit_code(self) -> ExitCode {
        match self {
            Self::Interrupt => ExitCode::Interrupted,
            Self::Terminate | Self::Requested => ExitCode::Ok,
        }
    }
}

/// Tasks did not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} tasks did not stop within {}s", waited.as_secs())]
pub struct DrainTimeout {
    /// Tasks that still run.
    pub tasks: usize,
    /// How long was waited.
    pub waited: Duration,
}

/// Handle to the process's ending; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tracker: TaskTracker,
    reason: Arc<OnceLock<StopReason>>,
}

impl Shutdown {
    /// A process that nobody has asked to stop.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts listening for SIGINT and SIGTERM. Call it once, inside a tokio runtime.
    ///
    /// # Errors
    /// If the handlers can't be installed.
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        // Not tracked: it waits for a second signal while everything else drains.
        drop(tokio::spawn(self.clone().watch(interrupt, terminate)));
        Ok(())
    }

    /// The token that is cancelled when the process should stop.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// The tracker of tasks that [`Self::drain`] waits for.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Runs a task that [`Self::drain`] waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Asks the process to stop.
    pub fn stop(&self) {
        self.stop_because(StopReason::Requested);
    }

    /// Why the process is stopping; `None` while it is not.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }

    /// Completes when the process should stop.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Waits until every spawned task has ended, at most `limit`.
    ///
    /// # Errors
    /// If some still run then.
    pub async fn drain(&self, limit: Duration) -> Result<(), DrainTimeout> {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait())
            .await
            .map_err(|_| DrainTimeout {
                tasks: self.tracker.len(),
                waited: limit,
            })
    }

    fn stop_because(&self, reason: StopReason) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    async fn watch(self, mut interrupt: Signal, mut terminate: Signal) {
        let reason = next_signal(&mut interrupt, &mut terminate).await;
        tracing::info!(
            ?reason,
            "stopping; a second signal ends the process at once"
        );
        self.stop_because(reason);
        next_signal(&mut interrupt, &mut terminate).await;
        tracing::warn!("second signal: ending at once");
        std::process::exit(i32::from(ExitCode::Interrupted.code()));
    }
}

async fn next_signal(interrupt: &mut Signal, terminate: &mut Signal) -> StopReason {
    tokio::select! {
        _ = interrupt.recv() => StopReason::Interrupt,
        _ = terminate.recv() => StopReason::Terminate,
    }
}

#[cfg(test)]
mod tests {
    use super::{Shutdown, StopReason};
    use crate::exit::ExitCode;
    use std::time::Duration;

    #[tokio::test]
    async fn tasks_are_awaited_after_a_stop() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        let task = shutdown.spawn(async move { token.cancelled().await });
        assert_eq!(shutdown.reason(), None);
        let late = shutdown.drain(Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(late.tasks, 1);
        shutdown.stop();
        shutdown.drain(Duration::from_secs(60)).await.unwrap();
        assert!(task.is_finished());
        assert_eq!(shutdown.reason(), Some(StopReason::Requested));
    }

    #[tokio::test]
    async fn a_signal_cancels_the_token() {
        let shutdown = Shutdown::new();
        shutdown.listen_for_signals().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        shutdown.requested().await;
        assert_eq!(shutdown.reason(), Some(StopReason::Terminate));
        // The first reason stays.
        shutdown.stop();
        assert_eq!(shutdown.reason(), Some(StopReason::Terminate));
    }

    #[test]
    fn only_an_interrupt_is_reported() {
        assert_eq!(StopReason::Interrupt.exit_code(), ExitCode::Interrupted);
        assert_eq!(StopReason::Terminate.exit_code(), ExitCode::Ok);
    }
}
