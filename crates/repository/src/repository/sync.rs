//! The part of [`Repository`] that keeps copies; how is in [`crate::sync`].

use super::Repository;
use crate::packer::Tuning;
use crate::sync::{
    Bringer, Expected, Found, Side, check_other, identify, initialise, read_role, sync_keys,
    sync_marks, write_role,
};
use crate::unlock::Unlocked;
use crate::{
    CopyPlace, KeysSynced, MarksSynced, RepositoryError, RoleRefusal, StoreRole, SyncedPoint,
    TheRole, epochs,
};
use holdfast_store::ObjectStore;
use holdfast_types::{CopyName, Epoch, RecoveryPointId, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How far a promotion jumps ahead of the newest term that the copy has seen. The primary may have given out terms of
/// which the copy never heard: one for each start of a coordinator.
pub const PROMOTION_JUMP: u64 = 1 << 20;

/// On the primary.
impl Repository {
    /// What this store says that it is; nothing if it never was a copy.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`] if that can't be read.
    pub async fn role(&self) -> Result<Option<TheRole>, RepositoryError> {
        let core = &self.inner.core;
        read_role(core.store.as_ref(), &core.master).await
    }

    /// What a store holds that may become a copy. Writes nothing.
    ///
    /// # Errors
    /// [`RepositoryError::Foreign`] if something else is there.
    pub async fn look_at_copy(
        &self,
        store: &dyn ObjectStore,
    ) -> Result<CopyPlace, RepositoryError> {
        let (core, description) = (&self.inner.core, &self.inner.description);
        if identify(store, core, description).await? == Found::Nothing {
            return Ok(CopyPlace::Nothing);
        }
        let role = read_role(store, &core.master).await?;
        Ok(CopyPlace::Ours(role))
    }

    /// Tells the old primary, which this repository has replaced, that it was: whoever still writes to it stops, and it can be
    /// made the copy `name`. `term` is this repository's own.
    ///
    /// # Errors
    /// [`RepositoryError::Role`] if it is this repository itself, or a duplicate made of it in this term;
    /// [`RepositoryError::StaleEpoch`] if its term is newer, so that it has replaced this one; as [`retire`](Self::retire).
    pub async fn take_over(
        &self,
        store: Arc<dyn ObjectStore>,
        name: &CopyName,
        term: Epoch,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        let (core, description) = (&self.inner.core, &self.inner.description);
        if identify(store.as_ref(), core, description).await? == Found::Nothing {
            return Ok(());
        }
        let left = |role: StoreRole| matches!(role, StoreRole::Copy | StoreRole::Detached);
        let role = read_role(store.as_ref(), &core.master).await?;
        if role.is_some_and(|found| left(found.role)) {
            return Ok(());
        }
        check_other(store.as_ref(), core, term).await?;
        let old = self.assemble_other(store, Tuning::default()).await?;
        // A promotion goes far ahead of the primary that it replaces: what has a newer term than ours has replaced us.
        let newest = old.newest_epoch().await?;
        if newest > term {
            return Err(RepositoryError::StaleEpoch { ours: term, newest });
        }
        old.retire(name, now).await.map(drop)
    }

    /// Another store of this repository, opened with its keys.
    async fn assemble_other(
        &self,
        store: Arc<dyn ObjectStore>,
        tuning: Tuning,
    ) -> Result<Self, RepositoryError> {
        let unlocked = Unlocked {
            description: self.inner.description.clone(),
            ring: self.inner.core.master.clone(),
            own: self.inner.own.clone(),
            damaged: Vec::new(),
            repairs: Vec::new(),
        };
        Box::pin(Self::assemble(store, unlocked, tuning)).await
    }

    /// Makes a copy of this repository in an empty store, without any recovery point yet. A copy that was detached, and a primary that
    /// was replaced, becomes a copy again with what it holds. Returns whether it was empty.
    ///
    /// # Errors
    /// [`RepositoryError::Foreign`] if something else is there, [`RepositoryError::Role`] if this repository itself is.
    pub async fn make_copy(
        &self,
        store: &dyn ObjectStore,
        name: &CopyName,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let (core, description) = (&self.inner.core, &self.inner.description);
        let role = TheRole {
            role: StoreRole::Copy,
            name: name.clone(),
            at: now,
        };
        if identify(store, core, description).await? == Found::Nothing {
            initialise(store, core, description, &role).await?;
            return Ok(true);
        }
        let found = read_role(store, &core.master).await?;
        let left = |found: &TheRole| matches!(found.role, StoreRole::Detached | StoreRole::Retired);
        if found.as_ref().is_some_and(left) {
            write_role(store, &core.master, Epoch(0), &role).await?;
        } else {
            Expected::Copy(name).judge(found, store.describe())?;
        }
        Ok(false)
    }

    /// Opens a copy of this repository, with the keys of this one. Writes nothing.
    ///
    /// # Errors
    /// [`RepositoryError::NotFound`] if nothing is there, [`RepositoryError::Foreign`], [`RepositoryError::Role`] if it is no copy
    /// of this name, and as [`open`](Self::open).
    pub async fn open_copy(
        &self,
        store: Arc<dyn ObjectStore>,
        name: &CopyName,
        tuning: Tuning,
    ) -> Result<Self, RepositoryError> {
        let (core, description) = (&self.inner.core, &self.inner.description);
        let place = store.describe();
        if identify(store.as_ref(), core, description).await? == Found::Nothing {
            return Err(RepositoryError::NotFound { place });
        }
        let found = read_role(store.as_ref(), &core.master).await?;
        Expected::Copy(name).judge(found, place)?;
        self.assemble_other(store, tuning).await
    }

    /// Makes the keys and descriptions of a copy those of this repository. Do that before anything else. With `drop_others`, those of
    /// the named holders are removed that only the copy has, but never the one that this repository was opened with.
    ///
    /// # Errors
    /// A failure of either store; doing it again is safe.
    pub async fn sync_keys(
        &self,
        copy: &Self,
        drop_others: Option<(Timestamp, &BTreeSet<String>)>,
    ) -> Result<KeysSynced, RepositoryError> {
        let inner = &self.inner;
        let store = copy.inner.core.store.as_ref();
        let (core, own) = (&inner.core, &inner.own);
        sync_keys(core, store, &inner.description, own, drop_others).await
    }

    /// Makes the holds and pins of a copy those of this repository. With `drop_others`, those of these names that only the copy has
    /// are removed.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`], or a failure of either store; doing it again is safe.
    pub async fn sync_marks(
        &self,
        copy: &Self,
        term: Epoch,
        drop_others: Option<&BTreeSet<String>>,
    ) -> Result<MarksSynced, RepositoryError> {
        let _alone = copy.inner.removing.lock().await;
        sync_marks(&self.inner.core, &copy.inner.core, term, drop_others).await
    }

    /// Brings a recovery point to a copy, unless it is there: once this returns it is whole there, and not before. If it is
    /// marked for removal there, it no longer is. It may be dropped or die at any moment, and be repeated: what was copied is not
    /// copied again.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`]; [`RepositoryError::PointNotFound`] if it is gone here; what of it is damaged here;
    /// a failure of either store.
    pub async fn sync_point(
        &self,
        copy: &Self,
        term: Epoch,
        id: &RecoveryPointId,
    ) -> Result<SyncedPoint, RepositoryError> {
        let _kept = (self.protect(), copy.protect());
        let _alone = copy.inner.removing.lock().await;
        let bringer = Bringer {
            from: Side {
                core: &self.inner.core,
                reader: &self.inner.reader,
            },
            to: Side {
                core: &copy.inner.core,
                reader: &copy.inner.reader,
            },
            packer: &copy.inner.packer,
            epoch: term,
        };
        Box::pin(bringer.bring(id)).await
    }

    /// Says that this store, the primary until now, was replaced by its copy `name`, and claims the next term, so that whoever
    /// still writes to it stops. Returns that term, which those of a promotion are far ahead of.
    ///
    /// # Errors
    /// [`RepositoryError::Locked`], [`RepositoryError::Role`] if it is a copy itself, or a failure of the store.
    pub async fn retire(&self, name: &CopyName, now: Timestamp) -> Result<Epoch, RepositoryError> {
        let core = &self.inner.core;
        match Expected::Primary.check(core).await {
            Err(RepositoryError::Role(RoleRefusal::Retired { .. })) => {
                return epochs::newest(core).await;
            }
            checked => checked?,
        }
        self.become_writer(Expected::Primary).await?;
        let epoch = epochs::claim_above(core, Epoch(0), 1).await?;
        let role = TheRole {
            role: StoreRole::Retired,
            name: name.clone(),
            at: now,
        };
        write_role(core.store.as_ref(), &core.master, epoch, &role).await?;
        Ok(epoch)
    }
}

/// On a copy.
impl Repository {
    /// Becomes the writer of this copy, in the term that was claimed on the primary.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`] if it was written in a newer term; [`RepositoryError::Role`] if it is no copy of this name, or
    /// if a coordinator of a duplicate of the primary writes to it in the same term; [`RepositoryError::Locked`].
    pub async fn claim_copy(
        &self,
        primary: &Self,
        name: &CopyName,
        term: Epoch,
    ) -> Result<(), RepositoryError> {
        self.become_writer(Expected::Copy(name)).await?;
        epochs::claim_as(&self.inner.core, &primary.inner.core, term).await?;
        self.catch_up().await
    }

    /// Whether this store is still the copy of this name.
    ///
    /// # Errors
    /// [`RepositoryError::Role`] if not.
    pub async fn check_copy(&self, name: &CopyName) -> Result<(), RepositoryError> {
        Expected::Copy(name).check(&self.inner.core).await
    }

    /// Leaves this copy as it is: nobody writes to it any more, until it is made a copy again.
    ///
    /// # Errors
    /// As [`claim_copy`](Self::claim_copy), without the term.
    pub async fn detach(&self, name: &CopyName, now: Timestamp) -> Result<(), RepositoryError> {
        self.become_writer(Expected::Copy(name)).await?;
        let core = &self.inner.core;
        let epoch = epochs::newest(core).await?;
        let role = TheRole {
            role: StoreRole::Detached,
            name: name.clone(),
            at: now,
        };
        write_role(core.store.as_ref(), &core.master, epoch, &role).await
    }

    /// Becomes the writer of this copy before its promotion, in a term that no coordinator of the primary can have: proves that it
    /// can be written to, before anybody is told that it is the primary. Returns that term.
    ///
    /// # Errors
    /// As [`promote`](Self::promote).
    pub async fn prepare_promotion(&self, name: &CopyName) -> Result<Epoch, RepositoryError> {
        let core = &self.inner.core;
        let found = self.role().await?;
        if found.is_some_and(|found| found.role == StoreRole::Promoted && found.name == *name) {
            return epochs::newest(core).await;
        }
        self.become_writer(Expected::Copy(name)).await?;
        epochs::claim_above(core, Epoch(0), PROMOTION_JUMP).await
    }

    /// Makes this copy the primary, in a term that is newer than `above`, and than any that the old primary can have given
    /// out since it was last heard of. Repeating it after an interruption is safe, and changes nothing once it is done but the
    /// term. If it died before the store says what it is, it is a copy still, whose coordinator goes on after a claim above
    /// that term ([`claim_epoch_above`](Self::claim_epoch_above)).
    ///
    /// # Errors
    /// [`RepositoryError::Role`] if it is no copy of this name, [`RepositoryError::Locked`] while a coordinator on this machine writes
    /// to it.
    pub async fn promote(
        &self,
        name: &CopyName,
        above: Epoch,
        now: Timestamp,
    ) -> Result<Epoch, RepositoryError> {
        let core = &self.inner.core;
        let found = self.role().await?;
        let done =
            found.is_some_and(|found| found.role == StoreRole::Promoted && found.name == *name);
        if done {
            self.become_writer(Expected::Primary).await?;
            return epochs::claim_above(core, above, 1).await;
        }
        self.become_writer(Expected::Copy(name)).await?;
        // From here on whoever writes to it as to a copy is refused.
        let epoch = epochs::claim_above(core, above, PROMOTION_JUMP).await?;
        let role = TheRole {
            role: StoreRole::Promoted,
            name: name.clone(),
            at: now,
        };
        write_role(core.store.as_ref(), &core.master, epoch, &role).await?;
        Ok(epoch)
    }
}
