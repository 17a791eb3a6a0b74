//! Work on the repository as a whole: new indexes, and what nothing needs.

use super::Repository;
use crate::heal::Pair;
use crate::{
    HealPlan, Healed, Leftovers, LostPoints, RebuiltIndex, RepositoryError, VerifyReport,
    leftovers, rebuild_index,
};
use holdfast_types::Epoch;

impl Repository {
    /// Writes new indexes from the packs, and removes all old ones.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`], or a failure of the store. The old indexes are still there then, all
    /// or some of them; doing it again is safe.
    pub async fn rebuild_index(&self, epoch: Epoch) -> Result<RebuiltIndex, RepositoryError> {
        let _alone = self.inner.collecting.lock().await;
        rebuild_index::rebuild(&self.inner.core, &self.inner.packer, epoch).await
    }

    /// What [`Self::rebuild_index`] would do now, by the same reads. Changes nothing.
    ///
    /// # Errors
    /// Only what keeps it from looking.
    pub async fn plan_rebuild_index(&self) -> Result<RebuiltIndex, RepositoryError> {
        let _alone = self.inner.collecting.lock().await;
        rebuild_index::plan(&self.inner.core).await
    }

    /// Looks for what stands in the store and nothing needs, or does not belong there. Changes nothing.
    ///
    /// # Errors
    /// Only what keeps it from looking.
    pub async fn find_leftovers(&self) -> Result<Leftovers, RepositoryError> {
        let _alone = self.inner.collecting.lock().await;
        let inner = &*self.inner;
        leftovers::find(&inner.core, &inner.reader, &inner.description).await
    }

    /// What a second copy can do about the damage that a check of this repository has found. Every object
    /// is read from the copy and proven. Changes nothing.
    ///
    /// # Errors
    /// [`RepositoryError::Foreign`] if the other one is another repository.
    pub async fn plan_heal(
        &self,
        copy: &Self,
        report: &VerifyReport,
        lost: &LostPoints,
    ) -> Result<HealPlan, RepositoryError> {
        self.pair(copy)?.plan(report, lost).await
    }

    /// Carries out a plan: each object is fetched and proven again, and put in place if the present one is
    /// missing or proven damaged. Then the packs that came are indexed, and what quarantine says of healed
    /// objects is removed.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`], or a failure of either store; doing it again is safe.
    pub async fn heal(
        &self,
        copy: &Self,
        epoch: Epoch,
        plan: &HealPlan,
    ) -> Result<Healed, RepositoryError> {
        let _alone = self.inner.collecting.lock().await;
        let pair = self.pair(copy)?;
        pair.heal(&self.inner.packer, epoch, plan).await
    }

    fn pair<'a>(&'a self, copy: &'a Self) -> Result<Pair<'a>, RepositoryError> {
        let (ours, theirs) = (&self.inner.core, &copy.inner.core);
        let same_id = self.description().id == copy.description().id;
        if !same_id || ours.master.first().fingerprint() != theirs.master.first().fingerprint() {
            let place = copy.place();
            return Err(RepositoryError::Foreign { place });
        }
        Ok(Pair {
            ours,
            copy: theirs,
            description: &self.inner.description,
        })
    }
}
