//! Fills the demo's collection, and changes a hundredth of it.

use super::dataset::{Change, Dataset, Point};
use super::rest::Qdrant;
use crate::failure::{Failure, Outcome};
use crate::progress::{Amount, Progress};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_service::failure::Code;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The demo's collection.
pub(super) const COLLECTION: &str = "holdfast_demo";
/// Its aliases.
pub(super) const ALIASES: [&str; 2] = ["demo_current", "demo_search"];

/// Requests that are on their way at once.
const PARALLEL: usize = 4;

/// About this many numbers go into one request: 3 MB of JSON.
const FLOATS_A_REQUEST: u64 = 250_000;

/// Green twice in a row, this far apart, counts: between two optimizations it is green for an instant.
const GREEN_POLL: Duration = Duration::from_millis(300);

/// Building the graph of the largest sensible demo.
const GREEN_LIMIT: Duration = Duration::from_secs(1800);

/// Payload fields with an index, and its schema.
fn indexes() -> [(&'static str, Value); 3] {
    [
        ("category", json!("keyword")),
        ("year", json!("integer")),
        (
            "text",
            json!({ "type": "text", "tokenizer": "word", "lowercase": true, "min_token_len": 2 }),
        ),
    ]
}

/// Makes the collection with everything that a backup must bring back, and waits until it is indexed.
pub(super) async fn fill(
    qdrant: &Qdrant,
    data: &Dataset,
    dim: u32,
    progress: &mut Progress,
) -> Outcome<()> {
    qdrant.create_collection(COLLECTION, dim).await?;
    qdrant.create_aliases(COLLECTION, &ALIASES).await?;
    let batch = batch_size(dim);
    let total = data.len();
    let mut done = 0;
    let starts = (0..total).step_by(usize::try_from(batch).unwrap_or(usize::MAX));
    let mut sent = stream::iter(starts)
        .map(async |start| {
            let end = total.min(start + batch);
            let points: Vec<Point> = (start..end).map(|id| data.point(id, 0)).collect();
            qdrant
                .upsert(COLLECTION, &points)
                .await
                .map(|()| end - start)
        })
        .buffer_unordered(PARALLEL);
    while let Some(points) = sent.try_next().await? {
        done += points;
        let amount = Amount {
            done,
            total,
            sent: None,
            bytes: false,
        };
        progress.update("load", "points loaded", amount);
    }
    progress.clear();
    wait_green(qdrant, COLLECTION, progress).await?;
    // Last: indexes that are there before the graph make Qdrant build a graph for each of their values
    // too, which takes four times as long and would add nothing to the demo.
    for (field, schema) in indexes() {
        qdrant.create_index(COLLECTION, field, &schema).await?;
    }
    wait_green(qdrant, COLLECTION, progress).await
}

/// Changes 1 % of the points; returns how many.
pub(super) async fn change(qdrant: &Qdrant, data: &Dataset, dim: u32) -> Outcome<u64> {
    let of = |change| (0..data.len()).filter(move |id| data.change(*id) == change);
    let upserts: Vec<u64> = of(Change::Overwrite).chain(data.added()).collect();
    let payloads: Vec<u64> = of(Change::Payload).collect();
    let deletes: Vec<u64> = of(Change::Delete).collect();
    let batch = usize::try_from(batch_size(dim)).unwrap_or(usize::MAX);
    for ids in upserts.chunks(batch) {
        let points: Vec<Point> = ids.iter().map(|id| data.point(*id, 1)).collect();
        qdrant.upsert(COLLECTION, &points).await?;
    }
    for ids in payloads.chunks(1000) {
        let payloads: Vec<(u64, Value)> =
            ids.iter().map(|id| (*id, data.payload(*id, 1))).collect();
        qdrant.overwrite_payloads(COLLECTION, &payloads).await?;
    }
    for ids in deletes.chunks(10_000) {
        qdrant.delete_points(COLLECTION, ids).await?;
    }
    Ok([upserts, payloads, deletes]
        .iter()
        .map(|ids| ids.len() as u64)
        .sum())
}

/// Waits until no optimization is running or due.
pub(super) async fn wait_green(
    qdrant: &Qdrant,
    collection: &str,
    progress: &mut Progress,
) -> Outcome<()> {
    let begun = Instant::now();
    let mut green = 0;
    while green < 2 {
        let info = qdrant.info(collection).await?;
        green = if info.status == "green" { green + 1 } else { 0 };
        if begun.elapsed() > GREEN_LIMIT {
            return Err(Failure::new(
                Code::QdrantNotReady,
                format!(
                    "collection {collection} is still {} after {} s",
                    info.status,
                    GREEN_LIMIT.as_secs()
                ),
            ));
        }
        let stage = format!(
            "{}, {} vectors indexed",
            info.status,
            info.indexed_vectors_count.unwrap_or(0)
        );
        progress.update(collection, &stage, Amount::default());
        tokio::time::sleep(GREEN_POLL).await;
    }
    progress.clear();
    Ok(())
}

fn batch_size(dim: u32) -> u64 {
    (FLOATS_A_REQUEST / u64::from(dim)).clamp(10, 2000)
}
