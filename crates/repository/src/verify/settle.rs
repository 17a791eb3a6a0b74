//! What follows from everything that was looked at: which damage still matters, and what quarantine
//! has to say.

use super::options::{Finding, VerifyLevel, VerifyOptions};
use super::points::Needs;
use super::{Recording, VerifyReport};
use crate::catalog::PackState;
use crate::core_state::CoreState;
use crate::quarantine::{self, BadPlace, Quarantine, QuarantineRecord, QuarantineState};
use crate::{Damage, RepositoryError, layout};
use holdfast_store::ObjectKey;
use holdfast_types::{ChunkId, PackId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Sorts chunks that no namespace explains: those that a point names, that were found damaged before, or
/// that are sound elsewhere are damaged; the others are counted.
pub(super) fn blame(
    core: &CoreState,
    findings: &mut [Finding],
    needs: &Needs,
    known: &Quarantine,
    report: &mut VerifyReport,
) {
    for finding in findings {
        if core.catalog().number_of(&finding.pack).is_none() {
            // Swept since it was read.
            continue;
        }
        let object = layout::pack(&finding.pack);
        let recorded = known.records.get(object.as_str());
        let is_recorded =
            |place: &BadPlace| recorded.is_some_and(|record| record.places.contains(place));
        // Only after a full check everything that counts as present was hashed.
        let elsewhere = |chunk: &ChunkId| {
            report.level == VerifyLevel::Full && core.catalog().is_readable(chunk)
        };
        let wrong = |place: &BadPlace| {
            needs.missing.contains(&place.chunk) || is_recorded(place) || elsewhere(&place.chunk)
        };
        let unexplained = std::mem::take(&mut finding.unexplained);
        let (wrong, unexplained): (Vec<_>, Vec<_>) = unexplained.into_iter().partition(wrong);
        report.unexplained += unexplained.len() as u64;
        if !wrong.is_empty() {
            core.catalog_mut().distrust(&finding.pack, &wrong);
            finding.damage.get_or_insert(Damage::Hash);
            finding.places.extend(wrong);
            finding.places.sort();
        }
        finding.unexplained = unexplained;
        if let Some(damage) = &finding.damage {
            report.damage(object, damage.clone());
        }
    }
}

/// Reports packs of which a read has failed before this check, unless this check has read them.
pub(super) fn report_distrusted(
    core: &CoreState,
    findings: &[Finding],
    known: &Quarantine,
    report: &mut VerifyReport,
) {
    let found: HashMap<PackId, &Finding> = findings.iter().map(|f| (f.pack, f)).collect();
    for (pack, _) in core.catalog().distrusted() {
        if !found.contains_key(&pack) {
            let object = layout::pack(&pack);
            let record = known.records.get(object.as_str());
            let what = record.map_or("chunks of it could not be read", |record| &record.damage);
            report.damage(object, Damage::Known(what.to_owned()));
        }
    }
}

/// Finds the damaged packs of which nothing that is bad is needed. Without knowing all that is needed,
/// there are none.
pub(super) fn supersede(core: &CoreState, needs: &Needs, report: &mut VerifyReport) {
    if needs.unknown {
        return;
    }
    let catalog = core.catalog();
    let distrusted: HashMap<_, _> = catalog.distrusted().into_iter().collect();
    let is_missed = |chunk: &ChunkId| needs.missing.contains(chunk);
    for damaged in &report.damaged {
        let Some(id) = pack_of(&damaged.object) else {
            continue;
        };
        let number = catalog.number_of(&id);
        let pack = number.and_then(|number| Some((number, catalog.pack(number)?)));
        let free = match pack {
            // What it holds is not known; but if nothing is missed, it holds nothing that is.
            None => needs.missing.is_empty(),
            Some((number, pack)) => match pack.state {
                PackState::Sound => distrusted
                    .get(&id)
                    .is_some_and(|bad| !bad.iter().any(|place| is_missed(&place.chunk))),
                PackState::Missing | PackState::Removed | PackState::WrongSize { .. } => {
                    let entries = catalog.entries_of(number);
                    !entries.iter().any(|entry| is_missed(&entry.id))
                }
            },
        };
        if free {
            report.superseded.insert(damaged.object.clone());
        }
    }
}

/// Brings the records of quarantine up to date, and writes what changed if that is wanted.
pub(super) async fn record(
    core: &Arc<CoreState>,
    options: &VerifyOptions,
    findings: &[Finding],
    mut known: Quarantine,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    let changed = update(core, options, findings, &mut known.records, report);
    if options.record {
        report.recording = Recording::Written(changed.len());
        for record in changed {
            if let Err(error) = quarantine::put(core, &record).await {
                report.recording = Recording::Failed(refusal(error)?);
                break;
            }
        }
    }
    report.quarantine = known.records.into_values().collect();
    Ok(())
}

/// That a store can't be written to is no reason to keep a report back.
fn refusal(error: RepositoryError) -> Result<String, RepositoryError> {
    if let RepositoryError::Store(error) = error {
        return Ok(error.to_string());
    }
    Err(error)
}

fn update(
    core: &CoreState,
    options: &VerifyOptions,
    findings: &[Finding],
    records: &mut BTreeMap<String, QuarantineRecord>,
    report: &VerifyReport,
) -> Vec<QuarantineRecord> {
    let distrusted: HashMap<_, _> = core.catalog().distrusted().into_iter().collect();
    let found: HashMap<PackId, &Finding> = findings.iter().map(|f| (f.pack, f)).collect();
    let mut changed = Vec::new();
    for damaged in &report.damaged {
        let pack = pack_of(&damaged.object);
        let places = match pack.and_then(|pack| found.get(&pack)) {
            Some(finding) => finding.places.clone(),
            None => pack
                .and_then(|pack| distrusted.get(&pack).cloned())
                .unwrap_or_default(),
        };
        let state = if report.superseded.contains(&damaged.object) {
            QuarantineState::Superseded
        } else {
            QuarantineState::Damaged
        };
        let (object, damage) = (damaged.object.clone(), damaged.damage.to_string());
        let fresh = QuarantineRecord::new(object, state, damage, places, options.now);
        changed.extend(note(records, fresh));
    }
    let is_damaged = |object: &str| report.damaged.iter().any(|found| found.object == object);
    for record in records.values_mut() {
        let is_gone = |pack| core.catalog().number_of(&pack).is_none();
        let gone = pack_of(&record.object).is_some_and(is_gone);
        let checked = gone || was_checked(&record.object, options.level);
        let sound = !is_damaged(&record.object) && checked;
        if sound && record.state != QuarantineState::Sound {
            record.state = QuarantineState::Sound;
            record.places.clear();
            record.changed = options.now;
            changed.push(record.clone());
        }
    }
    changed
}

/// Takes a record in. Returns it if it says anything new.
fn note(
    records: &mut BTreeMap<String, QuarantineRecord>,
    mut fresh: QuarantineRecord,
) -> Option<QuarantineRecord> {
    if let Some(old) = records.get(&fresh.object) {
        let was_damaged = old.state != QuarantineState::Sound;
        if was_damaged {
            fresh.found = old.found;
        }
        let told = |record: &QuarantineRecord| {
            (record.state, record.damage.clone(), record.places.clone())
        };
        if told(old) == told(&fresh) {
            return None;
        }
    }
    records.insert(fresh.object.clone(), fresh.clone());
    Some(fresh)
}

/// Whether a check of this level would have found the object damaged. A pack that is not read keeps its
/// bad places, so it is found damaged anyway; one without any needs to be read.
fn was_checked(object: &str, level: VerifyLevel) -> bool {
    match pack_of(object) {
        None => true,
        Some(pack) => match level {
            VerifyLevel::Quick => false,
            VerifyLevel::Sample(sample) => sample.covers(&pack),
            VerifyLevel::Full => true,
        },
    }
}

fn pack_of(object: &str) -> Option<PackId> {
    layout::parse_pack(&object.parse::<ObjectKey>().ok()?)
}
