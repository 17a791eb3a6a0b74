//! The demo's data: a pure function of (seed, id, version), so that it needs no storage and is the
//! same on every machine.
//!
//! Vectors lie in clusters, as embeddings do, with full mantissas, so that nothing compresses better
//! than it would in earnest.

use serde::Serialize;
use serde_json::Value;

/// Number of clusters.
const CLUSTERS: u64 = 64;

/// How far points scatter around the centre of their cluster, whose own parts are of size 1.
const SPREAD: f32 = 0.45;

/// Keeps the demo's stream of numbers apart from any other use of the generator.
const SEED: u64 = 0x686f_6c64_6661_7374;

const WORDS: [&str; 24] = [
    "anchor", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbour", "island", "jetty",
    "kelp", "lagoon", "meadow", "north", "orchard", "prairie", "quarry", "river", "summit", "tide",
    "upland", "valley", "willow", "zenith",
];

/// A point as it is sent to Qdrant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    pub(crate) id: u64,
    pub(crate) vector: Vec<f32>,
    pub(crate) payload: Value,
}

/// What becomes of a point in the demo's second act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// New vector and new payload.
    Overwrite,
    /// New payload only.
    Payload,
    /// Gone.
    Delete,
    /// Stays as it is.
    None,
}

/// The generator.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    points: u64,
    dim: usize,
    centres: Vec<Vec<f32>>,
}

/// SplitMix64 (Steele, Lea, Flood 2014): tiny, and its output is fixed for ever.
struct Numbers(u64);

impl Numbers {
    fn of(parts: [u64; 3]) -> Self {
        let mut numbers = Self(SEED);
        for part in parts {
            numbers.0 = numbers.next() ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        numbers
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [−1, 1), 24 bits.
    fn signed(&mut self) -> f32 {
        let bits = u32::try_from(self.next() >> 40).expect("40 of 64 bits were shifted out");
        bits as f32 / 8_388_608.0 - 1.0
    }

    /// Bell-shaped around 0: the sum of three uniforms.
    fn bell(&mut self) -> f32 {
        self.signed() + self.signed() + self.signed()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

impl Dataset {
    /// `points` points of `dim` dimensions.
    pub(crate) fn new(points: u64, dim: usize) -> Self {
        let centre = |cluster| {
            let mut numbers = Numbers::of([1, cluster, 0]);
            (0..dim).map(|_| numbers.bell()).collect()
        };
        Self {
            points,
            dim,
            centres: (0..CLUSTERS).map(centre).collect(),
        }
    }

    /// Ids before the change: 0 to this, exclusive.
    pub(crate) fn len(&self) -> u64 {
        self.points
    }

    /// Ids that the change adds: one for each 400.
    pub(crate) fn added(&self) -> std::ops::Range<u64> {
        self.points..self.points + self.points.div_ceil(400)
    }

    /// What the change does to an id: of each 400, one overwritten, one with a new payload, one
    /// deleted; with the added one that is 1 %.
    pub(crate) fn change(&self, id: u64) -> Change {
        match id % 400 {
            50 => Change::Overwrite,
            150 => Change::Payload,
            250 => Change::Delete,
            _ => Change::None,
        }
    }

    /// The point `id` in its `version` (0 before the change, 1 after).
    pub(crate) fn point(&self, id: u64, version: u64) -> Point {
        Point {
            id,
            vector: self.vector(&mut Numbers::of([2, id, version])),
            payload: self.payload(id, version),
        }
    }

    /// The payload of `id` in its `version`: a keyword, an integer, and text.
    pub(crate) fn payload(&self, id: u64, version: u64) -> Value {
        let mut numbers = Numbers::of([3, id, version]);
        let mut word = || WORDS[usize::try_from(numbers.below(24)).expect("below 24")];
        let text = [word(), word(), word(), word(), word()].join(" ");
        serde_json::json!({
            "category": format!("category-{:02}", numbers.below(20)),
            "year": 1990 + numbers.below(36),
            "text": text,
            "revision": version,
        })
    }

    /// The vector of query number `i`: near some cluster, equal to no point.
    pub(crate) fn query(&self, i: u64) -> Vec<f32> {
        self.vector(&mut Numbers::of([4, i, 0]))
    }

    /// A word that occurs in the texts.
    pub(crate) fn word(i: usize) -> &'static str {
        WORDS[i % WORDS.len()]
    }

    fn vector(&self, numbers: &mut Numbers) -> Vec<f32> {
        let cluster = usize::try_from(numbers.below(CLUSTERS)).expect("below 64");
        let centre = &self.centres[cluster];
        debug_assert_eq!(centre.len(), self.dim);
        centre
            .iter()
            .map(|part| part + SPREAD * numbers.bell())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Dataset};

    #[test]
    fn the_data_never_change_between_releases() {
        let data = Dataset::new(1000, 3);
        insta::assert_snapshot!(serde_json::to_string(&data.point(7, 0)).expect("JSON"), @r#"{"id":7,"vector":[2.148927,-1.32184,0.03594906],"payload":{"category":"category-12","year":1992,"text":"anchor kelp river kelp anchor","revision":0}}"#);
        assert_eq!(data.point(7, 0), Dataset::new(10, 3).point(7, 0));
        assert_ne!(data.point(7, 0), data.point(7, 1));
        assert_ne!(data.point(7, 0).vector, data.point(8, 0).vector);
    }

    #[test]
    fn one_percent_changes() {
        let data = Dataset::new(40_000, 2);
        let count = |change| {
            (0..data.len())
                .filter(|id| data.change(*id) == change)
                .count()
        };
        for change in [Change::Overwrite, Change::Payload, Change::Delete] {
            assert_eq!(count(change), 100);
        }
        assert_eq!(data.added().count(), 100);
    }

    #[test]
    fn points_of_one_cluster_are_nearer_to_each_other() {
        let data = Dataset::new(500, 64);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let cosine = |a: &[f32], b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        let first = data.point(0, 0).vector;
        let near = (1..500)
            .filter(|id| cosine(&first, &data.point(*id, 0).vector) > 0.6)
            .count();
        assert!((1..50).contains(&near), "{near} of 499 are near");
    }
}
