//! What the archived logs of a collection say of the time between two instants: `holdfast_decide::instant::between` says which entries count,
//! `holdfast_wal::diff` sums them up, and the answer names the instants at which each was seen.
//!
//! Entries are read part by part, as for a restore. One sum is made at a time, and its memory is bounded.

use super::between::{history, listed};
use super::pieces::Reader;
use crate::core::Core;
use crate::fault::{Fault, chain};
use holdfast_archive::WalObject;
use holdfast_decide::instant::{Lack, Piece, ShardLog, between};
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{CollectionName, Timestamp};
use holdfast_wal::change::PointId;
use holdfast_wal::diff::{ByFilter, Diff, Fate, Large, Limits, OfCollection, Tally};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most ids of one fate in one answer.
const MAX_IDS: u32 = 100_000;

/// Where an operation stands. Their order is that in which they were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    by: Timestamp,
    after: Timestamp,
    shard: u32,
    index: u64,
}

/// What was asked for.
#[derive(Clone)]
struct Asked {
    collection: CollectionName,
    from: Timestamp,
    to: Timestamp,
    ids: usize,
}

/// What is lacking, and what is known beside the entries.
struct Frame {
    gaps: Vec<Lack>,
    notes: Vec<String>,
    perhaps_earlier: u64,
    perhaps_later: u64,
    operations: u64,
    bytes: u64,
}

/// What was written to a collection between two instants.
///
/// # Errors
/// Instants in the wrong order; a collection of which no log is archived; an archive that can't be read.
pub async fn diff(core: &Arc<Core>, request: &v1::DiffRequest) -> Result<v1::DiffResponse, Fault> {
    let asked = asked(request)?;
    // The gate is never closed; without a share the bound on memory would merely be softer.
    let _share = core.diff_gate.acquire().await.ok();
    let (frame, sum) = match summed(core, &asked).await {
        // What is remembered of a part does not show that it was damaged, merged or pruned since: once more, of what is there.
        Err(fault) if fault.known_code() == Code::RepositoryDamaged => {
            core.known.forget_parts();
            summed(core, &asked).await?
        }
        done => done?,
    };
    aside(move || answer(&asked, frame, &sum)).await
}

async fn summed(core: &Arc<Core>, asked: &Asked) -> Result<(Frame, Diff<Place>), Fault> {
    let history = history(core, &asked.collection, asked.from, asked.to).await?;
    let listed = listed(core, &asked.collection).await;
    let wanted = asked.clone();
    let found = aside(move || {
        let Asked {
            collection,
            from,
            to,
            ..
        } = wanted;
        between(&history, &listed, &collection, from, to)
    });
    let found = found.await?;
    if !found.has_log {
        return Err(no_log(&asked.collection));
    }
    let logs = found.pieces.iter().map(|piece| &piece.log);
    let frame = Frame {
        operations: logs.clone().map(ShardLog::entries).sum(),
        bytes: logs.map(|log| log.bytes).sum(),
        gaps: found.gaps,
        notes: found.notes,
        perhaps_earlier: found.perhaps_earlier,
        perhaps_later: found.perhaps_later,
    };
    let mut sum = Diff::new(Limits::default());
    for piece in found.pieces {
        sum = add_piece(core, &asked.collection, Arc::new(piece), sum).await?;
    }
    Ok((frame, sum))
}

/// Work that takes a processor for a while.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Fault::from_error(Code::Internal, &error))
}

fn asked(request: &v1::DiffRequest) -> Result<Asked, Fault> {
    let collection = request.collection.parse();
    let collection = collection.map_err(|error| Fault::new(Code::Usage, chain(&error)))?;
    let (from, to) = (
        Timestamp::from_micros(request.from_us),
        Timestamp::from_micros(request.to_us),
    );
    if from >= to {
        let message = format!(
            "{from} is not before {to}: give the earlier instant with --from and the later one with --to"
        );
        return Err(Fault::new(Code::Usage, message));
    }
    if request.ids > MAX_IDS {
        let message = format!("{} ids are too many: {MAX_IDS} at most", request.ids);
        return Err(Fault::new(Code::Usage, message));
    }
    Ok(Asked {
        collection,
        from,
        to,
        ids: request.ids as usize,
    })
}

fn no_log(collection: &CollectionName) -> Fault {
    Fault::new(
        Code::InstantNotRecoverable,
        format!(
            "no log of collection {collection} that can be read is archived: what is written is known from when the agents of its nodes have [wal] archive = true; `holdfast restore window` shows which collections have logs"
        ),
    )
}

async fn add_piece(
    core: &Arc<Core>,
    collection: &CollectionName,
    piece: Arc<Piece>,
    mut sum: Diff<Place>,
) -> Result<Diff<Place>, Fault> {
    let mut reader = Reader::open(core, collection, &piece.log).await?;
    while let Some(part) = reader.part().await? {
        let piece = Arc::clone(&piece);
        sum = aside(move || {
            add_part(&mut sum, &piece, &part);
            sum
        })
        .await?;
    }
    Ok(sum)
}

fn add_part(sum: &mut Diff<Place>, piece: &Piece, part: &WalObject) {
    let (shard, counts) = (piece.log.shard.0, piece.log.from..piece.log.until);
    for (index, _, frame) in part.frames().filter(|(index, ..)| counts.contains(index)) {
        // As the decision saw it: instants that go back between parts are replaced there.
        let Some(look) = piece.look_of(index) else {
            continue;
        };
        let (after, by) = (look.after, look.by);
        let place = Place {
            by,
            after,
            shard,
            index,
        };
        sum.add(shard, place, &frame.data);
    }
}

fn answer(asked: &Asked, frame: Frame, sum: &Diff<Place>) -> v1::DiffResponse {
    let unread = sum.unread.iter().map(|(why, count)| v1::DiffUnread {
        why: why.clone(),
        count: *count,
    });
    let gaps = frame.gaps.into_iter().map(|gap| v1::DiffGap {
        shard_id: gap.shard.map(|shard| shard.0),
        after_us: gap.after.as_micros(),
        before_us: gap.before.as_micros(),
        why: gap.why,
    });
    let (by_filter, by_filter_left_out) = sum.earliest_filters();
    v1::DiffResponse {
        operations: frame.operations,
        bytes: frame.bytes,
        kinds: sum.kinds.iter().map(kind).collect(),
        kinds_left_out: sum.kinds_left_out,
        points: fates(&sum.points, asked.ids),
        points_left_out: sum.points_left_out,
        by_filter: by_filter.into_iter().map(filter).collect(),
        by_filter_left_out,
        largest: sum.largest.iter().map(large).collect(),
        of_collection: sum.of_collection.iter().map(schema).collect(),
        of_collection_left_out: sum.of_collection_left_out,
        unread: unread.collect(),
        unread_left_out: sum.unread_left_out,
        gaps: gaps.collect(),
        notes: frame.notes,
        perhaps_earlier: frame.perhaps_earlier,
        perhaps_later: frame.perhaps_later,
    }
}

/// How many points have each fate, and the first of their ids.
fn fates(points: &BTreeMap<(PointId, u32), Fate>, ids: usize) -> Vec<v1::DiffPoints> {
    let mut told = Fate::ALL.map(|fate| v1::DiffPoints {
        fate: name(fate).to_owned(),
        count: 0,
        ids: Vec::new(),
    });
    for ((id, _), fate) in points {
        for (of, known) in told.iter_mut().zip(Fate::ALL) {
            if known == *fate {
                of.count += 1;
                let wanted = of.ids.len() < ids;
                of.ids.extend(wanted.then(|| point_id(*id)));
            }
        }
    }
    told.into_iter().collect()
}

fn name(fate: Fate) -> &'static str {
    match fate {
        Fate::Put => "put",
        Fate::PerhapsPut => "perhaps-put",
        Fate::Changed => "changed",
        Fate::Removed => "removed",
    }
}

fn point_id(id: PointId) -> v1::DiffPointId {
    use v1::diff_point_id::Id;
    let id = match id {
        PointId::Number(number) => Id::Number(number),
        PointId::Uuid(_) => Id::Uuid(id.to_string()),
    };
    v1::DiffPointId { id: Some(id) }
}

fn logged(place: Place) -> Option<v1::LoggedOperation> {
    Some(v1::LoggedOperation {
        shard_id: place.shard,
        index: place.index,
        after_us: place.after.as_micros(),
        by_us: place.by.as_micros(),
    })
}

fn kind((kind, tally): (&String, &Tally<Place>)) -> v1::DiffKind {
    v1::DiffKind {
        kind: kind.clone(),
        count: tally.count,
        points: tally.points,
        first: logged(tally.first),
        last: logged(tally.last),
    }
}

fn filter(one: &ByFilter<Place>) -> v1::DiffFilter {
    v1::DiffFilter {
        kind: one.kind.clone(),
        filter: one.filter.clone(),
        count: one.count,
        first: logged(one.first),
        last: logged(one.last),
    }
}

fn large(one: &Large<Place>) -> v1::DiffLarge {
    v1::DiffLarge {
        kind: one.kind.clone(),
        points: one.points,
        operation: logged(one.at),
    }
}

fn schema(one: &OfCollection<Place>) -> v1::DiffSchema {
    v1::DiffSchema {
        kind: one.kind.clone(),
        name: one.name.clone(),
        operation: logged(one.at),
    }
}
