//! What is remembered of schedules: durable before anything acts on it.

use crate::catalog::{Catalog, CatalogError};
use holdfast_decide::schedule::ScheduleMemory;
use holdfast_types::ScheduleName;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// The memories of a running coordinator. Only its scheduler changes them; readers never wait for the catalogue.
#[derive(Debug, Default)]
pub struct ScheduleBook(RwLock<BTreeMap<ScheduleName, ScheduleMemory>>);

impl ScheduleBook {
    /// What was recorded before.
    #[must_use]
    pub fn new(memories: BTreeMap<ScheduleName, ScheduleMemory>) -> Self {
        Self(RwLock::new(memories))
    }

    /// What is remembered of a schedule.
    #[must_use]
    pub fn get(&self, name: &ScheduleName) -> Option<ScheduleMemory> {
        let memories = self.0.read().unwrap_or_else(PoisonError::into_inner);
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
        let mut memories = self.0.write().unwrap_or_else(PoisonError::into_inner);
        memories.insert(name.clone(), memory);
        Ok(())
    }
}
