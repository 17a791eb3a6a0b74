//! What operators ask for: to make a copy of a place, to let go of it, to release there what was released on the primary, to apply
//! its rules now.

use super::sync::{apply_rules, check_primary, ground};
use super::{CopyMemory, Handle, runs};
use crate::core::Core;
use crate::fault::Fault;
use crate::repository::open_copy_store;
use crate::retention::{Pruned, confirm, plan_on};
use holdfast_repository::{CopyPlace, RepositoryError, RoleRefusal, StoreRole, TheRole};
use holdfast_service::failure::Code;
use holdfast_store::{ObjectStore, StoreError};
use holdfast_types::{CopyName, JobId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is, or was, at the place of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The place.
    pub place: String,
    /// What was found there, as a sentence.
    pub found: String,
    /// Whether it is a copy now.
    pub made: bool,
}

/// Makes the configured place a copy. Without `confirm`, only says what is there. With `take_over`, the old primary that this
/// repository has replaced becomes one, with what it holds.
///
/// # Errors
/// `copy-not-found`, a place that holds something else, or that can't be used.
pub async fn add(
    core: &Core,
    name: &CopyName,
    confirm: bool,
    take_over: bool,
) -> Result<Added, Fault> {
    let handle = core.copies.get(name)?;
    let _alone = handle.ask_for().await;
    let place = handle.section.place.to_string();
    let added = |found: &str, made| Added {
        place: place.clone(),
        found: found.to_owned(),
        made,
    };
    let failed = |error: RepositoryError| handle.failed(&error);
    let store = match open_copy_store(&handle.section, confirm).await? {
        Ok(store) => store,
        Err(StoreError::NoSuchStore { .. }) if !confirm => {
            return Ok(added(
                "the place does not exist yet: it would be made",
                false,
            ));
        }
        Err(error) => return Err(failed(error.into())),
    };
    let there = core.repository.look_at_copy(store.as_ref()).await;
    let found = match there.map_err(failed)? {
        CopyPlace::Nothing => "the place is empty".to_owned(),
        CopyPlace::Ours(role) => describe(handle, role.as_ref(), take_over, &place)?,
    };
    check_locks(handle, store.as_ref()).await?;
    if !confirm {
        return Ok(added(&found, false));
    }
    make(core, handle, store, take_over).await?;
    let remember = |memory: &mut CopyMemory| {
        memory.made = true;
        memory.asked = true;
        memory.trouble = None;
    };
    handle.change(&core.catalog, remember).await?;
    handle.wake();
    tracing::info!(copy = %name, place, "a copy is made");
    Ok(added(&found, true))
}

/// What a store of this repository is, if it may become this copy.
fn describe(
    handle: &Handle,
    found: Option<&TheRole>,
    take_over: bool,
    place: &str,
) -> Result<String, Fault> {
    let Some(TheRole { role, name, at }) = found else {
        if take_over {
            return Ok(
                "it is this repository, and was never a copy: the primary that was replaced"
                    .to_owned(),
            );
        }
        let place = place.to_owned();
        return Err(handle.failed(&RoleRefusal::NoCopy { place }.into()));
    };
    match role {
        StoreRole::Copy if name == handle.name() => {
            Ok(format!("it is this copy already, since {at}"))
        }
        StoreRole::Copy => Err(handle.failed(
            &RoleRefusal::OtherName {
                place: place.to_owned(),
                found: name.clone(),
                wanted: handle.name().clone(),
            }
            .into(),
        )),
        StoreRole::Detached => Ok(format!(
            "it was the copy {name}, detached at {at}: it becomes one again with what it holds"
        )),
        StoreRole::Retired => Ok(format!(
            "it was the primary, replaced at {at}: it becomes a copy with what it holds"
        )),
        StoreRole::Promoted if take_over => Ok(format!(
            "it was promoted to be the primary at {at}, and was replaced since"
        )),
        StoreRole::Promoted => Err(handle.failed(
            &RoleRefusal::Promoted {
                place: place.to_owned(),
                name: name.clone(),
                at: *at,
            }
            .into(),
        )),
    }
}

/// Refuses a place without locks where the section asks for them.
async fn check_locks(handle: &Handle, store: &dyn ObjectStore) -> Result<(), Fault> {
    if !handle.keeping.wants_locks() {
        return Ok(());
    }
    let has_locks = match store.keeper() {
        Some(keeper) => keeper.can_lock().await,
        None => Ok(false),
    };
    let has_locks = has_locks.map_err(|error| handle.failed(&error.into()))?;
    let checked = handle
        .keeping
        .check(has_locks, &handle.section.place.to_string());
    checked.map_err(|fault| handle.within(fault))
}

async fn make(
    core: &Core,
    handle: &Handle,
    store: Arc<dyn ObjectStore>,
    take_over: bool,
) -> Result<(), Fault> {
    let failed = |error: RepositoryError| handle.failed(&error);
    let now = core.clock.now();
    handle.close().await;
    if take_over {
        let taken = core
            .repository
            .take_over(Arc::clone(&store), handle.name(), core.epoch, now);
        taken.await.map_err(failed)?;
    }
    let made = core
        .repository
        .make_copy(store.as_ref(), handle.name(), now)
        .await;
    made.map(drop).map_err(failed)
}

/// Leaves the copy as it is: nothing is deleted, and nobody writes to it any more. Without `confirm`, only looks whether that can be.
///
/// # Errors
/// `copy-not-found`, or what keeps it from being written to.
pub async fn remove(core: &Core, name: &CopyName, confirm: bool) -> Result<(), Fault> {
    let handle = core.copies.get(name)?;
    let _alone = handle.ask_for().await;
    let copy = handle.writer(core).await?;
    if !confirm {
        return Ok(());
    }
    let detached = copy.detach(name, core.clock.now()).await;
    detached.map_err(|error| handle.failed(&error))?;
    handle.close().await;
    let since = handle.memory().since;
    let forget = |memory: &mut CopyMemory| {
        *memory = CopyMemory {
            since,
            ..CopyMemory::default()
        };
    };
    handle.change(&core.catalog, forget).await?;
    tracing::info!(copy = %name, "a copy is detached");
    Ok(())
}

/// Removes holds, pins and keys from the copy that the primary no longer has. Returns how many.
///
/// # Errors
/// `second-operator`; a copy that can't be written to.
pub async fn release(core: &Core, name: &CopyName, by: &str) -> Result<u64, Fault> {
    let handle = core.copies.get(name)?;
    let _alone = handle.ask_for().await;
    let copy = handle.writer(core).await?;
    let only: BTreeSet<String> = handle.memory().only_here.into_iter().collect();
    let named = only
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ");
    confirm::require(core, &format!("release on copy {name}: {named}"), by)?;
    let failed = |error: RepositoryError| handle.failed(&error);
    // What the primary no longer has, not what it does not show because it is gone itself.
    check_primary(core).await?;
    let marks = core.repository.sync_marks(&copy, core.epoch, Some(&only));
    let marks = marks.await.map_err(failed)?;
    let holders = only.iter().filter_map(|named| named.strip_prefix("key "));
    let holders = holders.map(str::to_owned).collect();
    let drop_others = Some((core.clock.now(), &holders));
    let keys = core.repository.sync_keys(&copy, drop_others).await;
    let keys = keys.map_err(failed)?;
    handle
        .note(&core.catalog, |memory| memory.only_here.clear())
        .await;
    tracing::info!(copy = %name, by, "what only a copy had of holds, pins and keys is removed from it");
    Ok(marks.written + keys.written)
}

/// Applies the copy's own rules; without `by`, only says what they would do.
///
/// # Errors
/// `second-operator`; a hold of the primary that could not be copied; what retention itself refuses.
pub async fn prune(core: &Arc<Core>, name: &CopyName, by: Option<&str>) -> Result<Pruned, Fault> {
    let handle = core.copies.get(name)?;
    let _alone = handle.ask_for().await;
    let copy = handle.writer(core).await?;
    let failed = |error: &RepositoryError| handle.failed(error);
    let Some(by) = by else {
        let ground = ground(core, handle, &copy, &failed).await?;
        return Box::pin(plan_on(&ground)).await;
    };
    if let Some(fault) = core.clock_fault() {
        return Err(fault);
    }
    let marks = core.repository.sync_marks(&copy, core.epoch, None).await;
    let marks = marks.map_err(|error| failed(&error))?;
    check_primary(core).await?;
    if let Some(first) = marks.damaged.first() {
        return Err(Fault::new(
            Code::RepositoryDamaged,
            format!(
                "copy {name}: {first} can't be read on the primary, so nothing is removed: heal it first"
            ),
        ));
    }
    let confirmed = |what: &str| confirm::require(core, &format!("copy {name}: {what}"), by);
    Box::pin(apply_rules(core, handle, &copy, Some(by), confirmed)).await
}

/// An operator, in words, asks for a run now. Returns its job.
///
/// # Errors
/// `copy-not-found`.
pub async fn ask_for_sync(core: &Arc<Core>, name: &CopyName, by: &str) -> Result<JobId, Fault> {
    let handle = core.copies.get(name)?;
    let job = runs::ask_for_sync(core, handle, by).await?;
    handle.wake();
    Ok(job)
}

/// An operator, in words, asks for a check now. Returns its job.
///
/// # Errors
/// `copy-not-found`.
pub async fn ask_for_check(
    core: &Arc<Core>,
    name: &CopyName,
    full: bool,
    by: &str,
) -> Result<JobId, Fault> {
    let handle = core.copies.get(name)?;
    let job = runs::ask_for_check(core, handle, full, by).await?;
    handle.wake();
    Ok(job)
}
