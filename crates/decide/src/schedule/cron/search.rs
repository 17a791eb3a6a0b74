//! The first instant of an expression after a given one.
//!
//! Between two changes of the zone's clock, wall time and instants differ by a constant, so within such a stretch the search
//! is one over wall minutes. What a change skips is looked for in the old wall time, right after the change.

use super::{Cron, has};
use holdfast_types::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

const MINUTE: i64 = 60_000_000;
const DAY_MINUTES: i64 = 24 * 60;
/// Days that are searched: 29 February can fall on a given weekday 40 years apart.
const MAX_DAYS: i64 = 50 * 366;

/// A stretch of time in which the zone's clock runs evenly.
struct Stretch {
    /// Instants, in microseconds: from the first to before the last.
    begin: i64,
    end: i64,
    /// Wall clock minus UTC, before and in the stretch, in microseconds.
    before: i64,
    offset: i64,
}

impl Cron {
    /// The first planned instant after `after`; `None` if there is none within fifty years.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        let from = after.as_micros().checked_add(1)?;
        let limit = from.checked_add(MAX_DAYS * DAY_MINUTES * MINUTE)?;
        let mut stretch = Stretch::at(from, tz)?;
        loop {
            let found = self.first_in(&stretch, from);
            if found.is_some() {
                return found.map(Timestamp::from_micros);
            }
            if stretch.end > limit {
                return None;
            }
            stretch = Stretch::at(stretch.end, tz)?;
        }
    }

    fn first_in(&self, stretch: &Stretch, from: i64) -> Option<i64> {
        let from = from.max(stretch.begin);
        let skipped = self.first_skipped(stretch, from);
        let repeated = (stretch.before - stretch.offset).max(0);
        let mut wall = from.saturating_add(stretch.offset);
        if repeated > 0 && !self.names_every_hour() {
            // This wall time has been before the change.
            wall = wall.max(stretch.begin + stretch.offset + repeated);
        }
        let until = stretch.end.saturating_add(stretch.offset);
        let regular = self
            .first_minute(wall, until)
            .map(|wall| wall - stretch.offset);
        match (skipped, regular) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// Of the wall time that the change at the stretch's begin skips.
    fn first_skipped(&self, stretch: &Stretch, from: i64) -> Option<i64> {
        let gap = stretch.offset - stretch.before;
        if gap <= 0 || from >= stretch.begin.saturating_add(gap) {
            return None;
        }
        let until = stretch.begin + stretch.offset;
        let wall = self.first_minute(from + stretch.before, until);
        wall.map(|wall| wall - stretch.before)
    }

    /// The first fitting full minute of the wall clock at or after `from` and before `until`, in microseconds.
    fn first_minute(&self, from: i64, until: i64) -> Option<i64> {
        let first = from.div_euclid(MINUTE) + i64::from(from.rem_euclid(MINUTE) > 0);
        let mut day = first.div_euclid(DAY_MINUTES);
        let last_day = until.div_euclid(MINUTE).div_euclid(DAY_MINUTES);
        let last_day = last_day.min(day + MAX_DAYS);
        let mut at_least = first.rem_euclid(DAY_MINUTES);
        while day <= last_day {
            let date = date_of(day)?;
            if !has(self.months, u32::try_from(date.month()).ok()?) {
                let left = i64::from(date.days_in_month()) - i64::from(date.day());
                day += left + 1;
                at_least = 0;
                continue;
            }
            let minute = self
                .fits_day(date)
                .then(|| self.minute_of_day(at_least))
                .flatten();
            if let Some(minute) = minute {
                let wall = (day * DAY_MINUTES + minute) * MINUTE;
                return (wall < until).then_some(wall);
            }
            day += 1;
            at_least = 0;
        }
        None
    }

    fn fits_day(&self, date: Date) -> bool {
        let by_number = u32::try_from(date.day()).is_ok_and(|day| has(self.days, day));
        let weekday = date.weekday().to_sunday_zero_offset();
        let by_name = u32::try_from(weekday).is_ok_and(|day| has(self.weekdays, day));
        if self.either_day {
            by_number || by_name
        } else {
            by_number && by_name
        }
    }

    fn minute_of_day(&self, at_least: i64) -> Option<i64> {
        let first_hour = u32::try_from(at_least / 60).ok()?;
        let first_minute = u32::try_from(at_least % 60).ok()?;
        for hour in (first_hour..24).filter(|hour| has(self.hours, *hour)) {
            let from = if hour == first_hour { first_minute } else { 0 };
            let mut minutes = from..60;
            if let Some(minute) = minutes.find(|minute| has(self.minutes, *minute)) {
                return Some(i64::from(hour * 60 + minute));
            }
        }
        None
    }
}

impl Stretch {
    /// The one that holds the instant.
    fn at(micros: i64, tz: &TimeZone) -> Option<Self> {
        let at = jiff::Timestamp::from_microsecond(micros).ok()?;
        let just_after = jiff::Timestamp::from_microsecond(micros.checked_add(1)?).ok()?;
        let seconds = |offset: jiff::tz::Offset| i64::from(offset.seconds()) * 1_000_000;
        let offset = seconds(tz.to_offset(at));
        let (begin, before) = match tz.preceding(just_after).next() {
            None => (i64::MIN / 4, offset),
            Some(change) => {
                let begin = change.timestamp().as_microsecond();
                let earlier = jiff::Timestamp::from_microsecond(begin - 1).ok()?;
                (begin, seconds(tz.to_offset(earlier)))
            }
        };
        let end = tz.following(at).next();
        let end = end.map_or(i64::MAX / 4, |change| change.timestamp().as_microsecond());
        Some(Self {
            begin,
            end,
            before,
            offset,
        })
    }
}

/// The date so many days after 1970-01-01.
fn date_of(day: i64) -> Option<Date> {
    let epoch = Date::constant(1970, 1, 1);
    epoch
        .checked_add(jiff::Span::new().try_days(day).ok()?)
        .ok()
}
