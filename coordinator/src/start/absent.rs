//! Time in which no coordinator ran: nobody could take a mark back, or find out that a clock was wrong, so it counts for no grace.
//!
//! How long that was is said by the coordinator's clock, and by the claims in the repository, of which others may have been made since: by a start
//! that came no further, by `repo heal` or `key rotate-master`. The catalogue adds what an earlier start has seen by its clock.

use crate::catalog::{Catalog, CatalogError};
use crate::fault::Fault;
use crate::repository::fault_of;
use holdfast_repository::{Absence, Repository, RepositoryError};
use holdfast_types::{Epoch, Timestamp};
use std::time::Duration;

/// If no coordinator has written for this long, none ran.
pub const COUNTS_AS_AWAY: Duration = Duration::from_hours(6);

/// What is known of it before the claim.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// How long ago something was last written, by this clock.
    pub(super) now: Duration,
    /// What claims say of times before.
    pub(super) earlier: Vec<Absence>,
}

impl Absent {
    /// Looks into the repository, as far back as anything that waits.
    pub(super) async fn look(
        repository: &Repository,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let failed = |error: RepositoryError| fault_of(&error);
        let last = repository.last_written().await.map_err(failed)?;
        let marked = match repository.read_marks().await {
            Ok(marks) => {
                let waiting = marks.tombstones.values();
                waiting.map(|stone| stone.tombstone.since).min()
            }
            // Marks that can't be read forbid every removal.
            Err(RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. }) => None,
            Err(error) => return Err(failed(error)),
        };
        let logs = now.before(grace);
        let since = marked.map_or(logs, |marked| marked.min(logs));
        let earlier = repository.absences(since, COUNTS_AS_AWAY).await;
        let earlier = earlier.map_err(failed)?;
        Ok(Self {
            now: last.map_or(Duration::ZERO, |last| now.since(last)),
            earlier,
        })
    }

    /// Lets marks wait for that much longer.
    pub(super) async fn postpone_removals(
        mut self,
        repository: &Repository,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if self.now >= COUNTS_AS_AWAY {
            self.earlier.push(Absence {
                epoch,
                ended: now,
                lasted: self.now,
            });
        }
        match repository.postpone_for(epoch, &self.earlier, now).await {
            Ok(0) => Ok(()),
            Ok(postponed) => {
                tracing::warn!(
                    hours = self.hours(),
                    marks = postponed,
                    "nothing was written here for long: recovery points that are marked for removal wait for that much longer"
                );
                Ok(())
            }
            // Marks that can't be read forbid every removal.
            Err(RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. }) => Ok(()),
            Err(error) => Err(fault_of(&error)),
        }
    }

    /// Before when no archived entry goes. Marks give people time to find out that a clock is wrong; entries have none, so all of them rest for
    /// as long after such a start. What an earlier, wrong clock recorded never counts for longer than that from now.
    pub(super) async fn rest_of_logs(
        &self,
        catalog: &Catalog,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, CatalogError> {
        let latest = now.after(grace);
        if self.now >= COUNTS_AS_AWAY {
            catalog.put_logs_rest_until(latest).await?;
            tracing::warn!(
                hours = self.hours(),
                until = %latest,
                "nothing was written here for long: no archived log entry is removed until then"
            );
            return Ok(latest);
        }
        let recorded = catalog.logs_rest_until().await?;
        let claims = self.earlier.iter();
        let claimed = claims.map(|absence| absence.ended.after(grace)).max();
        let until = recorded.max(claimed).unwrap_or(Timestamp::EPOCH);
        Ok(until.min(latest))
    }

    fn hours(&self) -> u64 {
        let lasted = self.earlier.iter().map(|absence| absence.lasted);
        lasted.fold(self.now, Duration::max).as_secs() / 3600
    }
}
