//! The reader of both kinds of snapshot.

use super::contents::{PartialShard, ShardContents};
use super::layout::{Place, SEGMENT_VERSION, place, place_nested};
use super::sink::FileSink;
use super::wal::{Emit, WalFile};
use super::{ReadError, SnapshotError};
use crate::tar::{Entry, EntryKind, Piece, TarError, TarReader};
use checks::{Checks, MAX_META};
use std::io::{BufRead, BufReader, Read};

mod checks;

/// Bytes read from the source at once.
const BUFFER: usize = 1 << 20;

/// Reads a streamed shard snapshot (`GET …/shards/{s}/snapshot`) into `sink`.
///
/// Blocks on `reader`. The files are worth something only if it returns `Ok`: then the archive had its
/// trailer, every segment its state and version, and the shard its log position, replica state
/// and configuration.
pub fn read_shard_stream<S: FileSink>(
    reader: impl Read,
    sink: &mut S,
) -> Result<ShardContents, ReadError<S::Error>> {
    read_shard_snapshot(reader, sink)
}

/// Reads a stored shard snapshot (`POST …/shards/{s}/snapshots`) into `sink`; see [`read_shard_stream`].
pub fn read_stored_shard<S: FileSink>(
    reader: impl Read,
    sink: &mut S,
) -> Result<ShardContents, ReadError<S::Error>> {
    read_shard_snapshot(reader, sink)
}

/// Reads a shard snapshot of either kind: each segment tells by itself whether it is nested. Nothing that is
/// checked depends on the kind.
pub fn read_shard_snapshot<S: FileSink>(
    reader: impl Read,
    sink: &mut S,
) -> Result<ShardContents, ReadError<S::Error>> {
    Ok(pass_through(reader, sink)?.finish()?)
}

/// Reads a partial snapshot (`POST …/shards/{s}/snapshot/partial/create`) into `sink`: like
/// [`read_shard_snapshot`], but every segment must have its manifest, and files that it lists may be missing. Whether
/// they may be, and where they come from then, is for the caller to decide.
pub fn read_partial_shard<S: FileSink>(
    reader: impl Read,
    sink: &mut S,
) -> Result<PartialShard, ReadError<S::Error>> {
    Ok(pass_through(reader, sink)?.finish_partial()?)
}

/// Hands all files on and notes what was there.
fn pass_through<S: FileSink>(
    reader: impl Read,
    sink: &mut S,
) -> Result<Checks, ReadError<S::Error>> {
    let mut tar = TarReader::new(BufReader::with_capacity(BUFFER, reader));
    let mut shard = Checks::default();
    while let Some(entry) = tar.next_entry()? {
        if entry.kind == EntryKind::Directory {
            continue;
        }
        match place(&entry.path).ok_or_else(|| unexpected(&entry.path))? {
            Place::SegmentFile { segment, file } => {
                segment_file(&mut tar, &entry, segment, file, &mut shard, sink)?;
            }
            Place::SegmentArchive { segment } => {
                segment_archive(&mut tar, segment, &mut shard, sink)
                    .map_err(|e| within(e, segment))?;
            }
            Place::ShardFile => shard_file(&mut tar, &entry, &mut shard, sink)?,
        }
    }
    Ok(shard)
}

fn unexpected(path: &str) -> SnapshotError {
    SnapshotError::Malformed(format!("it contains an unexpected file {path:?}"))
}

/// Reads a segment that is an archive of its own.
///
/// Servers (1.18.3, measured) end these inner archives without a trailer. Then the segment's version, which they
/// write last, must be the last entry; that the enclosing archive is whole shows in its own trailer.
fn segment_archive<R: BufRead, S: FileSink>(
    outer: &mut TarReader<R>,
    segment: &str,
    shard: &mut Checks,
    sink: &mut S,
) -> Result<(), ReadError<S::Error>> {
    let mut inner = TarReader::new(outer.body());
    let mut version_was_last = false;
    loop {
        let entry = match inner.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(()),
            Err(TarError::NoTrailer { .. }) if version_was_last => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if entry.kind == EntryKind::File {
            let file = place_nested(&entry.path).ok_or_else(|| unexpected(&entry.path))?;
            segment_file(&mut inner, &entry, segment, file, shard, sink)?;
            version_was_last = file == SEGMENT_VERSION;
        }
    }
}

/// Says in which segment's archive it happened.
fn within<E>(error: ReadError<E>, segment: &str) -> ReadError<E> {
    let place = |why: String| format!("in the archive of segment {segment}, {why}");
    match error {
        ReadError::Snapshot(SnapshotError::Truncated(why)) => {
            SnapshotError::Truncated(place(why)).into()
        }
        ReadError::Snapshot(SnapshotError::Malformed(why)) => {
            SnapshotError::Malformed(place(why)).into()
        }
        ReadError::Snapshot(_) | ReadError::Sink(_) => error,
    }
}

fn segment_file<R: BufRead, S: FileSink>(
    tar: &mut TarReader<R>,
    entry: &Entry,
    segment: &str,
    file: &str,
    shard: &mut Checks,
    sink: &mut S,
) -> Result<(), ReadError<S::Error>> {
    if shard.is_manifest(file) {
        let content = read_whole(tar, entry)?;
        shard.manifest(segment, &content)?;
        return Ok(());
    }
    let path = format!("segments/{segment}/{file}");
    let keep = shard.segment_file(segment, file, entry.size)?;
    let content = pass_on(tar, entry, &path, keep, sink)?;
    if keep {
        shard.segment_meta(segment, file, &content)?;
    }
    Ok(())
}

fn shard_file<R: BufRead, S: FileSink>(
    tar: &mut TarReader<R>,
    entry: &Entry,
    shard: &mut Checks,
    sink: &mut S,
) -> Result<(), ReadError<S::Error>> {
    let keep = shard.shard_file(&entry.path, entry.size)?;
    if let Some(index) = WalFile::first_index(&entry.path) {
        let empty = pass_on_wal(tar, entry, sink)?;
        shard.wal_file(Some(index).filter(|_| empty));
        return Ok(());
    }
    let content = pass_on(tar, entry, &entry.path, keep, sink)?;
    if keep {
        shard.shard_meta(&entry.path, &content)?;
    }
    Ok(())
}

/// Hands one file to the sink; also returns its content if `keep`.
fn pass_on<R: BufRead, S: FileSink>(
    tar: &mut TarReader<R>,
    entry: &Entry,
    path: &str,
    keep: bool,
    sink: &mut S,
) -> Result<Vec<u8>, ReadError<S::Error>> {
    let mut kept = Vec::new();
    sink.begin(path, entry.size).map_err(ReadError::Sink)?;
    while let Some(piece) = tar.next_piece()? {
        if keep {
            keep_piece(&mut kept, &piece)?;
        }
        match piece {
            Piece::Data(bytes) => sink.data(bytes),
            Piece::Zeros(len) => sink.zeros(len),
        }
        .map_err(ReadError::Sink)?;
    }
    sink.end().map_err(ReadError::Sink)?;
    Ok(kept)
}

/// Hands a file of the write-ahead log to the sink, without its seed; true if it is empty.
fn pass_on_wal<R: BufRead, S: FileSink>(
    tar: &mut TarReader<R>,
    entry: &Entry,
    sink: &mut S,
) -> Result<bool, ReadError<S::Error>> {
    let mut wal = WalFile::default();
    sink.begin(&entry.path, entry.size)
        .map_err(ReadError::Sink)?;
    let mut emit = |part: Emit<'_>| match part {
        Emit::Data(bytes) => sink.data(bytes),
        Emit::Zeros(len) => sink.zeros(len),
    };
    while let Some(piece) = tar.next_piece()? {
        match piece {
            Piece::Data(bytes) => wal.data(bytes, &mut emit),
            Piece::Zeros(len) => wal.zeros(len, &mut emit),
        }
        .map_err(ReadError::Sink)?;
    }
    let empty = wal.end(&mut emit).map_err(ReadError::Sink)?;
    sink.end().map_err(ReadError::Sink)?;
    Ok(empty)
}

fn read_whole<R: BufRead>(tar: &mut TarReader<R>, entry: &Entry) -> Result<Vec<u8>, SnapshotError> {
    let mut content = Vec::new();
    if entry.size > MAX_META {
        return Err(too_large(&entry.path));
    }
    while let Some(piece) = tar.next_piece()? {
        keep_piece(&mut content, &piece)?;
    }
    Ok(content)
}

fn keep_piece(kept: &mut Vec<u8>, piece: &Piece<'_>) -> Result<(), SnapshotError> {
    let add = match piece {
        Piece::Data(bytes) => bytes.len() as u64,
        Piece::Zeros(len) => *len,
    };
    if kept.len() as u64 + add > MAX_META {
        return Err(too_large("a JSON file"));
    }
    match piece {
        Piece::Data(bytes) => kept.extend_from_slice(bytes),
        Piece::Zeros(len) => kept.resize(kept.len() + usize::try_from(*len).unwrap_or(0), 0),
    }
    Ok(())
}

fn too_large(what: &str) -> SnapshotError {
    SnapshotError::Malformed(format!("{what} is larger than {MAX_META} bytes"))
}

#[cfg(test)]
mod forged;
#[cfg(test)]
mod tests;
