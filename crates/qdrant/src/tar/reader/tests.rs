use super::{EntryKind, Piece, TarReader};
use crate::tar::{TarError, padding};
use std::os::unix::fs::FileExt;
use std::process::Command;

/// An entry as it stands in an archive, header by the `tar` crate.
fn entry(kind: u8, path: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(content.len() as u64);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(content);
    out.resize(out.len() + padding(content.len() as u64), 0);
    out
}

fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        out.extend(format!("{len} {key}={value}\n").bytes());
    }
    out
}

type Read = Vec<(String, EntryKind, Vec<u8>)>;

fn read(mut archive: &[u8]) -> Result<Read, TarError> {
    let mut tar = TarReader::new(&mut archive);
    let mut all = Vec::new();
    while let Some(entry) = tar.next_entry()? {
        let mut content = Vec::new();
        while let Some(piece) = tar.next_piece()? {
            match piece {
                Piece::Data(bytes) => content.extend_from_slice(bytes),
                Piece::Zeros(len) => {
                    content.resize(content.len() + usize::try_from(len).unwrap(), 0)
                }
            }
        }
        assert_eq!(content.len() as u64, entry.size);
        all.push((entry.path, entry.kind, content));
    }
    Ok(all)
}

fn with_trailer(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = parts.concat();
    out.resize(out.len() + 1024, 0);
    out
}

fn sparse_content() -> Vec<u8> {
    let mut want = vec![0; 5000];
    want[1024..1536].fill(1);
    want[4096..4100].fill(2);
    want
}

/// The three forms that GNU tar has had for sparse files in extended headers.
#[test]
fn sparse_maps_in_extended_headers() {
    let data = [vec![1; 512], vec![2; 4]].concat();
    let old = [
        ("GNU.sparse.size", "5000"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "1024"),
        ("GNU.sparse.numbytes", "512"),
        ("GNU.sparse.offset", "4096"),
        ("GNU.sparse.numbytes", "4"),
    ];
    let mapped = [
        ("GNU.sparse.size", "5000"),
        ("GNU.sparse.name", "real/name"),
        ("GNU.sparse.map", "1024,512,4096,4"),
    ];
    let in_data = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "real/name"),
        ("GNU.sparse.realsize", "5000"),
    ];
    let mut map_and_data = b"2\n1024\n512\n4096\n4\n".to_vec();
    map_and_data.resize(512, 0);
    map_and_data.extend(&data);
    for (pairs, content, path) in [
        (&old[..], &data, "f"),
        (&mapped, &data, "real/name"),
        (&in_data, &map_and_data, "real/name"),
    ] {
        let archive = with_trailer(&[entry(b'x', "x", &records(pairs)), entry(b'0', "f", content)]);
        let want = (path.to_owned(), EntryKind::File, sparse_content());
        assert_eq!(read(&archive).unwrap(), [want]);
        for cut in (0..archive.len()).step_by(100) {
            assert!(read(&archive[..cut]).is_err(), "{cut}");
        }
    }
}

#[test]
fn extended_headers_override_path_and_size() {
    let path = "p".repeat(300);
    let pairs = [("path", path.as_str()), ("size", "3")];
    let mut file = entry(b'0', "f", b"abc");
    file[124..136].copy_from_slice(b"00000000000\0"); // the size is only in the extended header
    let sum: u32 = file[..512]
        .iter()
        .enumerate()
        .map(|(i, b)| {
            if (148..156).contains(&i) {
                32
            } else {
                u32::from(*b)
            }
        })
        .sum();
    file[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let archive = with_trailer(&[
        entry(b'g', "g", &records(&[("comment", "x")])),
        entry(b'x', "x", &records(&pairs)),
        file,
    ]);
    assert_eq!(
        read(&archive).unwrap(),
        [(path, EntryKind::File, b"abc".to_vec())]
    );
}

#[test]
fn ustar_prefix_old_directories_and_empty_archive() {
    let mut header = tar::Header::new_ustar();
    let path = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    header.set_path(&path).unwrap();
    header.set_size(0);
    header.set_cksum();
    let archive = with_trailer(&[
        header.as_bytes().to_vec(),
        entry(0, "dir/", b""),
        entry(b'5', "d", b""),
    ]);
    assert_eq!(
        read(&archive).unwrap(),
        [
            (path, EntryKind::File, vec![]),
            ("dir/".to_owned(), EntryKind::Directory, vec![]),
            ("d".to_owned(), EntryKind::Directory, vec![]),
        ]
    );
    assert_eq!(read(&[0; 10_240]).unwrap(), []);
}

#[test]
fn broken_archives_are_refused() {
    let good = entry(b'0', "f", b"abc");
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    let forbidden = |kind| with_trailer(&[entry(kind, "l", b"")]);
    let sparse = |map: &str, size: &str| {
        let pairs = [("GNU.sparse.size", size), ("GNU.sparse.map", map)];
        with_trailer(&[entry(b'x', "x", &records(&pairs)), entry(b'0', "f", b"abc")])
    };
    let mut behind = with_trailer(std::slice::from_ref(&good));
    behind.push(1);
    for bad in [
        with_trailer(&[flipped]),
        [good.clone(), vec![0; 512], good.clone(), vec![0; 1024]].concat(),
        behind,
        forbidden(b'1'),
        forbidden(b'2'),
        forbidden(b'3'),
        forbidden(b'6'),
        sparse("0,3", "2"),
        sparse("0,2", "9"),
        sparse("5,1,2,2", "9"),
        sparse("5,3,9", "9"),
        sparse("0,18446744073709551615,1,4", "9"),
        with_trailer(&[entry(b'L', "././@LongLink", &[b'x'; 5000]), good.clone()]),
        with_trailer(&[entry(b'x', "x", b"12 nonsense\n"), good]),
    ] {
        let error = read(&bad).unwrap_err();
        assert!(
            matches!(error, TarError::Malformed(_) | TarError::Forbidden { .. }),
            "{error}"
        );
    }
}

/// Where GNU tar is installed: what it writes of a sparse file, in each of its formats, reads back.
#[test]
fn gnu_tar_s_sparse_formats() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = vec![0; 40 * 65_536];
    let file = std::fs::File::create(dir.path().join("f")).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for i in 0..40 {
        let at = i * 65_536 + 8192;
        content[at..at + 4096].fill(1);
        file.write_all_at(&[1; 4096], at as u64).unwrap();
    }
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let made = Command::new("tar")
            .args([
                "--create",
                "--sparse",
                "--hole-detection=raw",
                "--directory",
            ])
            .arg(dir.path())
            .args(format)
            .arg("f")
            .output();
        let archive = match made {
            Ok(output) if output.status.success() => output.stdout,
            Ok(_) | Err(_) => {
                println!("SKIPPED: no GNU tar here that knows {format:?}");
                continue;
            }
        };
        assert!(archive.len() < 1_000_000, "the archive is sparse");
        assert_eq!(
            read(&archive).unwrap(),
            [("f".to_owned(), EntryKind::File, content.clone())],
            "{format:?}"
        );
    }
}
