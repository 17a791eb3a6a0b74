//! The control stream: dial, say hello, obey, report; again and again with backoff.
//!
//! It never runs a command: accepted ones go into the journal, and the executor is woken.

use crate::failure::Failed;
use crate::journal::Journal;
use crate::link::{Dial, LinkSlot};
use crate::observer::ObservationReceiver;
use crate::running::Running;
use crate::watch::StorageReceiver;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use holdfast_service::clock::Clock;
use holdfast_service::health::HealthState;
use holdfast_types::{ClusterName, NodeId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod observing;
pub mod protocol;
mod session;

use session::SessionEnd;

/// First wait after a failure; doubled each time up to [`BACKOFF_MAX`], with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A session that lasted this long starts the backoff anew.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// The name of the coordinator in the health report.
pub const HEALTH_PART: &str = "coordinator";

/// What the control stream needs.
#[derive(Clone)]
pub struct Control {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// How the coordinator is reached.
    pub dial: Arc<dyn Dial>,
    /// Commands and outcomes.
    pub journal: Journal,
    /// What runs.
    pub running: Running,
    /// What the observer saw last.
    pub observation: ObservationReceiver,
    /// What was seen of the storage directory last.
    pub storage: StorageReceiver,
    /// Where the open connection is offered to commands.
    pub link: LinkSlot,
    /// Readiness.
    pub health: HealthState,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Control {
    /// Keeps a session with the coordinator until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = builder().build();
        let mut last_told = None;
        loop {
            let began = Instant::now();
            let end = self.session(&stop).await;
            if self.link.clear() {
                // There was a session: its end is news, whatever was told before it.
                last_told = None;
            }
            if stop.is_cancelled() {
                return;
            }
            if began.elapsed() >= STABLE_AFTER {
                backoff = builder().build();
            }
            let failed = end.into_failed();
            self.health.not_ready(HEALTH_PART, failed.to_string());
            tell_once(&failed, &mut last_told);
            let pause = backoff.next().unwrap_or(BACKOFF_MAX);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn session(&self, stop: &CancellationToken) -> SessionEnd {
        let dialled = tokio::select! {
            dialled = self.dial.dial() => dialled,
            () = stop.cancelled() => return SessionEnd::Closed,
        };
        match dialled {
            Ok(channel) => session::run(self, channel, stop).await,
            Err(failed) => SessionEnd::Failed(failed),
        }
    }
}

fn builder() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(BACKOFF_MAX)
        .with_jitter()
        .without_max_times()
}

/// The same reason is logged once while there is no session.
fn tell_once(failed: &Failed, last: &mut Option<String>) {
    if last.as_deref() != Some(failed.message.as_str()) {
        tracing::warn!(code = %failed.code, reason = %failed.message, "no session with the coordinator; trying again");
        *last = Some(failed.message.clone());
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("node", &self.node)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}
