//! The journal file: one line with format and checksum, then the table as JSON.
//!
//! Text on purpose: whoever has to mend a broken node can read it. The checksum finds damage, not forgery.

use crate::commands::CommandTable;

/// Version of the file's form.
pub(super) const FORMAT: u32 = 1;

const MAGIC: &str = "holdfast-agent-journal";

/// Why bytes are not a journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// Written by a later release; must not be touched.
    Newer(u32),
    /// Cut, changed, or something else.
    Damaged,
}

pub(super) fn encode(table: &CommandTable) -> Vec<u8> {
    let body = serde_json::to_vec_pretty(table)
        .expect("a table has string keys only and its types serialise without failing");
    let mut bytes = format!("{MAGIC} {FORMAT} {}\n", blake3::hash(&body).to_hex()).into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<CommandTable, DecodeError> {
    let end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .ok_or(DecodeError::Damaged)?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let head = std::str::from_utf8(head).map_err(|_| DecodeError::Damaged)?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(DecodeError::Damaged);
    }
    let format: u32 = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(DecodeError::Damaged)?;
    if format > FORMAT {
        return Err(DecodeError::Newer(format));
    }
    if words.next() != Some(blake3::hash(body).to_hex().as_str()) || words.next().is_some() {
        return Err(DecodeError::Damaged);
    }
    serde_json::from_slice(body).map_err(|_| DecodeError::Damaged)
}
