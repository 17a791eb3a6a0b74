//! How a chunk's bytes are encoded: stored, zstd, or byte planes with zstd for arrays of floats.
//!
//! A probe of a small sample chooses, so that incompressible data is never run through zstd. What
//! the encoder yields may differ between releases; only decoding is part of the format.

mod planes;
mod probe;

use crate::chunker::MAX_CHUNK_BYTES;
use probe::{Choice, Probe};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{self, CParameter, ParamSwitch};

/// Fast, yet with entropy coding of literals: negative levels leave floats as they are.
const ZSTD_LEVEL: i32 = 1;

/// One place in so many of a plane is looked at for a match.
const PLANE_STEP: u32 = 64;

/// Begins a frame with content (RFC 8878, 3.1.1); skippable frames begin otherwise.
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Chunks below this length in bytes are stored: the probe would cost more than it gains.
const MIN_ENCODED: usize = 128;

/// The number of an encoding, part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// The plain bytes.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
    /// Four byte planes (f32, u32), each stored or a zstd frame.
    Planes4Zstd = 2,
    /// Two byte planes (f16, u16), each stored or a zstd frame.
    Planes2Zstd = 3,
}

/// Why encoded bytes don't decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A codec number that is not in use.
    #[error("unknown codec {0}")]
    UnknownCodec(u32),
    /// The claimed plain length is 0 or above 1 MiB.
    #[error("a chunk of {0} bytes is empty or too long")]
    BadLength(usize),
    /// Writers store what does not shrink.
    #[error("{encoded_len} encoded bytes are more than the {plain_len} plain ones")]
    LongerThanPlain {
        /// Length as encoded.
        encoded_len: usize,
        /// Claimed plain length.
        plain_len: usize,
    },
    /// The bytes do not decode to the claimed length.
    #[error("encoded chunk is damaged")]
    Damaged,
    /// The decoder could not be set up.
    #[error("no memory for a decoder")]
    NoMemory,
}

impl Codec {
    /// The codec's number on disk and on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u32> for Codec {
    type Error = CodecError;
    fn try_from(number: u32) -> Result<Self, CodecError> {
        match number {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Zstd),
            2 => Ok(Self::Planes4Zstd),
            3 => Ok(Self::Planes2Zstd),
            _ => Err(CodecError::UnknownCodec(number)),
        }
    }
}

impl From<Codec> for u32 {
    fn from(codec: Codec) -> Self {
        Self::from(codec.number())
    }
}

/// Encodes chunks; reuse it, it keeps its buffers (about 4 MiB).
pub struct Encoder {
    /// `None` if zstd could not be set up: then everything is stored.
    zstd: Option<Compressors>,
    probe: Probe,
    planes: Vec<u8>,
    out: Vec<u8>,
}

struct Compressors {
    whole: Compressor<'static>,
    plane: Compressor<'static>,
}

impl Compressors {
    fn new() -> Option<Self> {
        let mut plane = Compressor::new(ZSTD_LEVEL).ok()?;
        // A plane of exponents has chance matches, which cost time and gain nothing over entropy coding: most
        // places aren't looked at. Long runs of equal bytes are still found.
        plane.set_parameter(CParameter::MinMatch(7)).ok()?;
        plane
            .set_parameter(CParameter::TargetLength(PLANE_STEP))
            .ok()?;
        // zstd takes such a step for a wish not to code literals either.
        plane
            .set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))
            .ok()?;
        Some(Self {
            whole: Compressor::new(ZSTD_LEVEL).ok()?,
            plane,
        })
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Makes an encoder; buffers grow with the first large chunk.
    #[must_use]
    pub fn new() -> Self {
        Self {
            zstd: Compressors::new(),
            probe: Probe::new(),
            planes: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Encodes a chunk. The result is never longer than `plain`, and is `plain` itself for
    /// [`Codec::Stored`].
    pub fn encode<'a>(&'a mut self, plain: &'a [u8]) -> (Codec, &'a [u8]) {
        let codec = match self.zstd.as_mut() {
            Some(zstd) if plain.len() >= MIN_ENCODED => {
                match self.probe.choose(plain, &mut zstd.whole) {
                    Choice::Stored => Codec::Stored,
                    Choice::Zstd => Codec::Zstd,
                    Choice::Planes4 => Codec::Planes4Zstd,
                    Choice::Planes2 => Codec::Planes2Zstd,
                }
            }
            Some(_) | None => Codec::Stored,
        };
        match self.encode_as(codec, plain) {
            Some(len) => (codec, &self.out[..len]),
            None => (Codec::Stored, plain),
        }
    }

    /// Encodes with one codec into `out`; `None` if that is not worth it.
    fn encode_as(&mut self, codec: Codec, plain: &[u8]) -> Option<usize> {
        let zstd = self.zstd.as_mut()?;
        // Less than a 32nd gained is not worth the decoding.
        let most = plain.len() - plain.len() / 32;
        if self.out.len() < plain.len() {
            self.out.resize(plain.len(), 0);
        }
        match codec {
            Codec::Stored => None,
            Codec::Zstd => zstd
                .whole
                .compress_to_buffer(plain, &mut self.out[..most])
                .ok(),
            Codec::Planes4Zstd => planes::encode::<4>(
                plain,
                &mut zstd.plane,
                &mut self.planes,
                &mut self.out[..most],
            ),
            Codec::Planes2Zstd => planes::encode::<2>(
                plain,
                &mut zstd.plane,
                &mut self.planes,
                &mut self.out[..most],
            ),
        }
    }
}

/// Decodes chunks; reuse it, it keeps its buffers (up to 2 MiB).
#[derive(Default)]
pub struct Decoder {
    zstd: Option<Decompressor<'static>>,
    planes: Vec<u8>,
    out: Vec<u8>,
}

impl Decoder {
    /// Makes a decoder; buffers grow with the first large chunk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes a chunk of exactly `plain_len` bytes. The result is not yet known to be right: hash it.
    ///
    /// # Errors
    /// A length of 0 or above 1 MiB, bytes that don't decode to exactly that length, or more of them
    /// than that.
    pub fn decode<'a>(
        &'a mut self,
        codec: Codec,
        data: &'a [u8],
        plain_len: usize,
    ) -> Result<&'a [u8], CodecError> {
        if plain_len == 0 || plain_len > MAX_CHUNK_BYTES {
            return Err(CodecError::BadLength(plain_len));
        }
        if data.len() > plain_len {
            return Err(CodecError::LongerThanPlain {
                encoded_len: data.len(),
                plain_len,
            });
        }
        if codec == Codec::Stored {
            return if data.len() == plain_len {
                Ok(data)
            } else {
                Err(CodecError::Damaged)
            };
        }
        if self.out.len() < plain_len {
            self.out.resize(plain_len, 0);
        }
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none @ None => none.insert(Decompressor::new().map_err(|_| CodecError::NoMemory)?),
        };
        let out = &mut self.out[..plain_len];
        let done = match codec {
            Codec::Stored => None,
            Codec::Zstd => decompress_exactly(zstd, data, out),
            Codec::Planes4Zstd => planes::decode::<4>(data, zstd, &mut self.planes, out),
            Codec::Planes2Zstd => planes::decode::<2>(data, zstd, &mut self.planes, out),
        };
        done.ok_or(CodecError::Damaged)?;
        Ok(&self.out[..plain_len])
    }
}

/// Fills `out` from one zstd frame; `None` if it yields less, more, or nothing, or if `data` is not
/// exactly one frame: what another decoder might read differently, or bytes that hide beside the
/// content, are refused.
fn decompress_exactly(zstd: &mut Decompressor<'static>, data: &[u8], out: &mut [u8]) -> Option<()> {
    let is_one_frame = data.starts_with(&ZSTD_MAGIC)
        && zstd_safe::find_frame_compressed_size(data).ok() == Some(data.len());
    if !is_one_frame {
        return None;
    }
    let len = zstd.decompress_to_buffer(data, out).ok()?;
    (len == out.len()).then_some(())
}

#[cfg(test)]
mod tests;
