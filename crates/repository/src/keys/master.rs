//! A new master key: what is written from now on can't be read by those who knew the old one.
//!
//! Only the KEK at hand gets it. To seal it for the others, each of their KEKs would be needed, or the old
//! master key; but the old one is what may have leaked. So they are dropped, by name, to be added again.

use super::{KeyRefusal, Keys};
use crate::unlock;
use crate::{RepositoryError, create, key_slot, layout, system};
use bytes::Bytes;
use holdfast_archive::{Kek, KeyFile, MasterKey, RepositoryFile, RingKey};
use holdfast_store::PutMode;
use holdfast_types::{Epoch, KeyHolder, Timestamp};

/// What a rotation of the master key did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterRotation {
    /// The epoch from which on the new key seals.
    pub since: Epoch,
    /// Fingerprint of the newest master key, 16 hexadecimal digits.
    pub fingerprint: String,
    /// Number of master keys there are now.
    pub generation: usize,
    /// Whose key opens the repository now.
    pub kept: KeyHolder,
    /// Whose keys open nothing any more. They can be added again.
    pub dropped: Vec<KeyHolder>,
    /// Whether there was a newer master key already, of a rotation that died: then only that was ended.
    pub resumed: bool,
}

impl Keys<'_> {
    /// Makes a new master key that seals from `since` on, an epoch that the caller has claimed. If an
    /// earlier rotation died half-way, it is ended instead.
    pub(crate) async fn rotate_master(
        &self,
        description: &RepositoryFile,
        kek: &Kek,
        since: Epoch,
        now: Timestamp,
    ) -> Result<MasterRotation, RepositoryError> {
        self.prove(kek).await?;
        let slots = key_slot::survey(self.store, self.id).await?;
        let generations = || slots.iter().map(key_slot::KeySlot::generation);
        if generations().any(|found| found > self.ring.generation()) {
            return Err(KeyRefusal::Outdated.into());
        }
        let resumed = generations().any(|found| (1..self.ring.generation()).contains(&found));
        let kept = self.own_holder().await?;
        let ring = if resumed {
            self.ring.clone()
        } else {
            let master = MasterKey::from_bytes(system::random()?);
            let ring = self.ring.with(RingKey { master, since });
            let ring = ring.map_err(KeyRefusal::from)?;
            // From here on the new key is in force: whoever opens the repository writes under it.
            self.wrap(&ring, kek, &kept, now).await?;
            ring
        };
        let sealed: Bytes = create::seal_description(description, ring.newest())?;
        let copy = layout::description_copy(self.id);
        self.store.put(&copy, sealed, PutMode::Overwrite).await?;
        let mut dropped = Vec::new();
        for slot in &slots {
            if slot.generation() >= ring.generation() {
                continue;
            }
            if slot.holder() != kept && !slot.is_removed() {
                dropped.push(slot.holder());
            }
            self.erase(slot, now).await?;
        }
        let newest = ring.iter().last().map_or(since, |key| key.since);
        Ok(MasterRotation {
            since: newest,
            fingerprint: hex::encode(ring.newest().fingerprint()),
            generation: ring.generation(),
            kept,
            dropped,
            resumed,
        })
    }

    /// The KEK must be the one that opened the repository, or nobody could open it afterwards.
    async fn prove(&self, kek: &Kek) -> Result<(), RepositoryError> {
        let opens = match KeyFile::from_json(&self.own.bytes) {
            Ok(KeyFile::Wrapped(keys)) => unlock::unwrap(&keys, kek).await?.is_ok(),
            Ok(KeyFile::Removed(_)) | Err(_) => false,
        };
        if opens {
            Ok(())
        } else {
            Err(KeyRefusal::OtherKey.into())
        }
    }

    async fn own_holder(&self) -> Result<KeyHolder, RepositoryError> {
        let name = self.own.name.clone();
        let slot = key_slot::KeySlot::read(self.store, self.id, name).await?;
        let holder = slot.holder();
        let opens = slot.wrapped().any(|(_, bytes)| *bytes == self.own.bytes);
        if opens {
            Ok(holder)
        } else {
            Err(KeyRefusal::OwnRemoved { holder }.into())
        }
    }
}
