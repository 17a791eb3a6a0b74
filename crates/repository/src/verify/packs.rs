//! The full check: every byte of every pack.

use super::VerifyReport;
use crate::catalog::{Pack, PackState};
use crate::chunk_table::Location;
use crate::core_state::CoreState;
use crate::{Damage, RepositoryError, layout, system};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_archive::pack::{HEADER_LEN, PackOpener, pack_id, read_pack_footer};
use holdfast_archive::{ChunkKey, Decoder, PackEntry, PackHeader, RepositoryFile};
use std::sync::Arc;

/// Packs in memory at once.
const PACKS_AHEAD: usize = 2;

/// What reading one pack showed.
#[derive(Default)]
struct Outcome {
    bytes: u64,
    chunks: u64,
    damage: Option<Damage>,
    bad: Vec<Location>,
}

pub(super) async fn check(
    core: &Arc<CoreState>,
    description: &RepositoryFile,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    let namespace = description.cluster.as_str().parse();
    let namespace = namespace.expect("cluster names and namespaces follow one rule");
    let key = core.master.chunk_key(&namespace);
    let packs: Vec<_> = core.catalog().packs().collect();
    let mut checks = stream::iter(packs)
        .filter(|(_, pack)| std::future::ready(pack.state != PackState::Missing))
        .map(async |(number, pack)| {
            let outcome = check_pack(core, &key, number, pack).await?;
            Ok::<_, RepositoryError>((pack, outcome))
        })
        .buffer_unordered(PACKS_AHEAD);
    while let Some((pack, outcome)) = checks.try_next().await? {
        report.bytes_read += outcome.bytes;
        report.chunks += outcome.chunks;
        let mut catalog = core.catalog_mut();
        for place in &outcome.bad {
            catalog.mark_bad(place);
        }
        // A wrong size was reported with the sizes.
        if let (Some(damage), PackState::Sound) = (outcome.damage, pack.state) {
            report.damage(layout::pack(&pack.id), damage);
        }
    }
    Ok(())
}

async fn check_pack(
    core: &Arc<CoreState>,
    key: &ChunkKey,
    number: u32,
    pack: Pack,
) -> Result<Outcome, RepositoryError> {
    let bytes = match core.store.get(&layout::pack(&pack.id)).await {
        Ok(bytes) => bytes,
        Err(error) => {
            return Ok(Outcome {
                damage: Some(Damage::of_read(error)?),
                ..Outcome::default()
            });
        }
    };
    let (core, key) = (core.clone(), key.clone());
    system::blocking(move || Ok(inspect(&core, &key, number, &pack, &bytes))).await
}

fn inspect(core: &CoreState, key: &ChunkKey, number: u32, pack: &Pack, bytes: &Bytes) -> Outcome {
    let mut outcome = Outcome {
        bytes: bytes.len() as u64,
        ..Outcome::default()
    };
    if pack_id(bytes) != pack.id {
        outcome.damage = Some(Damage::Hash);
    }
    let header = PackHeader::parse(bytes.get(..HEADER_LEN).unwrap_or(bytes));
    let entries = header
        .and_then(|header| read_pack_footer(&header, &core.master, bytes, bytes.len() as u64));
    let entries = entries.unwrap_or_else(|error| {
        outcome.damage = Some(error.into());
        // The chunks may be sound although the footer is not: the index knows them, too.
        core.catalog().entries_of(number)
    });
    let opener = header.and_then(|header| header.opener(&core.master)).ok();
    let mut decoder = Decoder::new();
    for entry in entries {
        outcome.chunks += 1;
        let checked = match &opener {
            Some(opener) => check_chunk(opener, &mut decoder, key, &entry, bytes),
            None => Err(Damage::Missing),
        };
        if let Err(damage) = checked {
            outcome.damage.get_or_insert(damage);
            let pack = number;
            outcome.bad.push(Location { pack, entry });
        }
    }
    outcome
}

fn check_chunk(
    opener: &PackOpener,
    decoder: &mut Decoder,
    key: &ChunkKey,
    entry: &PackEntry,
    pack: &[u8],
) -> Result<(), Damage> {
    let start = entry.offset as usize;
    let sealed = pack.get(start..start + entry.len as usize);
    let mut sealed = sealed.ok_or(Damage::Missing)?.to_vec();
    let encoded = opener.open_in_place(entry, &mut sealed)?;
    let plain = decoder.decode(entry.codec, encoded, entry.plain_len as usize)?;
    if key.id(plain) == entry.id {
        Ok(())
    } else {
        Err(Damage::Hash)
    }
}
