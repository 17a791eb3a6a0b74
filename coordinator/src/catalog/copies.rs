//! The memory of copies in the catalogue. A catalogue of before copies has none.

use super::{Catalog, CatalogError};
use crate::copies::CopyMemory;
use holdfast_types::CopyName;
use redb::TableDefinition;
use std::collections::BTreeMap;

const COPIES: TableDefinition<&str, &[u8]> = TableDefinition::new("copies");

impl Catalog {
    /// What is remembered of each copy. One that makes no sense is forgotten: it costs looking at the copy again.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn copies(&self) -> Result<BTreeMap<CopyName, CopyMemory>, CatalogError> {
        self.blocking(|catalog| {
            let rows = catalog.rows(COPIES)?;
            let entry = |(key, value): (String, Vec<u8>)| {
                Some((key.parse().ok()?, serde_json::from_slice(&value).ok()?))
            };
            Ok(rows.into_iter().filter_map(entry).collect())
        })
        .await
    }

    /// Records what is remembered of a copy.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_copy(&self, name: CopyName, memory: CopyMemory) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            let value = catalog.encode(&memory)?;
            catalog.put_row(COPIES, name.as_str(), &value)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::Catalog;
    use crate::copies::CopyMemory;
    use holdfast_types::Timestamp;

    #[tokio::test]
    async fn copies_are_remembered_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let catalog = Catalog::create(&path, "0123").unwrap();
        assert!(catalog.copies().await.unwrap().is_empty());
        let memory = CopyMemory {
            made: true,
            since: Some(Timestamp::EPOCH),
            listed: Some(["20261121t101530z-0a1b2c3d".parse().unwrap()].into()),
            ..CopyMemory::default()
        };
        let name: holdfast_types::CopyName = "b".parse().unwrap();
        catalog
            .put_copy(name.clone(), memory.clone())
            .await
            .unwrap();
        drop(catalog);
        let catalog = Catalog::open(&path, "0123").unwrap();
        assert_eq!(catalog.copies().await.unwrap(), [(name, memory)].into());
    }
}
