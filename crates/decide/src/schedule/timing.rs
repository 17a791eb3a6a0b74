//! Planned instants: of a cron expression, or of a grid.

use super::cron::Cron;
use holdfast_types::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;
use std::time::Duration;

/// When a schedule plans to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timing {
    /// By the wall clock.
    Cron(Cron),
    /// At every whole multiple of this since 1970-01-01T00:00Z, whatever the zone: so a restart finds the same grid.
    Every(Duration),
}

/// Planned instants that one run answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The newest of them.
    pub newest: Timestamp,
    /// How many there are; at least this many if some lie further back than [`COUNTED_BACK`].
    pub count: u64,
}

/// Of cron expressions, instants further back than this are only counted if there is no newer one.
const COUNTED_BACK: Duration = Duration::from_hours(40 * 24);

impl Timing {
    /// The first planned instant after `after`.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next_after(after, tz),
            Self::Every(every) => {
                let step = micros(*every)?;
                let number = after.as_micros().div_euclid(step).checked_add(1)?;
                number.checked_mul(step).map(Timestamp::from_micros)
            }
        }
    }

    /// Those after `after` and not after `until`.
    #[must_use]
    pub fn within(&self, after: Timestamp, until: Timestamp, tz: &TimeZone) -> Option<Covered> {
        match self {
            Self::Every(every) => {
                let step = micros(*every)?;
                let last = until.as_micros().div_euclid(step);
                let count = last - after.as_micros().div_euclid(step);
                let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
                Some(Covered {
                    newest: Timestamp::from_micros(last * step),
                    count,
                })
            }
            Self::Cron(_) => {
                let recent =
                    Timestamp::from_micros(until.as_micros().saturating_sub(micros(COUNTED_BACK)?));
                let counted = self.count(after.max(recent), until, tz);
                counted.or_else(|| self.count(after, until, tz))
            }
        }
    }

    fn count(&self, after: Timestamp, until: Timestamp, tz: &TimeZone) -> Option<Covered> {
        let next = |from| self.next_after(from, tz).filter(|next| *next <= until);
        let mut covered = Covered {
            newest: next(after)?,
            count: 1,
        };
        while let Some(newer) = next(covered.newest) {
            covered = Covered {
                newest: newer,
                count: covered.count + 1,
            };
        }
        Some(covered)
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => write!(f, "cron {cron}"),
            Self::Every(every) => {
                write!(f, "every {}", crate::policy::duration_text(*every))
            }
        }
    }
}

fn micros(duration: Duration) -> Option<i64> {
    let micros = i64::try_from(duration.as_micros()).ok();
    micros.filter(|micros| *micros > 0)
}
