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

    /// Puts rows and removes others, all at once; durable when this returns.
    pub(super) fn change_rows(
        &self,
        table: Named,
        put: &[(String, Vec<u8>)],
        remove: &[String],
    ) -> Result<(), CatalogError> {
        self.write(|txn| {
            let mut table = txn.open_table(table)?;
            for (name, value) in put {
                table.insert(name.as_str(), value.as_slice())?;
            }
            for name in remove {
                table.remove(name.as_str())?;
            }
            Ok(())
        })
    }
}
