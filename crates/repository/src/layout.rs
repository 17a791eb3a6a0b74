//! Which object stands where in the store.
//!
//! ```text
//! holdfast.json                     what this is (plain JSON)
//! keys/<repository id>.json         the wrapped master key
//! copy/<repository id>/…            second copies of the two, the first one sealed
//! packs/<2 digits>/<pack id>        sealed chunks
//! index/<hash>                      which pack holds which chunk
//! points/<recovery point id>        manifests: the recovery points
//! epochs/<20 digits>                claims of the writer's epoch
//! holds/<hold id>                   legal holds
//! pins/<recovery point id>          points that a person wants kept
//! tombstones/points/<point id>      points that are to be removed
//! tombstones/packs/<32 digits>      packs that are to be deleted
//! quarantine/<name>                 what is known of a damaged object
//! ```

use holdfast_store::{KeyPrefix, ObjectKey};
use holdfast_types::{Epoch, HoldId, PackId, RecoveryPointId};

/// The plain file that names a repository.
pub(crate) const DESCRIPTION: &str = "holdfast.json";

fn key(text: &str) -> ObjectKey {
    text.parse()
        .expect("every part is a constant, hexadecimal digits or a recovery point id")
}

fn prefix(text: &str) -> KeyPrefix {
    text.parse().expect("a constant lowercase word")
}

pub(crate) fn description() -> ObjectKey {
    key(DESCRIPTION)
}

/// The copy of the description of repository `id` (32 hexadecimal digits).
pub(crate) fn description_copy(id: &str) -> ObjectKey {
    key(&format!("copy/{id}/description"))
}

pub(crate) fn master_key(id: &str) -> ObjectKey {
    key(&format!("keys/{id}.json"))
}

pub(crate) fn master_key_copy(id: &str) -> ObjectKey {
    key(&format!("copy/{id}/key.json"))
}

pub(crate) fn keys() -> KeyPrefix {
    prefix("keys")
}

pub(crate) fn copies() -> KeyPrefix {
    prefix("copy")
}

pub(crate) fn packs() -> KeyPrefix {
    prefix("packs")
}

pub(crate) fn pack(id: &PackId) -> ObjectKey {
    let id = id.to_string();
    key(&format!("packs/{}/{id}", &id[..2]))
}

/// The pack that stands under this key; `None` for anything else.
pub(crate) fn parse_pack(found: &ObjectKey) -> Option<PackId> {
    let id = found.name().parse().ok()?;
    (pack(&id) == *found).then_some(id)
}

pub(crate) fn indexes() -> KeyPrefix {
    prefix("index")
}

/// An index is named by its hash, which keeps two writers apart.
pub(crate) fn index(hash: &[u8; 32]) -> ObjectKey {
    key(&format!("index/{}", hex::encode(hash)))
}

pub(crate) fn points() -> KeyPrefix {
    prefix("points")
}

pub(crate) fn point(id: &RecoveryPointId) -> ObjectKey {
    key(&format!("points/{id}"))
}

pub(crate) fn parse_point(found: &ObjectKey) -> Option<RecoveryPointId> {
    found.as_str().strip_prefix("points/")?.parse().ok()
}

pub(crate) fn epochs() -> KeyPrefix {
    prefix("epochs")
}

pub(crate) fn epoch(epoch: Epoch) -> ObjectKey {
    key(&format!("epochs/{:020}", epoch.0))
}

pub(crate) fn parse_epoch(found: &ObjectKey) -> Option<Epoch> {
    let digits = found.as_str().strip_prefix("epochs/")?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Epoch)).flatten()
}

pub(crate) fn holds() -> KeyPrefix {
    prefix("holds")
}

/// Hold ids are plain words, which every store takes.
pub(crate) fn hold(id: &HoldId) -> ObjectKey {
    key(&format!("holds/{id}"))
}

pub(crate) fn pins() -> KeyPrefix {
    prefix("pins")
}

pub(crate) fn pin(id: &RecoveryPointId) -> ObjectKey {
    key(&format!("pins/{id}"))
}

pub(crate) fn point_tombstones() -> KeyPrefix {
    prefix("tombstones/points")
}

pub(crate) fn point_tombstone(id: &RecoveryPointId) -> ObjectKey {
    key(&format!("tombstones/points/{id}"))
}

pub(crate) fn pack_tombstones() -> KeyPrefix {
    prefix("tombstones/packs")
}

/// Tombstones of packs are written anew under their name, which is random.
pub(crate) fn pack_tombstone(name: &[u8; 16]) -> ObjectKey {
    key(&format!("tombstones/packs/{}", hex::encode(name)))
}

pub(crate) fn quarantine() -> KeyPrefix {
    prefix("quarantine")
}

/// Where it stands what is known of the object `name`: its name, with dots for slashes.
pub(crate) fn quarantine_of(name: &ObjectKey) -> Option<ObjectKey> {
    let flat = name.as_str().replace('/', ".");
    format!("quarantine/{flat}").parse().ok()
}

/// Whether a text can be a repository's id: 32 hexadecimal digits.
pub(crate) fn is_repository_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{epoch, pack, parse_epoch, parse_pack, parse_point, point};
    use holdfast_store::ObjectKey;
    use holdfast_types::{Epoch, PackId, RecoveryPointId, Timestamp};

    fn key(text: &str) -> ObjectKey {
        text.parse().unwrap()
    }

    #[test]
    fn names_round_trip() {
        let id = PackId::from_bytes([0xab; 32]);
        assert!(pack(&id).as_str().starts_with("packs/ab/abab"));
        assert_eq!(parse_pack(&pack(&id)), Some(id));
        let id = RecoveryPointId::new(Timestamp::EPOCH, 7);
        assert_eq!(parse_point(&point(&id)), Some(id));
        for n in [0, 1, u64::MAX] {
            assert_eq!(parse_epoch(&epoch(Epoch(n))), Some(Epoch(n)));
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        let id = "ab".repeat(32);
        for other in [
            format!("packs/00/{id}"),
            format!("packs/{id}"),
            "packs/ab/x".to_owned(),
        ] {
            assert_eq!(parse_pack(&key(&other)), None, "{other}");
        }
        assert_eq!(parse_point(&key("points/readme")), None);
        assert_eq!(parse_epoch(&key("epochs/1")), None);
    }
}
