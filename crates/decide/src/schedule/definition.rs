//! One schedule.

use super::adaptive::{Early, Unchanged};
use super::timing::Timing;
use super::window::Windows;
use holdfast_types::{CaptureLimits, ScheduleName, Tag, Timestamp};
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

/// Longest jitter that may be asked for.
pub const MAX_JITTER: Duration = Duration::from_hours(12);

/// What runs by itself, when, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// Its planned instants.
    pub timing: Timing,
    /// The zone of cron expressions and windows.
    pub zone: TimeZone,
    /// Runs begin up to this much after their planned instant.
    pub jitter: Duration,
    /// When runs may begin.
    pub windows: Windows,
    /// What is captured.
    pub kind: Kind,
    /// What about instants that came due while no coordinator ran.
    pub catch_up: CatchUp,
    /// What about runs that nothing needs.
    pub unchanged: Unchanged,
    /// When a run begins before its time; never if `None`.
    pub early: Option<Early>,
    /// Of several that are due the greater goes first.
    pub priority: i32,
    /// Words for its recovery points.
    pub tags: BTreeSet<Tag>,
    /// A run is late when its instant has had no success for this long. `None`: half the time to the next planned
    /// instant, but at least 30 seconds and at most an hour.
    pub tolerance: Option<Duration>,
    /// How much it may take from the database.
    pub limits: CaptureLimits,
}

/// What a run captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By the quickest way that is sure.
    Incremental,
    /// Independently of every earlier capture.
    Full,
    /// Incrementally, and after so many successful runs in full.
    FullEvery(NonZeroU32),
}

/// What to do about planned instants that came due while no coordinator ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// One run for all of them, at once.
    Now,
    /// Wait for the next one, unless the newest is only minutes old ([`super::SKIP_AFTER`]).
    Skip,
}

impl Schedule {
    /// What its planned instants depend on, as text: another text means another grid.
    #[must_use]
    pub fn timing_text(&self) -> String {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        match &self.timing {
            Timing::Cron(_) => format!("{} {zone}", self.timing),
            Timing::Every(_) => self.timing.to_string(),
        }
    }

    /// The first planned instant after `after`.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.timing.next_after(after, &self.zone)
    }

    /// A planned instant and its jitter. Less than the time to the next planned instant is added, so that the order stays.
    #[must_use]
    pub fn jittered(&self, planned: Timestamp) -> Timestamp {
        let gap = self.next_after(planned).map(|next| next.since(planned));
        let most = gap.map_or(self.jitter, |gap| gap.min(self.jitter));
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        if most == 0 {
            return planned;
        }
        let drawn = mix(self.name.as_str(), planned.as_micros()) % most;
        planned.after(Duration::from_micros(drawn))
    }

    /// When the run for a planned instant may begin; `None` if no window opens.
    #[must_use]
    pub fn start_of(&self, planned: Timestamp) -> Option<Timestamp> {
        self.windows.open_from(self.jittered(planned), &self.zone)
    }

    /// The first starts after `now` of runs, with the planned instants they answer; those that fall together are one.
    #[must_use]
    pub fn upcoming(&self, now: Timestamp, count: usize) -> Vec<(Timestamp, Timestamp)> {
        /// Planned instants looked at: a grid of seconds with narrow windows must not take for ever.
        const MOST_LOOKED_AT: usize = 20_000;
        let mut runs: Vec<(Timestamp, Timestamp)> = Vec::new();
        // One that was planned before may start after now.
        let mut planned = Timestamp::from_micros(
            now.as_micros() - i64::try_from(self.jitter.as_micros()).unwrap_or(0),
        );
        for _ in 0..MOST_LOOKED_AT {
            let Some(next) = self.next_after(planned) else {
                break;
            };
            planned = next;
            let Some(start) = self.start_of(planned) else {
                break;
            };
            if start <= now {
                continue;
            }
            let full = runs.len() == count;
            match runs.last_mut() {
                Some((last, answers)) if *last == start => *answers = planned,
                Some(_) | None if full => break,
                Some(_) | None => runs.push((start, planned)),
            }
        }
        runs
    }
}

/// FNV-1a of name and instant, mixed as in splitmix64: the same on every machine and in every release.
fn mix(name: &str, micros: i64) -> u64 {
    let bytes = name.bytes().chain(micros.to_le_bytes());
    let hashed = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hashed ^ (hashed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
