//! The memory of schedules in the catalogue. A catalogue of before schedules has none.

use super::{Catalog, CatalogError};
use holdfast_decide::schedule::ScheduleMemory;
use holdfast_types::ScheduleName;
use redb::TableDefinition;
use std::collections::BTreeMap;

const SCHEDULES: TableDefinition<&str, &[u8]> = TableDefinition::new("schedules");

impl Catalog {
    /// What is remembered of each schedule. One that makes no sense is an error: forgetting it would silence an alarm.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn schedules(&self) -> Result<BTreeMap<ScheduleName, ScheduleMemory>, CatalogError> {
        self.blocking(|catalog| {
            let rows = catalog.rows(SCHEDULES)?;
            let entry = |(key, value): (String, Vec<u8>)| {
                let damaged = |why: String| catalog.damaged(&format!("schedule {key}: {why}"));
                let name = key
                    .parse()
                    .map_err(|e: holdfast_types::ParseNameError| damaged(e.to_string()))?;
                let memory =
                    serde_json::from_slice(&value).map_err(|error| damaged(error.to_string()))?;
                Ok((name, memory))
            };
            rows.into_iter().map(entry).collect()
        })
        .await
    }

    /// Records what is remembered of a schedule.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_schedule(
        &self,
        name: ScheduleName,
        memory: ScheduleMemory,
    ) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            let value = catalog.encode(&memory)?;
            catalog.put_row(SCHEDULES, name.as_str(), &value)
        })
        .await
    }
}
