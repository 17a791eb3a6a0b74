//! Numbers as JSON from which Qdrant reads the same bits.
//!
//! Qdrant reads JSON with `serde_json` without its feature `float_roundtrip`: the digits become an integer, which is multiplied or divided by
//! a power of ten, with one or two roundings. So the shortest text of a number is often read as one of its neighbours: of random numbers with
//! all their 53 bits one in ten or more is. [`read`] does the same arithmetic, and a text is chosen for which it leads back. Where there is a choice it is
//! a text that an exact reader reads rightly, too.
//!
//! A number that came by JSON has such a text, since it was read from one. A few that came by gRPC have none (about one in five
//! hundred random ones); then the shortest text is written, and that is said.
//!
//! A vector's numbers are read as f64 and then cut to f32. The shortest text of every f32 was tried: it always leads back, but for the one that
//! is treated in [`write_f32`].

use std::io::Write as _;

/// Writes a finite number; whether it is read back as it is.
pub(crate) fn write_f64(value: f64, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    let _ = write!(out, "{value:?}");
    let shortest = str::from_utf8(&out[begin..]).ok().and_then(parts);
    if shortest.is_some_and(|(digits, exponent)| leads_back(digits, exponent, value)) {
        return true;
    }
    let Some((digits, exponent)) = search(value.abs()) else {
        return false;
    };
    out.truncate(begin);
    let sign = if value < 0.0 { "-" } else { "" };
    let _ = write!(out, "{sign}{digits}e{exponent}");
    true
}

/// Writes a number of a vector; whether it is read back as it is.
pub(crate) fn write_f32(value: f32, out: &mut Vec<u8>) -> bool {
    if value.is_infinite() {
        // Too large for an f32, not for the f64 as which it is read.
        let sign = if value < 0.0 { "-" } else { "" };
        let _ = write!(out, "{sign}1e39");
    } else if value.is_nan() {
        out.extend_from_slice(b"null");
        return false;
    } else if value.abs().to_bits() == TIE {
        // An exact reader rounds its shortest text to the middle between two f32, and then to the wrong one.
        let _ = write!(out, "{:?}", f64::from(value));
    } else {
        let _ = write!(out, "{value:?}");
    }
    true
}

/// 7.038531e-26.
const TIE: u32 = 0x15ae_43fd;

/// The digits and the exponent of the last of them, of a text like `-1.25e-3` or `12.0`; `None` if there are too many.
fn parts(text: &str) -> Option<(u64, i32)> {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let mut digits = 0u64;
    for byte in mantissa.bytes().filter(u8::is_ascii_digit) {
        digits = digits
            .checked_mul(10)?
            .checked_add(u64::from(byte - b'0'))?;
    }
    let behind = mantissa
        .split_once('.')
        .map_or(0, |(_, behind)| behind.len());
    Some((digits, exponent - i32::try_from(behind).ok()?))
}

/// What the server makes of `digits` × 10^`exponent`.
#[expect(clippy::cast_precision_loss, reason = "the server rounds here, too")]
fn read(digits: u64, mut exponent: i32) -> f64 {
    let mut value = digits as f64;
    while exponent < -308 {
        value /= 1e308;
        exponent += 308;
    }
    let power = power_of_ten(exponent.unsigned_abs());
    if exponent < 0 {
        value / power
    } else {
        value * power
    }
}

/// The f64 next to a power of ten.
fn power_of_ten(exponent: u32) -> f64 {
    // Up to here the product is exact.
    if exponent <= 22 {
        return (0..exponent).fold(1.0, |power, _| power * 10.0);
    }
    format!("1e{exponent}").parse().unwrap_or(f64::INFINITY)
}

fn leads_back(digits: u64, exponent: i32, value: f64) -> bool {
    read(digits, exponent).to_bits() == value.abs().to_bits()
}

/// Other digits near the number from which it is read.
fn search(value: f64) -> Option<(u64, i32)> {
    let mut second = None;
    // Few digits come last: they lead back only where the power of ten is not exact, as for what was written `3e-142`.
    for count in (16..=20).chain(1..16usize) {
        let text = format!("{value:.*e}", count - 1);
        let Some((digits, exponent)) = parts(&text) else {
            continue;
        };
        // Integers of this size are rounded to multiples of it.
        let step = 1u64 << (64 - digits.leading_zeros()).saturating_sub(53);
        for away in [0i64, 1, -1, 2, -2, 3, -3] {
            let away = away.saturating_mul(i64::try_from(step).unwrap_or(i64::MAX));
            let Some(digits) = (digits - digits % step).checked_add_signed(away) else {
                continue;
            };
            if !leads_back(digits, exponent, value) {
                continue;
            }
            if format!("{digits}e{exponent}").parse() == Ok(value) {
                return Some((digits, exponent));
            }
            second = second.or(Some((digits, exponent)));
        }
    }
    second
}
