//! 32 bytes as a code that a person can copy from paper: four lines of sixteen characters, each with a
//! checksum of its own, so that a slip is found and its line named.
//!
//! A line is 8 bytes of the key ‖ 2 bytes of checksum, in Crockford's base 32
//! (<https://www.crockford.com/base32.html>): no I, L, O or U, and reading takes I and L for 1, O for 0.
//! The checksum is the beginning of BLAKE3 over a label, the line's number and its bytes.

use zeroize::Zeroizing;

/// Lines of a code.
pub const LINES: usize = 4;
const LINE_BYTES: usize = 8;
const CHECK_BYTES: usize = 2;
const LINE_CHARS: usize = (LINE_BYTES + CHECK_BYTES) * 8 / 5;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Longest text that is read, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// What stands around the code on a sheet; without it the whole text is the code.
pub const BEGIN: &str = "-----BEGIN HOLDFAST RECOVERY KEY-----";
/// See [`BEGIN`].
pub const END: &str = "-----END HOLDFAST RECOVERY KEY-----";

/// Why a text is no code. Nothing of the code is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryCodeError {
    /// A line breaks its checksum.
    #[error("line {line} of the recovery code is mistyped")]
    Mistyped {
        /// From 1.
        line: usize,
    },
    /// A line is too short or too long.
    #[error("line {line} of the recovery code has {found} characters, not {LINE_CHARS}")]
    Length {
        /// From 1.
        line: usize,
        /// Characters without spaces and dashes.
        found: usize,
    },
    /// A line has a character that no code has.
    #[error("line {line} of the recovery code has a character that no code has, at place {place}")]
    Character {
        /// From 1.
        line: usize,
        /// From 1, spaces and dashes not counted.
        place: usize,
    },
    /// Lines are missing or too many.
    #[error("a recovery code has {LINES} lines; here are {found}")]
    Lines {
        /// Lines that are not empty.
        found: usize,
    },
    /// The beginning of the code is there, its end is not; or the text is far too long.
    #[error("the text is no recovery sheet")]
    NotASheet,
}

/// The four lines: `1:  7K3M-Q2ZP-…`, each with a line ending.
#[must_use]
pub fn print(key: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(LINES * 32));
    let (lines, _) = key.as_chunks::<LINE_BYTES>();
    for (line, bytes) in (1..).zip(lines) {
        text.push_str(&format!("{line}: "));
        let digits = Zeroizing::new(encode(&with_checksum(line, bytes)));
        for group in digits.as_chunks::<4>().0 {
            let start = if text.ends_with(' ') { " " } else { "-" };
            text.push_str(start);
            text.extend(group.iter().map(|digit| char::from(*digit)));
        }
        text.push('\n');
    }
    text
}

/// Reads a sheet, or the lines of its code alone; numbers before the lines, case, spaces and dashes mean
/// nothing.
///
/// # Errors
/// What is wrong, and in which line.
pub fn parse(text: &str) -> Result<Zeroizing<[u8; 32]>, RecoveryCodeError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(RecoveryCodeError::NotASheet);
    }
    let code = match text.split_once(BEGIN) {
        Some((_, rest)) => {
            let (code, _) = rest.split_once(END).ok_or(RecoveryCodeError::NotASheet)?;
            code
        }
        None => text,
    };
    let lines: Vec<&str> = code
        .lines()
        .map(without_number)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if lines.len() != LINES {
        return Err(RecoveryCodeError::Lines { found: lines.len() });
    }
    let mut key = Zeroizing::new([0; 32]);
    let (parts, _) = key.as_chunks_mut::<LINE_BYTES>();
    for ((number, line), part) in (1..).zip(lines).zip(parts) {
        let bytes = Zeroizing::new(decode(number, line)?);
        let read = bytes.first_chunk::<LINE_BYTES>();
        *part = *read.ok_or(RecoveryCodeError::NotASheet)?;
        if with_checksum(number, part) != *bytes {
            return Err(RecoveryCodeError::Mistyped { line: number });
        }
    }
    Ok(key)
}

/// `2: ABCD`, `2. ABCD` and `2) ABCD` are `ABCD`.
fn without_number(line: &str) -> &str {
    let line = line.trim();
    let parted = line.split_once([':', '.', ')']);
    parted.map_or(line, |(_, rest)| rest.trim())
}

fn with_checksum(line: usize, bytes: &[u8; LINE_BYTES]) -> [u8; LINE_BYTES + CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("holdfast v1 recovery code line");
    hasher.update(&(line as u64).to_le_bytes()).update(bytes);
    let mut out = [0; LINE_BYTES + CHECK_BYTES];
    out[..LINE_BYTES].copy_from_slice(bytes);
    out[LINE_BYTES..].copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    out
}

fn encode(bytes: &[u8; LINE_BYTES + CHECK_BYTES]) -> [u8; LINE_CHARS] {
    let mut number = bytes
        .iter()
        .fold(0_u128, |n, byte| n << 8 | u128::from(*byte));
    let mut digits = [0; LINE_CHARS];
    for digit in digits.iter_mut().rev() {
        let low = usize::try_from(number & 31).expect("5 bits");
        *digit = ALPHABET[low];
        number >>= 5;
    }
    digits
}

fn decode(line: usize, text: &str) -> Result<[u8; LINE_BYTES + CHECK_BYTES], RecoveryCodeError> {
    let mut number = 0_u128;
    let mut found = 0;
    for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        found += 1;
        let value = value(c).ok_or(RecoveryCodeError::Character { line, place: found })?;
        if found <= LINE_CHARS {
            number = number << 5 | value;
        }
    }
    if found != LINE_CHARS {
        return Err(RecoveryCodeError::Length { line, found });
    }
    let mut bytes = [0; LINE_BYTES + CHECK_BYTES];
    bytes.copy_from_slice(&number.to_be_bytes()[16 - LINE_BYTES - CHECK_BYTES..]);
    Ok(bytes)
}

/// The value of a character: 0 to 31.
fn value(c: char) -> Option<u128> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let place = ALPHABET.iter().position(|digit| char::from(*digit) == c)?;
    Some(place as u128)
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, RecoveryCodeError, parse, print};
    use proptest::prelude::*;

    fn lines() -> Vec<String> {
        let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 7).unwrap());
        print(&key).lines().map(str::to_owned).collect()
    }

    fn joined(lines: &[String]) -> String {
        lines.join("\n")
    }

    /// Changing this makes every printed sheet worthless.
    #[test]
    fn golden_code() {
        let code = "1:  003G-W58W-4CN3-24S7\n2:  70ZM-CKAM-BDH6-KACW\n\
                    3:  E1VQ-X1CC-JEDA-2AK7\n4:  N2QV-DFE4-SF9D-JYMT";
        assert_eq!(joined(&lines()), code);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(key in any::<[u8; 32]>()) {
            let code = print(&key);
            prop_assert_eq!(*parse(&code).unwrap(), key);
            let sheet = format!("Dear: all\nkeep this\n{BEGIN}\n\n{}\n{END}\nholdfast: x\n", &*code);
            prop_assert_eq!(*parse(&sheet).unwrap(), key);
            // As a person types it.
            let typed = code.to_lowercase().replace('-', " ").replace('1', "l").replace('0', "o");
            let typed: Vec<&str> = typed.lines().map(|line| &line[3..]).collect();
            prop_assert_eq!(*parse(&typed.join("\r\n\n")).unwrap(), key);
        }

        #[test]
        fn any_text_is_refused_or_read(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }

    /// Every place of every line, every other character: each is found, and its line named.
    #[test]
    fn a_slip_names_its_line() {
        let good = lines();
        let mut missed = 0;
        for n in 0..4 {
            let chars: Vec<char> = good[n].chars().collect();
            for at in (4..chars.len()).filter(|at| chars[*at] != '-') {
                for other in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars() {
                    let mut bad = chars.clone();
                    if bad[at] == other {
                        continue;
                    }
                    bad[at] = other;
                    let mut all = good.clone();
                    all[n] = bad.into_iter().collect();
                    match parse(&joined(&all)) {
                        Err(error) => {
                            assert_eq!(error, RecoveryCodeError::Mistyped { line: n + 1 })
                        }
                        Ok(_) => missed += 1,
                    }
                }
            }
        }
        // 1984 slips, each missed with a probability of 2⁻¹⁶.
        assert_eq!(missed, 0);
    }

    #[test]
    fn other_mistakes_name_their_line() {
        let good = lines();
        let with = |n: usize, line: String| {
            let mut all = good.clone();
            all[n] = line;
            parse(&joined(&all)).unwrap_err()
        };
        let short = good[2][..good[2].len() - 1].to_owned();
        let length = RecoveryCodeError::Length { line: 3, found: 15 };
        assert_eq!(with(2, short), length);
        let u = good[1].replacen(|c: char| c.is_ascii_alphabetic(), "U", 1);
        let error = with(1, u);
        assert!(
            matches!(error, RecoveryCodeError::Character { line: 2, .. }),
            "{error}"
        );
        let swapped = [&good[1], &good[0], &good[2], &good[3]].map(String::clone);
        let first = RecoveryCodeError::Mistyped { line: 1 };
        assert_eq!(parse(&joined(&swapped)).unwrap_err(), first);
        let three = RecoveryCodeError::Lines { found: 3 };
        assert_eq!(parse(&joined(&good[..3])).unwrap_err(), three);
        let open = format!("{BEGIN}\n{}", joined(&good));
        assert_eq!(parse(&open).unwrap_err(), RecoveryCodeError::NotASheet);
    }
}
