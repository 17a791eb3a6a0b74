//! Checks what is stored, and says which recovery points damage concerns.
//!
//! Quick: every object is there with its size; every index, manifest and recipe opens; every chunk
//! that a point names is known, and was not found bad before. Sample: also, of some packs, what full does.
//! Full: also every pack hashes to its name, every chunk opens, decodes and hashes to its id, and every part of an archived log
//! opens and follows the one before.
//!
//! No object is changed, moved or deleted. What is found damaged no longer counts as present, so the next
//! capture stores it anew; and if that is wanted it is recorded under `quarantine/`, so that this
//! holds after a restart, too.

mod catch_up;
pub(crate) mod contents;
mod options;
mod packs;
pub(crate) mod points;
mod report;
mod settle;
mod small;

pub use options::{
    InvalidSample, Sample, SavedFinding, VerifyCheckpoint, VerifyLevel, VerifyObserver,
    VerifyOptions, VerifyProgress,
};
pub use report::{AffectedExtra, AffectedPoint, AffectedShard, Recording, VerifyReport};

use crate::catalog::PackState;
use crate::core_state::CoreState;
use crate::reader::Reader;
use crate::{Damage, RepositoryError, layout, quarantine, wal};
use holdfast_archive::RepositoryFile;
use holdfast_types::PackId;
use std::collections::HashSet;
use std::sync::Arc;

/// Checks what `options` ask for.
pub(crate) async fn verify(
    core: &Arc<CoreState>,
    description: &RepositoryFile,
    options: &VerifyOptions,
    observer: &dyn VerifyObserver,
) -> Result<VerifyReport, RepositoryError> {
    let mut report = VerifyReport::new(options.level);
    // A reader of its own: what the shared one has in its cache may be rotten in the store by now.
    let reader = Arc::new(Reader::new(core.clone()));
    let known = quarantine::load(&core.store, &core.master).await?;
    known.apply(&mut core.catalog_mut());
    core.compare_packs().await?;
    let mut findings = match options.level {
        VerifyLevel::Quick => Vec::new(),
        VerifyLevel::Sample(_) | VerifyLevel::Full => {
            packs::check(core, description, options, observer, &mut report).await?
        }
    };
    catch_up::catch_up(core).await?;
    for found in &known.damaged {
        report.damage(&found.object, found.damage.clone());
    }
    small::check_description(core, description, &mut report).await?;
    small::check_notes(core, &mut report).await?;
    let indexed = small::check_indexes(core, &mut report).await?;
    check_sizes(core, &indexed, &mut report).await?;
    small::check_unknown_packs(core, &mut report).await?;
    let needs = points::check(core, &reader, &mut report).await?;
    if options.level == VerifyLevel::Full {
        wal::check(core, &mut report).await?;
    }
    settle::blame(core, &mut findings, &needs, &known, &mut report);
    settle::report_distrusted(core, &findings, &known, &mut report);
    settle::supersede(core, &needs, &mut report);
    report.missing = needs.missing;
    settle::record(core, options, &findings, known, &mut report).await?;
    Ok(report)
}

async fn check_sizes(
    core: &CoreState,
    indexed: &HashSet<PackId>,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    core.compare_packs().await?;
    let catalog = core.catalog();
    for (_, pack) in catalog.packs() {
        report.packs += 1;
        match pack.state {
            PackState::Sound if !indexed.contains(&pack.id) => report.unindexed += 1,
            PackState::Sound | PackState::Removed => {}
            PackState::Missing => report.damage(layout::pack(&pack.id), Damage::Missing),
            PackState::WrongSize { found } => {
                let expected = pack.size;
                report.damage(layout::pack(&pack.id), Damage::Size { expected, found });
            }
        }
    }
    Ok(())
}
