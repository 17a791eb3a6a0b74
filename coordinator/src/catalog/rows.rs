//! Small tables of the catalogue: a value of bytes under a name.

use super::{Catalog, CatalogError};
use redb::{ReadableTable as _, TableDefinition};

/// Such a table.
pub(super) type Named = TableDefinition<'static, &'static str, &'static [u8]>;

impl Catalog {
    /// Every row; none if the table does not exist, as in a catalogue of before it.
    pub(super) fn rows(&self, table: Named) -> Result<Vec<(String, Vec<u8>)>, CatalogError> {
        let read = || -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
            let table = match self.begin_read()?.open_table(table) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                rows.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(rows)
        };
        read().map_err(|error| self.failed(error))
    }

    /// Puts a row; durable when this returns.
    pub(super) fn put_row(
        &self,
        table: Named,
        name: &str,
        value: &[u8],
    ) -> Result<(), CatalogError> {
        self.write(|txn| {
            txn.open_table(table)?.insert(name, value)?;
            Ok(())
        })
    }
}
