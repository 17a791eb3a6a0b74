//! Cron expressions: five fields, or a word such as `@daily`.
//!
//! A parser of its own: croner, the library that is kept best, counts with chrono, and this crate has its calendar from
//! jiff. A model that looks at every minute is the judge of both parsing and searching (tests).

mod field;
mod search;

use field::{Field, parse_field};
use std::fmt;
use std::str::FromStr;

/// A text that is no cron expression; says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cron expression {text:?} is not valid: {why}")]
pub struct ParseCronError {
    text: String,
    why: String,
}

/// A cron expression. Fields: minute, hour, day of month, month, day of week; each a list of numbers, ranges and steps;
/// months and days of the week also by their English names; 0 and 7 are Sunday. If day of month and day of week are both
/// given without a star, a day fits if either does (crontab(5)).
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) days: u64,
    pub(super) months: u64,
    /// Bit 0 is Sunday.
    pub(super) weekdays: u64,
    /// Whether one fitting day field is enough.
    pub(super) either_day: bool,
}

const WORDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// Days that a month has at most.
const LONGEST: [(u32, u32); 12] = [
    (1, 31),
    (2, 29),
    (3, 31),
    (4, 30),
    (5, 31),
    (6, 30),
    (7, 31),
    (8, 31),
    (9, 30),
    (10, 31),
    (11, 30),
    (12, 31),
];

impl FromStr for Cron {
    type Err = ParseCronError;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let refused = |why: String| ParseCronError {
            text: given.to_owned(),
            why,
        };
        let text = given.trim();
        let word = WORDS.iter().find(|(word, _)| *word == text);
        if text.starts_with('@') && word.is_none() {
            let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
            return Err(refused(format!("use one of {}", words.join(", "))));
        }
        let fields: Vec<&str> = word
            .map_or(text, |(_, fields)| fields)
            .split_whitespace()
            .collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(refused(format!(
                "it has {} fields in place of 5 (minute, hour, day of month, month, day of week)",
                fields.len()
            )));
        };
        let field = |kind, text| parse_field(kind, text).map_err(refused);
        let cron = Self {
            text: text.to_owned(),
            minutes: field(Field::Minute, minute)?,
            hours: field(Field::Hour, hour)?,
            days: field(Field::Day, day)?,
            months: field(Field::Month, month)?,
            weekdays: field(Field::Weekday, weekday)?,
            either_day: !day.contains('*') && !weekday.contains('*'),
        };
        let reachable = LONGEST.iter().any(|(month, longest)| {
            has(cron.months, *month) && (1..=*longest).any(|day| has(cron.days, day))
        });
        if !cron.either_day && !reachable {
            return Err(refused("no month that it names has such a day".to_owned()));
        }
        Ok(cron)
    }
}

impl Cron {
    /// Whether it names every hour: then it means elapsed time, also where clocks change.
    #[must_use]
    pub fn names_every_hour(&self) -> bool {
        self.hours == (1 << 24) - 1
    }
}

/// Whether a set has a member.
pub(super) fn has(set: u64, member: u32) -> bool {
    set >> member & 1 == 1
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}
