//! What the paths in a snapshot mean.

/// The meaning of a path in the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A file of a segment in a flat snapshot.
    SegmentFile {
        /// The segment's id.
        segment: &'a str,
        /// Path below the segment's directory.
        file: &'a str,
    },
    /// A whole segment as an archive in the archive, as stored snapshots have it.
    SegmentArchive {
        /// The segment's id.
        segment: &'a str,
    },
    /// A file of the shard itself.
    ShardFile,
}

/// Name of a partial snapshot's list of files.
pub(super) const MANIFEST: &str = "segment_manifest.json";
/// Files that every segment has: Qdrant 1.18 writes them last.
pub(super) const SEGMENT_STATE: &str = "segment.json";
/// See [`SEGMENT_STATE`].
pub(super) const SEGMENT_VERSION: &str = "version.info";

/// Places a file of the outer archive; `None` for what no snapshot has.
pub(super) fn place(path: &str) -> Option<Place<'_>> {
    if !is_safe_path(path) {
        return None;
    }
    let Some(rest) = path.strip_prefix("segments/") else {
        return Some(Place::ShardFile);
    };
    match rest.split_once('/') {
        None => rest
            .strip_suffix(".tar")
            .filter(|id| is_segment_id(id))
            .map(|segment| Place::SegmentArchive { segment }),
        Some((segment, below)) => below
            .strip_prefix("files/")
            .filter(|_| is_segment_id(segment))
            .map(|file| Place::SegmentFile { segment, file }),
    }
}

/// The path below the segment of a file in a stored segment's archive.
pub(super) fn place_nested(path: &str) -> Option<&str> {
    path.strip_prefix("snapshot/files/")
        .filter(|file| is_safe_path(file))
}

/// Relative, with no empty, `.` or `..` component, no NUL, of at most 4096 bytes.
pub(crate) fn is_safe_path(path: &str) -> bool {
    path.len() <= 4096
        && !path.contains('\0')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Segments are named by a UUID in its hyphenated form.
pub(crate) fn is_segment_id(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::{Place, place};

    const ID: &str = "0f2b6d1e-93c4-4c0a-9a55-2f60b8f7c001";

    #[test]
    fn places() {
        let flat = format!("segments/{ID}/files/vector_storage/vectors/chunk_0.mmap");
        assert_eq!(
            place(&flat),
            Some(Place::SegmentFile {
                segment: ID,
                file: "vector_storage/vectors/chunk_0.mmap"
            })
        );
        let nested = format!("segments/{ID}.tar");
        assert_eq!(place(&nested), Some(Place::SegmentArchive { segment: ID }));
        assert_eq!(place("wal/closed-1"), Some(Place::ShardFile));
    }

    #[test]
    fn refuses_what_no_snapshot_has() {
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "wal/../../x",
            "wal//x",
            "./wal/x",
            "segments/x.tar",
            "segments/x/files/y",
            &format!("segments/{ID}/version.info"),
            &format!("segments/{ID}/files/../version.info"),
            &format!("segments/{ID}"),
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
