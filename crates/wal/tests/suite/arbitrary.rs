//! A tail that is given nonsense, as a fuzzer would: it neither panics nor runs for ever, and what it yields is chained.

use holdfast_wal::{Event, FileId, FileName, Listed, Listing, Position, Tail, Want};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Answer {
    Listing(Listing),
    Bytes(Vec<u8>),
    Wake,
}

fn file() -> impl Strategy<Value = FileId> {
    (0u64..4).prop_map(|inode| FileId { device: 1, inode })
}

fn listing() -> impl Strategy<Value = Listing> {
    let index = prop_oneof![4 => 0u64..5, 1 => any::<u64>()];
    let name = prop_oneof![
        index.clone().prop_map(FileName::Closed),
        index.prop_map(FileName::Open)
    ];
    let len = prop_oneof![0u64..200, any::<u64>()];
    let listed = (name, file(), len).prop_map(|(name, file, len)| Listed { name, file, len });
    let files = proptest::collection::vec(listed, 0..5);
    let dir = prop_oneof![9 => Just(9u64), 1 => Just(10)];
    (dir, files).prop_map(|(inode, files)| Listing {
        dir: FileId { device: 1, inode },
        files,
    })
}

/// Noise, or a file with a few entries and some noise behind them.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..60);
    let entries = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..4);
    (any::<bool>(), 0u32..2, entries, noise).prop_map(|(sound, seed, entries, noise)| {
        let mut bytes = Vec::new();
        if sound {
            bytes.extend(holdfast_wal::format::header(seed));
            let mut crc = seed;
            for data in entries {
                crc = holdfast_wal::format::push_entry(crc, &data, &mut bytes);
            }
        }
        bytes.extend(noise);
        bytes
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        listing().prop_map(Answer::Listing),
        bytes().prop_map(Answer::Bytes),
        Just(Answer::Wake)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn answers_of_any_kind_in_any_order(answers in proptest::collection::vec(answer(), 0..80), resumed in any::<Option<(u64, u32)>>()) {
        let mut tail = resumed.map_or_else(Tail::new, |(next, crc)| Tail::resume(Position { next, crc }));
        for answer in answers {
            let _ = (tail.want(), tail.caught_up());
            match answer {
                Answer::Listing(listing) => tail.listed(listing),
                Answer::Bytes(bytes) => tail.read(&bytes),
                Answer::Wake => tail.wake(),
            }
            check(&mut tail);
        }
    }

    /// Served as it wishes, with the same nonsense again and again, every poll comes to an end.
    #[test]
    fn a_poll_ends_whatever_it_is_given(
        listings in proptest::collection::vec(listing(), 1..4),
        contents in proptest::collection::vec(bytes(), 4),
        resumed in any::<Option<(u64, u32)>>(),
    ) {
        let mut tail = resumed.map_or_else(Tail::new, |(next, crc)| Tail::resume(Position { next, crc }));
        let mut listed = 0;
        for _ in 0..3 {
            let mut steps = 0;
            while tail.want() != Want::Wait {
                match tail.want() {
                    Want::List => {
                        listed += 1;
                        tail.listed(listings[listed % listings.len()].clone());
                    }
                    Want::Read { file, offset, len } => {
                        let content = &contents[usize::try_from(file.inode).unwrap()];
                        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                        tail.read(&content[begin..begin.saturating_add(len).min(content.len())]);
                    }
                    Want::Wait => {}
                }
                check(&mut tail);
                steps += 1;
                prop_assert!(steps < 300, "the poll does not end");
            }
            tail.wake();
        }
    }
}

fn check(tail: &mut Tail) {
    for event in tail.events() {
        if let Event::Frame(frame) = event {
            let crc = holdfast_wal::format::entry_crc(frame.before, &frame.data);
            assert_eq!(crc, frame.crc);
        }
    }
}
