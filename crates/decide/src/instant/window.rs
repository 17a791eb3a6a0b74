//! Which instants can be restored, for each collection, and why not the others.

use super::extend::{Extension, Index, Together};
use super::history::{BasePoint, History};
use holdfast_types::{CollectionName, RecoveryPointId, Timestamp};
use std::collections::BTreeSet;

/// What can be restored of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Which.
    pub collection: CollectionName,
    /// Stretches of time in which every instant can be, earliest first; they don't touch.
    pub stretches: Vec<Stretch>,
    /// Recovery points that can be restored as they are, and to no instant.
    pub singles: Vec<Single>,
    /// What lies between the stretches, and after the last.
    pub gaps: Vec<Gap>,
}

/// Every instant from the first to the last can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// The recovery points that are used for it, oldest first.
    pub points: Vec<RecoveryPointId>,
}

/// A recovery point that is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Single {
    /// Which.
    pub point: RecoveryPointId,
    /// Everything acknowledged before is contained.
    pub captured_at: Timestamp,
    /// Why it can't be brought to an instant.
    pub why: Vec<String>,
}

/// No instant in between can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where the stretch before it ends.
    pub after: Timestamp,
    /// Where the next begins; `None` if there is none.
    pub before: Option<Timestamp>,
    /// Why the first one ends.
    pub why: Vec<String>,
}

/// The windows of all collections that any recovery point holds, or of one.
#[must_use]
pub fn windows(history: &History, only: Option<&CollectionName>) -> Vec<Window> {
    let index = Index::new(history);
    let names = history.points.iter().flat_map(|p| p.collections.keys());
    let names: BTreeSet<&CollectionName> = names
        .filter(|name| only.is_none_or(|only| only == *name))
        .collect();
    names.into_iter().map(|name| window(&index, name)).collect()
}

/// An interval that one recovery point makes possible.
struct Span {
    from: Timestamp,
    to: Timestamp,
    points: Vec<RecoveryPointId>,
    ends: Vec<String>,
}

fn window(index: &Index<'_>, name: &CollectionName) -> Window {
    let (mut spans, mut singles) = (Vec::new(), Vec::new());
    let holders = index.history.points.iter();
    for point in holders.filter(|point| point.collections.contains_key(name)) {
        match index.extend_all(point, std::slice::from_ref(name)) {
            Ok(together) if together.floor <= together.reach => {
                spans.push(span(index, &together));
            }
            Ok(together) => singles.push(single(point, name, vec![apart(&together)])),
            Err(why) => singles.push(single(point, name, why)),
        }
    }
    singles.reverse();
    let merged = merge(spans);
    let befores = merged.iter().skip(1).map(|span| Some(span.from));
    let gaps = merged.iter().zip(befores.chain([None]));
    let gaps = gaps.map(|(span, before)| Gap {
        after: span.to,
        before,
        why: span.ends.clone(),
    });
    Window {
        collection: name.clone(),
        gaps: gaps.collect(),
        stretches: merged
            .into_iter()
            .map(|span| Stretch {
                from: span.from,
                to: span.to,
                points: span.points,
            })
            .collect(),
        singles,
    }
}

/// Spans that overlap or touch become one.
fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| (span.from, span.to));
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.to => {
                last.points.extend(span.points);
                if span.to >= last.to {
                    (last.to, last.ends) = (span.to, span.ends);
                }
            }
            Some(_) | None => merged.push(span),
        }
    }
    for span in &mut merged {
        span.points.sort_unstable();
    }
    merged
}

fn span(index: &Index<'_>, together: &Together<'_>) -> Span {
    let limiting = together.shards.iter();
    let limiting = limiting.filter(|(_, shard)| shard.reach == together.reach);
    let ends = limiting.map(|(name, shard)| {
        let mut text = format!("shard {}: {}", shard.base.shard, shard.ended);
        if let Some(because) = begun_after(index, name, shard) {
            text.push_str(&format!("; its log begins anew: {because}"));
        }
        text
    });
    Span {
        from: together.floor,
        to: together.reach,
        points: vec![together.point.id.clone()],
        ends: ends.collect(),
    }
}

/// Why the shard's next timeline does not go on with this one.
fn begun_after<'a>(
    index: &'a Index<'_>,
    name: &CollectionName,
    shard: &Extension<'_>,
) -> Option<&'a str> {
    let others = index.history.logs.iter().filter(|log| {
        let same = log.owner.as_ref().is_some_and(|(owner, _)| owner == name);
        same && log.shard == shard.base.shard && log.timeline != shard.timeline
    });
    let begun = others.filter_map(|log| {
        let first = match log.parts.first()? {
            super::PartView::Read(part) => part.looks.first()?.by,
            super::PartView::Unreadable { .. } => return None,
        };
        Some((first, log.because.as_deref()?))
    });
    let later = begun.filter(|(first, _)| *first >= shard.reach);
    later.min_by_key(|(first, _)| *first).map(|(_, why)| why)
}

fn apart(together: &Together<'_>) -> String {
    format!(
        "its shards can't be brought to one instant: one may contain what was written until {}, another is known until {} only",
        together.floor, together.reach
    )
}

fn single(point: &BasePoint, name: &CollectionName, why: Vec<String>) -> Single {
    let bases = point.collections.get(name).into_iter().flatten();
    let earliest = bases.map(|base| base.captured_at).min();
    Single {
        point: point.id.clone(),
        captured_at: earliest.unwrap_or(Timestamp::EPOCH),
        why,
    }
}
