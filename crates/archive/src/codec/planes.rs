//! Byte-plane transposition: byte k of every W-byte number stands together in plane k.
//!
//! In arrays of floats the plane of signs and exponents compresses and those of low mantissa bits
//! don't, so every plane is stored or compressed on its own.
//!
//! Encoding: W × u32 LE (bits 0–30 the plane's encoded length, bit 31 set if it is a zstd frame),
//! the planes in order, then the plain bytes left over (length modulo W).

use super::decompress_exactly;
use zstd::bulk::{Compressor, Decompressor};

const IS_ZSTD: u32 = 1 << 31;

/// A plane whose sampled entropy exceeds this many bits per byte is stored untried.
pub(super) const WORTH_BITS: f32 = 7.25;

/// Encodes into `out`; returns the length, or `None` if it would not fit.
pub(super) fn encode<const W: usize>(
    plain: &[u8],
    zstd: &mut Compressor<'static>,
    scratch: &mut Vec<u8>,
    out: &mut [u8],
) -> Option<usize>
where
    [u8; W]: Number,
{
    let (numbers, rest) = plain.as_chunks::<W>();
    let len = numbers.len();
    if scratch.len() < len * W {
        scratch.resize(len * W, 0);
    }
    let planes = &mut scratch[..len * W];
    split::<W>(numbers, planes);
    let mut at = W * 4;
    for k in 0..W {
        let plane = &planes[k * len..(k + 1) * len];
        let most = len - len / 32;
        let room = out.get_mut(at..)?;
        let try_len = most.min(room.len());
        let packed = if super::probe::entropy_bits(plane) < WORTH_BITS {
            zstd.compress_to_buffer(plane, &mut room[..try_len]).ok()
        } else {
            None
        };
        let field = match packed {
            Some(packed) => {
                at += packed;
                u32::try_from(packed).ok()? | IS_ZSTD
            }
            None => {
                room.get_mut(..len)?.copy_from_slice(plane);
                at += len;
                u32::try_from(len).ok()?
            }
        };
        out[k * 4..k * 4 + 4].copy_from_slice(&field.to_le_bytes());
    }
    out.get_mut(at..at + rest.len())?.copy_from_slice(rest);
    Some(at + rest.len())
}

/// Fills `out` from the encoding; `None` unless it fits exactly.
pub(super) fn decode<const W: usize>(
    data: &[u8],
    zstd: &mut Decompressor<'static>,
    scratch: &mut Vec<u8>,
    out: &mut [u8],
) -> Option<()> {
    let len = out.len() / W;
    let (header, mut body) = data.split_at_checked(W * 4)?;
    if scratch.len() < len * W {
        scratch.resize(len * W, 0);
    }
    let planes = &mut scratch[..len * W];
    let (fields, _) = header.as_chunks::<4>();
    for (k, field) in fields.iter().enumerate() {
        let field = u32::from_le_bytes(*field);
        let (encoded, after) = body.split_at_checked((field & !IS_ZSTD) as usize)?;
        let plane = &mut planes[k * len..(k + 1) * len];
        if field & IS_ZSTD != 0 {
            decompress_exactly(zstd, encoded, plane)?;
        } else if encoded.len() == len {
            plane.copy_from_slice(encoded);
        } else {
            return None;
        }
        body = after;
    }
    let (numbers, rest) = out.as_chunks_mut::<W>();
    if body.len() != rest.len() {
        return None;
    }
    rest.copy_from_slice(body);
    join::<W>(planes, numbers);
    Some(())
}

fn split<const W: usize>(numbers: &[[u8; W]], planes: &mut [u8])
where
    [u8; W]: Number,
{
    let len = numbers.len();
    for k in 0..W {
        let plane = &mut planes[k * len..(k + 1) * len];
        for (byte, number) in plane.iter_mut().zip(numbers) {
            *byte = number.value().to_le_bytes()[k];
        }
    }
}

fn join<const W: usize>(planes: &[u8], numbers: &mut [[u8; W]]) {
    let len = numbers.len();
    let planes: [&[u8]; W] = std::array::from_fn(|k| &planes[k * len..(k + 1) * len]);
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = std::array::from_fn(|k| planes[k][i]);
    }
}

/// Loading a number whole, not byte by byte, lets the compiler use vector instructions: 5 times
/// faster.
pub(super) trait Number {
    fn value(self) -> u32;
}

impl Number for [u8; 4] {
    fn value(self) -> u32 {
        u32::from_le_bytes(self)
    }
}

impl Number for [u8; 2] {
    fn value(self) -> u32 {
        u32::from(u16::from_le_bytes(self))
    }
}
