//! What the parts of retention share: settings, the marks as last read, the lock.

use super::confirm::Requests;
use crate::config::RetentionSection;
use crate::core::Core;
use crate::fault::Fault;
use holdfast_repository::{Marks, PointProofs};
use holdfast_types::{RecoveryPointId, Timestamp};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Mutex;

/// Retention of a running coordinator.
#[derive(Debug)]
pub struct Guard {
    /// As configured.
    pub settings: RetentionSection,
    /// Held while anything is marked, removed or protected, and while a restore is recorded.
    pub removing: Mutex<()>,
    /// No archived entry goes before then: the coordinator was away for long, or its clock was set forward.
    pub logs_rest_until: Timestamp,
    /// Requests that wait for a second operator.
    pub(super) requests: Requests,
    marks: RwLock<Arc<Marks>>,
}

impl Guard {
    /// With the marks that the repository has, as of a start after which archived logs rest for so long.
    #[must_use]
    pub fn new(settings: RetentionSection, marks: Marks, logs_rest_until: Timestamp) -> Self {
        Self {
            settings,
            logs_rest_until,
            removing: Mutex::default(),
            requests: Requests::default(),
            marks: RwLock::new(Arc::new(marks)),
        }
    }

    /// Tombstones, pins and holds as last read. Only this coordinator writes them while its epoch lasts.
    #[must_use]
    pub fn marks(&self) -> Arc<Marks> {
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&marks)
    }

    /// What restores have shown of a point, as it was just recorded.
    pub(super) fn learn(&self, point: &RecoveryPointId, known: PointProofs) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut marks)
            .proofs
            .insert(point.clone(), known);
    }
}

/// Reads the marks anew: after every change, whether or not it was acknowledged.
pub(super) async fn refresh(core: &Core) -> Result<Arc<Marks>, Fault> {
    let marks = core.repository.read_marks().await;
    let marks = Arc::new(marks.map_err(|error| core.repository_failed(&error))?);
    let guard = &core.retention;
    let mut kept = guard.marks.write().unwrap_or_else(PoisonError::into_inner);
    *kept = Arc::clone(&marks);
    Ok(marks)
}
