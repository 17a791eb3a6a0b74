//! The check of packs, byte by byte, in the order of their ids.
//!
//! A chunk's id is a hash under the key of its namespace, and a pack does not say which that is. So the
//! namespaces of all readable points are tried, the last successful one first. A chunk whose seal is good
//! and which none of them explains may belong to a capture that was never committed: it is no damage
//! unless a point names it, which the check of points finds out.

use super::VerifyReport;
use super::options::{
    Finding, VerifyCheckpoint, VerifyLevel, VerifyObserver, VerifyOptions, VerifyProgress,
};
use crate::catalog::{Pack, PackState};
use crate::core_state::CoreState;
use crate::quarantine::BadPlace;
use crate::{Damage, RepositoryError, layout, points, system};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::pack::{HEADER_LEN, PackOpener, pack_id, read_pack_footer};
use holdfast_archive::{ChunkKey, Decoder, PackEntry, PackHeader, RepositoryFile};
use holdfast_store::{LimitStore, ObjectStore};
use holdfast_types::Namespace;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Packs in memory at once.
const PACKS_AHEAD: usize = 2;

/// What reading one pack showed.
struct Outcome {
    bytes: u64,
    chunks: u64,
    finding: Finding,
}

/// Reads the packs that the level asks for. Whatever is found bad no longer counts as present.
pub(super) async fn check(
    core: &Arc<CoreState>,
    description: &RepositoryFile,
    options: &VerifyOptions,
    observer: &dyn VerifyObserver,
    report: &mut VerifyReport,
) -> Result<Vec<Finding>, RepositoryError> {
    let keys = Arc::new(keys(core, description, options).await?);
    let store = LimitStore::new(core.store.clone(), options.limits);
    let selected = select(core, options.level);
    let mut progress = VerifyProgress {
        packs_total: selected.len() as u64,
        bytes_total: selected.iter().map(|(_, pack)| pack.size).sum(),
        ..VerifyProgress::default()
    };
    let (mut findings, begun) = resumed(core, options, report);
    let after = options.resume.as_ref().map(|resume| resume.after);
    let is_done = |pack: &Pack| after.is_some_and(|after| pack.id <= after);
    let (done, left): (Vec<_>, Vec<_>) = selected.into_iter().partition(|(_, pack)| is_done(pack));
    for (_, pack) in done {
        progress.packs_done += 1;
        progress.bytes_done += pack.size;
    }
    let mut checks = stream::iter(left)
        .map(async |(number, pack)| {
            let outcome = check_pack(core, &store, &keys, number, pack).await?;
            Ok::<_, RepositoryError>((pack, outcome))
        })
        // In order, so that one id says what is done.
        .buffered(PACKS_AHEAD);
    while let Some((pack, outcome)) = checks.try_next().await? {
        let Outcome {
            bytes,
            chunks,
            finding,
        } = outcome;
        let is_removed = core.catalog().number_of(&pack.id).is_none();
        if is_removed {
            // Swept while it was read.
            continue;
        }
        report.packs_read += 1;
        report.bytes_read += bytes;
        report.chunks += chunks;
        mark(core, &finding);
        if !finding.is_empty() {
            findings.push(finding);
        }
        progress.packs_done += 1;
        progress.bytes_done += pack.size;
        let checkpoint = VerifyCheckpoint::new(report, begun, pack.id, &findings);
        observer.progressed(progress, &checkpoint);
    }
    Ok(findings)
}

/// What was found before an interruption.
fn resumed(
    core: &CoreState,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> (Vec<Finding>, holdfast_types::Timestamp) {
    let Some(resume) = &options.resume else {
        return (Vec::new(), options.now);
    };
    report.packs_read = resume.packs_read;
    report.chunks = resume.chunks;
    report.bytes_read = resume.bytes_read;
    let findings: Vec<_> = resume.findings.iter().cloned().map(Finding::from).collect();
    for finding in &findings {
        mark(core, finding);
    }
    (findings, resume.begun)
}

/// The catalogue believes exactly what was just read.
fn mark(core: &CoreState, finding: &Finding) {
    let mut catalog = core.catalog_mut();
    catalog.trust(&finding.pack);
    catalog.distrust(&finding.pack, &finding.places);
    catalog.doubt(&finding.pack, &finding.unexplained);
}

fn select(core: &CoreState, level: VerifyLevel) -> Vec<(u32, Pack)> {
    let catalog = core.catalog();
    let there = catalog
        .packs()
        .filter(|(_, pack)| pack.state != PackState::Missing);
    let mut selected: Vec<_> = there
        .filter(|(_, pack)| match level {
            VerifyLevel::Quick => false,
            VerifyLevel::Sample(sample) => sample.covers(&pack.id),
            VerifyLevel::Full => true,
        })
        .collect();
    selected.sort_by_key(|(_, pack)| pack.id);
    selected
}

/// The keys of every namespace that may have named a chunk.
async fn keys(
    core: &Arc<CoreState>,
    description: &RepositoryFile,
    options: &VerifyOptions,
) -> Result<Vec<ChunkKey>, RepositoryError> {
    let own = description.cluster.as_str().parse();
    let own: Namespace = own.expect("cluster names and namespaces follow one rule");
    let mut namespaces = BTreeSet::from_iter(options.namespaces.iter().cloned());
    namespaces.insert(own);
    for listing in points::list(core).await? {
        if let Ok(manifest) = listing.manifest {
            namespaces.insert(manifest.namespace);
        }
    }
    let keys = namespaces.iter();
    Ok(keys
        .map(|namespace| core.master.chunk_key(namespace))
        .collect())
}

async fn check_pack(
    core: &Arc<CoreState>,
    store: &dyn ObjectStore,
    keys: &Arc<Vec<ChunkKey>>,
    number: u32,
    pack: Pack,
) -> Result<Outcome, RepositoryError> {
    let bytes = match store.get(&layout::pack(&pack.id)).await {
        Ok(bytes) => bytes,
        Err(error) => {
            let mut finding = Finding::none(pack.id);
            finding.damage = Some(Damage::of_read(error)?);
            finding.places = places(&core.catalog().entries_of(number));
            return Ok(Outcome {
                bytes: 0,
                chunks: 0,
                finding,
            });
        }
    };
    let (core, keys) = (core.clone(), keys.clone());
    system::blocking(move || Ok(inspect(&core, &keys, number, &pack, &bytes))).await
}

fn inspect(
    core: &CoreState,
    keys: &[ChunkKey],
    number: u32,
    pack: &Pack,
    bytes: &Bytes,
) -> Outcome {
    let mut finding = Finding::none(pack.id);
    let header = PackHeader::parse(bytes.get(..HEADER_LEN).unwrap_or(bytes));
    let entries = if pack_id(bytes) == pack.id {
        let footer = header
            .and_then(|header| read_pack_footer(&header, &core.master, bytes, bytes.len() as u64));
        footer.map_err(Damage::from)
    } else {
        Err(Damage::Hash)
    };
    let entries = entries.unwrap_or_else(|damage| {
        finding.damage = Some(damage);
        // What stands in this pack says the index: the footer may be another pack's.
        core.catalog().entries_of(number)
    });
    let opener = header.and_then(|header| header.opener(&core.master)).ok();
    let mut checker = Checker {
        decoder: Decoder::new(),
        keys,
        last: 0,
    };
    for entry in &entries {
        let checked = match &opener {
            Some(opener) => checker.check(opener, entry, bytes),
            None => Err(Damage::Missing),
        };
        match checked {
            Ok(true) => {}
            Ok(false) => finding.unexplained.push(place(entry)),
            Err(damage) => {
                finding.damage.get_or_insert(damage);
                finding.places.push(place(entry));
            }
        }
    }
    finding.places.sort();
    Outcome {
        bytes: bytes.len() as u64,
        chunks: entries.len() as u64,
        finding,
    }
}

fn place(entry: &PackEntry) -> BadPlace {
    BadPlace {
        offset: entry.offset,
        chunk: entry.id,
    }
}

fn places(entries: &[PackEntry]) -> Vec<BadPlace> {
    let mut places: Vec<_> = entries.iter().map(place).collect();
    places.sort();
    places
}

struct Checker<'a> {
    decoder: Decoder,
    keys: &'a [ChunkKey],
    /// The key that explained the last chunk.
    last: usize,
}

impl Checker<'_> {
    /// Whether a namespace explains the chunk's name.
    fn check(
        &mut self,
        opener: &PackOpener,
        entry: &PackEntry,
        pack: &[u8],
    ) -> Result<bool, Damage> {
        let start = entry.offset as usize;
        let sealed = pack.get(start..start + entry.len as usize);
        let mut sealed = sealed.ok_or(Damage::Missing)?.to_vec();
        let encoded = opener.open_in_place(entry, &mut sealed)?;
        let plain = self
            .decoder
            .decode(entry.codec, encoded, entry.plain_len as usize)?;
        let count = self.keys.len();
        let order = (0..count).map(|n| (self.last + n) % count);
        let explains = |at: &usize| self.keys[*at].id(plain) == entry.id;
        let explained = order.into_iter().find(explains);
        self.last = explained.unwrap_or(self.last);
        Ok(explained.is_some())
    }
}
