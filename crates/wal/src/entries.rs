//! All entries of a file that lies still.

use crate::format::{HEADER_BYTES, HeaderError, Parsed, parse_entry, parse_header};

/// The data of a file's entries, in order, up to the first place where the chain does not go on.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    crc: u32,
}

impl<'a> Entries<'a> {
    /// Reads a whole file.
    ///
    /// # Errors
    /// A file without a header of a known version.
    pub fn new(file: &'a [u8]) -> Result<Self, HeaderError> {
        let crc = parse_header(file)?;
        let rest = &file[HEADER_BYTES..];
        Ok(Self { rest, crc })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match parse_entry(self.crc, self.rest, self.rest.len() as u64) {
            Parsed::Entry { data, crc, size } => {
                self.crc = crc;
                self.rest = &self.rest[size..];
                Some(data)
            }
            Parsed::Short(_) | Parsed::Blank | Parsed::Broken { .. } | Parsed::Implausible(_) => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Entries;
    use crate::format::{header, push_entry};

    #[test]
    fn every_flipped_bit_of_an_entry_ends_the_log() {
        let mut file = header(9).to_vec();
        let crc = push_entry(9, b"first", &mut file);
        let second = file.len();
        push_entry(crc, b"second", &mut file);
        let end = file.len();
        file.resize(end + 64, 0);
        let all = |file: &[u8]| Entries::new(file).unwrap().count();
        assert_eq!(all(&file), 2);
        for at in second..end {
            let mut bad = file.clone();
            bad[at] ^= 0x40;
            assert_eq!(all(&bad), 1, "{at}");
        }
        file[4] ^= 1;
        assert_eq!(all(&file), 0, "another seed is another chain");
    }
}
