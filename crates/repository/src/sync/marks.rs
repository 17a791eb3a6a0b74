//! Holds and pins, brought to a copy before its own retention may look at it.
//!
//! What is no longer on the primary was released there, or lost. It stays here until its release is asked for.

use super::MarksSynced;
use super::identity::read;
use super::keys::put_if_other;
use crate::core_state::CoreState;
use crate::{Pin, PlacedHold, RepositoryError, epochs, layout, notes};
use bytes::Bytes;
use holdfast_archive::ObjectKind;
use holdfast_store::ObjectKey;
use holdfast_types::Epoch;
use std::collections::BTreeSet;

/// Makes the holds and pins of a copy those of the primary. With `drop_others`, those of these names that only the copy has are
/// removed.
pub(crate) async fn sync_marks(
    ours: &CoreState,
    copy: &CoreState,
    epoch: Epoch,
    drop_others: Option<&BTreeSet<String>>,
) -> Result<MarksSynced, RepositoryError> {
    epochs::check(copy, epoch).await?;
    let mut synced = MarksSynced::default();
    for prefix in [layout::holds(), layout::pins()] {
        let listed = ours.store.list(&prefix).await?;
        let names: BTreeSet<ObjectKey> = listed.into_iter().map(|found| found.key).collect();
        for key in &names {
            match read(ours.store.as_ref(), key).await? {
                Ok(bytes) if is_sound(key, &bytes, ours) => {
                    synced.written += put_if_other(copy.store.as_ref(), key, &bytes).await?;
                }
                Ok(_) | Err(_) => synced.damaged.push(key.to_string()),
            }
        }
        for found in copy.store.list(&prefix).await? {
            if names.contains(&found.key) {
                continue;
            }
            if drop_others.is_some_and(|named| named.contains(found.key.as_str())) {
                epochs::check(copy, epoch).await?;
                copy.store.delete(&found.key).await?;
                synced.written += 1;
            } else {
                synced.only_in_copy.push(found.key.to_string());
            }
        }
    }
    Ok(synced)
}

/// Whether it opens, and stands under its own name.
fn is_sound(key: &ObjectKey, bytes: &Bytes, core: &CoreState) -> bool {
    let (master, kind) = (&core.master, ObjectKind::Hold);
    if layout::holds().contains(key) {
        let hold = notes::open::<PlacedHold>(key.clone(), bytes, master, kind);
        return hold.is_ok_and(|found| layout::hold(&found.note.hold.id) == *key);
    }
    let pin = notes::open::<Pin>(key.clone(), bytes, master, kind);
    pin.is_ok_and(|found| layout::pin(&found.note.point) == *key)
}
