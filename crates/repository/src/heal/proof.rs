//! Whether the bytes of an object are what its name says, without believing anybody.

use crate::core_state::CoreState;
use crate::{Damage, layout, wal};
use bytes::Bytes;
use holdfast_archive::pack::pack_id;
use holdfast_archive::{IndexObject, Manifest, ObjectKind, RepositoryFile, sealed};
use holdfast_store::ObjectKey;

/// Proves an object sound, or says why it is not, or can't be proven.
pub(super) fn prove(
    key: &ObjectKey,
    bytes: &Bytes,
    core: &CoreState,
    description: &RepositoryFile,
) -> Result<(), String> {
    let (first, _) = key.as_str().split_once('/').unwrap_or((key.as_str(), ""));
    let proven = match first {
        "packs" => pack(key, bytes),
        "index" => index(key, bytes, core),
        "points" => point(key, bytes, core),
        "wal" => wal::open(key, bytes, core).map(drop),
        "holds" | "pins" => open(bytes, ObjectKind::Hold, core).map(drop),
        layout::DESCRIPTION => is_description(bytes, description),
        "copy" if *key == layout::description_copy(&description.id) => {
            let opened = open(bytes, ObjectKind::Config, core);
            opened.and_then(|payload| is_description(&payload, description))
        }
        "keys" | "copy" => {
            return Err(
                "a key file is mended from its own second copy by the next writer".to_owned(),
            );
        }
        _ => return Err("objects of this kind are not healed from a copy".to_owned()),
    };
    proven.map_err(|damage| damage.to_string())
}

fn pack(key: &ObjectKey, bytes: &Bytes) -> Result<(), Damage> {
    let named = layout::parse_pack(key) == Some(pack_id(bytes));
    named.then_some(()).ok_or(Damage::Hash)
}

fn index(key: &ObjectKey, bytes: &Bytes, core: &CoreState) -> Result<(), Damage> {
    IndexObject::decode(&open(bytes, ObjectKind::Index, core)?)?;
    let named = bytes.last_chunk().map(layout::index);
    (named.as_ref() == Some(key))
        .then_some(())
        .ok_or(Damage::Misplaced)
}

fn point(key: &ObjectKey, bytes: &Bytes, core: &CoreState) -> Result<(), Damage> {
    let manifest = Manifest::from_json(&open(bytes, ObjectKind::Manifest, core)?)?;
    (layout::parse_point(key) == Some(manifest.id))
        .then_some(())
        .ok_or(Damage::Misplaced)
}

fn is_description(bytes: &[u8], description: &RepositoryFile) -> Result<(), Damage> {
    let file = RepositoryFile::from_json(bytes)?;
    (file == *description)
        .then_some(())
        .ok_or(Damage::Contradiction)
}

fn open(bytes: &[u8], kind: ObjectKind, core: &CoreState) -> Result<Vec<u8>, Damage> {
    Ok(sealed::open(bytes, kind, &core.master)?.payload)
}
