//! PAX records: long paths, large sizes, and GNU's sparse maps 0.0, 0.1 and 1.0.

use super::TarError;
use super::sparse::{Region, SparseMap};

/// What an extended header says of the entry after it.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    /// Overrides the path.
    pub(crate) path: Option<Vec<u8>>,
    /// Overrides the stored size in bytes.
    pub(crate) size: Option<u64>,
    /// The entry is sparse.
    pub(crate) sparse: Option<PaxSparse>,
}

/// A sparse entry's description.
#[derive(Debug, Default)]
pub(crate) struct PaxSparse {
    /// Logical size in bytes.
    pub(crate) real_size: Option<u64>,
    /// The map, unless it precedes the data (version 1.0).
    pub(crate) map: SparseMap,
    /// The map is at the head of the entry's data (version 1.0).
    pub(crate) map_in_data: bool,
    offset: Option<u64>,
}

impl Pax {
    /// Reads the records of one extended header: `LEN KEY=VALUE\n`, LEN counting all of it.
    pub(crate) fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        let mut pax = Self::default();
        let mut sparse_name = None;
        while !bytes.is_empty() {
            let (key, value, rest) =
                record(bytes).ok_or_else(|| TarError::malformed("an extended header is broken"))?;
            bytes = rest;
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"size" => pax.size = Some(decimal(value)?),
                b"GNU.sparse.name" => sparse_name = Some(value.to_vec()),
                _ => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        pax.sparse.get_or_insert_default().set(key, value)?;
                    }
                }
            }
        }
        if pax.sparse.is_some() && sparse_name.is_some() {
            pax.path = sparse_name;
        }
        Ok(pax)
    }
}

impl PaxSparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"realsize" | b"size" => self.real_size = Some(decimal(value)?),
            b"major" => self.map_in_data = decimal(value)? == 1,
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let offset = self
                    .offset
                    .take()
                    .ok_or_else(|| TarError::malformed("a sparse map lacks an offset"))?;
                self.map.push(Region {
                    offset,
                    len: decimal(value)?,
                })?;
            }
            b"map" => {
                let numbers: Vec<u64> = value
                    .split(|b| *b == b',')
                    .filter(|n| !n.is_empty())
                    .map(decimal)
                    .collect::<Result<_, _>>()?;
                push_pairs(&numbers, &mut self.map)?;
            }
            _ => {} // minor, numblocks: redundant
        }
        Ok(())
    }
}

/// Adds `offset, length` pairs to a map.
pub(crate) fn push_pairs(numbers: &[u64], map: &mut SparseMap) -> Result<(), TarError> {
    let pairs = numbers.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(TarError::malformed("a sparse map ends within a pair"));
    }
    for pair in pairs {
        map.push(Region {
            offset: pair[0],
            len: pair[1],
        })?;
    }
    Ok(())
}

/// A decimal number without sign.
pub(crate) fn decimal(text: &[u8]) -> Result<u64, TarError> {
    std::str::from_utf8(text)
        .ok()
        .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| TarError::malformed("an extended header holds no number"))
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|b| *b == b' ')?;
    let len = usize::try_from(decimal(&bytes[..space]).ok()?).ok()?;
    if len <= space + 1 || len > bytes.len() {
        return None;
    }
    let (record, rest) = bytes.split_at(len);
    let body = record[space + 1..].strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

#[cfg(test)]
mod tests {
    use super::Pax;

    #[test]
    fn records() {
        let pax = Pax::parse(b"13 path=a=b\n\n13 size=1234\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a=b\n"[..]));
        assert_eq!(pax.size, Some(1234));
        for bad in [
            &b"x"[..],
            b"5 a=b\n",
            b"99 a=b\n",
            b"0 a=b\n",
            b"6 abc\n",
            b"9 size=x\n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{bad:?}");
        }
    }
}
