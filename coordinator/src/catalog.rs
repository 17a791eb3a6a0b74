//! The catalogue: one redb file with the listing of recovery points, the record of jobs and their logs.
//!
//! The points are a cache of the repository and can be rebuilt from it ([`rebuild`]); jobs exist only
//! here. Every write is one durable two-phase transaction. It decides nothing and knows no wire type.

use crate::ingest::commit::IMPORTED;
use crate::job::JobRecord;
use holdfast_archive::{Manifest, PointStats};
use holdfast_types::{CollectionName, ExtraName, NodeId, RecoveryPointId, Tag, Timestamp};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

mod copies;
mod jobs;
mod members;
mod missed;
pub mod rebuild;
mod rest;
mod rows;
mod schedules;
mod tokens;
mod verify;

/// The catalogue format that this program writes and the newest it reads.
const FORMAT: u32 = 1;

const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const POINTS: TableDefinition<&str, &[u8]> = TableDefinition::new("points");
const JOBS: TableDefinition<&str, &[u8]> = TableDefinition::new("jobs");

/// An open catalogue; clones share it.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Empty only while an attempt to open it again has failed.
    db: Arc<RwLock<Option<Database>>>,
    path: Arc<Path>,
    /// Of the listing of recovery points.
    changes: Arc<AtomicU64>,
}

/// A recovery point as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointSummary {
    /// Its id.
    pub id: RecoveryPointId,
    /// When its capture began.
    pub begun: Timestamp,
    /// When it was committed.
    pub committed: Timestamp,
    /// What it contains.
    pub collections: Vec<CollectionName>,
    /// What it cost.
    pub stats: PointStats,
    /// The operator's note.
    pub note: String,
    /// Exact number of points, if it is known of every collection.
    pub points: Option<u64>,
    /// The recovery point that was about to be restored, if this is the capture of what that replaced.
    #[serde(default)]
    pub safety_for: Option<RecoveryPointId>,
    /// Words that it was marked with.
    #[serde(default)]
    pub tags: BTreeSet<Tag>,
    /// Set if it came out of a snapshot file, and is no capture of this cluster: how old its data is at least.
    #[serde(default)]
    pub imported: Option<Timestamp>,
    /// What came or went while it was captured and is not in it, in words.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// The extras that it holds or lacks.
    #[serde(default)]
    pub extras: Vec<ExtraSummary>,
}

/// An extra of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraSummary {
    /// The node.
    pub node: NodeId,
    /// Its name there.
    pub name: ExtraName,
    /// Why it is not there, in words.
    #[serde(default)]
    pub missing: Option<String>,
}

/// Why a catalogue can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// There is no file.
    #[error("there is no catalogue at {}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("the catalogue {} is in use by another coordinator", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("the catalogue {} was written by a newer release (format {format})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// It is another repository's.
    #[error("the catalogue {} belongs to another repository ({found})", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// Its content makes no sense.
    #[error("the catalogue {} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file system failed.
    #[error("the catalogue {} can't be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

impl Catalog {
    /// Opens an existing catalogue of this repository. Blocking.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn open(path: &Path, repository: &str) -> Result<Self, CatalogError> {
        if !path.try_exists().map_err(|source| io(path, source))? {
            return Err(CatalogError::Missing {
                path: path.to_owned(),
            });
        }
        let db = Database::open(path).map_err(|error| database_error(path, error))?;
        let catalog = Self {
            db: Arc::new(RwLock::new(Some(db))),
            path: path.into(),
            changes: Arc::default(),
        };
        catalog.check_meta(repository)?;
        // A catalogue that opens but can't be read must be noticed now, not in the middle of a job.
        catalog.read_all::<PointSummary>(POINTS)?;
        catalog.read_all::<JobRecord>(JOBS)?;
        catalog.beside()?;
        Ok(catalog)
    }

    /// Creates an empty catalogue where no file is. Blocking. It appears under its name complete: one that a crash left
    /// half made would be taken for a damaged one at the next start.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn create(path: &Path, repository: &str) -> Result<Self, CatalogError> {
        let failed = |source| io(path, source);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent).map_err(failed)?;
        }
        let unfinished = path.with_extension("unfinished");
        match fs_err::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            Ok(()) | Err(_) => {}
        }
        let db = Database::create(&unfinished).map_err(|error| database_error(path, error))?;
        let catalog = Self {
            db: Arc::new(RwLock::new(Some(db))),
            path: path.into(),
            changes: Arc::default(),
        };
        catalog.write(|txn| {
            let mut meta = txn.open_table(META)?;
            meta.insert("format", FORMAT.to_string().as_str())?;
            meta.insert("repository", repository)?;
            txn.open_table(POINTS)?;
            txn.open_table(JOBS)?;
            Ok(())
        })?;
        fs_err::rename(&unfinished, path).map_err(failed)?;
        if let Some(parent) = path.parent() {
            let dir = fs_err::File::open(parent).map_err(failed)?;
            dir.sync_all().map_err(failed)?;
        }
        Ok(catalog)
    }

    /// Every recovery point, newest first.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn points(&self) -> Result<Vec<PointSummary>, CatalogError> {
        let mut points = self
            .blocking(|catalog| catalog.read_all::<PointSummary>(POINTS))
            .await?;
        points.sort_by(|a, b| (b.committed, &b.id).cmp(&(a.committed, &a.id)));
        Ok(points)
    }

    /// A number that is another one after every change of the listing of recovery points, so that what was worked out from it need
    /// not be worked out again.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Adds a recovery point.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_point(&self, point: PointSummary) -> Result<(), CatalogError> {
        let written = self
            .blocking(move |catalog| {
                let value = catalog.encode(&point)?;
                catalog.write(|txn| {
                    txn.open_table(POINTS)?
                        .insert(point.id.as_str(), value.as_slice())?;
                    Ok(())
                })
            })
            .await;
        // Also after a failure, which may have come too late.
        self.changes.fetch_add(1, Ordering::SeqCst);
        written
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let catalog = self.clone();
        let path = self.path.to_path_buf();
        let done = tokio::task::spawn_blocking(move || work(&catalog)).await;
        done.unwrap_or_else(|join| {
            Err(CatalogError::Damaged {
                path,
                what: join.to_string(),
            })
        })
    }

    fn check_meta(&self, repository: &str) -> Result<(), CatalogError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.begin_read()?.open_table(META)?;
            let text = |key| {
                let value = table.get(key)?;
                Ok::<_, redb::Error>(value.map(|value| value.value().to_owned()))
            };
            Ok((text("format")?, text("repository")?))
        };
        let (format, found) = read().map_err(|error| self.failed(error))?;
        let format = format
            .and_then(|format| format.parse::<u32>().ok())
            .ok_or_else(|| self.damaged("it names no format"))?;
        let path = self.path.to_path_buf();
        if format > FORMAT {
            return Err(CatalogError::Newer { path, format });
        }
        match found {
            Some(found) if found == repository => Ok(()),
            Some(found) => Err(CatalogError::Foreign { path, found }),
            None => Err(self.damaged("it names no repository")),
        }
    }

    fn read_all<T: DeserializeOwned>(
        &self,
        table: TableDefinition<&str, &[u8]>,
    ) -> Result<Vec<T>, CatalogError> {
        let read = || -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
            let table = self.begin_read()?.open_table(table)?;
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                rows.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(rows)
        };
        read()
            .map_err(|error| self.failed(error))?
            .into_iter()
            .map(|(key, value)| {
                serde_json::from_slice(&value)
                    .map_err(|error| self.damaged(&format!("entry {key}: {error}")))
            })
            .collect()
    }

    fn write(
        &self,
        change: impl Fn(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), CatalogError> {
        let run = || -> Result<(), redb::Error> {
            let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
            let mut txn = db.as_ref().ok_or(redb::Error::PreviousIo)?.begin_write()?;
            txn.set_two_phase_commit(true);
            change(&txn)?;
            txn.commit()?;
            Ok(())
        };
        let mut done = run();
        if matches!(done, Err(redb::Error::PreviousIo)) {
            // After a failed write, as on a full disk, an open database refuses everything for good.
            self.reopen()?;
            done = run();
        }
        done.map_err(|error| self.failed(error))
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction, redb::Error> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or(redb::Error::PreviousIo)?;
        Ok(db.begin_read()?)
    }

    /// Closes the file and opens it again.
    fn reopen(&self) -> Result<(), CatalogError> {
        // Readers and writers hold the lock for as long as they begin, and it is an option at any moment.
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(db.take());
        let opened = Database::open(&self.path);
        *db = Some(opened.map_err(|error| database_error(&self.path, error))?);
        Ok(())
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, CatalogError> {
        serde_json::to_vec(value).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, what: &str) -> CatalogError {
        CatalogError::Damaged {
            path: self.path.to_path_buf(),
            what: what.to_owned(),
        }
    }

    fn failed(&self, error: redb::Error) -> CatalogError {
        failed(&self.path, error)
    }
}

impl PointSummary {
    /// The summary of a manifest.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let counts = manifest.collections.iter().map(|entry| entry.points);
        Self {
            id: manifest.id.clone(),
            begun: manifest.begun,
            committed: manifest.committed,
            collections: manifest
                .collections
                .iter()
                .map(|c| c.name.clone())
                .collect(),
            stats: manifest.stats,
            note: manifest.note.clone(),
            points: counts.sum::<Option<u64>>(),
            safety_for: manifest.safety_for.clone(),
            tags: manifest.tags.clone(),
            imported: manifest
                .shards()
                .filter(|(_, shard)| shard.method == IMPORTED)
                .map(|(_, shard)| shard.captured_at)
                .max(),
            left_out: manifest
                .left_out
                .iter()
                .map(|what| what.why.clone())
                .collect(),
            extras: extras(manifest),
        }
    }
}

fn extras(manifest: &Manifest) -> Vec<ExtraSummary> {
    let nodes = manifest.nodes.iter();
    let all = nodes.flat_map(|node| node.extras.iter().map(move |extra| (node, extra)));
    all.map(|(node, extra)| ExtraSummary {
        node: node.node.clone(),
        name: extra.name.clone(),
        missing: extra.missing.clone(),
    })
    .collect()
}

fn io(path: &Path, source: std::io::Error) -> CatalogError {
    CatalogError::Io {
        path: path.to_owned(),
        source,
    }
}

fn database_error(path: &Path, error: redb::DatabaseError) -> CatalogError {
    failed(path, error.into())
}

fn failed(path: &Path, error: redb::Error) -> CatalogError {
    let (path, what) = (path.to_owned(), error.to_string());
    if matches!(error, redb::Error::DatabaseAlreadyOpen) {
        return CatalogError::InUse { path };
    }
    // What redb reports of a file that is no database of its own.
    let garbage = matches!(&error, redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData);
    if let (redb::Error::Io(source), false) = (error, garbage) {
        return CatalogError::Io { path, source };
    }
    CatalogError::Damaged { path, what }
}

#[cfg(test)]
mod tests {
    use super::{Catalog, CatalogError};
    use crate::fixture::{backup_record, manifest};
    use crate::job::log::{Level, LogChange, LogLine};
    use holdfast_types::Timestamp;

    const DEMO: &str = "0123";

    #[tokio::test]
    async fn what_is_written_is_there_after_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/catalog.redb");
        let catalog = Catalog::create(&path, DEMO).unwrap();
        let (older, newer) = (
            manifest("20261121t101530z-00000001", 1),
            manifest("20261121t101530z-00000002", 2),
        );
        for point in [&older, &newer] {
            catalog
                .put_point(super::PointSummary::of(point))
                .await
                .unwrap();
        }
        let record = backup_record();
        catalog
            .put_job(record.clone(), LogChange::default())
            .await
            .unwrap();
        drop(catalog);
        let catalog = Catalog::open(&path, DEMO).unwrap();
        let ids = |points: Vec<super::PointSummary>| -> Vec<String> {
            points.iter().map(|point| point.id.to_string()).collect()
        };
        assert_eq!(
            ids(catalog.points().await.unwrap()),
            [newer.id.as_str(), older.id.as_str()]
        );
        assert_eq!(catalog.jobs().await.unwrap(), std::slice::from_ref(&record));
        catalog.remove_jobs(vec![record.id]).await.unwrap();
        assert_eq!(catalog.jobs().await.unwrap(), []);
        let one = vec![super::PointSummary::of(&older)];
        let replaced = catalog.replace_points(one.clone(), vec![], None);
        replaced.await.unwrap();
        assert_eq!(catalog.points().await.unwrap(), one);
    }

    #[tokio::test]
    async fn logs_are_kept_with_their_job_and_go_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.redb");
        let catalog = Catalog::create(&path, DEMO).unwrap();
        let (one, mut other) = (backup_record(), backup_record());
        // No line of the one is in the range of the other.
        other.id = format!("{}-2", one.id).parse().unwrap();
        assert!(catalog.job_log(one.id.clone()).await.unwrap().is_empty());
        let line = |text: &str| LogLine::new(Timestamp::EPOCH, Level::Warning, text.to_owned());
        let change = |add: &[(u64, &str)], remove: &[u64]| LogChange {
            add: add.iter().map(|(nth, text)| (*nth, line(text))).collect(),
            remove: remove.iter().copied().collect(),
        };
        let first = change(&[(0, "a"), (1, "b")], &[]);
        catalog.put_job(one.clone(), first).await.unwrap();
        catalog
            .put_job(other.clone(), change(&[(0, "x")], &[]))
            .await
            .unwrap();
        catalog
            .put_job_log(one.id.clone(), change(&[(2, "c")], &[0]))
            .await
            .unwrap();
        drop(catalog);
        let catalog = Catalog::open(&path, DEMO).unwrap();
        let log = catalog.job_log(one.id.clone()).await.unwrap();
        assert_eq!(log, [(1, line("b")), (2, line("c"))].into());
        catalog.remove_jobs(vec![one.id.clone()]).await.unwrap();
        assert!(catalog.job_log(one.id).await.unwrap().is_empty());
        assert_eq!(catalog.job_log(other.id).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_reopened_catalogue_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(&dir.path().join("c.redb"), DEMO).unwrap();
        let record = backup_record();
        catalog
            .put_job(record.clone(), LogChange::default())
            .await
            .unwrap();
        catalog.reopen().unwrap();
        let one = std::slice::from_ref(&record);
        assert_eq!(catalog.jobs().await.unwrap(), one);
        // As after a failed attempt to open it: the next write opens it.
        drop(catalog.db.write().unwrap().take());
        assert!(catalog.jobs().await.is_err());
        catalog.put_job(record, LogChange::default()).await.unwrap();
        assert_eq!(catalog.jobs().await.unwrap().len(), 1);
    }

    #[test]
    fn missing_foreign_busy_and_damaged_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let open = |repository: &str| Catalog::open(&path, repository);
        assert!(matches!(open(DEMO), Err(CatalogError::Missing { .. })));
        let catalog = Catalog::create(&path, DEMO).unwrap();
        assert!(matches!(open(DEMO), Err(CatalogError::InUse { .. })));
        drop(catalog);
        assert!(matches!(open("other"), Err(CatalogError::Foreign { .. })));
        assert!(open(DEMO).is_ok());
        for content in [&b"no database"[..], &[]] {
            std::fs::write(&path, content).unwrap();
            let error = open(DEMO).unwrap_err();
            assert!(matches!(error, CatalogError::Damaged { .. }), "{error:?}");
        }
    }
}
