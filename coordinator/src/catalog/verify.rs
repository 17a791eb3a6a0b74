//! The memory of checks in the catalogue. A catalogue of before this was kept has none.

use super::{Catalog, CatalogError};
use crate::verify::VerifyMemory;
use redb::TableDefinition;

const VERIFY: TableDefinition<&str, &[u8]> = TableDefinition::new("verify");
const KEY: &str = "memory";

impl Catalog {
    /// What is remembered of checks, if anything is. One that makes no sense is forgotten: it costs
    /// reading again.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn verify_memory(&self) -> Result<Option<VerifyMemory>, CatalogError> {
        self.blocking(|catalog| {
            let read = || -> Result<Option<Vec<u8>>, redb::Error> {
                let table = match catalog.begin_read()?.open_table(VERIFY) {
                    Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                    table => table?,
                };
                Ok(table.get(KEY)?.map(|value| value.value().to_vec()))
            };
            let bytes = read().map_err(|error| catalog.failed(error))?;
            Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
        })
        .await
    }

    /// Records what is remembered of checks.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_verify_memory(&self, memory: VerifyMemory) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            let value = catalog.encode(&memory)?;
            catalog.write(|txn| {
                txn.open_table(VERIFY)?.insert(KEY, value.as_slice())?;
                Ok(())
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::Catalog;
    use crate::verify::{Ended, VerifyMemory};
    use holdfast_types::Timestamp;

    #[tokio::test]
    async fn checks_are_remembered_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let catalog = Catalog::create(&path, "0123").unwrap();
        assert_eq!(catalog.verify_memory().await.unwrap(), None);
        let mut memory = VerifyMemory::new(7, Timestamp::EPOCH);
        memory.last = Some(Ended::sound(Timestamp::EPOCH));
        catalog.put_verify_memory(memory.clone()).await.unwrap();
        drop(catalog);
        let catalog = Catalog::open(&path, "0123").unwrap();
        assert_eq!(catalog.verify_memory().await.unwrap(), Some(memory));
    }
}
