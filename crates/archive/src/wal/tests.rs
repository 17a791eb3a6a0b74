//! Parts of archived logs: round trips, what is refused, and the bytes for ever.

use super::{WalFrame, WalLook, WalObject, WalObjectError, WalOrigin};
use crate::{MasterKey, ObjectKind, sealed};
use holdfast_types::{Epoch, IncarnationId, ShardId, TimelineId, Timestamp};
use holdfast_wal::format::entry_crc;
use proptest::prelude::*;

fn origin() -> WalOrigin {
    WalOrigin {
        namespace: "demo".parse().unwrap(),
        node: "n1".parse().unwrap(),
        server_version: "1.18.3".parse().unwrap(),
        collection: "docs".parse().unwrap(),
        incarnation: IncarnationId::from_bytes([1; 16]),
        shard: ShardId(2),
        timeline: TimelineId::from_bytes([3; 16]),
        because: None,
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Looks with entries of these data; every third entry begins a file.
fn looks(before: Option<u32>, data: &[Vec<Vec<u8>>]) -> Vec<WalLook> {
    let mut chain = before;
    let mut n = 0_u32;
    let mut frame = |data: &Vec<u8>| {
        let seed = (chain.is_none() || n % 3 == 2).then_some(n);
        n += 1;
        let crc = entry_crc(seed.or(chain).unwrap(), data);
        chain = Some(crc);
        WalFrame {
            seed,
            crc,
            data: data.clone(),
        }
    };
    let look = |(k, data): (i64, &Vec<Vec<u8>>)| WalLook {
        after: at(k * 100),
        by: at(k * 100 + 130),
        frames: data.iter().map(&mut frame).collect(),
    };
    (0..).zip(data).map(look).collect()
}

fn sample() -> WalObject {
    let data = [vec![b"one".to_vec(), b"".to_vec()], vec![vec![9; 40]]];
    WalObject::new(origin(), 41, None, looks(None, &data)).unwrap()
}

#[test]
fn an_object_says_what_is_in_it() {
    let object = sample();
    let run = object.run();
    assert_eq!((run.first, run.next, run.before), (41, 44, None));
    assert_eq!((run.after, run.by), (at(0), at(230)));
    let frames: Vec<_> = object
        .frames()
        .map(|(i, look, f)| (i, look.by, f.data.len()))
        .collect();
    assert_eq!(
        frames,
        [(41, at(130), 3), (42, at(130), 0), (43, at(230), 40)]
    );
    assert_eq!(run.end, object.looks()[1].frames[0].crc);
}

#[test]
fn what_is_no_run_of_entries_is_refused() {
    let fresh = || {
        looks(
            None,
            &[
                vec![b"a".to_vec(), b"b".to_vec()],
                vec![b"c".to_vec(), b"d".to_vec()],
            ],
        )
    };
    let new = |looks| WalObject::new(origin(), 0, None, looks).map(drop);
    assert_eq!(new(fresh()), Ok(()));
    let broken = |change: fn(&mut Vec<WalLook>)| {
        let mut looks = fresh();
        change(&mut looks);
        new(looks).unwrap_err()
    };
    let chain = WalObjectError::Chain;
    assert_eq!(broken(|l| l[0].frames[1].data[0] ^= 1), chain(1));
    assert_eq!(broken(|l| l[1].frames[0].crc ^= 1), chain(2));
    assert_eq!(
        broken(|l| drop(l[1].frames.remove(0))),
        chain(2),
        "one is missing"
    );
    let damaged = |error| matches!(error, WalObjectError::Damaged(_));
    assert!(damaged(broken(|l| l[0].frames[0].seed = None)));
    assert!(damaged(broken(|l| l[1].after = at(-1))));
    assert!(damaged(broken(|l| l[0].after = at(101))), "looks go back");
    assert!(damaged(broken(|l| l[1].by = at(99))));
    assert!(damaged(broken(|l| l[0].frames.clear())));
    assert!(damaged(broken(Vec::clear)));
}

#[test]
fn gaps_between_objects_are_told() {
    let first = sample();
    let end = first.run().end;
    let later = |from, before| {
        let looks = looks(before, &[vec![b"more".to_vec()]]);
        WalObject::new(origin(), from, before, looks).unwrap()
    };
    assert_eq!(later(44, Some(end)).follows(&first), Ok(()));
    let gap = WalObjectError::Gap {
        expected: 44,
        found: 45,
    };
    assert_eq!(later(45, Some(end)).follows(&first), Err(gap));
    let other = later(44, Some(end ^ 1)).follows(&first);
    assert_eq!(other, Err(WalObjectError::Chain(44)));
    assert_eq!(
        later(44, None).follows(&first),
        Err(WalObjectError::Chain(44))
    );
    let mut elsewhere = later(44, Some(end));
    elsewhere.origin.timeline = TimelineId::from_bytes([4; 16]);
    assert_eq!(
        elsewhere.follows(&first),
        Err(WalObjectError::OtherTimeline)
    );
}

#[test]
fn parts_that_follow_become_one_that_says_the_same() {
    let first = sample();
    let end = Some(first.run().end);
    // The clock was set back: its looks begin at 0 again.
    let part = |origin: WalOrigin, first, before| {
        let looks = looks(before, &[vec![b"two".to_vec()], vec![b"x".to_vec()]]);
        WalObject::new(origin, first, before, looks).unwrap()
    };
    let second = part(origin(), 44, end);
    let joined = WalObject::join(vec![first.clone(), second.clone()]).unwrap();
    let run = joined.run();
    assert_eq!((run.first, run.next, run.end), (41, 46, second.run().end));
    let instants = joined.looks().iter().map(|look| (look.after, look.by));
    let stands = (at(100), at(230));
    assert!(instants.eq([(at(0), at(130)), stands, stands, stands]));
    // It is one that could have been written as it is.
    let read = WalObject::decode(&joined.encode().unwrap());
    assert_eq!(read, Ok(joined));

    let updated = WalOrigin {
        server_version: "1.18.4".parse().unwrap(),
        ..origin()
    };
    let other = WalObject::join(vec![first.clone(), part(updated, 44, end)]);
    assert_eq!(other, Err(WalObjectError::OtherVersion(44)));
    let gap = WalObject::join(vec![first, part(origin(), 45, end)]);
    assert!(matches!(gap, Err(WalObjectError::Gap { .. })), "{gap:?}");
    assert!(WalObject::join(Vec::new()).is_err());
}

#[test]
fn every_flipped_bit_and_every_cut_is_an_error_or_is_seen() {
    let object = sample();
    let good = object.encode().unwrap();
    assert_eq!(WalObject::decode(&good), Ok(object.clone()));
    for at in 0..good.len() {
        assert!(WalObject::decode(&good[..at]).is_err(), "{at}");
        for bit in [1, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            // What an attacker could change is sealed; a flip may at most change words of the description,
            // or an instant between the first and the last.
            if let Ok(read) = WalObject::decode(&bad) {
                let frames = |o: &WalObject| o.frames().map(|f| f.2.clone()).collect::<Vec<_>>();
                assert_eq!(frames(&read), frames(&object), "{at}");
                assert_eq!(read.run(), object.run(), "{at}");
            }
        }
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(WalObject::decode(&longer).is_err());
    let newer = [&[2, 0], &good[2..]].concat();
    assert_eq!(
        WalObject::decode(&newer),
        Err(WalObjectError::NewerFormat(2))
    );
}

/// Written once by version 0.1.0: it must be read for ever.
#[test]
fn golden_payload() {
    let mut first = origin();
    first.because = Some("first seen".to_owned());
    let data = [vec![b"one".to_vec(), b"".to_vec()], vec![vec![9; 4]]];
    let object = WalObject::new(first, 41, None, looks(None, &data)).unwrap();
    let golden = hex::decode(GOLDEN).unwrap();
    assert_eq!(WalObject::decode(&golden).as_ref(), Ok(&object));
    let payload = object.encode().unwrap();
    assert_eq!(hex::encode(&payload), hex::encode(golden));
    let master = MasterKey::from_bytes([7; 32]);
    let sealed = sealed::seal(ObjectKind::Wal, Epoch(2), [3; 32], &master, &payload).unwrap();
    let opened = sealed::open(&sealed, ObjectKind::Wal, &master).unwrap();
    assert_eq!(WalObject::decode(&opened.payload), Ok(object));
}

const GOLDEN: &str = "0100350100007b226e616d657370616365223a2264656d6f222c226e6f6465223a226e31222c227365727665725f76657273\
    696f6e223a22312e31382e33222c22636f6c6c656374696f6e223a22646f6373222c22696e6361726e6174696f6e223a2230\
    31303130313031303130313031303130313031303130313031303130313031222c227368617264223a322c2274696d656c69\
    6e65223a223033303330333033303330333033303330333033303330333033303330333033222c2262656361757365223a22\
    6669727374207365656e222c226669727374223a34312c226e657874223a34342c22656e64223a323838343539363536342c\
    226166746572223a22313937302d30312d30315430303a30303a30305a222c226279223a22313937302d30312d3031543030\
    3a30303a30302e30303032335a227d02000000000000000000000082000000000000000200000001000000005d7cdf2d0300\
    00006f6e650033c45db3000000006400000000000000e6000000000000000100000001020000005473efab04000000090909\
    09";

proptest! {
    #[test]
    fn any_entries_round_trip(
        data in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..5), 1..6),
        first in 0u64..1 << 60,
        before: Option<u32>,
    ) {
        let object = WalObject::new(origin(), first, before, looks(before, &data)).unwrap();
        let payload = object.encode().unwrap();
        prop_assert_eq!(WalObject::decode(&payload), Ok(object));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), sound: bool) {
        if sound && bytes.len() > 2 {
            bytes[..2].copy_from_slice(&[1, 0]);
        }
        let _ = WalObject::decode(&bytes);
    }

    /// The beginning of a real object gets further into the reader than noise does.
    #[test]
    fn noise_behind_a_description_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let good = sample().encode().unwrap();
        let len = 6 + u32::from_le_bytes(good[2..6].try_into().unwrap()) as usize;
        let _ = WalObject::decode(&[&good[..len], &bytes].concat());
    }
}
