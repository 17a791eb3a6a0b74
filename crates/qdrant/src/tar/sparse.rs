//! The map of a sparse file: where its data lies between its holes.

use super::TarError;

/// Most regions in one file's map: bounds the memory that an archive can make the reader use.
const MAX_REGIONS: usize = 1 << 20;

/// A run of bytes that are in the archive, in the coordinates of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// First byte.
    pub(crate) offset: u64,
    /// Number of bytes.
    pub(crate) len: u64,
}

/// Regions in ascending order, without overlap; what lies between them is zeros.
#[derive(Debug, Default)]
pub(crate) struct SparseMap {
    regions: Vec<Region>,
    end: u64,
    data: u64,
}

impl SparseMap {
    /// A file without holes.
    pub(crate) fn dense(size: u64) -> Self {
        let whole = Region {
            offset: 0,
            len: size,
        };
        Self {
            // An empty region would never be passed.
            regions: Vec::from_iter((size > 0).then_some(whole)),
            end: size,
            data: size,
        }
    }

    /// Adds the next region.
    pub(crate) fn push(&mut self, region: Region) -> Result<(), TarError> {
        let end = region
            .offset
            .checked_add(region.len)
            .filter(|_| region.offset >= self.end)
            .ok_or_else(|| TarError::malformed("a sparse map is out of order"))?;
        if self.regions.len() == MAX_REGIONS {
            return Err(TarError::malformed(format!(
                "a sparse map has more than {MAX_REGIONS} entries"
            )));
        }
        self.end = end;
        self.data += region.len; // can't overflow: the regions don't overlap
        if region.len > 0 {
            self.regions.push(region);
        }
        Ok(())
    }

    /// The regions, after a check that they fit a file of `size` bytes stored in `stored` bytes.
    pub(crate) fn finish(self, size: u64, stored: u64) -> Result<Vec<Region>, TarError> {
        if self.end > size || self.data != stored {
            return Err(TarError::malformed(
                "a sparse map disagrees with the sizes in its header",
            ));
        }
        Ok(self.regions)
    }
}
