//! Enrolment tokens in the catalogue, by their hashes. A catalogue of before has none.

use super::{Catalog, CatalogError};
use crate::enrolment::TokenRecord;
use redb::TableDefinition;

const TOKENS: TableDefinition<&str, &[u8]> = TableDefinition::new("tokens");

impl Catalog {
    /// Every token that is remembered. One that makes no sense is an error: it could be used twice.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, CatalogError> {
        self.blocking(|catalog| {
            let entry = |(key, value): (String, Vec<u8>)| {
                serde_json::from_slice(&value)
                    .map_err(|error| catalog.damaged(&format!("token {key}: {error}")))
            };
            catalog.rows(TOKENS)?.into_iter().map(entry).collect()
        })
        .await
    }

    /// Records tokens, and forgets those with these hashes.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_tokens(
        &self,
        tokens: Vec<TokenRecord>,
        forget: Vec<String>,
    ) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            let row = |token: &TokenRecord| Ok((token.hash.clone(), catalog.encode(token)?));
            let rows: Result<Vec<_>, CatalogError> = tokens.iter().map(row).collect();
            catalog.change_rows(TOKENS, &rows?, &forget)
        })
        .await
    }
}
