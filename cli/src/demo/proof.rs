//! What a collection is, in a form that can be compared: everything a client can see of it.
//!
//! It is taken from Qdrant itself by exact calls only, before and after, and compared here. Holdfast's
//! own numbers play no part in it.

use super::dataset::Dataset;
use super::rest::{Hit, Info, Page, Qdrant, Record};
use crate::failure::{Failure, Outcome};
use crate::progress::{Amount, Progress};
use holdfast_service::failure::Code;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Searches compared before and after: half of them filtered.
const QUERIES: u64 = 8;

/// At most this many ids are named when collections differ.
const NAMED: usize = 5;

/// Short digest of one point; 128 bits find any accidental difference.
type PointDigest = [u8; 16];

/// Everything a client can see of a collection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proof {
    count: u64,
    digest: String,
    points: Vec<(u64, PointDigest)>,
    aliases: Vec<String>,
    indexes: BTreeMap<String, Value>,
    settings: Value,
    answers: Vec<Vec<Hit>>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was compared.
    pub(crate) check: &'static str,
    pub(crate) equal: bool,
    /// What was found, or how it differs.
    pub(crate) detail: String,
}

impl Proof {
    /// Reads the whole collection.
    pub(crate) async fn take(
        qdrant: &Qdrant,
        collection: &str,
        data: &Dataset,
        dim: u32,
        progress: &mut Progress,
    ) -> Outcome<Self> {
        let count = qdrant.count(collection).await?;
        let points = scroll_all(qdrant, collection, count, dim, progress).await?;
        let mut answers = Vec::new();
        for i in 0..QUERIES {
            answers.push(
                qdrant
                    .nearest(collection, &data.query(i), &filter(i))
                    .await?,
            );
        }
        let info = qdrant.info(collection).await?;
        Ok(Self {
            count,
            digest: digest_all(&points),
            points,
            aliases: qdrant.aliases(collection).await?,
            indexes: indexes(&info),
            settings: info.config,
            answers,
        })
    }

    /// Exact number of points.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Digest over every id, vector and payload.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Compares what was captured with what was restored. A copy under another name has no aliases.
    pub(crate) fn compare(&self, restored: &Self, with_aliases: bool) -> Vec<Check> {
        let mut checks = vec![
            check("points", self.count == restored.count, || {
                (format!("{}", self.count), format!("{}", restored.count))
            }),
            self.compare_points(restored),
            check("payload indexes", self.indexes == restored.indexes, || {
                (
                    json!(self.indexes).to_string(),
                    json!(restored.indexes).to_string(),
                )
            }),
            check(
                "collection settings",
                self.settings == restored.settings,
                || (self.settings.to_string(), restored.settings.to_string()),
            ),
            self.compare_answers(restored),
        ];
        if with_aliases {
            checks.push(check("aliases", self.aliases == restored.aliases, || {
                (self.aliases.join(", "), restored.aliases.join(", "))
            }));
        }
        checks
    }

    fn compare_points(&self, restored: &Self) -> Check {
        let name = "every id, vector and payload";
        if self.digest == restored.digest {
            let detail = format!("digest {}", self.digest.get(..16).unwrap_or(&self.digest));
            return Check {
                check: name,
                equal: true,
                detail,
            };
        }
        let old: BTreeMap<u64, PointDigest> = self.points.iter().copied().collect();
        let new: BTreeMap<u64, PointDigest> = restored.points.iter().copied().collect();
        let missing = ids(old.keys().filter(|id| !new.contains_key(id)));
        let extra = ids(new.keys().filter(|id| !old.contains_key(id)));
        let differs =
            |(id, digest): &(&u64, &PointDigest)| new.get(id).is_some_and(|other| other != *digest);
        let changed = ids(old.iter().filter(differs).map(|(id, _)| id));
        let detail = format!("ids missing: {missing}; unexpected: {extra}; different: {changed}");
        Check {
            check: name,
            equal: false,
            detail,
        }
    }

    fn compare_answers(&self, restored: &Self) -> Check {
        let name = "search results";
        let differ: Vec<String> = self
            .answers
            .iter()
            .zip(&restored.answers)
            .enumerate()
            .filter(|(_, (before, after))| before != after)
            .map(|(i, _)| i.to_string())
            .collect();
        let hits: usize = self.answers.iter().map(Vec::len).sum();
        let detail = if differ.is_empty() {
            format!("{} queries, {hits} results", self.answers.len())
        } else {
            format!("queries number {} answer differently", differ.join(", "))
        };
        let equal = differ.is_empty() && self.answers.len() == restored.answers.len();
        Check {
            check: name,
            equal,
            detail,
        }
    }
}

fn check(name: &'static str, equal: bool, sides: impl FnOnce() -> (String, String)) -> Check {
    let (before, after) = sides();
    let detail = if equal {
        shorten(&before)
    } else {
        format!("captured {before}, restored {after}")
    };
    Check {
        check: name,
        equal,
        detail,
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN - 1).collect();
    format!("{head}…")
}

fn ids<'a>(ids: impl Iterator<Item = &'a u64>) -> String {
    let all: Vec<String> = ids.map(u64::to_string).collect();
    match all.len() {
        0 => "none".to_owned(),
        n if n <= NAMED => all.join(" "),
        n => format!("{} … ({n} in all)", all[..NAMED].join(" ")),
    }
}

/// Type and parameters of every payload index; its number of points is left out, as it is only an estimate.
fn indexes(info: &Info) -> BTreeMap<String, Value> {
    let only_schema = |(field, schema): (&String, &Value)| {
        let part = |name: &str| schema.get(name).cloned().unwrap_or(Value::Null);
        let kept = json!({ "data_type": part("data_type"), "params": part("params") });
        (field.clone(), kept)
    };
    info.payload_schema.iter().map(only_schema).collect()
}

fn filter(i: u64) -> Value {
    match i % 4 {
        1 => {
            json!({ "must": [{ "key": "category", "match": { "value": format!("category-{i:02}") } }] })
        }
        3 => json!({ "must": [
            { "key": "year", "range": { "gte": 2000, "lt": 2012 } },
            { "key": "text", "match": { "text": Dataset::word(usize::try_from(i).unwrap_or(0)) } },
        ] }),
        _ => Value::Null,
    }
}

async fn scroll_all(
    qdrant: &Qdrant,
    collection: &str,
    count: u64,
    dim: u32,
    progress: &mut Progress,
) -> Outcome<Vec<(u64, PointDigest)>> {
    // About 8 MiB of JSON a page.
    let limit = (700_000 / u64::from(dim)).clamp(50, 5000);
    let mut points: Vec<(u64, PointDigest)> = Vec::new();
    let mut offset = None;
    loop {
        let Page {
            points: page,
            next_page_offset,
        } = qdrant.scroll(collection, offset, limit).await?;
        for record in &page {
            if points.last().is_some_and(|(last, _)| *last >= record.id) {
                return Err(Failure::new(
                    Code::QdrantError,
                    format!("Qdrant returned id {} out of order", record.id),
                ));
            }
            points.push((record.id, digest(record)));
        }
        let done = u64::try_from(points.len()).unwrap_or(u64::MAX);
        let amount = Amount {
            done,
            total: count,
            sent: None,
            bytes: false,
        };
        progress.update(collection, "points read back", amount);
        match next_page_offset {
            None => break,
            next => offset = next,
        }
    }
    progress.clear();
    Ok(points)
}

/// BLAKE3 over id, vector (bits of each f32) and payload (keys sorted), each with its length.
fn digest(record: &Record) -> PointDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&record.id.to_le_bytes());
    hasher.update(&(record.vector.len() as u64).to_le_bytes());
    let bits: Vec<u8> = record
        .vector
        .iter()
        .flat_map(|x| x.to_bits().to_le_bytes())
        .collect();
    hasher.update(&bits);
    let payload = json!(record.payload.clone().unwrap_or_default()).to_string();
    hasher.update(&(payload.len() as u64).to_le_bytes());
    hasher.update(payload.as_bytes());
    let mut short = PointDigest::default();
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

fn digest_all(points: &[(u64, PointDigest)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (id, digest) in points {
        hasher.update(&id.to_le_bytes());
        hasher.update(digest);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::{Hit, Proof, Record, digest, digest_all};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn record(id: u64, vector: &[f32], year: u64) -> Record {
        Record {
            id,
            vector: vector.to_vec(),
            payload: Some(BTreeMap::from([("year".to_owned(), json!(year))])),
        }
    }

    fn proof(records: &[Record]) -> Proof {
        let points: Vec<_> = records.iter().map(|r| (r.id, digest(r))).collect();
        Proof {
            count: records.len() as u64,
            digest: digest_all(&points),
            points,
            aliases: vec!["current".into()],
            indexes: BTreeMap::new(),
            settings: json!({ "params": 1 }),
            answers: vec![vec![Hit { id: 1, score: 0.5 }]],
        }
    }

    fn unequal(before: &Proof, after: &Proof) -> Vec<&'static str> {
        let checks = before.compare(after, true);
        checks
            .iter()
            .filter(|c| !c.equal)
            .map(|c| c.check)
            .collect()
    }

    #[test]
    fn equal_collections_pass_every_check() {
        let one = proof(&[record(1, &[0.1, 0.2], 2000)]);
        assert_eq!(unequal(&one, &one.clone()), Vec::<&str>::new());
        assert_eq!(one.compare(&one, true).len(), 6);
    }

    #[test]
    fn the_last_bit_of_a_vector_and_any_payload_are_seen() {
        let before = proof(&[record(1, &[0.1], 2000), record(2, &[0.2], 2000)]);
        let flipped = f32::from_bits(0.2_f32.to_bits() ^ 1);
        let after = proof(&[record(1, &[0.1], 2001), record(2, &[flipped], 2000)]);
        assert_eq!(unequal(&before, &after), ["every id, vector and payload"]);
        let check = &before.compare(&after, true)[1];
        assert_eq!(
            check.detail,
            "ids missing: none; unexpected: none; different: 1 2"
        );
    }

    #[test]
    fn missing_and_unexpected_points_are_named() {
        let before = proof(&[record(1, &[0.1], 2000), record(2, &[0.2], 2000)]);
        let after = proof(&[record(2, &[0.2], 2000), record(3, &[0.3], 2000)]);
        let check = &before.compare(&after, true)[1];
        assert_eq!(
            check.detail,
            "ids missing: 1; unexpected: 3; different: none"
        );
    }

    #[test]
    fn aliases_settings_indexes_and_scores_are_compared() {
        let before = proof(&[record(1, &[0.1], 2000)]);
        let mut after = before.clone();
        after.aliases.clear();
        after.settings = json!({ "params": 2 });
        after.indexes.insert("year".into(), json!("integer"));
        after.answers[0][0].score = 0.500_000_1;
        assert_eq!(
            unequal(&before, &after),
            [
                "payload indexes",
                "collection settings",
                "search results",
                "aliases"
            ]
        );
        assert!(
            before
                .compare(&after, false)
                .iter()
                .all(|c| c.check != "aliases")
        );
    }

    #[test]
    fn a_payload_can_not_pretend_to_be_part_of_a_vector() {
        let a = Record {
            payload: None,
            ..record(1, &[0.0, 0.0], 0)
        };
        let b = Record {
            payload: None,
            ..record(1, &[0.0], 0)
        };
        assert_ne!(digest(&a), digest(&b));
    }
}
