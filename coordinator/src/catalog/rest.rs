//! Until when archived logs rest, in the catalogue: a second restart must not cut that short.

use super::{Catalog, CatalogError};
use holdfast_types::Timestamp;
use redb::TableDefinition;

const REST: TableDefinition<&str, &[u8]> = TableDefinition::new("rest");
const LOGS: &str = "logs";

impl Catalog {
    /// Before when no archived entry goes, if that was ever recorded. One that makes no sense is an error: entries would go too soon.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn logs_rest_until(&self) -> Result<Option<Timestamp>, CatalogError> {
        self.blocking(|catalog| {
            let rows = catalog.rows(REST)?;
            let logs = rows.into_iter().find(|(key, _)| key == LOGS);
            let read = |(_, value): (String, Vec<u8>)| {
                serde_json::from_slice(&value)
                    .map_err(|error| catalog.damaged(&format!("rest of logs: {error}")))
            };
            logs.map(read).transpose()
        })
        .await
    }

    /// Records it.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_logs_rest_until(&self, until: Timestamp) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            let value = catalog.encode(&until)?;
            catalog.put_row(REST, LOGS, &value)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::Catalog;
    use holdfast_types::Timestamp;

    #[tokio::test]
    async fn a_rest_is_remembered_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let catalog = Catalog::create(&path, "0123").unwrap();
        assert_eq!(catalog.logs_rest_until().await.unwrap(), None);
        let until = Timestamp::EPOCH;
        catalog.put_logs_rest_until(until).await.unwrap();
        drop(catalog);
        let catalog = Catalog::open(&path, "0123").unwrap();
        assert_eq!(catalog.logs_rest_until().await.unwrap(), Some(until));
    }
}
