//! Ctrl-C, SIGTERM and the loss of the terminal as a value that can be awaited in several places.
//!
//! Unlike the services' shutdown there is no forced exit at the second signal: the demo must not
//! leave children behind.

use crate::failure::{Failure, Outcome};
use holdfast_service::failure::Code;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the user has asked this program to stop. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Begins to listen; from here on a signal no longer ends the process by itself.
    pub(crate) fn listen() -> Outcome<Self> {
        let install = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Code::Internal, "can't listen for signals").caused_by(&error)
            })
        };
        let mut int = install(SignalKind::interrupt())?;
        let mut term = install(SignalKind::terminate())?;
        let mut hangup = install(SignalKind::hangup())?;
        let (sender, receiver) = watch::channel(false);
        // Lives as long as the process.
        drop(tokio::spawn(async move {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hangup.recv() => {}
            }
            sender.send_replace(true);
            std::future::pending::<()>().await;
        }));
        Ok(Self(receiver))
    }

    /// Completes when the user has asked to stop.
    pub(crate) async fn wait(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|stop| *stop).await.is_err() {
            // The listener is gone: no signal can come any more.
            std::future::pending::<()>().await;
        }
    }
}
