//! Stored shard snapshots as files: where they lie, and their checksum.

use holdfast_types::{CollectionName, ShardId};
use ring::digest::{Context, SHA256};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where the server keeps the stored snapshot `name` below its snapshots directory (`storage.snapshots_path`, with local
/// storage of snapshots): `{dir}/{collection}/shards/{shard}/{name}`. `None` if `name` is no plain file name.
#[must_use]
pub fn stored_snapshot_path(
    snapshots_dir: &Path,
    collection: &CollectionName,
    shard: ShardId,
    name: &str,
) -> Option<PathBuf> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\\', '\0']) {
        return None;
    }
    let dir = snapshots_dir.join(collection.as_str()).join("shards");
    Some(dir.join(shard.to_string()).join(name))
}

/// Passes bytes on and compares their SHA-256 with an expected one at the end of the source: a difference is
/// an `InvalidData` error in place of the end.
pub struct ChecksumReader<R> {
    inner: R,
    context: Option<Context>,
    expected: String,
}

impl<R: Read> ChecksumReader<R> {
    /// `expected`: 64 hexadecimal digits, as in [`crate::SnapshotDescription::checksum`].
    pub fn new(inner: R, expected: &str) -> Self {
        Self {
            inner,
            context: Some(Context::new(&SHA256)),
            expected: expected.to_ascii_lowercase(),
        }
    }
}

impl<R: Read> Read for ChecksumReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(out)?;
        if let Some(context) = &mut self.context {
            context.update(&out[..len]);
        }
        if len == 0
            && !out.is_empty()
            && let Some(context) = self.context.take()
        {
            let found = hex::encode(context.finish());
            if found != self.expected {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "SHA-256 is {found}, not {} as the server said",
                        self.expected
                    ),
                ));
            }
        }
        Ok(len)
    }
}

impl<R> std::fmt::Debug for ChecksumReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChecksumReader({})", self.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::{ChecksumReader, stored_snapshot_path};
    use holdfast_types::ShardId;
    use std::io::Read;
    use std::path::Path;

    #[test]
    fn path_in_the_snapshots_directory() {
        let docs = "docs".parse().unwrap();
        let path = |name| stored_snapshot_path(Path::new("/q"), &docs, ShardId(3), name);
        assert_eq!(
            path("docs-shard-3-x.snapshot").as_deref(),
            Some(Path::new("/q/docs/shards/3/docs-shard-3-x.snapshot"))
        );
        for bad in ["", "..", "../x", "/etc/passwd", "a\\b"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_an_error_at_the_end() {
        let sha = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        let mut text = String::new();
        ChecksumReader::new(&b"abc"[..], sha)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "abc");
        let error = ChecksumReader::new(&b"abd"[..], sha)
            .read_to_string(&mut text)
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
}
