//! Tests of rebuilding an archive from a recipe.

use super::Blueprint;
use crate::failure::Failed;
use crate::job::Halt;
use crate::progress::Meter;
use bytes::Bytes;
use holdfast_archive::{ChunkEvent, ChunkKey, FileChunker, ShardRecipe, classify};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use tokio::sync::mpsc;

const SEGMENT: &str = "segments/0f2b6d1e-93c4-4c0a-9a55-2f60b8f7c001";

fn key() -> ChunkKey {
    ChunkKey::from_bytes([3; 32])
}

/// A small shard: its recipe, and its chunks in the recipe's order, stored plainly.
fn shard() -> (ShardRecipe, Vec<v1::FetchedChunk>) {
    let mut vectors: Vec<u8> = (0..300_000_u32).map(|i| (i / 7).to_le_bytes()[0]).collect();
    vectors
        .iter_mut()
        .step_by(65_537)
        .for_each(|byte| *byte ^= 1);
    vectors[65_536..2 * 65_536].fill(0);
    let mut files = Vec::new();
    let mut chunks = Vec::new();
    for (path, content) in [
        (
            format!("{SEGMENT}/vector_storage/vectors/chunk_0.mmap"),
            &vectors[..],
        ),
        (format!("{SEGMENT}/segment.json"), b"{}"),
        (format!("{SEGMENT}/version.info"), b"0.6.0"),
        ("wal/closed-5".to_owned(), b"wal"),
        ("replica_state.json".to_owned(), b"{}"),
        ("shard_config.json".to_owned(), b"{}"),
    ] {
        let mut take = |ChunkEvent::Chunk { id, plain }: ChunkEvent<'_>| {
            chunks.push(v1::FetchedChunk {
                chunk_id: Bytes::copy_from_slice(id.as_bytes()),
                codec: 0,
                plain_len: u32::try_from(plain.len()).unwrap(),
                data: Bytes::copy_from_slice(plain),
            });
        };
        let mut chunker = FileChunker::new(classify(&path), key());
        chunker.push(content, &mut take);
        files.push(chunker.finish(&mut take).at(path));
    }
    (ShardRecipe::new(files), chunks)
}

/// Rebuilds the shard after `change` has been made to the chunks, given in the wanted order.
fn rebuild(change: impl FnOnce(&mut Vec<v1::FetchedChunk>)) -> (Result<(), Halt>, u64, u64) {
    let (recipe, chunks) = shard();
    let blueprint = Blueprint::new(recipe).unwrap();
    let mut ordered: Vec<_> = blueprint
        .chunks()
        .iter()
        .map(|(id, _)| {
            let found = chunks.iter().find(|c| c.chunk_id.as_ref() == id.as_bytes());
            found.unwrap().clone()
        })
        .collect();
    change(&mut ordered);
    let (chunks_tx, chunks_rx) = mpsc::channel(100);
    for chunk in ordered {
        chunks_tx.try_send(chunk).unwrap();
    }
    drop(chunks_tx);
    let mut out = Vec::new();
    let result = blueprint.write(&key(), chunks_rx, &mut out, &Meter::default());
    let result = result.map(drop);
    (result, out.len() as u64, blueprint.archive_len())
}

fn code(result: Result<(), Halt>) -> Code {
    match result {
        Err(Halt::Failed(Failed { code, .. })) => code,
        Err(Halt::Stopped | Halt::Broken(_)) | Ok(()) => panic!("{result:?}"),
    }
}

#[test]
fn writes_exactly_the_announced_length() {
    let (result, written, announced) = rebuild(|_| {});
    result.unwrap();
    assert_eq!(written, announced);
    assert!(written < 300_000, "the hole is not written: {written}");
}

#[test]
fn every_way_in_which_a_chunk_can_be_wrong_is_found() {
    type Change = fn(&mut Vec<v1::FetchedChunk>);
    let changes: [Change; 6] = [
        |chunks| chunks[0].data = Bytes::from(vec![6; chunks[0].data.len()]),
        |chunks| chunks[0].data.truncate(10),
        |chunks| chunks[0].plain_len -= 1,
        |chunks| chunks[0].codec = 99,
        |chunks| chunks[0].codec = 1,
        |chunks| chunks.swap(0, 1),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let (result, written, announced) = rebuild(change);
        assert_eq!(code(result), Code::RepositoryDamaged, "change {n}");
        assert!(written < announced);
    }
}

#[test]
fn chunks_that_end_early_are_the_senders_fault() {
    let (result, ..) = rebuild(|chunks| {
        chunks.pop();
    });
    assert!(matches!(result, Err(Halt::Stopped)));
}

#[test]
fn what_is_no_whole_shard_is_refused_before_anything_is_uploaded() {
    let (mut recipe, _) = shard();
    recipe.files.retain(|file| file.path != "shard_config.json");
    let failed = Blueprint::new(recipe).unwrap_err();
    assert_eq!(failed.code, Code::RepositoryDamaged);
    assert!(failed.message.contains("shard_config.json"), "{failed}");
}
