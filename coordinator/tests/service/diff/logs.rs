//! Logs of crafted operations, put straight into the archive.

use holdfast_archive::{WalFrame, WalLook, WalObject, WalOrigin};
use holdfast_coordinator::core::Core;
use holdfast_types::{IncarnationId, ShardId, TimelineId, Timestamp};
use holdfast_wal::format::entry_crc;

/// Seconds of this day.
pub(super) fn at(seconds: i64) -> i64 {
    (1_795_000_000 + seconds) * 1_000_000
}

pub(super) fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_micros(at(seconds))
}

/// CBOR, as much as the operations take: texts and arrays below 24 bytes or items, numbers below 256.
fn text(text: &str, out: &mut Vec<u8>) {
    out.push(0x60 | u8::try_from(text.len()).unwrap());
    out.extend_from_slice(text.as_bytes());
}

fn ids(ids: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | u8::try_from(ids.len()).unwrap());
    for id in ids {
        out.extend_from_slice(&[0x18, *id]);
    }
}

pub(super) fn delete(points: &[u8]) -> Vec<u8> {
    let mut out = vec![0xa1];
    text("delete_points", &mut out);
    out.push(0xa1);
    text("ids", &mut out);
    ids(points, &mut out);
    out
}

pub(super) fn clear(points: &[u8]) -> Vec<u8> {
    let mut out = vec![0xa1];
    text("clear_payload", &mut out);
    out.push(0xa1);
    text("points", &mut out);
    ids(points, &mut out);
    out
}

/// Of whatever has this id.
pub(super) fn delete_by_filter(id: u8) -> Vec<u8> {
    let mut out = vec![0xa1];
    text("delete_points_by_filter", &mut out);
    out.push(0xa1);
    text("must", &mut out);
    out.extend_from_slice(&[0x81, 0xa1]);
    text("has_id", &mut out);
    ids(&[id], &mut out);
    out
}

pub(super) fn drop_index(field: &str) -> Vec<u8> {
    let mut out = vec![0xa1];
    text("delete_index", &mut out);
    text(field, &mut out);
    out
}

pub(super) fn rename() -> Vec<u8> {
    let mut out = vec![0xa1];
    text("rename_points", &mut out);
    out.push(0xf6);
    out
}

/// A log of `docs` on n1: each operation with the second by which it was seen, half a second after it was looked for.
pub(super) struct Log {
    shard: u32,
    timeline: u8,
    because: &'static str,
    crc: u32,
    next: u64,
    first: u64,
}

impl Log {
    pub(super) fn new(shard: u32, timeline: u8, first: u64, because: &'static str) -> Self {
        Self {
            shard,
            timeline,
            because,
            crc: 0,
            next: first,
            first,
        }
    }

    fn part(&mut self, core: &Core, looks: &[(i64, Vec<u8>)]) -> WalObject {
        let (first, before) = (self.next, self.crc);
        let looks = looks.iter().map(|(by, data)| {
            let seed = (self.next == self.first).then_some(77);
            self.crc = entry_crc(seed.unwrap_or(self.crc), data);
            self.next += 1;
            WalLook {
                after: Timestamp::from_micros(at(*by) - 500_000),
                by: instant(*by),
                frames: vec![WalFrame {
                    seed,
                    crc: self.crc,
                    data: data.clone(),
                }],
            }
        });
        let looks: Vec<WalLook> = looks.collect();
        let begins = first == self.first;
        let origin = WalOrigin {
            namespace: core.namespace.clone(),
            node: "n1".parse().unwrap(),
            server_version: "1.18.3".parse().unwrap(),
            collection: "docs".parse().unwrap(),
            incarnation: IncarnationId::from_bytes([9; 16]),
            shard: ShardId(self.shard),
            timeline: TimelineId::from_bytes([self.timeline; 16]),
            because: begins.then(|| self.because.to_owned()),
        };
        WalObject::new(origin, first, (!begins).then_some(before), looks).unwrap()
    }

    pub(super) async fn append(&mut self, core: &Core, looks: &[(i64, Vec<u8>)]) {
        let part = self.part(core, looks);
        let appended = core.repository.append_wal(core.epoch, part).await;
        appended.unwrap();
    }
}
