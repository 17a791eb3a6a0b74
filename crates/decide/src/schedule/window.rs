//! When runs may begin.

use holdfast_types::Timestamp;
use jiff::tz::{Disambiguation, TimeZone};
use jiff::{Span, Zoned};
use std::fmt;
use std::str::FromStr;

/// A text that is no window; says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "window {text:?} is not valid: {why}; write it like \"Mon-Fri 22:00-06:00\", \"Sat,Sun\" or \"22:00-06:00\""
)]
pub struct ParseWindowError {
    text: String,
    why: &'static str,
}

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const DAY_SECONDS: i64 = 24 * 3600;

/// Days that are looked ahead for an opening: a clock change can swallow the only one of a week.
const LOOK_AHEAD_DAYS: i64 = 21;

/// A stretch of the wall clock on some days of the week. One that ends before it begins ends on the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    text: String,
    /// By days since Monday.
    days: [bool; 7],
    /// Seconds since midnight.
    from: i64,
    to: i64,
}

/// All windows of a schedule; without any, every time is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(pub Vec<Window>);

impl Window {
    fn contains(&self, wall: &Zoned) -> bool {
        let seconds = i64::from(wall.hour()) * 3600
            + i64::from(wall.minute()) * 60
            + i64::from(wall.second());
        let today = usize::try_from(wall.weekday().to_monday_zero_offset()).unwrap_or(0);
        let yesterday = (today + 6) % 7;
        if self.from < self.to {
            self.days[today] && (self.from..self.to).contains(&seconds)
        } else {
            self.days[today] && seconds >= self.from || self.days[yesterday] && seconds < self.to
        }
    }
}

impl Windows {
    /// Whether a run may begin now. Instants outside the calendar are in no window.
    #[must_use]
    pub fn allow(&self, at: Timestamp, tz: &TimeZone) -> bool {
        let Some(wall) = zoned(at, tz) else {
            return false;
        };
        self.0.is_empty() || self.0.iter().any(|window| window.contains(&wall))
    }

    /// `at` itself if it is in a window, else when the next one opens.
    #[must_use]
    pub fn open_from(&self, at: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        if self.allow(at, tz) {
            return Some(at);
        }
        let edges = self.edges(at, tz)?.into_iter();
        edges.filter(|edge| self.allow(*edge, tz)).min()
    }

    /// When the window that `at` is in closes; `None` if it does not within three weeks.
    #[must_use]
    pub fn close_after(&self, at: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        if self.0.is_empty() {
            return None;
        }
        let edges = self.edges(at, tz)?.into_iter();
        edges.filter(|edge| !self.allow(*edge, tz)).min()
    }

    /// Every instant after `at` at which a window may open or close.
    fn edges(&self, at: Timestamp, tz: &TimeZone) -> Option<Vec<Timestamp>> {
        let wall = zoned(at, tz)?;
        let ahead = wall
            .checked_add(Span::new().days(LOOK_AHEAD_DAYS))
            .ok()?
            .timestamp();
        let changes = tz.following(wall.timestamp());
        let changes = changes.map(|change| change.timestamp());
        let mut edges: Vec<jiff::Timestamp> = changes.take_while(|at| *at <= ahead).collect();
        for day in -1..=LOOK_AHEAD_DAYS {
            let midnight = wall.date().checked_add(Span::new().days(day)).ok()?;
            let midnight = midnight.to_datetime(jiff::civil::Time::midnight());
            for window in &self.0 {
                for seconds in [window.from, window.to] {
                    let edge = midnight.checked_add(Span::new().seconds(seconds)).ok()?;
                    let ambiguous = tz.to_ambiguous_timestamp(edge);
                    for which in [Disambiguation::Earlier, Disambiguation::Later] {
                        edges.extend(ambiguous.disambiguate(which).ok());
                    }
                }
            }
        }
        let edges = edges.into_iter();
        let edges = edges.map(|edge| Timestamp::from_micros(edge.as_microsecond()));
        Some(edges.filter(|edge| *edge > at).collect())
    }
}

fn zoned(at: Timestamp, tz: &TimeZone) -> Option<Zoned> {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
    Some(at.to_zoned(tz.clone()))
}

impl FromStr for Window {
    type Err = ParseWindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why| ParseWindowError {
            text: text.to_owned(),
            why,
        };
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (days, times) = match parts.as_slice() {
            [only] if only.contains(':') => (None, Some(*only)),
            [only] => (Some(*only), None),
            [days, times] => (Some(*days), Some(*times)),
            _ => return Err(refused("it has neither days nor times")),
        };
        let days = match days {
            None => [true; 7],
            Some(days) => parse_days(days).ok_or_else(|| refused("the days are not clear"))?,
        };
        let (from, to) = match times {
            None => (0, DAY_SECONDS),
            Some(times) => times
                .split_once('-')
                .and_then(|(from, to)| Some((parse_time(from)?, parse_time(to)?)))
                .ok_or_else(|| refused("the times are not clear"))?,
        };
        if from == to || from == DAY_SECONDS {
            return Err(refused("it has no length"));
        }
        let text = parts.join(" ");
        Ok(Self {
            text,
            days,
            from,
            to,
        })
    }
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    let day = |name: &str| {
        let name = name.to_ascii_lowercase();
        NAMES.iter().position(|known| *known == name)
    };
    for item in text.split(',') {
        let (from, to) = item.split_once('-').unwrap_or((item, item));
        let (from, to) = (day(from)?, day(to)?);
        // Fri-Mon goes over the end of the week.
        let length = (to + 7 - from) % 7;
        for ahead in 0..=length {
            days[(from + ahead) % 7] = true;
        }
    }
    Some(days)
}

/// Seconds since midnight of a time like 06:30; 24:00 is the end of the day.
fn parse_time(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str, most: i64| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| part.parse::<i64>().ok()).flatten()?;
        (number <= most).then_some(number)
    };
    let seconds = two(hour, 24)? * 3600 + two(minute, 59)? * 60;
    (seconds <= DAY_SECONDS).then_some(seconds)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
