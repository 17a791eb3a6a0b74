//! Which files Qdrant need not send, and when a claim is void.

use super::{Claims, Known, NO_SEGMENT, Settled, Unsettled, is_sealed, never_changes};
use crate::capture::incremental::fixture::{self, GROWING, SEALED};
use holdfast_qdrant::{PartialShard, ShardContents, ShardManifest};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const GRAPH: &str = "vector_index/graph.bin";
const CHUNK: &str = "vector_storage/vectors/chunk_0.mmap";
const MARKS: &str = "id_tracker.deleted";
const PAGE: &str = "payload_storage/page_0.dat";

fn state(index: &str) -> Value {
    json!({"config": {"vector_data": {"": {"storage_type": "InRamChunkedMmap", "index": {"type": index}}}}})
}

/// An answer with this manifest that lacks these files.
fn answer(manifest: ShardManifest, omitted: &[(&str, &str)]) -> PartialShard {
    let omitted = omitted
        .iter()
        .map(|(id, file)| ((*id).into(), (*file).into()));
    PartialShard {
        contents: ShardContents {
            files: 0,
            logical_bytes: 0,
            segments: Vec::new(),
            next_operation: None,
            clocks: None,
            oldest_clocks: None,
            replica_state: Value::Null,
            shard_config: Value::Null,
            states: [
                (SEALED.to_owned(), state("hnsw")),
                (GROWING.to_owned(), state("plain")),
            ]
            .into(),
        },
        manifest,
        omitted: omitted.collect(),
    }
}

fn moved(ids: &[&str]) -> ShardManifest {
    let mut manifest = fixture::manifest();
    for id in ids {
        manifest.segments.get_mut(*id).unwrap().segment_version += 1;
    }
    manifest
}

fn paths(files: &[(&str, &str)]) -> Vec<String> {
    let path = |(id, file): &(&str, &str)| format!("segments/{id}/{file}");
    files.iter().map(path).collect()
}

#[test]
fn an_unmoved_shard_is_taken_whole_from_the_last_capture() {
    let base = fixture::base();
    let known = Known {
        base: Some(&base),
        ..Known::default()
    };
    let claims = Claims::plan(&base.manifest, known);
    let all = [
        (SEALED, MARKS),
        (SEALED, GRAPH),
        (SEALED, CHUNK),
        (GROWING, PAGE),
        (GROWING, CHUNK),
    ];
    let settled = claims.settle(&answer(fixture::manifest(), &all)).unwrap();
    assert_eq!(settled.from_base, paths(&all));
    assert!(claims.request.segments.contains_key(NO_SEGMENT));
    assert_ne!(claims.request, base.manifest, "Qdrant must not answer 304");
    let marks = &claims.request.segments[SEALED].file_versions;
    assert_eq!((marks[MARKS], marks[GRAPH]), (Some(7), Some(5)));
}

#[test]
fn what_moved_before_is_not_claimed_but_for_what_never_changes() {
    let base = fixture::base();
    let known = Known {
        base: Some(&base),
        ..Known::default()
    };
    let now = moved(&[SEALED, GROWING]);
    let claims = Claims::plan(&now, known);
    for (id, file, want) in [
        (SEALED, GRAPH, true),
        (SEALED, CHUNK, true),
        (SEALED, MARKS, false),
        (GROWING, PAGE, false),
        (GROWING, CHUNK, false),
    ] {
        assert_eq!(claims.has(id, file), want, "{id}/{file}");
    }
    let kept = [(SEALED, GRAPH), (SEALED, CHUNK)];
    let settled = claims.settle(&answer(now.clone(), &kept)).unwrap();
    assert_eq!(settled.from_base, paths(&kept));
    let wrong = claims.settle(&answer(now, &[(SEALED, MARKS)]));
    assert!(matches!(wrong, Err(Unsettled::Wrong(why)) if why.contains("not claimed")));
}

#[test]
fn a_version_that_moves_between_manifest_and_snapshot_voids_the_claim() {
    let base = fixture::base();
    let mut known = Known {
        base: Some(&base),
        ..Known::default()
    };
    let claims = Claims::plan(&base.manifest, known);
    // Qdrant says itself that the page has not changed: still not taken.
    let late = answer(moved(&[GROWING]), &[(GROWING, PAGE)]);
    let hot: BTreeSet<String> = [GROWING.to_owned()].into();
    assert_eq!(claims.settle(&late), Err(Unsettled::Moved(hot.clone())));
    // What it sends although it was claimed is used as sent.
    let sent = answer(moved(&[GROWING]), &[]);
    assert_eq!(claims.settle(&sent), Ok(Settled::default()));
    // The next try leaves that segment alone.
    known.hot = Some(&hot);
    let claims = Claims::plan(&base.manifest, known);
    assert!(!claims.has(GROWING, PAGE) && claims.has(SEALED, MARKS));
}

#[test]
fn version_zero_proves_nothing() {
    let mut base = fixture::base();
    let growing = base.manifest.segments.get_mut(GROWING).unwrap();
    growing.segment_version = 0;
    growing
        .file_versions
        .values_mut()
        .for_each(|v| *v = Some(0));
    let sealed = base.manifest.segments.get_mut(SEALED).unwrap();
    sealed.file_versions.insert(MARKS.to_owned(), Some(0));
    let known = Known {
        base: Some(&base),
        ..Known::default()
    };
    let claims = Claims::plan(&base.manifest, known);
    assert!(!claims.request.segments.contains_key(GROWING));
    assert!(!claims.has(SEALED, MARKS) && claims.has(SEALED, GRAPH));
}

#[test]
fn files_on_disk_count_only_in_a_segment_that_the_snapshot_calls_sealed() {
    let disk: BTreeSet<_> = [(SEALED, GRAPH), (GROWING, CHUNK)]
        .map(|(id, file)| (id.to_owned(), file.to_owned()))
        .into();
    let known = Known {
        disk: Some(&disk),
        ..Known::default()
    };
    let claims = Claims::plan(&fixture::manifest(), known);
    let good = claims.settle(&answer(moved(&[SEALED]), &[(SEALED, GRAPH)]));
    assert_eq!(good.unwrap().from_disk, [(SEALED.into(), GRAPH.into())]);
    let bad = claims.settle(&answer(fixture::manifest(), &[(GROWING, CHUNK)]));
    assert!(matches!(bad, Err(Unsettled::Wrong(why)) if why.contains("written to")));
}

#[test]
fn a_segment_that_was_replaced_needs_no_claim() {
    let base = fixture::base();
    let known = Known {
        base: Some(&base),
        ..Known::default()
    };
    let claims = Claims::plan(&base.manifest, known);
    let mut manifest = fixture::manifest();
    let mut new = manifest.segments.remove(SEALED).unwrap();
    new.segment_id = NO_SEGMENT.replace('0', "3");
    manifest
        .segments
        .insert(new.segment_id.clone(), new.clone());
    let complete = answer(manifest.clone(), &[(GROWING, PAGE)]);
    let settled = claims.settle(&complete).unwrap();
    assert_eq!(settled.from_base, paths(&[(GROWING, PAGE)]));
    let lacking = answer(manifest, &[(&new.segment_id, GRAPH)]);
    assert!(matches!(claims.settle(&lacking), Err(Unsettled::Wrong(_))));
}

#[test]
fn what_never_changes() {
    for (file, want) in [
        (GRAPH, true),
        ("vector_index-title/links_compressed.bin", true),
        ("vector_index/hnsw_config.json", false),
        (CHUNK, true),
        ("vector_storage-title/vectors/chunk_12.mmap", true),
        ("vector_storage/vectors/chunk_.mmap", false),
        ("vector_storage/vectors/status.dat", false),
        ("vector_storage/deleted/flags_a.dat", false),
        ("vector_storage/matrix.dat", true),
        ("vector_storage/quantized.data", true),
        ("payload_storage/page_0.dat", false),
        ("payload_index/a/vectors/chunk_0.mmap", false),
        ("id_tracker.mappings", false),
        ("", false),
    ] {
        assert_eq!(never_changes(file), want, "{file}");
    }
    assert!(is_sealed(&state("hnsw")) && !is_sealed(&state("plain")));
    assert!(!is_sealed(&json!({"version": 7})));
}
