//! The blocking half: a partial snapshot, completed from held files and the last recipe.

use super::base::Base;
use super::claims::{Claims, Unsettled};
use super::disk::{Held, HeldFile};
use crate::capture::reader::{ChunkSink, Ended, ReadShard, Stage};
use crate::job::Halt;
use crate::pace::Pace;
use holdfast_qdrant::{FileSink as _, PartialShard, read_partial_shard};
use holdfast_types::ChunkId;
use std::io::{self, Read};
use std::sync::Arc;

/// Bytes read from a file at once.
const PIECE: usize = 1 << 20;

/// What completes a snapshot.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) claims: Claims,
    pub(super) held: Held,
    pub(super) base: Option<Arc<Base>>,
}

/// A completed shard.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) shard: ReadShard,
    pub(super) answer: PartialShard,
    /// The held files, to be looked at once more.
    pub(super) held: Held,
    /// Chunks of the last capture that no byte was read of: the repository must still have them.
    pub(super) reused: Vec<ChunkId>,
    /// Bytes that came from the last capture, from disk, and from Qdrant.
    pub(super) bytes: [u64; 3],
}

/// Reads the snapshot to its end, then what it lacks.
pub(super) fn read(
    source: impl Read,
    stage: Stage,
    rest: Rest,
) -> Result<Result<Whole, Unsettled>, Halt> {
    let Rest { claims, held, base } = rest;
    let (mut sink, mut source) = stage.begin(source);
    let answer = read_partial_shard(&mut source, &mut sink).map_err(|error| stage.failed(error))?;
    stage.drain(&mut source)?;
    let settled = match claims.settle(&answer) {
        Ok(settled) => settled,
        Err(unsettled) => return Ok(Err(unsettled)),
    };
    let mut bytes = [0, 0, answer.contents.logical_bytes];
    for (id, file) in &settled.from_disk {
        let name = (id.clone(), file.clone());
        let Some(file) = held.get(&name) else {
            return Ok(Err(lost(&name.1)));
        };
        bytes[1] += file.size();
        let path = format!("segments/{id}/{}", name.1);
        match pour(file, &path, &mut sink, &stage.pace) {
            Ok(()) => stage.meter.add_done(file.size()),
            Err(Poured::Ended(ended)) => return Err(stage.ended(ended)),
            Err(Poured::Io(error)) => return Ok(Err(Unsettled::Wrong(error.to_string()))),
        }
    }
    let mut reused = Vec::new();
    for path in &settled.from_base {
        let Some(file) = base.as_ref().and_then(|base| base.file(path)) else {
            return Ok(Err(lost(path)));
        };
        bytes[0] += file.size;
        reused.extend(sink.reuse(file.clone()).map_err(|end| stage.ended(end))?);
    }
    let recipe = sink.finish()?;
    Ok(Ok(Whole {
        shard: ReadShard {
            contents: answer.contents.clone(),
            recipe,
        },
        answer,
        held,
        reused,
        bytes,
    }))
}

fn lost(file: &str) -> Unsettled {
    Unsettled::Wrong(format!(
        "{file} was claimed, but there is nothing to take it from"
    ))
}

enum Poured {
    Ended(Ended),
    Io(io::Error),
}

/// Reads exactly as many bytes as the file had when it was opened.
fn pour(file: &HeldFile, path: &str, sink: &mut ChunkSink, pace: &Pace) -> Result<(), Poured> {
    sink.begin(path, file.size()).map_err(Poured::Ended)?;
    let mut left = file.size();
    let mut piece = vec![0; PIECE];
    let mut reader = file.reader();
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        reader.read_exact(&mut piece[..want]).map_err(Poured::Io)?;
        pace.read_blocking(want as u64);
        sink.data(&piece[..want]).map_err(Poured::Ended)?;
        left -= want as u64;
    }
    sink.end().map_err(Poured::Ended)
}
