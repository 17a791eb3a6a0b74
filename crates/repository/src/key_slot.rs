//! The key files of a repository as they stand in the store, each with its second copy.
//!
//! Nothing here has a KEK: whether a file that looks right is right shows when one opens it.

use crate::layout::{self, KeyName};
use crate::{Damage, DamagedObject, RepositoryError};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::{FIRST_HOLDER, KeyFile, WrappedKeys};
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::KeyHolder;
use std::collections::BTreeSet;

/// Key files that are looked at: far more than are ever added.
const MAX_SLOTS: usize = 256;
/// Objects read at once.
const READS_AHEAD: usize = 8;

/// A copy that was read, or how it is damaged.
pub(crate) type Copy<T> = Result<T, Damage>;

/// A key file and its second copy.
pub(crate) struct KeySlot {
    pub(crate) name: KeyName,
    /// The file, then its copy.
    pub(crate) sides: [Side; 2],
}

/// One of the two.
pub(crate) struct Side {
    pub(crate) key: ObjectKey,
    pub(crate) read: Copy<(KeyFile, Bytes)>,
}

/// An object to be written anew, whose right content is known.
pub(crate) struct Repair {
    pub(crate) object: ObjectKey,
    pub(crate) right: Bytes,
    /// Write it only while this one has the same content: a key that was removed meanwhile stays removed.
    pub(crate) twin: Option<ObjectKey>,
}

/// Reads every key file of repository `id`. The first one is among them even if it is not there.
pub(crate) async fn survey(
    store: &dyn ObjectStore,
    id: &str,
) -> Result<Vec<KeySlot>, RepositoryError> {
    let mut names = BTreeSet::from([KeyName::First]);
    for prefix in [layout::keys(), layout::copies_of(id)] {
        let listed = store.list(&prefix).await?;
        names.extend(
            listed
                .iter()
                .filter_map(|found| layout::parse_key_file(&found.key)),
        );
    }
    let slots = stream::iter(names.into_iter().take(MAX_SLOTS))
        .map(|name| KeySlot::read(store, id, name))
        .buffered(READS_AHEAD)
        .try_filter(|slot| std::future::ready(!slot.is_gone()));
    slots.try_collect().await
}

impl KeySlot {
    /// Reads both copies.
    pub(crate) async fn read(
        store: &dyn ObjectStore,
        id: &str,
        name: KeyName,
    ) -> Result<Self, RepositoryError> {
        let main = layout::key_file(id, &name);
        let copy = layout::key_file_copy(id, &name);
        let sides = [
            Side::read(store, main, &name).await?,
            Side::read(store, copy, &name).await?,
        ];
        Ok(Self { name, sides })
    }

    /// Whether a removal has begun: then the key opens nothing any more.
    pub(crate) fn is_removed(&self) -> bool {
        let mut sides = self.sides.iter();
        sides.any(|side| matches!(side.read, Ok((KeyFile::Removed(_), _))))
    }

    /// Whether a removal has ended. The marks of the first key stay.
    pub(crate) fn is_gone(&self) -> bool {
        let done = |side: &Side| match self.name {
            KeyName::First => matches!(side.read, Ok((KeyFile::Removed(_), _))),
            KeyName::Further { .. } => matches!(side.read, Err(Damage::Missing)),
        };
        self.sides.iter().all(done)
    }

    /// What may open the repository: the file, and its copy where that differs.
    pub(crate) fn wrapped(&self) -> impl Iterator<Item = (&WrappedKeys, &Bytes)> {
        let usable = !self.is_removed();
        let [main, copy] = &self.sides;
        let differs = copy.bytes() != main.bytes();
        [Some(main), differs.then_some(copy)]
            .into_iter()
            .flatten()
            .filter(move |_| usable)
            .filter_map(|side| match &side.read {
                Ok((KeyFile::Wrapped(keys), bytes)) => Some((keys, bytes)),
                Ok((KeyFile::Removed(_), _)) | Err(_) => None,
            })
    }

    /// Number of master keys inside; 0 if neither copy can be read.
    pub(crate) fn generation(&self) -> usize {
        let generations = self.wrapped().map(|(keys, _)| keys.generation());
        generations.max().unwrap_or_default()
    }

    /// Whose it is, as far as the name or the content tells.
    pub(crate) fn holder(&self) -> KeyHolder {
        match &self.name {
            KeyName::First => FIRST_HOLDER.parse().expect("a constant lowercase word"),
            KeyName::Further { holder, .. } => holder.clone(),
        }
    }

    /// How the copies are damaged, and what to write instead. `right` is the content that a KEK has opened,
    /// if it was this key's; else a copy that makes sense serves for one that does not.
    pub(crate) fn damage(&self, right: Option<&Bytes>) -> (Vec<DamagedObject>, Vec<Repair>) {
        let (mut damaged, mut repairs) = (Vec::new(), Vec::new());
        if self.is_removed() {
            return (damaged, repairs);
        }
        let [main, copy] = &self.sides;
        for (side, twin) in [(main, copy), (copy, main)] {
            let good = right.or(twin.bytes());
            let (damage, mendable) = match (&side.read, good) {
                (Ok((_, bytes)), Some(good)) if bytes == good => continue,
                // Of two that differ and make sense both are doubted, unless one is known to be right.
                (Ok(_), Some(_)) => (Damage::Contradiction, right.is_some()),
                (Ok(_), None) => continue,
                (Err(damage), _) => (damage.clone(), damage.newer_format().is_none()),
            };
            damaged.push(DamagedObject {
                object: side.key.to_string(),
                damage,
            });
            if let Some(good) = good.filter(|_| mendable) {
                repairs.push(Repair {
                    object: side.key.clone(),
                    right: good.clone(),
                    twin: Some(twin.key.clone()),
                });
            }
        }
        (damaged, repairs)
    }
}

impl Repair {
    /// Writes the object anew.
    pub(crate) async fn carry_out(&self, store: &dyn ObjectStore) -> Result<(), RepositoryError> {
        if let Some(twin) = &self.twin {
            match store.get(twin).await {
                Ok(bytes) if bytes == self.right => {}
                Ok(_) => return Ok(()),
                Err(error) => {
                    Damage::of_read(error)?;
                    return Ok(());
                }
            }
        }
        let right = self.right.clone();
        store.put(&self.object, right, PutMode::Overwrite).await?;
        tracing::info!(object = %self.object, "a damaged object was written anew from its copy");
        Ok(())
    }
}

impl Side {
    async fn read(
        store: &dyn ObjectStore,
        key: ObjectKey,
        name: &KeyName,
    ) -> Result<Self, RepositoryError> {
        let read = match store.get(&key).await {
            Ok(bytes) => parse(bytes, name),
            Err(error) => Err(Damage::of_read(error)?),
        };
        Ok(Self { key, read })
    }

    /// Its content, if that makes sense.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        self.read.as_ref().ok().map(|(_, bytes)| bytes)
    }
}

fn parse(bytes: Bytes, name: &KeyName) -> Copy<(KeyFile, Bytes)> {
    let file = KeyFile::from_json(&bytes)?;
    let (found, newest) = match &file {
        KeyFile::Wrapped(keys) => (&keys.holder, Some(keys.fingerprint())),
        KeyFile::Removed(mark) => (&mark.holder, None),
    };
    let is_own = match name {
        KeyName::First => found.as_str() == FIRST_HOLDER,
        KeyName::Further {
            fingerprint,
            holder,
        } => found == holder && newest.is_none_or(|newest| newest == fingerprint),
    };
    if is_own {
        Ok((file, bytes))
    } else {
        Err(Damage::OtherHolder)
    }
}
