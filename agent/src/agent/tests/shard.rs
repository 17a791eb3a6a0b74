//! A shard's files, as an archive that the real reader accepts.

use holdfast_qdrant::{ArchiveFile, ComposedArchive, FileSink, read_shard_snapshot};
use std::collections::BTreeMap;

/// Path → content.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

const SEGMENT: &str = "segments/0f2b6d1e-93c4-4c0a-9a55-2f60b8f7c001";

/// A shard with `mib` MiB of incompressible vectors made from `seed`, a hole among them, and some text.
pub(crate) fn files(mib: usize, seed: u64) -> Files {
    let mut vectors = noise(mib << 20, seed);
    let quarter = vectors.len() / 4 / 65536 * 65536;
    vectors[quarter..quarter + 3 * 65536].fill(0);
    let payload = (0..40_000)
        .map(|i| format!("{{\"title\":\"document {i} of {seed}\"}}"))
        .collect::<String>();
    let small = [
        ("segment.json", &b"{\"version\":7}"[..]),
        ("version.info", b"0.6.0"),
    ];
    let mut files = Files::new();
    files.insert(
        format!("{SEGMENT}/vector_storage/vectors/chunk_0.mmap"),
        vectors,
    );
    files.insert(
        format!("{SEGMENT}/payload_storage/page_0.dat"),
        payload.into_bytes(),
    );
    for (name, content) in small {
        files.insert(format!("{SEGMENT}/{name}"), content.to_vec());
    }
    for (name, content) in [
        ("wal/closed-5", &b"wal\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]),
        ("replica_state.json", b"{\"is_local\":true}"),
        ("shard_config.json", b"{\"type\":\"ReplicaSet\"}"),
    ] {
        files.insert(name.to_owned(), content.to_vec());
    }
    files
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// The files as a flat archive.
pub(crate) fn archive(files: &Files) -> Vec<u8> {
    let plan = files
        .iter()
        .map(|(path, content)| ArchiveFile::dense(path, content.len() as u64))
        .collect();
    let plan = ComposedArchive::new(plan).unwrap();
    let mut writer = plan.writer(Vec::new());
    for file in plan.files() {
        writer.begin(file.path(), file.size()).unwrap();
        writer.data(&files[file.path()]).unwrap();
        writer.end().unwrap();
    }
    writer.finish().unwrap()
}

/// The files in an archive.
pub(super) fn unpack(archive: &[u8]) -> Files {
    let mut sink = Unpacked::default();
    read_shard_snapshot(archive, &mut sink).unwrap();
    sink.files
}

#[derive(Default)]
struct Unpacked {
    files: Files,
    path: String,
    content: Vec<u8>,
}

impl FileSink for Unpacked {
    type Error = std::convert::Infallible;

    fn begin(&mut self, path: &str, _size: u64) -> Result<(), Self::Error> {
        path.clone_into(&mut self.path);
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> Result<(), Self::Error> {
        self.content
            .resize(self.content.len() + usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Self::Error> {
        let content = std::mem::take(&mut self.content);
        self.files.insert(std::mem::take(&mut self.path), content);
        Ok(())
    }
}
