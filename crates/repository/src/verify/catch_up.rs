//! What others wrote and deleted while the packs were read. A check of everything takes hours, and the
//! coordinator goes on meanwhile: what it has swept is no damage, and what it has stored counts.

use crate::core_state::{CoreState, list_packs};
use crate::{RepositoryError, gc, load};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::PackIndex;
use holdfast_types::PackId;
use std::collections::HashSet;
use std::sync::Arc;

/// Footers read at once.
const READS_AHEAD: usize = 4;

/// Brings the catalogue up to date. Packs that are there and can't be taken in are left for the report.
pub(super) async fn catch_up(core: &Arc<CoreState>) -> Result<(), RepositoryError> {
    let listed = list_packs(core.store.as_ref()).await?;
    // In this order: a pack that this very process sweeps meanwhile is either known still, or its
    // tombstone says that it is swept.
    let unknown: Vec<(PackId, u64)> = {
        let catalog = core.catalog();
        let unknown = listed.into_iter();
        unknown
            .filter(|(id, _)| !catalog.contains_pack(id))
            .collect()
    };
    let swept = gc::swept(core).await?;
    let numbers: HashSet<u32> = {
        let catalog = core.catalog();
        swept
            .iter()
            .filter_map(|id| catalog.number_of(id))
            .collect()
    };
    core.catalog_mut().remove_packs(&numbers);
    let new = unknown.into_iter().filter(|(id, _)| !swept.contains(id));
    let mut reads = stream::iter(new)
        .map(|(id, size)| load::read_footer(&core.store, &core.master, id, size))
        .buffer_unordered(READS_AHEAD);
    while let Some((id, size, footer)) = reads.try_next().await? {
        if let Ok((_, entries)) = footer {
            core.catalog_mut().add(&PackIndex { id, size, entries });
        }
    }
    Ok(())
}
