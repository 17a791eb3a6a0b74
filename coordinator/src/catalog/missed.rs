//! Recovery points that went astray, in the catalogue: what was known of them is kept beside the listing. A catalogue of before this
//! was kept has none.

use super::rows::Named;
use super::{Catalog, CatalogError, META, POINTS, PointSummary};
use crate::missed::{Astray, AstrayState, Known};
use holdfast_types::{Epoch, RecoveryPointId};
use redb::{TableDefinition, WriteTransaction};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Points that were listed and can't be listed now.
const ASTRAY: Named = TableDefinition::new("astray_points");
/// Points whose deletion has begun here.
const LEAVING: Named = TableDefinition::new("leaving_points");
/// The last term that this catalogue was used in, within the table of what it is about.
const HELD: &str = "held";

impl Catalog {
    /// What is known of recovery points, to be compared with what the repository lists.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) async fn known(&self) -> Result<Known, CatalogError> {
        let points = self.points().await?;
        self.blocking(move |catalog| {
            Ok(Known {
                points,
                ..catalog.beside()?
            })
        })
        .await
    }

    /// Recovery points that were listed once and can't be listed now.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn astray(&self) -> Result<Vec<Astray>, CatalogError> {
        self.blocking(Self::read_astray).await
    }

    /// Makes the listing equal to `points`, and what is kept beside it to `astray`. `held` is the term in which.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn replace_points(
        &self,
        points: Vec<PointSummary>,
        astray: Vec<Astray>,
        held: Option<Epoch>,
    ) -> Result<(), CatalogError> {
        self.changing(move |catalog| {
            let points = catalog.encode_each(&points, |point| &point.id)?;
            let astray = catalog.encode_each(&astray, |astray| &astray.point.id)?;
            catalog.write(|txn| {
                txn.delete_table(LEAVING)?;
                txn.delete_table(POINTS)?;
                put_all(txn, POINTS, &points)?;
                txn.delete_table(ASTRAY)?;
                put_all(txn, ASTRAY, &astray)?;
                if let Some(held) = held {
                    let mut meta = txn.open_table(META)?;
                    meta.insert(HELD, held.to_string().as_str())?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Lists what is back, and keeps `astray`, all that went astray, beside the listing.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) async fn set_astray(
        &self,
        astray: Vec<Astray>,
        back: Vec<PointSummary>,
    ) -> Result<(), CatalogError> {
        self.changing(move |catalog| {
            let astray = catalog.encode_each(&astray, |astray| &astray.point.id)?;
            let back = catalog.encode_each(&back, |point| &point.id)?;
            catalog.write(|txn| {
                let mut listed = txn.open_table(POINTS)?;
                for (id, _) in &astray {
                    listed.remove(id.as_str())?;
                }
                drop(listed);
                put_all(txn, POINTS, &back)?;
                txn.delete_table(ASTRAY)?;
                put_all(txn, ASTRAY, &astray)
            })
        })
        .await
    }

    /// Takes a listed point out of the listing as one that is missed. Returns whether it was listed.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) async fn miss_point(
        &self,
        id: RecoveryPointId,
        state: AstrayState,
    ) -> Result<bool, CatalogError> {
        let points = self.points().await?;
        let Some(point) = points.into_iter().find(|point| point.id == id) else {
            return Ok(false);
        };
        self.changing(move |catalog| {
            let value = catalog.encode(&Astray { point, state })?;
            catalog.write(|txn| {
                txn.open_table(POINTS)?.remove(id.as_str())?;
                txn.open_table(ASTRAY)?
                    .insert(id.as_str(), value.as_slice())?;
                Ok(())
            })
        })
        .await?;
        Ok(true)
    }

    /// The deletion of a point begins: nobody misses it if this process ends before it is taken out of the listing.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn point_leaves(&self, id: RecoveryPointId) -> Result<(), CatalogError> {
        self.blocking(move |catalog| catalog.put_row(LEAVING, id.as_str(), b""))
            .await
    }

    /// The deletion of a point was refused.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) async fn point_stays(&self, id: RecoveryPointId) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            catalog.write(|txn| {
                txn.open_table(LEAVING)?.remove(id.as_str())?;
                Ok(())
            })
        })
        .await
    }

    /// Takes a recovery point out of the listing, and out of what is kept beside it.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn remove_point(&self, id: RecoveryPointId) -> Result<(), CatalogError> {
        self.changing(move |catalog| {
            catalog.write(|txn| {
                for table in [POINTS, ASTRAY, LEAVING] {
                    txn.open_table(table)?.remove(id.as_str())?;
                }
                Ok(())
            })
        })
        .await
    }

    /// What is kept beside the listing.
    pub(super) fn beside(&self) -> Result<Known, CatalogError> {
        let mut leaving = BTreeSet::new();
        for (id, _) in self.rows(LEAVING)? {
            let parsed: Result<RecoveryPointId, _> = id.parse();
            leaving.insert(parsed.map_err(|error| self.damaged(&error.to_string()))?);
        }
        Ok(Known {
            points: Vec::new(),
            astray: self.read_astray()?,
            leaving,
            held: self.held()?,
        })
    }

    /// A change of the listing.
    async fn changing(
        &self,
        work: impl FnOnce(&Self) -> Result<(), CatalogError> + Send + 'static,
    ) -> Result<(), CatalogError> {
        let written = self.blocking(work).await;
        // Also after a failure, which may have come too late.
        self.changes.fetch_add(1, Ordering::SeqCst);
        written
    }

    fn read_astray(&self) -> Result<Vec<Astray>, CatalogError> {
        let row = |(id, value): (String, Vec<u8>)| {
            serde_json::from_slice(&value)
                .map_err(|error| self.damaged(&format!("missed point {id}: {error}")))
        };
        self.rows(ASTRAY)?.into_iter().map(row).collect()
    }

    fn held(&self) -> Result<Option<Epoch>, CatalogError> {
        let read = || -> Result<Option<String>, redb::Error> {
            let meta = self.begin_read()?.open_table(META)?;
            Ok(meta.get(HELD)?.map(|value| value.value().to_owned()))
        };
        let held = read().map_err(|error| self.failed(error))?;
        let parse = |held: String| {
            let term = held.parse().map(Epoch);
            term.map_err(|_| self.damaged("the term that it was used in is no number"))
        };
        held.map(parse).transpose()
    }

    fn encode_each<T: serde::Serialize>(
        &self,
        values: &[T],
        id: impl Fn(&T) -> &RecoveryPointId,
    ) -> Result<Vec<(RecoveryPointId, Vec<u8>)>, CatalogError> {
        let encoded = values
            .iter()
            .map(|value| Ok((id(value).clone(), self.encode(value)?)));
        encoded.collect()
    }
}

fn put_all(
    txn: &WriteTransaction,
    table: Named,
    rows: &[(RecoveryPointId, Vec<u8>)],
) -> Result<(), redb::Error> {
    let mut table = txn.open_table(table)?;
    for (id, value) in rows {
        table.insert(id.as_str(), value.as_slice())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::catalog::{Catalog, PointSummary};
    use crate::fixture::manifest;
    use crate::missed::{Astray, AstrayState};
    use holdfast_types::{Epoch, Timestamp};

    #[tokio::test]
    async fn what_is_missed_is_remembered_until_it_is_back_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let catalog = Catalog::create(&path, "0123").unwrap();
        let fresh = catalog.known().await.unwrap();
        assert_eq!((fresh.astray.len(), fresh.leaving.len()), (0, 0));
        assert_eq!(fresh.held, None);
        let one = PointSummary::of(&manifest("20261121t101530z-00000001", 1));
        let two = PointSummary::of(&manifest("20261121t101530z-00000002", 2));
        let state = AstrayState::Missed {
            since: Timestamp::EPOCH,
            others: false,
        };
        catalog.put_point(one.clone()).await.unwrap();
        catalog.put_point(two.clone()).await.unwrap();
        catalog.point_leaves(two.id.clone()).await.unwrap();
        let before = catalog.changes();
        assert!(catalog.miss_point(one.id.clone(), state).await.unwrap());
        assert!(!catalog.miss_point(one.id.clone(), state).await.unwrap());
        assert!(catalog.changes() > before);
        drop(catalog);

        let catalog = Catalog::open(&path, "0123").unwrap();
        let known = catalog.known().await.unwrap();
        let missed = Astray {
            point: one.clone(),
            state,
        };
        assert_eq!(known.astray, std::slice::from_ref(&missed));
        assert_eq!(known.points, std::slice::from_ref(&two));
        assert_eq!(known.leaving, [two.id.clone()].into());
        catalog.point_stays(two.id.clone()).await.unwrap();
        assert!(catalog.known().await.unwrap().leaving.is_empty());

        catalog.set_astray(vec![], vec![one.clone()]).await.unwrap();
        let back = catalog.known().await.unwrap();
        assert_eq!((back.points.len(), back.astray.len()), (2, 0));
        let replaced = catalog.replace_points(vec![two], vec![missed], Some(Epoch(7)));
        replaced.await.unwrap();
        let known = catalog.known().await.unwrap();
        assert_eq!((known.points.len(), known.astray.len()), (1, 1));
        assert_eq!(known.held, Some(Epoch(7)));
        catalog.remove_point(one.id).await.unwrap();
        assert_eq!(catalog.astray().await.unwrap(), []);
    }
}
