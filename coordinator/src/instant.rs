//! Restores to an instant: what the archive holds of logs ([`known`]), what follows from it (decided in
//! `holdfast_decide::instant`), and the entries that an agent was told to replay ([`pieces`]). [`diff()`] sums up what logs say of the time
//! between two instants.

use crate::core::Core;
use crate::fault::{Fault, blocked, chain};
use crate::rpc::wire;
use holdfast_decide::Blocker;
use holdfast_decide::instant::{
    Choice, History, InstantRequest, InstantTarget, ReplayWay, check_choice, choose, windows,
};
use holdfast_proto::convert::{RestoreFrom, RestoreOrder, RestoreTarget};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{CollectionName, RecoveryPointId};
use std::collections::BTreeSet;

mod between;
mod diff;
pub mod known;
pub mod pieces;
mod read;

pub use diff::diff;
use read::{Depth, Scope};

/// How many of the newest recovery points before an instant are looked at first: reading a log further back takes time.
const FIRST_TRIES: [usize; 2] = [1, 4];

/// How far back is read, one after the other until something leads there. The end of a log shows only where all of it was read: of one that was
/// read in part, a captured shard would seem to have nothing to replay.
fn depths(target: InstantTarget) -> Vec<Depth> {
    let first = match target {
        InstantTarget::Instant(_) | InstantTarget::Operation(_) => &FIRST_TRIES[..],
        InstantTarget::Latest | InstantTarget::BeforeDrop => &[],
    };
    let first = first.iter().map(|points| Depth::Newest(*points));
    first.chain([Depth::All]).collect()
}

/// What a restore order with a target leads to, and what it rests upon; `None` for one without.
///
/// # Errors
/// Why it leads nowhere; a repository that can't be read.
pub async fn chosen(core: &Core, order: &RestoreOrder) -> Result<Option<(Choice, History)>, Fault> {
    let RestoreFrom::To(target, point) = &order.from else {
        return Ok(None);
    };
    if let Some(copy) = order.from_copy.clone() {
        return Err(blocked(&[Blocker::CopyHoldsNoLog { copy }]));
    }
    let request = request(order, *target, point.clone());
    let (mut refused, mut found) = (None, None);
    for depth in depths(request.target) {
        let scope = Scope {
            collections: &request.collections,
            target: Some(request.target),
            depth,
        };
        let (history, whole) = read::history(core, &scope).await?;
        match choose(&history, &request) {
            Ok(choice) => {
                found = Some((choice, history));
                break;
            }
            Err(blocker) => refused = Some(blocker),
        }
        if whole {
            break;
        }
    }
    let Some((choice, history)) = found else {
        let refused = refused.map(|blocker| blocked(&[*blocker]));
        return Err(refused.unwrap_or_else(|| Fault::new(Code::Internal, "nothing was tried")));
    };
    let wrong = check_choice(&choice, &request, &history);
    crate::plan::approved(&wrong)?;
    Ok(Some((choice, history)))
}

fn request(
    order: &RestoreOrder,
    target: RestoreTarget,
    point: Option<RecoveryPointId>,
) -> InstantRequest {
    let sources = order.collections.iter().map(|mapping| &mapping.source);
    // One collection may be restored under several names.
    let sources: BTreeSet<&CollectionName> = sources.collect();
    InstantRequest {
        target: match target {
            RestoreTarget::Instant(instant) => InstantTarget::Instant(instant),
            RestoreTarget::Latest => InstantTarget::Latest,
            RestoreTarget::Operation(number) => InstantTarget::Operation(number),
            RestoreTarget::BeforeDrop => InstantTarget::BeforeDrop,
        },
        collections: sources.into_iter().cloned().collect(),
        point,
        way: match order.by_requests {
            true => ReplayWay::Requests,
            false => ReplayWay::Splice,
        },
    }
}

/// What a viewer is told of the instants that can be restored.
///
/// # Errors
/// A collection that no recovery point holds; a repository that can't be read.
pub async fn window(
    core: &Core,
    request: &v1::RestoreWindowRequest,
) -> Result<v1::RestoreWindowResponse, Fault> {
    let only: Option<CollectionName> = match request.collection.as_str() {
        "" => None,
        name => {
            let parsed = name.parse();
            Some(parsed.map_err(|error| Fault::new(Code::Usage, chain(&error)))?)
        }
    };
    let names = read::collections(core).await?;
    if let Some(collection) = only.clone().filter(|only| !names.contains(only)) {
        let known = names.into_iter().collect();
        let blocker = Blocker::CollectionInNoPoint { collection, known };
        return Err(blocked(&[blocker]));
    }
    let mut collections = Vec::new();
    // One after the other: the looks of a log are many.
    for name in names {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let scope = Scope {
            collections: std::slice::from_ref(&name),
            target: None,
            depth: Depth::All,
        };
        let (history, _) = read::history(core, &scope).await?;
        collections.extend(windows(&history, Some(&name)).iter().map(wire::window));
    }
    Ok(v1::RestoreWindowResponse { collections })
}
