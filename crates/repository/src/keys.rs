//! Who may unlock the repository: adding and removing holders, and new keys in place of old ones.
//!
//! Key files are the only objects that are replaced, and none of this touches packs, so it may go on while
//! a coordinator writes; but a new master key needs the writer's epoch.
//!
//! | dies after … | then |
//! |---|---|
//! | the file of a new holder, before its copy | the new key opens; the copy is written by the next writer |
//! | the first mark of a removal | the key opens nothing any more; `remove` again ends it |
//! | the new key of a rotation, before the old one's removal | both open; `remove` ends it |
//! | the key file of a new master key | the new ring opens, older files are reported; `rotate_master` again ends it |
//!
//! What is removed is first marked, copy first, so that a removal that died is not taken for damage and undone.

mod master;
mod refusal;

pub use master::MasterRotation;
pub use refusal::KeyRefusal;

use crate::key_slot::{self, KeySlot};
use crate::layout::{self, KeyName};
use crate::unlock::{self, OwnKey};
use crate::{DamagedObject, RepositoryError, create, system};
use bytes::Bytes;
use holdfast_archive::{Kek, KeyFile, Keyring, RemovedKey, WrappedKeys};
use holdfast_store::{ObjectStore, PutMode, StoreError};
use holdfast_types::{KeyHolder, Timestamp};

/// Most holders of one repository: a passphrase is tried on each file that wants one.
const MAX_HOLDERS: usize = 32;

/// A holder of a repository's key.
#[derive(Clone, Debug)]
pub struct KeyListing {
    /// Its name.
    pub holder: KeyHolder,
    /// The key file.
    pub object: String,
    /// When it was made; unknown of the oldest format and of damaged files.
    pub created: Option<Timestamp>,
    /// Where the KEK comes from, such as `key-file`; empty for damaged files.
    pub hint: String,
    /// Fingerprint of the newest master key inside, 16 hexadecimal digits; empty for damaged files.
    pub fingerprint: String,
    /// Number of master keys inside; 0 for damaged files.
    pub generation: usize,
    /// What it is good for.
    pub state: KeyState,
    /// Whether it is the one that the repository was opened with.
    pub is_own: bool,
    /// What is wrong with its two copies.
    pub damaged: Vec<DamagedObject>,
}

/// What a key file is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It opens the repository.
    Sound,
    /// It wraps older master keys than the newest that is known here.
    Superseded,
    /// It wraps a newer master key than this key opens.
    NewerMaster,
    /// A removal has begun.
    Removing,
    /// Neither copy can be read.
    Damaged,
}

/// The keys of an open repository.
pub(crate) struct Keys<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    /// The repository's.
    pub(crate) id: &'a str,
    pub(crate) ring: &'a Keyring,
    pub(crate) own: OwnKey,
}

impl Keys<'_> {
    pub(crate) async fn list(&self) -> Result<Vec<KeyListing>, RepositoryError> {
        let slots = key_slot::survey(self.store, self.id).await?;
        Ok(slots.iter().map(|slot| self.listing(slot)).collect())
    }

    fn listing(&self, slot: &KeySlot) -> KeyListing {
        let is_own = slot.name == self.own.name;
        let (damaged, _) = slot.damage(is_own.then_some(&self.own.bytes));
        let keys = slot.wrapped().next().map(|(keys, _)| keys);
        let state = match keys {
            _ if slot.is_removed() => KeyState::Removing,
            None => KeyState::Damaged,
            Some(keys) if keys.generation() < self.ring.generation() => KeyState::Superseded,
            Some(keys) if keys.generation() > self.ring.generation() => KeyState::NewerMaster,
            Some(_) => KeyState::Sound,
        };
        KeyListing {
            holder: slot.holder(),
            object: slot.sides[0].key.to_string(),
            created: keys.and_then(|keys| keys.created),
            hint: keys.map(|keys| keys.hint.clone()).unwrap_or_default(),
            fingerprint: keys
                .map(|keys| keys.fingerprint().to_owned())
                .unwrap_or_default(),
            generation: slot.generation(),
            state,
            is_own,
            damaged,
        }
    }

    /// Lets a further KEK open the repository.
    pub(crate) async fn add(
        &self,
        kek: &Kek,
        holder: &KeyHolder,
        now: Timestamp,
    ) -> Result<OwnKey, RepositoryError> {
        for slot in self.check_new(kek, holder).await? {
            self.erase(&slot, now).await?;
        }
        self.wrap(self.ring, kek, holder, now).await
    }

    /// Whether a further KEK may be added, or refused. Returns the removals that have begun and must end first.
    pub(crate) async fn check_new(
        &self,
        kek: &Kek,
        holder: &KeyHolder,
    ) -> Result<Vec<KeySlot>, RepositoryError> {
        let slots = key_slot::survey(self.store, self.id).await?;
        if slots
            .iter()
            .any(|slot| slot.generation() > self.ring.generation())
        {
            return Err(KeyRefusal::Outdated.into());
        }
        let (removing, taken): (Vec<_>, Vec<_>) = slots.into_iter().partition(KeySlot::is_removed);
        if taken.len() >= MAX_HOLDERS {
            return Err(KeyRefusal::TooMany { max: MAX_HOLDERS }.into());
        }
        for slot in &taken {
            if slot.holder() == *holder {
                let holder = holder.clone();
                return Err(KeyRefusal::NameTaken { holder }.into());
            }
            if let Some((keys, _)) = slot.wrapped().next()
                && kek.fits(keys.kek)
                && unlock::unwrap(keys, kek).await?.is_ok()
            {
                let holder = slot.holder();
                return Err(KeyRefusal::KeyHeld { holder }.into());
            }
        }
        Ok(removing)
    }

    /// Writes the key file of a ring for a holder, both copies, and makes sure that it opens.
    async fn wrap(
        &self,
        ring: &Keyring,
        kek: &Kek,
        holder: &KeyHolder,
        now: Timestamp,
    ) -> Result<OwnKey, RepositoryError> {
        let name = KeyName::Further {
            fingerprint: hex::encode(ring.newest().fingerprint()),
            holder: holder.clone(),
        };
        let salt = system::random()?;
        let (ring, wrapping, owner) = (ring.clone(), kek.clone(), holder.clone());
        let keys = system::blocking(move || {
            WrappedKeys::wrap(&ring, &wrapping, owner, now, salt)
                .map_err(|error| RepositoryError::invalid("a key file", error))
        });
        let bytes = create::key_json(&KeyFile::Wrapped(keys.await?))?;
        let main = layout::key_file(self.id, &name);
        match self
            .store
            .put(&main, bytes.clone(), PutMode::CreateNew)
            .await
        {
            Ok(()) => {}
            Err(StoreError::AlreadyExists { .. }) => {
                let holder = holder.clone();
                return Err(KeyRefusal::NameTaken { holder }.into());
            }
            Err(error) => return Err(error.into()),
        }
        let copy = layout::key_file_copy(self.id, &name);
        self.store.put(&copy, bytes, PutMode::Overwrite).await?;
        let slot = KeySlot::read(self.store, self.id, name.clone()).await?;
        for (keys, bytes) in slot.wrapped() {
            if unlock::unwrap(keys, kek).await?.is_ok() {
                let bytes = bytes.clone();
                return Ok(OwnKey { name, bytes });
            }
        }
        Err(KeyRefusal::NotWritten {
            object: main.to_string(),
        }
        .into())
    }

    /// Lets a holder's KEK open nothing any more.
    pub(crate) async fn remove(
        &self,
        holder: &KeyHolder,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        let slots = key_slot::survey(self.store, self.id).await?;
        let of_holder: Vec<_> = slots
            .iter()
            .filter(|slot| slot.holder() == *holder)
            .collect();
        let (own, others): (Vec<_>, Vec<_>) = of_holder
            .iter()
            .partition(|slot| slot.name == self.own.name);
        if others.is_empty() {
            let holder = holder.clone();
            return Err(match own.is_empty() {
                true => KeyRefusal::NotFound { holder },
                false => KeyRefusal::InUse { holder },
            }
            .into());
        }
        for slot in others {
            self.mark(slot, now).await?;
            // Another may be removing ours at the same time: of two that do, neither may end.
            let ours = KeySlot::read(self.store, self.id, self.own.name.clone()).await?;
            let opens = ours.wrapped().any(|(_, bytes)| *bytes == self.own.bytes);
            if !opens {
                self.unmark(slot).await?;
                let holder = ours.holder();
                return Err(KeyRefusal::OwnRemoved { holder }.into());
            }
            self.erase(slot, now).await?;
        }
        Ok(())
    }

    /// Puts a new KEK in the place of the one that the repository was opened with.
    pub(crate) async fn rotate(
        &self,
        kek: &Kek,
        holder: &KeyHolder,
        now: Timestamp,
    ) -> Result<KeyHolder, RepositoryError> {
        let new = self.add(kek, holder, now).await?;
        let slot = KeySlot::read(self.store, self.id, self.own.name.clone()).await?;
        // The new key is proven by now; a name that the new one has, too, is not the old one's.
        if slot.name != new.name {
            self.erase(&slot, now).await?;
        }
        Ok(slot.holder())
    }

    /// Begins a removal: both copies are marked, the second one first.
    async fn mark(&self, slot: &KeySlot, now: Timestamp) -> Result<(), RepositoryError> {
        let mark = RemovedKey::new(slot.holder(), now);
        let bytes = create::key_json(&KeyFile::Removed(mark))?;
        for side in slot.sides.iter().rev() {
            self.store
                .put(&side.key, bytes.clone(), PutMode::Overwrite)
                .await?;
        }
        Ok(())
    }

    /// Takes a mark back.
    async fn unmark(&self, slot: &KeySlot) -> Result<(), RepositoryError> {
        let [main, copy] = &slot.sides;
        let good: Option<&Bytes> = main.bytes().or(copy.bytes());
        for side in &slot.sides {
            if let Some(bytes) = side.bytes().or(good) {
                self.store
                    .put(&side.key, bytes.clone(), PutMode::Overwrite)
                    .await?;
            }
        }
        Ok(())
    }

    /// Removes a key file, because the repository that this is a copy of no longer has it.
    pub(crate) async fn drop_slot(
        &self,
        slot: &KeySlot,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        self.erase(slot, now).await
    }

    /// Removes a key file and its copy; of the first key the marks stay, for older programs to refuse.
    async fn erase(&self, slot: &KeySlot, now: Timestamp) -> Result<(), RepositoryError> {
        self.mark(slot, now).await?;
        match slot.name {
            KeyName::First => {}
            KeyName::Further { .. } => {
                for side in &slot.sides {
                    self.store.delete(&side.key).await?;
                }
            }
        }
        Ok(())
    }
}
