//! What the parts of a first capture cost each, on one thread and on the same bytes: the serial bound.
//!
//! What agent and coordinator need together can't be less than the sum of the first three; the rest is what a
//! coordinator does in addition because it believes no agent.

use crate::cost;
use crate::engine::files_below;
use anyhow::Result;
use bytes::Bytes;
use fs_err as fs;
use holdfast_archive::pack::PackSize;
use holdfast_archive::{
    ChunkEvent, ChunkKey, Codec, Decoder, Encoder, FileChunker, MasterKey, PackBuilder, classify,
};
use holdfast_types::{ChunkId, Epoch};
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Seconds of processor time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    /// Bytes of the files.
    pub(crate) bytes: u64,
    /// Cut into chunks, zeros apart, and hash.
    pub(crate) cut_and_hash: f64,
    /// Probe a sample, and compress what is worth it.
    pub(crate) encode: f64,
    /// Seal and pack, and hash the pack.
    pub(crate) seal: f64,
    /// Read the files.
    pub(crate) read: f64,
    /// Write what was sealed, and sync it.
    pub(crate) write: f64,
    /// Decode and hash again, which the coordinator does.
    pub(crate) verify: f64,
    /// Bytes as encoded.
    pub(crate) encoded_bytes: u64,
}

/// Encoded bytes of a pack.
const PACK_BYTES: usize = 32 << 20;

/// Measures all parts on the files below a folder. Memory: the largest file, twice.
pub(crate) fn measure(folder: &Path) -> Result<Parts> {
    let key = ChunkKey::from_bytes([7; 32]);
    let mut parts = Parts::default();
    let mut encoder = Encoder::new();
    let mut packs = Packs::default();
    for (path, name) in files_below(folder)? {
        parts.read += cost::of(|| read(&path))?.1.cpu;
        let bytes = fs::read(path)?;
        parts.bytes += bytes.len() as u64;
        let (chunks, cut) = cost::of(|| Ok(cut(&key, &name, &bytes)))?;
        parts.cut_and_hash += cut.cpu;
        let (encoded, encode) = cost::of(|| {
            Ok(chunks
                .iter()
                .map(|(id, plain)| {
                    let (codec, data) = encoder.encode(plain);
                    (*id, codec, plain.len(), Bytes::copy_from_slice(data))
                })
                .collect::<Vec<_>>())
        })?;
        parts.encode += encode.cpu;
        parts.encoded_bytes += encoded
            .iter()
            .map(|chunk| chunk.3.len() as u64)
            .sum::<u64>();
        parts.seal += cost::of(|| packs.take(&encoded))?.1.cpu;
        parts.write += cost::of(|| packs.write())?.1.cpu;
        parts.verify += cost::of(|| verify(&key, &encoded))?.1.cpu;
    }
    parts.seal += cost::of(|| packs.finish())?.1.cpu;
    parts.write += cost::of(|| packs.write())?.1.cpu;
    Ok(parts)
}

type Plain = (ChunkId, Vec<u8>);
type Encoded = (ChunkId, Codec, usize, Bytes);

fn cut(key: &ChunkKey, name: &str, bytes: &[u8]) -> Vec<Plain> {
    let mut chunks = Vec::new();
    let mut take =
        |ChunkEvent::Chunk { id, plain }: ChunkEvent<'_>| chunks.push((id, plain.to_vec()));
    let mut chunker = FileChunker::new(classify(name), key.clone());
    for piece in bytes.chunks(1 << 20) {
        chunker.push(piece, &mut take);
    }
    chunker.finish(&mut take);
    chunks
}

fn verify(key: &ChunkKey, encoded: &[Encoded]) -> Result<()> {
    let mut decoder = Decoder::new();
    for (id, codec, len, data) in encoded {
        let plain = decoder.decode(*codec, data, *len)?;
        anyhow::ensure!(key.id(plain) == *id, "chunk {id} decodes to something else");
    }
    Ok(())
}

/// Reads a file piece by piece, as a capture does.
fn read(path: &Path) -> Result<()> {
    let mut file = fs::File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

#[derive(Default)]
struct Packs {
    open: Option<PackBuilder>,
    number: u8,
    sealed: Vec<Vec<u8>>,
    /// Memory of packs that were written.
    used: Vec<Vec<u8>>,
}

impl Packs {
    fn take(&mut self, encoded: &[Encoded]) -> Result<()> {
        for (id, codec, len, data) in encoded {
            if self
                .open
                .as_ref()
                .is_some_and(|pack| pack.len() + data.len() > PACK_BYTES)
            {
                self.finish()?;
            }
            let number = self.number;
            let pack = self.open.get_or_insert_with(|| {
                PackBuilder::new(Epoch(1), [number; 32], &MasterKey::from_bytes([9; 32]))
            });
            pack.add(*id, *codec, u32::try_from(*len)?, data.clone())?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.number = self.number.wrapping_add(1);
        if let Some(pack) = self.open.take() {
            let memory = self.used.pop().unwrap_or_default();
            self.sealed
                .push(pack.finish_into(memory, PackSize::Rest { spread: 0 }).bytes);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        for pack in self.sealed.drain(..) {
            let mut file = tempfile::tempfile()?;
            file.write_all(&pack)?;
            file.sync_all()?;
            self.used.push(pack);
        }
        Ok(())
    }
}
