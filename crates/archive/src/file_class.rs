//! Which chunker serves a file: a guess from its path, of how it changes between two captures.
//!
//! A wrong guess costs bytes, never correctness: the class only sets where chunks end, and the
//! recipe names the class. Facts behind the table: which files Qdrant 1.18 edits in place.

use crate::recipe::RecipeError;

/// How a file changes between two captures, and so how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileClass {
    /// Written once: cut every 1 MiB of the file, the cheapest per byte.
    Immutable = 0,
    /// Edited in place or at its tail: cut every 64 KiB of the file.
    InPlace = 1,
    /// Anything else: content-defined cuts (FastCDC, 64 KiB / 256 KiB / 1 MiB).
    General = 2,
}

impl FileClass {
    /// The class's number in a recipe.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u8> for FileClass {
    type Error = RecipeError;
    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::Immutable),
            1 => Ok(Self::InPlace),
            2 => Ok(Self::General),
            _ => Err(RecipeError::UnknownClass(number)),
        }
    }
}

/// The class of a file by its path inside a shard, such as
/// `segments/<uuid>/vector_storage/vectors/chunk_0.mmap`, `wal/…` or `shard_config.json`.
#[must_use]
pub fn classify(path: &str) -> FileClass {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.ends_with(".json") {
        return FileClass::General;
    }
    let mut parts = path.split('/');
    match parts.next() {
        Some("segments") => {}
        Some("wal") => return FileClass::InPlace,
        Some(_) | None => return FileClass::General,
    }
    // The segment's own name says nothing; the next part is `vector_storage`, or with a vector's
    // name `vector_storage-title`.
    let area = parts.nth(1).unwrap_or("");
    let area = area.split('-').next().unwrap_or(area);
    match area {
        "vector_index" => FileClass::Immutable,
        "vector_storage" => classify_vectors(name),
        "payload_storage" | "payload_index" => FileClass::InPlace,
        _ if name.starts_with("id_tracker") || name.starts_with("mutable_id_tracker") => {
            FileClass::InPlace
        }
        _ => FileClass::General,
    }
}

/// Vectors of an appendable segment (`chunk_N.mmap`) are overwritten where they stand; those of a
/// sealed one (`matrix.dat`) and quantized vectors are not. An indexed segment may keep its vectors
/// in `chunk_N.mmap` too: the path can't tell, and the finer cut is right for both.
fn classify_vectors(name: &str) -> FileClass {
    if name.starts_with("quantized") || name.starts_with("matrix") {
        FileClass::Immutable
    } else {
        FileClass::InPlace
    }
}

#[cfg(test)]
mod tests {
    use super::{FileClass, classify};

    #[test]
    fn the_table() {
        use FileClass::{General, Immutable, InPlace};
        for (path, want) in [
            ("segments/6f/vector_storage/vectors/chunk_0.mmap", InPlace),
            (
                "segments/6f/vector_storage-title/vectors/chunk_12.mmap",
                InPlace,
            ),
            ("segments/6f/vector_storage/vectors/status.dat", InPlace),
            ("segments/6f/vector_storage/vectors/config.json", General),
            ("segments/6f/vector_storage/deleted/flags_a.dat", InPlace),
            ("segments/6f/vector_storage/matrix.dat", Immutable),
            ("segments/6f/vector_storage/quantized.data", Immutable),
            ("segments/6f/vector_storage/quantized.meta.json", General),
            ("segments/6f/vector_index/graph.bin", Immutable),
            (
                "segments/6f/vector_index-title/links_compressed.bin",
                Immutable,
            ),
            ("segments/6f/payload_storage/page_0.dat", InPlace),
            ("segments/6f/payload_storage/tracker.dat", InPlace),
            ("segments/6f/payload_index/city-map/data.mmap", InPlace),
            ("segments/6f/id_tracker.versions", InPlace),
            ("segments/6f/mutable_id_tracker.mappings", InPlace),
            ("segments/6f/segment.json", General),
            ("segments/6f/version.info", General),
            ("segments", General),
            ("wal/closed-23", InPlace),
            ("shard_config.json", General),
            ("", General),
        ] {
            assert_eq!(classify(path), want, "{path}");
        }
    }

    #[test]
    fn numbers_are_part_of_the_format() {
        for (class, number) in [
            (FileClass::Immutable, 0),
            (FileClass::InPlace, 1),
            (FileClass::General, 2),
        ] {
            assert_eq!(class.number(), number);
            assert_eq!(FileClass::try_from(number).ok(), Some(class));
        }
        assert!(FileClass::try_from(3).is_err());
    }
}
