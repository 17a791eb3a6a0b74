//! What operators said of nodes, in the catalogue. A catalogue of before has nothing.

use super::{Catalog, CatalogError};
use crate::members::Member;
use holdfast_types::{NodeId, ParseNameError};
use redb::TableDefinition;
use std::collections::BTreeMap;

const MEMBERS: TableDefinition<&str, &[u8]> = TableDefinition::new("members");

impl Catalog {
    /// What is recorded of each node. What makes no sense is an error: a node that was removed would be let in.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn members(&self) -> Result<BTreeMap<NodeId, Member>, CatalogError> {
        self.blocking(|catalog| {
            let entry = |(key, value): (String, Vec<u8>)| {
                let damaged = |why: String| catalog.damaged(&format!("node {key}: {why}"));
                let node = key
                    .parse()
                    .map_err(|e: ParseNameError| damaged(e.to_string()))?;
                let member =
                    serde_json::from_slice(&value).map_err(|error| damaged(error.to_string()))?;
                Ok((node, member))
            };
            catalog.rows(MEMBERS)?.into_iter().map(entry).collect()
        })
        .await
    }

    /// Records what is said of these nodes, all at once.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_members(&self, members: Vec<(NodeId, Member)>) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            let row =
                |(node, member): (NodeId, Member)| Ok((node.to_string(), catalog.encode(&member)?));
            let rows: Result<Vec<_>, CatalogError> = members.into_iter().map(row).collect();
            catalog.change_rows(MEMBERS, &rows?, &[])
        })
        .await
    }
}
