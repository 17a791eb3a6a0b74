//! Open deliveries of operators: who may deliver which shard of an import, and when they were last heard.

use crate::dispatch::Grant;
use holdfast_certs::Identity;
use holdfast_types::CaptureId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Imports {
    open: Arc<Mutex<HashMap<CaptureId, Open>>>,
}

#[derive(Debug)]
struct Open {
    holder: String,
    grant: Grant,
    heard: Instant,
    sent: u64,
}

/// One open delivery. Dropping it ends it.
#[derive(Debug)]
pub struct Delivery {
    imports: Imports,
    command: CaptureId,
}

impl Imports {
    /// Opens a delivery to an identity.
    #[must_use]
    pub fn open(&self, command: CaptureId, holder: &str, grant: Grant) -> Delivery {
        let open = Open {
            holder: holder.to_owned(),
            grant,
            heard: Instant::now(),
            sent: 0,
        };
        self.lock().insert(command.clone(), open);
        Delivery {
            imports: self.clone(),
            command,
        }
    }

    /// What the caller may deliver under this id; `None` if it is not open or another's.
    #[must_use]
    pub fn grant(&self, command: &CaptureId, caller: &Identity) -> Option<Grant> {
        let mut open = self.lock();
        let found = open.get_mut(command)?;
        if found.holder != caller.to_string() {
            return None;
        }
        found.heard = Instant::now();
        Some(found.grant.clone())
    }

    /// Bytes that have arrived of each open delivery.
    #[must_use]
    pub fn delivered(&self) -> Vec<(CaptureId, u64)> {
        let open = self.lock();
        let sent = |open: &Open| match &open.grant {
            Grant::Capture { slot, .. } | Grant::Extra { slot, .. } => slot.figures().sent_bytes,
            Grant::Restore(_) => 0,
        };
        open.iter()
            .map(|(id, open)| (id.clone(), sent(open)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CaptureId, Open>> {
        // No code that holds this lock can panic half-way through a change.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// How long nothing has been heard; bytes that have arrived since the last look count as a word.
    #[must_use]
    pub fn silent(&self, sent: u64) -> Duration {
        let mut open = self.imports.lock();
        let Some(found) = open.get_mut(&self.command) else {
            return Duration::ZERO;
        };
        if sent > found.sent {
            (found.sent, found.heard) = (sent, Instant::now());
        }
        found.heard.elapsed()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.imports.lock().remove(&self.command);
    }
}
