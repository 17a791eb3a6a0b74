//! Qdrant's manifest of a shard: which files its segments have, and by which operation each was last changed.
//!
//! Versions are numbers of operations of one replica: they say nothing about another replica, nor about the same
//! one after something was restored into it. What a manifest may be relied upon for is the caller's decision.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET …/shards/{s}/snapshot/partial/manifest`, and the body of `POST …/snapshot/partial/create`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardManifest {
    /// The segments by their ids.
    pub segments: BTreeMap<String, SegmentManifest>,
}

/// One segment of a [`ShardManifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentManifest {
    /// The segment's id, a UUID.
    pub segment_id: String,
    /// The last operation that changed it; 0 also for one that nothing has changed yet.
    pub segment_version: u64,
    /// Path below the segment's directory → the last operation that changed the file, `None` where Qdrant tracks
    /// none: then the segment's version counts.
    pub file_versions: BTreeMap<String, Option<u64>>,
}

impl SegmentManifest {
    /// The version that Qdrant compares for this file; `None` if it is not listed.
    #[must_use]
    pub fn version_of(&self, file: &str) -> Option<u64> {
        let version = self.file_versions.get(file)?;
        Some(version.unwrap_or(self.segment_version))
    }
}

#[cfg(test)]
mod tests {
    use super::ShardManifest;

    #[test]
    fn it_is_read_and_written_as_the_server_does() {
        let text =
            r#"{"a":{"segment_id":"a","segment_version":7,"file_versions":{"x":null,"y":3}}}"#;
        let manifest: ShardManifest = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&manifest).unwrap(), text);
        let segment = &manifest.segments["a"];
        assert_eq!(segment.version_of("x"), Some(7));
        assert_eq!(segment.version_of("y"), Some(3));
        assert_eq!(segment.version_of("z"), None);
    }
}
