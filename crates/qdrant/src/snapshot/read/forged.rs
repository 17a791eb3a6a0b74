//! Archives whose headers lie, with right checksums: a flipped byte alone never gets past the checksum,
//! a faulty or hostile server does.
//!
//! Whatever the fields say, the reader ends with a named error or with files that are those of the
//! archive; it never panics, and never hands over more data than the archive has.

use crate::fixture::{Files, flat, nested, sample};
use crate::snapshot::{FileSink, read_shard_snapshot};
use crate::tar::BLOCK;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Longest file that is compared, in bytes; forged ones can be of any size, all of it holes.
const MAX_COMPARED: u64 = 1 << 20;

/// Offset and length of the fields that are forged: POSIX.1-1988 and the GNU tar manual.
const NAME: (usize, usize) = (0, 100);
const SIZE: (usize, usize) = (124, 12);
const TYPE: (usize, usize) = (156, 1);
const MAGIC: (usize, usize) = (257, 8);
const PREFIX: (usize, usize) = (345, 155);
const SPARSE: (usize, usize) = (386, 96);
const EXTENDED: (usize, usize) = (482, 1);
const REAL_SIZE: (usize, usize) = (483, 12);
const CHECKSUM: (usize, usize) = (148, 8);

/// What one header is made to say.
#[derive(Clone, Debug)]
struct Forgery {
    header: prop::sample::Index,
    field: (usize, usize),
    at: usize,
    value: Vec<u8>,
}

fn numbers() -> impl Strategy<Value = Vec<u8>> {
    let of_note = prop::sample::select(vec![
        0,
        1,
        511,
        512,
        513,
        1024,
        4096,
        65_536,
        80_000,
        0o77_777_777_777,
    ]);
    let octal =
        prop_oneof![of_note, 0_u64..200_000].prop_map(|n| format!("{n:011o}\0").into_bytes());
    // Base 256: the first byte has the top bit, and the number may be as large as a u64.
    let binary = any::<u64>().prop_map(|n| [&[0x80, 0, 0, 0][..], &n.to_be_bytes()].concat());
    let odd = proptest::collection::vec(any::<u8>(), 12);
    prop_oneof![4 => octal, 2 => binary, 1 => odd]
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    let of_note = prop::sample::select(vec![
        "../x\0",
        "/etc/passwd\0",
        "\0",
        "segments/\0",
        "shard_config.json\0",
        "wal/closed-23\0",
        "segments/0f2b6d1e-93c4-4c0a-9a55-2f60b8f7c001.tar\0",
        "././@LongLink\0",
        "ustar\x0000",
        "ustar  \0",
    ]);
    let odd = proptest::collection::vec(any::<u8>(), 1..100);
    prop_oneof![3 => of_note.prop_map(|text| text.as_bytes().to_vec()), 1 => odd]
}

fn forgeries() -> impl Strategy<Value = Vec<Forgery>> {
    let number = (
        prop::sample::select(vec![SIZE, REAL_SIZE]),
        Just(0),
        numbers(),
    );
    // Offsets and lengths of the four regions.
    let region = (Just(SPARSE), (0_usize..8).prop_map(|n| n * 12), numbers());
    let text = (
        prop::sample::select(vec![NAME, MAGIC, PREFIX]),
        Just(0),
        texts(),
    );
    let kinds = prop::sample::select(b"\x0001234567gxLKSVDN".to_vec());
    let kind = (Just(TYPE), Just(0), kinds.prop_map(|kind| vec![kind]));
    let extended = (
        Just(EXTENDED),
        Just(0),
        (0_u8..2).prop_map(|flag| vec![flag]),
    );
    let what = prop_oneof![number, region, text, kind, extended];
    let one =
        (any::<prop::sample::Index>(), what).prop_map(|(header, (field, at, value))| Forgery {
            header,
            field,
            at,
            value,
        });
    proptest::collection::vec(one, 1..4)
}

/// Where headers stand, those of archives in archives included.
fn headers(archive: &[u8]) -> Vec<usize> {
    let blocks = (0..archive.len() / BLOCK).map(|n| n * BLOCK);
    let is_header = |at: &usize| {
        let block = &archive[*at..at + BLOCK];
        block[257..262] == *b"ustar" && recorded(block) == Some(checksum(block))
    };
    blocks.filter(is_header).collect()
}

/// The checksum that a header has.
fn recorded(block: &[u8]) -> Option<u32> {
    let field = std::str::from_utf8(&block[CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1]).ok()?;
    u32::from_str_radix(field.trim_matches(['\0', ' ']), 8).ok()
}

/// The checksum that it should have.
fn checksum(block: &[u8]) -> u32 {
    let (at, len) = CHECKSUM;
    let field = at..at + len;
    let bytes = block.iter().enumerate();
    bytes
        .map(|(i, byte)| u32::from(if field.contains(&i) { b' ' } else { *byte }))
        .sum()
}

/// The archive with forged headers, and how many of them there are.
fn forge(mut archive: Vec<u8>, forgeries: &[Forgery]) -> Vec<u8> {
    let headers = headers(&archive);
    for forgery in forgeries {
        let start = headers[forgery.header.index(headers.len())];
        let block = &mut archive[start..start + BLOCK];
        let (field, len) = forgery.field;
        let value = &forgery.value[..forgery.value.len().min(len - forgery.at)];
        block[field + forgery.at..][..value.len()].copy_from_slice(value);
        let sum = format!("{:06o}\0 ", checksum(block));
        block[CHECKSUM.0..CHECKSUM.0 + 8].copy_from_slice(sum.as_bytes());
    }
    archive
}

/// Counts what it gets and keeps small files; a hole takes no memory until its file is known to be small.
#[derive(Default)]
struct CountingSink {
    files: BTreeMap<String, (u64, Vec<u8>)>,
    open: Option<(String, u64, u64)>,
    data: u64,
}

impl CountingSink {
    fn take(&mut self, len: u64, bytes: Option<&[u8]>) {
        let (path, size, received) = self.open.as_mut().expect("a file is open");
        *received = received.checked_add(len).expect("no file has 2^64 bytes");
        assert!(*received <= *size, "{path} gets more than was announced");
        if *size <= MAX_COMPARED {
            let content = &mut self.files.get_mut(path).unwrap().1;
            match bytes {
                Some(bytes) => content.extend_from_slice(bytes),
                None => content.resize(content.len() + usize::try_from(len).unwrap(), 0),
            }
        }
    }
}

impl FileSink for CountingSink {
    type Error = Infallible;

    fn begin(&mut self, path: &str, size: u64) -> Result<(), Infallible> {
        let safe = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        assert!(safe, "{path:?} must not be joined to a folder");
        let before = self.files.insert(path.to_owned(), (size, Vec::new()));
        assert!(before.is_none(), "{path} comes twice");
        self.open = Some((path.to_owned(), size, 0));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.data += bytes.len() as u64;
        self.take(bytes.len() as u64, Some(bytes));
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> Result<(), Infallible> {
        self.take(len, None);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Infallible> {
        let (path, size, received) = self.open.take().expect("a file is open");
        assert_eq!(received, size, "{path}");
        Ok(())
    }
}

fn check(archive: &[u8], files: &Files, forged: usize) {
    let mut sink = CountingSink::default();
    let result = read_shard_snapshot(archive, &mut sink);
    assert!(
        sink.data <= archive.len() as u64,
        "more data than the archive has"
    );
    match result {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(contents) => {
            assert_eq!(contents.files, sink.files.len() as u64);
            // A forged header can change its own file, and, as a long name, the next one's path.
            let differs = |path: &str, (size, content): &(u64, Vec<u8>)| {
                files
                    .get(path)
                    .is_some_and(|want| *size != want.len() as u64 || content != want)
            };
            let changed = sink.files.iter();
            let changed = changed.filter(|(path, file)| differs(path, file)).count();
            assert!(
                changed <= 2 * forged,
                "{changed} files changed by {forged} headers"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn forged_headers_are_refused_or_change_their_own_file_only(forgeries in forgeries()) {
        let files = sample();
        for archive in [flat(&files), nested(&files)] {
            check(&forge(archive, &forgeries), &files, forgeries.len());
        }
    }
}

#[test]
fn what_is_not_forged_is_read_whole() {
    let files = sample();
    for archive in [flat(&files), nested(&files)] {
        assert!(headers(&archive).len() > files.len());
        check(&archive, &files, 0);
        let same = forge(archive.clone(), &[]);
        assert!(same == archive);
    }
}
