//! What a run is told, and what it tells: values only.

use crate::catalog::Pack;
use holdfast_types::Timestamp;
use std::time::Duration;

/// How a run goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GarbageOptions {
    /// Now.
    pub now: Timestamp,
    /// How long a doomed pack stays before it is deleted.
    pub grace: Duration,
    /// A pack of which less than this is needed is rewritten, in percent of its size.
    pub rewrite_below_percent: u8,
    /// Packs below this size in bytes are joined when there are many.
    pub small_pack_bytes: u64,
    /// Most bytes that one run copies.
    pub max_rewrite_bytes: u64,
}

impl Default for GarbageOptions {
    fn default() -> Self {
        Self {
            now: Timestamp::EPOCH,
            grace: Duration::from_hours(24),
            rewrite_below_percent: 50,
            small_pack_bytes: 8 << 20,
            max_rewrite_bytes: 4 << 30,
        }
    }
}

/// A number of packs and their sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackCount {
    /// How many.
    pub packs: u64,
    /// Bytes of their objects.
    pub bytes: u64,
}

/// What a run found and did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageReport {
    /// Recovery points whose chunks were marked.
    pub points: usize,
    /// Packs that are kept.
    pub kept: PackCount,
    /// Packs that were doomed in this run because nothing needs them.
    pub dead: PackCount,
    /// Packs that were doomed in this run after what is needed of them was copied.
    pub rewritten: PackCount,
    /// Packs that were deleted.
    pub swept: PackCount,
    /// Packs that were doomed and turned out to be needed.
    pub spared: PackCount,
    /// Doomed packs that wait for their grace to end, or for a capture that began before.
    pub waiting: PackCount,
    /// When the first of them may go; `None` if none waits.
    pub next_sweep: Option<Timestamp>,
    /// Whether the watcher stopped it: what it had not begun is for the next run.
    pub stopped: bool,
}

/// Is told how far a run is, and may stop it where that is safe: while it marks, and between two sweeps.
pub trait GarbageWatcher: Send + Sync {
    /// The chunks of so many recovery points are marked.
    fn marked(&self, points: usize, of: usize);
    /// Whether the run is to stop. Once it is, it stays so.
    fn is_stopped(&self) -> bool;
}

/// Nobody wants to know.
impl GarbageWatcher for () {
    fn marked(&self, _: usize, _: usize) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

impl PackCount {
    /// Counts a pack.
    pub(crate) fn add(&mut self, pack: &Pack) {
        self.packs += 1;
        self.bytes += pack.size;
    }
}

impl GarbageReport {
    /// Counts a pack that may go from `until` on.
    pub(super) fn wait(&mut self, pack: &Pack, until: Timestamp) {
        self.waiting.add(pack);
        self.next_sweep = Some(self.next_sweep.map_or(until, |earlier| earlier.min(until)));
    }
}
