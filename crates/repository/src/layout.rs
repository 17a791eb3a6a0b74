//! Which object stands where in the store.
//!
//! ```text
//! holdfast.json                     what this is (plain JSON)
//! keys/<repository id>.json         the wrapped master keys, for the first holder
//! keys/<fingerprint>-<holder>.json  the same for further holders
//! copy/<repository id>/…            second copies of all these, the description's sealed
//! packs/<2 digits>/<pack id>        sealed chunks
//! index/<hash>                      which pack holds which chunk
//! points/<recovery point id>        manifests: the recovery points
//! copies/role                       whether this store is a copy, and of which name
//! epochs/<20 digits>                claims of the writer's epoch
//! holds/<hold id>                   legal holds
//! pins/<recovery point id>          points that a person wants kept
//! proofs/<recovery point id>        what restores have shown of a point
//! tombstones/points/<point id>      points that are to be removed
//! tombstones/packs/<32 digits>      packs that are to be deleted
//! quarantine/<name>                 what is known of a damaged object
//! wal/<namespace>/<incarnation>/<shard>/<timeline>/<20 digits>
//! wal/<namespace>/<incarnation>/<shard>/<timeline>/<20 digits>-<20 digits>
//!                                   archived entries of a write-ahead log, from this one on
//! ```

use holdfast_store::{KeyPrefix, ObjectKey};
use holdfast_types::{
    Epoch, HoldId, IncarnationId, KeyHolder, Namespace, PackId, RecoveryPointId, ShardId,
    TimelineId,
};

/// The plain file that names a repository.
pub(crate) const DESCRIPTION: &str = "holdfast.json";

fn key(text: &str) -> ObjectKey {
    text.parse()
        .expect("every part is a constant, hexadecimal digits or a recovery point id")
}

fn prefix(text: &str) -> KeyPrefix {
    text.parse()
        .expect("constant lowercase words and hexadecimal digits")
}

pub(crate) fn description() -> ObjectKey {
    key(DESCRIPTION)
}

/// The copy of the description of repository `id` (32 hexadecimal digits).
pub(crate) fn description_copy(id: &str) -> ObjectKey {
    key(&format!("copy/{id}/description"))
}

/// Which of the key files of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyName {
    /// The one it was made with.
    First,
    /// A further one.
    Further {
        /// Of the newest master key inside, 16 hexadecimal digits.
        fingerprint: String,
        holder: KeyHolder,
    },
}

/// A key file of repository `id`.
pub(crate) fn key_file(id: &str, name: &KeyName) -> ObjectKey {
    key(&match name {
        KeyName::First => format!("keys/{id}.json"),
        KeyName::Further {
            fingerprint,
            holder,
        } => format!("keys/{fingerprint}-{holder}.json"),
    })
}

/// Its second copy.
pub(crate) fn key_file_copy(id: &str, name: &KeyName) -> ObjectKey {
    key(&match name {
        KeyName::First => format!("copy/{id}/key.json"),
        KeyName::Further {
            fingerprint,
            holder,
        } => format!("copy/{id}/{fingerprint}-{holder}.json"),
    })
}

/// The further key file, or second copy of one, that stands under this key.
pub(crate) fn parse_key_file(found: &ObjectKey) -> Option<KeyName> {
    let stem = found.name().strip_suffix(".json")?;
    let (fingerprint, holder) = stem.split_once('-')?;
    let hexadecimal = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if fingerprint.len() != 16 || !fingerprint.bytes().all(hexadecimal) {
        return None;
    }
    Some(KeyName::Further {
        fingerprint: fingerprint.to_owned(),
        holder: holder.parse().ok()?,
    })
}

pub(crate) fn keys() -> KeyPrefix {
    prefix("keys")
}

/// What this store is among the stores of its repository.
pub(crate) fn role() -> ObjectKey {
    key("copies/role")
}

pub(crate) fn roles() -> KeyPrefix {
    prefix("copies")
}

pub(crate) fn copies() -> KeyPrefix {
    prefix("copy")
}

pub(crate) fn copies_of(id: &str) -> KeyPrefix {
    prefix(&format!("copy/{id}"))
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

pub(crate) fn proofs() -> KeyPrefix {
    prefix("proofs")
}

pub(crate) fn proof(id: &RecoveryPointId) -> ObjectKey {
    key(&format!("proofs/{id}"))
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

/// Names a run of entries of one log in the archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalSeries {
    /// The deployment's namespace.
    pub namespace: Namespace,
    /// Which collection.
    pub incarnation: IncarnationId,
    /// Which of its shards.
    pub shard: ShardId,
    /// Which run.
    pub timeline: TimelineId,
}

/// Every archived log.
pub(crate) fn wal() -> KeyPrefix {
    prefix("wal")
}

/// The archived logs of a namespace.
pub(crate) fn wal_of(namespace: &Namespace) -> KeyPrefix {
    prefix(&format!("wal/{namespace}"))
}

/// The folder of all runs of one shard.
pub(crate) fn wal_of_shard(
    namespace: &Namespace,
    incarnation: IncarnationId,
    shard: ShardId,
) -> KeyPrefix {
    prefix(&format!("wal/{namespace}/{incarnation}/{shard}"))
}

/// The objects of a run of entries.
pub(crate) fn wal_series(series: &WalSeries) -> KeyPrefix {
    prefix(&wal_folder(series))
}

/// Which object of a run: its entries, by their indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalPart {
    /// Index of the first entry.
    pub first: u64,
    /// Index after the last one, where the name says so: such an object was made of several parts, and stands for them.
    pub merged: Option<u64>,
}

impl WalPart {
    /// A part as it was appended.
    #[must_use]
    pub const fn appended(first: u64) -> Self {
        let merged = None;
        Self { first, merged }
    }

    /// Whether it was made of several, and holds all of this one.
    #[must_use]
    pub fn stands_for(&self, other: Self) -> bool {
        let Some(next) = self.merged else {
            return false;
        };
        let is_inside = self.first <= other.first && other.first < next;
        is_inside && *self != other && other.merged.is_none_or(|end| end <= next)
    }
}

/// An object of a run.
pub(crate) fn wal_part(series: &WalSeries, part: WalPart) -> ObjectKey {
    let (folder, first) = (wal_folder(series), part.first);
    match part.merged {
        None => key(&format!("{folder}/{first:020}")),
        Some(next) => key(&format!("{folder}/{first:020}-{next:020}")),
    }
}

fn wal_folder(series: &WalSeries) -> String {
    let WalSeries {
        namespace,
        incarnation,
        shard,
        timeline,
    } = series;
    format!("wal/{namespace}/{incarnation}/{shard}/{timeline}")
}

pub(crate) fn parse_wal(found: &ObjectKey) -> Option<(WalSeries, WalPart)> {
    let mut parts = found.as_str().strip_prefix("wal/")?.split('/');
    let series = WalSeries {
        namespace: parts.next()?.parse().ok()?,
        incarnation: parts.next()?.parse().ok()?,
        shard: ShardId(parts.next()?.parse().ok()?),
        timeline: parts.next()?.parse().ok()?,
    };
    let name = parts.next()?;
    let (first, merged) = match name.split_once('-') {
        None => (name.parse().ok()?, None),
        Some((first, next)) => (first.parse().ok()?, Some(next.parse().ok()?)),
    };
    let part = WalPart { first, merged };
    let holds_something = merged.is_none_or(|next| next > first);
    // Only the very name that would be written, not one that means the same number.
    (holds_something && wal_part(&series, part) == *found).then_some((series, part))
}

/// Whether a text can be a repository's id: 32 hexadecimal digits.
pub(crate) fn is_repository_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{
        KeyName, WalPart, WalSeries, epoch, key_file, key_file_copy, pack, parse_epoch,
        parse_key_file, parse_pack, parse_point, parse_wal, point, wal_part,
    };
    use holdfast_store::ObjectKey;
    use holdfast_types::{
        Epoch, IncarnationId, PackId, RecoveryPointId, ShardId, TimelineId, Timestamp,
    };

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
        let series = WalSeries {
            namespace: "demo.x".parse().unwrap(),
            incarnation: IncarnationId::from_bytes([0xcd; 16]),
            shard: ShardId(7),
            timeline: TimelineId::from_bytes([0xef; 16]),
        };
        for (first, merged) in [(0, None), (41, Some(42)), (0, Some(7)), (u64::MAX, None)] {
            let part = WalPart { first, merged };
            let name = wal_part(&series, part);
            assert_eq!(parse_wal(&name), Some((series.clone(), part)));
        }
        for n in [0, 1, u64::MAX] {
            assert_eq!(parse_epoch(&epoch(Epoch(n))), Some(Epoch(n)));
        }
        let (id, longest) = ("ab".repeat(16), "h".repeat(63));
        for holder in ["a", "ops-de_1.x", &longest] {
            let name = KeyName::Further {
                fingerprint: "0123456789abcdef".to_owned(),
                holder: holder.parse().unwrap(),
            };
            for found in [key_file(&id, &name), key_file_copy(&id, &name)] {
                assert_eq!(parse_key_file(&found), Some(name.clone()));
            }
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
        let uid = "ab".repeat(16);
        for other in [
            format!("wal/demo/{uid}/0/{uid}/41"),
            format!("wal/demo/{uid}/00/{uid}/{:020}", 41),
            format!("wal/demo/{uid}/0/{:020}", 41),
            format!("wal/demo/{uid}/0/{uid}/{:020}-{:020}", 41, 41),
            format!("wal/demo/{uid}/0/{uid}/{:020}-42", 41),
        ] {
            assert_eq!(parse_wal(&key(&other)), None, "{other}");
        }
        for other in [
            key_file(&id[..32], &KeyName::First).as_str(),
            "keys/0123456789abcdef-.json",
            "keys/0123456789abcdef.json",
            "keys/0123456789abcdeg-a.json",
            "keys/0123456789abcdef-a.txt",
        ] {
            assert_eq!(parse_key_file(&key(other)), None, "{other}");
        }
    }
}
