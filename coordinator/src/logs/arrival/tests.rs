//! What is taken of an agent, and what is refused.

use super::{Arrival, End, LogId, MAX_LOOK_BYTES};
use holdfast_archive::WalFrame;
use holdfast_proto::v1;
use holdfast_types::{IncarnationId, ShardId, TimelineId};
use std::time::Instant;

fn arrival(end: Option<End>) -> Arrival {
    let id = LogId {
        node: "n1".parse().unwrap(),
        collection: "docs".parse().unwrap(),
        incarnation: IncarnationId::from_bytes([1; 16]),
        shard: ShardId(0),
    };
    let namespace = "demo".parse().unwrap();
    Arrival::new(id, namespace, "1.18.3".parse().unwrap(), end)
}

/// The head of a look and its bytes; each entry continues the CRC before, the first one has a seed if there is none.
fn look(
    timeline: u8,
    first: u64,
    before: Option<u32>,
    entries: &[&[u8]],
    at: i64,
) -> (v1::LogLook, Vec<u8>) {
    let mut chain = before;
    let mut bytes = Vec::new();
    for data in entries {
        let seed = chain.is_none().then_some(7);
        // The CRC of Qdrant's log, by another implementation than that of the code under test.
        let crc = holdfast_test_crc(seed.or(chain).unwrap(), data);
        let data = data.to_vec();
        WalFrame { seed, crc, data }.encode(&mut bytes).unwrap();
        chain = Some(crc);
    }
    let head = v1::LogLook {
        log: 0,
        timeline: vec![timeline; 16].into(),
        because: String::new(),
        first,
        before,
        after_us: at,
        by_us: at + 5,
        entries: u32::try_from(entries.len()).unwrap(),
        len: bytes.len() as u64,
    };
    (head, bytes)
}

/// Bit by bit, as in docs/format/wal.md.
fn holdfast_test_crc(before: u32, data: &[u8]) -> u32 {
    let mut bytes = (data.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len() + (4usize.wrapping_sub(data.len()) & 7), 0);
    let mut crc = !(!before.reverse_bits());
    for byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

fn send(arrival: &mut Arrival, (head, bytes): (v1::LogLook, Vec<u8>)) -> Result<End, String> {
    arrival.head(head).map_err(|refusal| refusal.0)?;
    let complete = arrival.bytes(&bytes, Instant::now());
    assert!(complete.map_err(|refusal| refusal.0)?);
    Ok(arrival.pending().back().unwrap().end)
}

#[test]
fn looks_become_one_part() {
    let mut arrival = arrival(None);
    let first = send(&mut arrival, look(1, 4, None, &[b"a", b"bb"], 10)).unwrap();
    let second = look(1, 6, Some(first.crc), &[b"ccc"], 20);
    let second = send(&mut arrival, second).unwrap();
    assert_eq!((second.next, arrival.pending().len()), (7, 1));
    let part = arrival.pending()[0].part().unwrap();
    assert_eq!((part.run().first, part.run().next), (4, 7));
    assert_eq!(End::of(&part), second);
    arrival.stored();
    // Another timeline is another part.
    send(&mut arrival, look(1, 7, Some(second.crc), &[b"d"], 30)).unwrap();
    send(&mut arrival, look(2, 0, None, &[b"e"], 1)).unwrap();
    assert_eq!(arrival.pending().len(), 2);
}

#[test]
fn only_what_goes_on_is_taken() {
    let durable = || {
        let mut first = arrival(None);
        send(&mut first, look(1, 0, None, &[b"a"], 10)).unwrap()
    };
    let end = durable();
    for (sent, why) in [
        (look(1, 2, Some(end.crc), &[b"b"], 20), "do not follow"),
        (look(1, 1, Some(end.crc ^ 1), &[b"b"], 20), "do not follow"),
        (look(2, 1, Some(end.crc), &[b"b"], 20), "do not follow"),
        (look(1, 1, None, &[b"b"], 20), "is there already"),
        (look(1, 1, Some(end.crc), &[b"b"], 9), "go back"),
        (look(1, 1, Some(end.crc), &[], 20), "at least one entry"),
    ] {
        let refused = send(&mut arrival(Some(end)), sent).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let goes_on = look(1, 1, Some(end.crc), &[b"b"], 20);
    send(&mut arrival(Some(end)), goes_on.clone()).unwrap();
    let refused = send(&mut arrival(None), goes_on).unwrap_err();
    assert!(refused.contains("nothing is stored"), "{refused}");
}

#[test]
fn what_is_not_what_it_says_is_refused() {
    let (head, bytes) = look(1, 0, None, &[b"abc", b"def"], 10);
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let refused = send(&mut arrival(None), (head.clone(), flipped)).unwrap_err();
    assert!(refused.contains("does not follow"), "{refused}");
    let mut one = arrival(None);
    one.head(head.clone()).unwrap();
    assert_eq!(one.bytes(&bytes[..3], Instant::now()), Ok(false));
    assert!(one.head(head.clone()).is_err(), "it is not complete");
    assert!(one.bytes(&bytes, Instant::now()).is_err(), "too many");
    assert!(one.pending().is_empty());
    assert!(arrival(None).bytes(&bytes, Instant::now()).is_err());
    let fewer = v1::LogLook {
        entries: 1,
        ..head.clone()
    };
    assert!(send(&mut arrival(None), (fewer, bytes)).is_err());
    let large = v1::LogLook {
        len: MAX_LOOK_BYTES + 1,
        ..head.clone()
    };
    assert!(arrival(None).head(large.clone()).is_err());
    let one = v1::LogLook {
        entries: 1,
        ..large
    };
    assert!(arrival(None).head(one).is_ok(), "one entry may be large");
    let short = v1::LogLook {
        timeline: vec![1; 15].into(),
        ..head
    };
    assert!(arrival(None).head(short).is_err());
}

#[test]
fn the_identity_of_a_timeline_is_that_of_its_bytes() {
    let mut one = arrival(None);
    let end = send(&mut one, look(9, 0, None, &[b"a"], 10)).unwrap();
    assert_eq!(end.timeline, TimelineId::from_bytes([9; 16]));
}
