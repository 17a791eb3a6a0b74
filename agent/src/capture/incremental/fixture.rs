//! A small shard for tests: one sealed segment and one that grows.

use super::base::Base;
use holdfast_archive::{Extent, FileClass, FileRecipe, ShardRecipe};
use holdfast_qdrant::{SegmentManifest, ShardManifest};
use holdfast_types::{ChunkId, ShardId};
use std::collections::BTreeMap;

pub(super) const SEALED: &str = "0f2b6d1e-93c4-4c0a-9a55-2f60b8f7c001";
pub(super) const GROWING: &str = "1f2b6d1e-93c4-4c0a-9a55-2f60b8f7c002";
const FILES: [(&str, &str); 5] = [
    (SEALED, "id_tracker.deleted"),
    (SEALED, "vector_index/graph.bin"),
    (SEALED, "vector_storage/vectors/chunk_0.mmap"),
    (GROWING, "payload_storage/page_0.dat"),
    (GROWING, "vector_storage/vectors/chunk_0.mmap"),
];

pub(super) fn recipe(content: u8) -> ShardRecipe {
    let files = FILES.map(|(id, file)| FileRecipe {
        path: format!("segments/{id}/{file}"),
        size: 5,
        class: FileClass::InPlace,
        extents: vec![Extent::Chunk {
            id: ChunkId::from_bytes([content; 32]),
            len: 5,
        }],
    });
    ShardRecipe::new(files.to_vec())
}

pub(super) fn manifest() -> ShardManifest {
    let mut segments = BTreeMap::new();
    for (id, file) in FILES {
        let segment = segments
            .entry(id.to_owned())
            .or_insert_with(|| SegmentManifest {
                segment_id: id.to_owned(),
                segment_version: 7,
                file_versions: BTreeMap::new(),
            });
        let version = file.contains('/').then_some(5);
        segment.file_versions.insert(file.to_owned(), version);
    }
    ShardManifest { segments }
}

pub(super) fn base() -> Base {
    Base::new(
        ("docs".parse().unwrap(), ShardId(0)),
        ("1.18.3".to_owned(), "noon".to_owned()),
        manifest(),
        BTreeMap::new(),
        [SEALED.to_owned()].into(),
        0,
        recipe(1),
    )
}
