//! What is remembered of schedules: durable before anything acts on it.

use crate::catalog::{Catalog, CatalogError};
use holdfast_decide::schedule::{Changes, ScheduleMemory};
use holdfast_types::{ScheduleName, Timestamp};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// The memories of a running coordinator. Only its scheduler changes them; readers never wait for the catalogue.
#[derive(Debug, Default)]
pub struct ScheduleBook {
    memories: RwLock<BTreeMap<ScheduleName, ScheduleMemory>>,
    /// What the scheduler saw last of what each covers; of the process, not durable.
    changes: RwLock<BTreeMap<ScheduleName, (Timestamp, Changes)>>,
}

impl ScheduleBook {
    /// What was recorded before.
    #[must_use]
    pub fn new(memories: BTreeMap<ScheduleName, ScheduleMemory>) -> Self {
        Self {
            memories: RwLock::new(memories),
            changes: RwLock::default(),
        }
    }

    /// What was written to what a schedule covers, as the scheduler saw it last, and when that was.
    pub(super) fn changes(&self, name: &ScheduleName) -> Option<(Timestamp, Changes)> {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        changes.get(name).copied()
    }

    /// The scheduler has looked.
    pub(super) fn saw(&self, name: &ScheduleName, seen: Changes, now: Timestamp) {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        changes.insert(name.clone(), (now, seen));
    }

    /// What is remembered of a schedule.
    #[must_use]
    pub fn get(&self, name: &ScheduleName) -> Option<ScheduleMemory> {
        let memories = self.memories.read().unwrap_or_else(PoisonError::into_inner);
        memories.get(name).cloned()
    }

    /// Remembers this from now on. It is durable when this returns, and did not happen if it fails.
    ///
    /// # Errors
    /// A failing catalogue.
    pub async fn put(
        &self,
        catalog: &Catalog,
        name: &ScheduleName,
        memory: ScheduleMemory,
    ) -> Result<(), CatalogError> {
        catalog.put_schedule(name.clone(), memory.clone()).await?;
        let mut memories = self
            .memories
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        memories.insert(name.clone(), memory);
        Ok(())
    }
}
