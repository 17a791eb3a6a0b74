//! Jobs and their logs in the catalogue. A line of a log is a row of its own, so that one more costs no more than itself. A catalogue of before logs has none.

use super::{Catalog, CatalogError, JOBS};
use crate::job::JobRecord;
use crate::job::log::{LogChange, LogLine, Rows};
use holdfast_types::JobId;
use redb::{TableDefinition, WriteTransaction};

/// Keyed by the job and the line's number.
const LOGS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("job_logs");

impl Catalog {
    /// Every recorded job, oldest first.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn jobs(&self) -> Result<Vec<JobRecord>, CatalogError> {
        let mut jobs = self
            .blocking(|catalog| catalog.read_all::<JobRecord>(JOBS))
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
                txn.open_table(JOBS)?
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

    /// The log of a job.
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
            let line = |(nth, value): (u64, Vec<u8>)| {
                let damaged = |error: serde_json::Error| {
                    catalog.damaged(&format!("line {nth} of the log of job {id}: {error}"))
                };
                let line: LogLine = serde_json::from_slice(&value).map_err(damaged)?;
                Ok((nth, line))
            };
            rows.into_iter().map(line).collect()
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
                let mut logs = txn.open_table(LOGS)?;
                for id in &ids {
                    jobs.remove(id.as_str())?;
                    let lines = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
                    logs.retain_in(lines, |_, _| false)?;
                }
                Ok(())
            })
        })
        .await
    }

    fn lines(&self, log: &LogChange) -> Result<Vec<(u64, Vec<u8>)>, CatalogError> {
        let lines = log.add.iter();
        lines
            .map(|(nth, line)| Ok((*nth, self.encode(line)?)))
            .collect()
    }
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
