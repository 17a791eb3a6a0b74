//! What to check, and how far a check is.

use crate::quarantine::BadPlace;
use crate::{Damage, VerifyReport};
use holdfast_store::StoreLimits;
use holdfast_types::{Namespace, PackId, Timestamp};
use serde::{Deserialize, Serialize};

/// How thoroughly to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyLevel {
    /// Sizes and small objects: reads little.
    Quick,
    /// What quick checks, and every byte of some packs.
    Sample(Sample),
    /// Every byte.
    Full,
}

/// Which packs a sample reads. Every pack has one of 100 slots, a function of the seed and its id; a
/// sample of N percent reads those in N slots from `from` on, slot 0 following slot 99. So with one seed,
/// samples that each begin where the last one ended read everything once in 100 slots; and no slot
/// depends on which other packs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    percent: u8,
    from: u8,
    seed: u64,
}

/// A sample that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sample has 1 to 100 percent and begins at a slot from 0 to 99")]
pub struct InvalidSample;

impl Sample {
    /// Slots that packs are spread over.
    pub const SLOTS: u8 = 100;

    /// A sample of `percent` (1 to 100), from slot `from` (0 to 99) on.
    ///
    /// # Errors
    /// For other numbers.
    pub fn new(percent: u8, seed: u64, from: u8) -> Result<Self, InvalidSample> {
        let valid = (1..=Self::SLOTS).contains(&percent) && from < Self::SLOTS;
        let sample = Self {
            percent,
            from,
            seed,
        };
        valid.then_some(sample).ok_or(InvalidSample)
    }

    /// Percent of the slots.
    #[must_use]
    pub fn percent(&self) -> u8 {
        self.percent
    }

    /// What spreads packs over slots.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Its first slot.
    #[must_use]
    pub fn from(&self) -> u8 {
        self.from
    }

    /// The slot at which the next sample begins.
    #[must_use]
    pub fn next(&self) -> u8 {
        (self.from + self.percent) % Self::SLOTS
    }

    /// Whether it reads this pack.
    #[must_use]
    pub fn covers(&self, pack: &PackId) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *pack.as_bytes();
        let hash = mix(self.seed ^ u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let slots = u64::from(Self::SLOTS);
        let after = (hash % slots + slots - u64::from(self.from)) % slots;
        after < u64::from(self.percent)
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What to check, and what else is known.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// How thoroughly.
    pub level: VerifyLevel,
    /// Now.
    pub now: Timestamp,
    /// Namespaces in which chunks may be named, beside the repository's own and those of its points.
    pub namespaces: Vec<Namespace>,
    /// Whether to record what is found, under `quarantine/`. Otherwise nothing is written.
    pub record: bool,
    /// Where an interrupted check of the same level is to go on.
    pub resume: Option<VerifyCheckpoint>,
    /// Bounds on the reading of packs, beside those that the store has itself.
    pub limits: StoreLimits,
}

impl VerifyOptions {
    /// A check that writes nothing.
    #[must_use]
    pub fn read_only(level: VerifyLevel, now: Timestamp) -> Self {
        Self {
            level,
            now,
            namespaces: Vec::new(),
            record: false,
            resume: None,
            limits: StoreLimits::default(),
        }
    }
}

/// How far an interrupted check is: packs are read in the order of their ids, and these are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyCheckpoint {
    /// What is checked.
    pub level: VerifyLevel,
    /// When the check was begun.
    pub begun: Timestamp,
    /// The last pack that is done.
    pub after: PackId,
    /// Packs that were read.
    pub packs_read: u64,
    /// Chunks that were opened.
    pub chunks: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// What was found.
    pub findings: Vec<SavedFinding>,
}

impl VerifyCheckpoint {
    pub(super) fn new(
        report: &VerifyReport,
        begun: Timestamp,
        after: PackId,
        findings: &[Finding],
    ) -> Self {
        Self {
            level: report.level,
            begun,
            after,
            packs_read: report.packs_read,
            chunks: report.chunks,
            bytes_read: report.bytes_read,
            findings: findings.iter().map(SavedFinding::from).collect(),
        }
    }
}

/// What reading a pack showed, as kept in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFinding {
    /// The pack.
    pub pack: PackId,
    /// What is wrong with it as a whole.
    pub damage: Option<String>,
    /// Chunks that can't be read.
    pub places: Vec<BadPlace>,
    /// Chunks whose names no known namespace explains.
    pub unexplained: Vec<BadPlace>,
}

/// What reading a pack showed.
pub(super) struct Finding {
    pub(super) pack: PackId,
    pub(super) damage: Option<Damage>,
    pub(super) places: Vec<BadPlace>,
    pub(super) unexplained: Vec<BadPlace>,
}

impl Finding {
    /// Nothing is wrong with the pack.
    pub(super) fn none(pack: PackId) -> Self {
        Self {
            pack,
            damage: None,
            places: Vec::new(),
            unexplained: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.damage.is_none() && self.places.is_empty() && self.unexplained.is_empty()
    }
}

impl From<&Finding> for SavedFinding {
    fn from(finding: &Finding) -> Self {
        Self {
            pack: finding.pack,
            damage: finding.damage.as_ref().map(ToString::to_string),
            places: finding.places.clone(),
            unexplained: finding.unexplained.clone(),
        }
    }
}

impl From<SavedFinding> for Finding {
    fn from(saved: SavedFinding) -> Self {
        Self {
            pack: saved.pack,
            damage: saved.damage.map(Damage::Known),
            places: saved.places,
            unexplained: saved.unexplained,
        }
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Packs that are read, those of before an interruption included.
    pub packs_done: u64,
    /// Packs that are to be read in all.
    pub packs_total: u64,
    /// Their bytes that are read.
    pub bytes_done: u64,
    /// Their bytes in all.
    pub bytes_total: u64,
}

/// Is told after every pack how far a check is, and how to go on from there.
pub trait VerifyObserver: Send + Sync {
    /// A pack is done.
    fn progressed(&self, progress: VerifyProgress, checkpoint: &VerifyCheckpoint);
}

/// Nobody wants to know.
impl VerifyObserver for () {
    fn progressed(&self, _: VerifyProgress, _: &VerifyCheckpoint) {}
}

#[cfg(test)]
mod tests {
    use super::{InvalidSample, Sample};
    use holdfast_types::PackId;

    fn packs() -> Vec<PackId> {
        let id = |n: u16| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            PackId::from_bytes(bytes)
        };
        (0..2000).map(id).collect()
    }

    #[test]
    fn successive_samples_read_each_pack_once() {
        for (percent, samples) in [(1, 100), (5, 20), (25, 4), (100, 1)] {
            let (mut read, mut from) = (vec![0; packs().len()], 17);
            for _ in 0..samples {
                let sample = Sample::new(percent, 7, from).unwrap();
                for (count, pack) in read.iter_mut().zip(packs()) {
                    *count += u32::from(sample.covers(&pack));
                }
                from = sample.next();
            }
            assert_eq!(from, 17);
            assert!(read.iter().all(|count| *count == 1), "{percent} %");
        }
    }

    /// The rule is documented: it must not change under a stored seed.
    #[test]
    fn a_seed_means_the_same_for_ever() {
        let sample = Sample::new(10, 42, 95).unwrap();
        let read = packs().iter().filter(|pack| sample.covers(pack)).count();
        assert_eq!(read, 216);
        let other = Sample::new(10, 43, 95).unwrap();
        let differ = |pack: &&PackId| sample.covers(pack) != other.covers(pack);
        assert!(packs().iter().filter(differ).count() > 100);
        assert_eq!(Sample::new(0, 1, 0), Err(InvalidSample));
        assert_eq!(Sample::new(101, 1, 0), Err(InvalidSample));
        assert_eq!(Sample::new(5, 1, 100), Err(InvalidSample));
    }
}
