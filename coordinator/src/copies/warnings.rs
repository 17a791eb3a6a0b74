//! What people should know of copies, most urgent first.

use super::Handle;
use crate::core::Core;
use holdfast_types::ByteCount;

/// Names that are listed one by one.
const NAMED: usize = 5;

/// The warnings of every copy.
pub async fn warnings(core: &Core) -> Vec<String> {
    let mut all = Vec::new();
    for handle in core.copies.iter() {
        all.extend(of(core, handle).await);
    }
    all
}

/// Those of one.
pub async fn of(core: &Core, handle: &Handle) -> Vec<String> {
    let (name, memory, now) = (handle.name(), handle.memory(), core.clock.now());
    let mut warnings = Vec::new();
    if let Some(trouble) = &memory.trouble {
        warnings.push(format!(
            "{}; trying again after {}",
            trouble.fault.message, trouble.again
        ));
    }
    match handle.lag(core).await {
        Ok(Some(lag)) if lag.age > handle.section.max_lag => warnings.push(format!(
            "copy {name} is behind by {} recovery points ({}), the oldest of them {} minutes old: more than max_lag_hours allows",
            lag.points,
            ByteCount(lag.bytes),
            lag.age.as_secs() / 60
        )),
        Ok(_) => {}
        Err(fault) => warnings.push(format!("copy {name}: its lag is not known: {fault}")),
    }
    if !memory.uncopied.is_empty() {
        let named: Vec<_> = memory.uncopied.iter().take(NAMED).collect();
        let named: Vec<_> = named
            .iter()
            .map(|(id, why)| format!("{id} ({why})"))
            .collect();
        warnings.push(format!(
            "copy {name}: {} recovery points could not be copied: {}; if they can't be read here, heal them (`holdfast repo heal`) or back up now, and if the copy's own disk fails, check it (`holdfast repo copy verify {name}`); they are tried again at every run",
            memory.uncopied.len(),
            named.join(", ")
        ));
    }
    if !memory.unread_marks.is_empty() {
        warnings.push(format!(
            "copy {name}: {} can't be read here; until that is healed nothing is removed from the copy",
            memory.unread_marks.join(", ")
        ));
    }
    if !memory.only_here.is_empty() {
        let only: Vec<_> = memory.only_here.iter().map(String::as_str).collect();
        warnings.push(format!(
            "copy {name} still has {}, which this repository no longer has: if they were released or removed on purpose, `holdfast repo copy sync {name} --release --confirm`",
            only.join(", ")
        ));
    }
    let kept = handle.keeping.warnings().into_iter();
    warnings.extend(kept.map(|told| format!("copy {name}: {told}")));
    if let Some(checks) = &memory.verify
        && memory.made
    {
        let told = checks.warnings(&handle.section.verify, core.started, now);
        warnings.extend(told.into_iter().map(|told| format!("copy {name}: {told}")));
    }
    warnings
}
