//! A merged part that is damaged, while those that it stands for are still there.

use super::{list_below, read};
use crate::RepositoryError;
use crate::core_state::CoreState;
use crate::layout::{self, WalPart, WalSeries};
use holdfast_archive::WalObject;
use std::sync::Arc;

/// As [`read`], but of a merged part that can't be read, what it stands for.
pub(crate) async fn read_or_rejoin(
    core: &Arc<CoreState>,
    series: &WalSeries,
    part: WalPart,
) -> Result<Option<WalObject>, RepositoryError> {
    let damaged = match read(core, series, part).await {
        Err(damaged @ RepositoryError::Damaged { .. }) => damaged,
        read => return read,
    };
    match rejoin(core, series, part).await {
        Some(whole) => {
            tracing::warn!(
                reason = %damaged,
                "a merged part of an archived log is damaged: those that it stands for are read in its place"
            );
            Ok(Some(whole))
        }
        None => Err(damaged),
    }
}

/// The entries of a merged part, from others that hold all of them, if they do.
async fn rejoin(core: &Arc<CoreState>, series: &WalSeries, part: WalPart) -> Option<WalObject> {
    let end = part.merged?;
    let listed = list_below(core, &layout::wal_series(series)).await.ok()?;
    let own = listed.into_iter().find(|run| run.series == *series)?;
    let mut whole: Vec<WalObject> = Vec::new();
    let mut next = part.first;
    while next < end {
        let goes_on = |part: &WalPart| part.first == next && part.merged.is_none_or(|n| n < end);
        let candidates = own.replaced.iter().map(|stored| stored.part);
        let mut found = None;
        for candidate in candidates.filter(goes_on) {
            if let Ok(Some(object)) = read(core, series, candidate).await {
                found = Some(object);
                break;
            }
        }
        let object = found?;
        if let Some(before) = whole.last() {
            object.follows(before).ok()?;
        }
        next = object.run().next;
        whole.push(object);
    }
    let whole = WalObject::join(whole).ok()?;
    (whole.run().next == end).then_some(whole)
}
