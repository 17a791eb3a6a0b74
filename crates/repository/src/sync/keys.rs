//! Key files and descriptions, brought to a copy as they stand on the primary.
//!
//! They go before everything else: what is sealed under a new master key would else stand on a copy that nobody can open. A
//! key that is being removed on the primary is marked so here. One that is gone there is not removed here: it may have been lost, and
//! a copy that nobody can open is no copy. That is asked for.
//!
//! A key file is not sealed, so it proves nothing. The one that the primary was opened with is known to be right: on the copy
//! it is never replaced by anything else, whatever stands in its place on the primary.

use super::KeysSynced;
use super::identity::{read, sound_description};
use crate::core_state::CoreState;
use crate::key_slot::{self, KeySlot};
use crate::keys::Keys;
use crate::unlock::OwnKey;
use crate::{RepositoryError, create, layout};
use bytes::Bytes;
use holdfast_archive::RepositoryFile;
use holdfast_store::{ObjectKey, ObjectStore, PutMode};
use holdfast_types::Timestamp;
use std::collections::BTreeSet;

/// Makes the keys of a copy those of the primary. With `drop_others`, those that only the copy has and that are called so are removed,
/// but for `own`, with which the primary was opened.
pub(crate) async fn sync_keys(
    ours: &CoreState,
    copy: &dyn ObjectStore,
    description: &RepositoryFile,
    own: &OwnKey,
    drop_others: Option<(Timestamp, &BTreeSet<String>)>,
) -> Result<KeysSynced, RepositoryError> {
    let id = &description.id;
    let mut synced = KeysSynced {
        written: write_missing(ours.store.as_ref(), copy, id, Some(own)).await?,
        only_in_copy: Vec::new(),
    };
    synced.written += sync_descriptions(ours, copy, description).await?;
    let here = key_slot::survey(ours.store.as_ref(), id).await?;
    let names: BTreeSet<_> = here.iter().map(|slot| &slot.name).collect();
    let there = key_slot::survey(copy, id).await?;
    // The first key's slot is always looked at; without a file it is none.
    let has_file = |slot: &&KeySlot| slot.sides.iter().any(|side| side.bytes().is_some());
    let others: Vec<_> = there
        .iter()
        .filter(|slot| !names.contains(&slot.name))
        .filter(has_file)
        .collect();
    match drop_others {
        Some((now, named)) => {
            let keys = Keys {
                store: copy,
                id,
                ring: &ours.master,
                own: own.clone(),
            };
            let is_named =
                |slot: &&&KeySlot| slot.name != own.name && named.contains(&label(slot, &here));
            for slot in others.iter().filter(is_named) {
                keys.drop_slot(slot, now).await?;
                synced.written += 1;
            }
        }
        None => {
            let labels = others.iter().map(|slot| label(slot, &here));
            synced.only_in_copy = labels.collect();
        }
    }
    Ok(synced)
}

/// How a key that only the copy has is called. A holder whose key was wrapped anew since, as a new master key does it, is still one
/// of the primary's: then only the older file is meant.
fn label(slot: &KeySlot, primary: &[KeySlot]) -> String {
    let holder = slot.holder();
    if primary.iter().any(|other| other.holder() == holder) {
        format!("{holder} (an older file: the key was replaced since)")
    } else {
        holder.to_string()
    }
}

/// Writes every key file that makes sense on the primary and stands otherwise on the copy; of `own` only the one that has opened
/// the primary. Returns how many.
pub(super) async fn write_missing(
    ours: &dyn ObjectStore,
    copy: &dyn ObjectStore,
    id: &str,
    own: Option<&OwnKey>,
) -> Result<u64, RepositoryError> {
    let mut slots = key_slot::survey(ours, id).await?;
    // What opens goes first, so that at no moment nothing does.
    slots.sort_by_key(KeySlot::is_removed);
    let mut written = 0;
    for slot in &slots {
        // Of a removal the second copy is marked first, as the remover does.
        for side in slot.sides.iter().rev() {
            if let Some(bytes) = side.bytes()
                && own.is_none_or(|own| own.name != slot.name || own.bytes == *bytes)
            {
                written += put_if_other(copy, &side.key, bytes).await?;
            }
        }
    }
    Ok(written)
}

/// Both descriptions: the sealed one as it stands on the primary, under its newest master key.
async fn sync_descriptions(
    ours: &CoreState,
    copy: &dyn ObjectStore,
    description: &RepositoryFile,
) -> Result<u64, RepositoryError> {
    let key = layout::description_copy(&description.id);
    let mut written = 0;
    if let Some(bytes) = sound_description(ours, description).await? {
        written += put_if_other(copy, &key, &bytes).await?;
    }
    let plain = create::description_json(description)?;
    written += put_if_other(copy, &layout::description(), &plain).await?;
    Ok(written)
}

/// Puts an object, unless it is there with the same bytes. Returns how many were put.
pub(super) async fn put_if_other(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    bytes: &Bytes,
) -> Result<u64, RepositoryError> {
    if read(store, key)
        .await?
        .is_ok_and(|present| present == *bytes)
    {
        return Ok(0);
    }
    store.put(key, bytes.clone(), PutMode::Overwrite).await?;
    Ok(1)
}
