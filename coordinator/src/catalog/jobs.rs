//! Jobs and their logs in the catalogue. A line of a log is a row of its own, so that one more costs no more than itself. A catalogue of before logs has none.
//!
//! Upkeep has a table of its own, which earlier releases don't look at.

use super::rows::Named;
use super::{Catalog, CatalogError, JOBS};
use crate::job::JobRecord;
use crate::job::log::{Level, LogChange, LogLine, Rows};
use holdfast_types::{JobId, Timestamp};
use redb::{TableDefinition, WriteTransaction};
use std::collections::BTreeSet;

/// Runs of upkeep.
const UPKEEP: Named = TableDefinition::new("upkeep_jobs");

/// Keyed by the job and the line's number.
const LOGS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("job_logs");

impl Catalog {
    /// Every recorded job, oldest first.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn jobs(&self) -> Result<Vec<JobRecord>, CatalogError> {
        let mut jobs = self
            .blocking(|catalog| {
                let mut jobs = catalog.read_all::<JobRecord>(JOBS)?;
                for (name, value) in catalog.rows(UPKEEP)? {
                    match serde_json::from_slice::<JobRecord>(&value) {
                        Ok(job) => jobs.push(job),
                        Err(error) => {
                            // Nothing depends on it: least of all the start.
                            tracing::warn!(job = name, %error, "the record of a run of upkeep can't be read; it is not listed");
                        }
                    }
                }
                Ok(jobs)
            })
            .await?;
        jobs.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        Ok(jobs)
    }

    /// Records a job, in place of what was recorded of it before, and what its log has changed by.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_job(&self, job: JobRecord, log: LogChange) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            let value = catalog.encode(&job)?;
            let lines = catalog.lines(&log)?;
            catalog.write(|txn| {
                let table = if job.is_upkeep() { UPKEEP } else { JOBS };
                txn.open_table(table)?
                    .insert(job.id.as_str(), value.as_slice())?;
                write_log(txn, &job.id, &lines, &log)
            })
        })
        .await
    }

    /// Records what a job's log has changed by.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put_job_log(&self, id: JobId, log: LogChange) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            let lines = catalog.lines(&log)?;
            catalog.write(|txn| write_log(txn, &id, &lines, &log))
        })
        .await
    }

    /// The log of a job. In the place of a line that can't be read stands one that says so.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn job_log(&self, id: JobId) -> Result<Rows, CatalogError> {
        self.blocking(move |catalog| {
            let read = || -> Result<Vec<(u64, Vec<u8>)>, redb::Error> {
                let table = match catalog.begin_read()?.open_table(LOGS) {
                    Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                    table => table?,
                };
                let mut rows = Vec::new();
                for row in table.range((id.as_str(), 0)..=(id.as_str(), u64::MAX))? {
                    let (key, value) = row?;
                    rows.push((key.value().1, value.value().to_vec()));
                }
                Ok(rows)
            };
            let rows = read().map_err(|error| catalog.failed(error))?;
            Ok(lines_of(&id, rows))
        })
        .await
    }

    /// Forgets jobs and their logs.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn remove_jobs(&self, ids: Vec<JobId>) -> Result<(), CatalogError> {
        self.blocking(move |catalog| {
            catalog.write(|txn| {
                let mut jobs = txn.open_table(JOBS)?;
                let mut upkeep = txn.open_table(UPKEEP)?;
                let mut logs = txn.open_table(LOGS)?;
                for id in &ids {
                    jobs.remove(id.as_str())?;
                    upkeep.remove(id.as_str())?;
                    let lines = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
                    logs.retain_in(lines, |_, _| false)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Forgets the logs of all jobs but these. Returns how many jobs had one.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn keep_logs_of(&self, jobs: BTreeSet<JobId>) -> Result<usize, CatalogError> {
        self.blocking(move |catalog| {
            let others = catalog.logged().map_err(|error| catalog.failed(error))?;
            let others: Vec<String> = others
                .into_iter()
                .filter(|id| !jobs.iter().any(|job| job.as_str() == id))
                .collect();
            if others.is_empty() {
                return Ok(0);
            }
            catalog.write(|txn| {
                let mut logs = txn.open_table(LOGS)?;
                for id in &others {
                    let lines = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
                    logs.retain_in(lines, |_, _| false)?;
                }
                Ok(())
            })?;
            Ok(others.len())
        })
        .await
    }

    /// The ids that logs are kept under.
    fn logged(&self) -> Result<Vec<String>, redb::Error> {
        let table = match self.begin_read()?.open_table(LOGS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut ids: Vec<String> = Vec::new();
        let mut next = table.range(("", 0)..)?.next();
        while let Some(row) = next {
            let id = row?.0.value().0.to_owned();
            next = table
                .range((id.as_str(), u64::MAX)..)?
                .find(|row| row.as_ref().map_or(true, |(key, _)| key.value().0 != id));
            ids.push(id);
        }
        Ok(ids)
    }

    fn lines(&self, log: &LogChange) -> Result<Vec<(u64, Vec<u8>)>, CatalogError> {
        let lines = log.add.iter();
        lines
            .map(|(nth, line)| Ok((*nth, self.encode(line)?)))
            .collect()
    }
}

fn lines_of(id: &JobId, rows: Vec<(u64, Vec<u8>)>) -> Rows {
    let mut lines = Rows::new();
    for (nth, value) in rows {
        let line = serde_json::from_slice(&value).unwrap_or_else(|error| {
            tracing::warn!(job = %id, nth, %error, "a line of a job's log can't be read");
            let before = lines.last_key_value();
            let at = before.map_or(Timestamp::EPOCH, |(_, line): (_, &LogLine)| line.at);
            let text = "(this line of the log can't be read any more)";
            LogLine::new(at, Level::Warning, text.to_owned())
        });
        lines.insert(nth, line);
    }
    lines
}

fn write_log(
    txn: &WriteTransaction,
    id: &JobId,
    lines: &[(u64, Vec<u8>)],
    log: &LogChange,
) -> Result<(), redb::Error> {
    if log.is_empty() {
        return Ok(());
    }
    let mut table = txn.open_table(LOGS)?;
    for nth in &log.remove {
        table.remove((id.as_str(), *nth))?;
    }
    for (nth, line) in lines {
        table.insert((id.as_str(), *nth), line.as_slice())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::LOGS;
    use crate::catalog::Catalog;
    use crate::fixture::{NOW, backup_record, upkeep_record};
    use crate::job::log::{Level, LogChange, LogLine};

    fn log(texts: &[&str]) -> LogChange {
        let line = |text: &&str| LogLine::new(NOW, Level::Info, (*text).to_owned());
        LogChange {
            add: (0..).zip(texts.iter().map(line)).collect(),
            ..LogChange::default()
        }
    }

    fn catalog(dir: &tempfile::TempDir) -> Catalog {
        Catalog::create(&dir.path().join("c.redb"), "0123").unwrap()
    }

    #[tokio::test]
    async fn both_kinds_of_jobs_are_listed_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog(&dir);
        let (backup, upkeep) = (backup_record(), upkeep_record(7));
        for record in [&backup, &upkeep] {
            let put = catalog.put_job(record.clone(), log(&["a"]));
            put.await.unwrap();
        }
        // As an earlier release reads it.
        let earlier = catalog.read_all::<crate::job::JobRecord>(super::JOBS);
        assert_eq!(earlier.unwrap(), std::slice::from_ref(&backup));
        let listed = catalog.jobs().await.unwrap();
        assert_eq!(listed, [backup.clone(), upkeep.clone()]);
        let ids = vec![backup.id.clone(), upkeep.id.clone()];
        catalog.remove_jobs(ids).await.unwrap();
        assert_eq!(catalog.jobs().await.unwrap(), []);
        assert!(catalog.job_log(upkeep.id).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_unreadable_line_says_so_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog(&dir);
        let job = backup_record();
        let put = catalog.put_job(job.clone(), log(&["a", "b", "c"]));
        put.await.unwrap();
        let spoilt = catalog.write(|txn| {
            let row: &[u8] = b"{\"at\":";
            txn.open_table(LOGS)?.insert((job.id.as_str(), 1), row)?;
            Ok(())
        });
        spoilt.unwrap();
        let lines = catalog.job_log(job.id).await.unwrap();
        let texts: Vec<&str> = lines.values().map(|line| line.text.as_str()).collect();
        let unread = "(this line of the log can't be read any more)";
        assert_eq!(texts, ["a", unread, "c"]);
        assert_eq!((lines[&1].at, lines[&1].level), (NOW, Level::Warning));
    }

    #[tokio::test]
    async fn logs_without_a_job_go() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog(&dir);
        assert_eq!(catalog.keep_logs_of([].into()).await.unwrap(), 0);
        let job = backup_record();
        catalog.put_job(job.clone(), log(&["kept"])).await.unwrap();
        for gone in ["backup-0", "backup-1", "restore-9"] {
            let lines = log(&["a", "b"]);
            let put = catalog.put_job_log(gone.parse().unwrap(), lines);
            put.await.unwrap();
        }
        let kept = || [job.id.clone()].into();
        assert_eq!(catalog.keep_logs_of(kept()).await.unwrap(), 3);
        assert_eq!(catalog.keep_logs_of(kept()).await.unwrap(), 0);
        assert_eq!(catalog.job_log(job.id.clone()).await.unwrap().len(), 1);
        for gone in ["backup-0", "restore-9"] {
            let left = catalog.job_log(gone.parse().unwrap()).await.unwrap();
            assert!(left.is_empty());
        }
    }
}
