//! One field of a cron expression, as a set of small numbers.

/// Which field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Minute,
    Hour,
    Day,
    Month,
    Weekday,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Field {
    /// What it is called, its least and its greatest number. Sunday may be 0 or 7.
    const fn bounds(self) -> (&'static str, u32, u32) {
        match self {
            Self::Minute => ("minute", 0, 59),
            Self::Hour => ("hour", 0, 23),
            Self::Day => ("day of month", 1, 31),
            Self::Month => ("month", 1, 12),
            Self::Weekday => ("day of week", 0, 7),
        }
    }

    fn number(self, text: &str) -> Option<u32> {
        let word = text.to_ascii_lowercase();
        let index = |words: &[&str]| {
            let at = words.iter().position(|known| *known == word)?;
            u32::try_from(at).ok()
        };
        let named = match self {
            Self::Month => index(&MONTHS).map(|at| at + 1),
            Self::Weekday => index(&WEEKDAYS),
            Self::Minute | Self::Hour | Self::Day => None,
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        named.or_else(|| digits.then(|| text.parse().ok()).flatten())
    }
}

/// The numbers that a field names; Sunday is 0.
pub(super) fn parse_field(field: Field, text: &str) -> Result<u64, String> {
    let (name, least, greatest) = field.bounds();
    let mut set = 0;
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => (range, Some(step)),
        };
        let step = match step {
            None => 1,
            Some(text) => text
                .parse::<u32>()
                .ok()
                .filter(|step| (1..=greatest).contains(step))
                .ok_or_else(|| {
                    format!("the step {text:?} of the {name} must be between 1 and {greatest}")
                })?,
        };
        let (from, to) = parse_range(field, range, item.contains('/'))?;
        if from > to {
            return Err(format!("the range {range:?} of the {name} runs backwards"));
        }
        let members = (from..=to).step_by(step as usize);
        for member in members {
            let member = if field == Field::Weekday {
                member % 7
            } else {
                member
            };
            set |= 1_u64 << member;
        }
    }
    debug_assert!(set >> least != 0);
    Ok(set)
}

fn parse_range(field: Field, range: &str, stepped: bool) -> Result<(u32, u32), String> {
    let (name, least, greatest) = field.bounds();
    let number = |text: &str| {
        let number = field.number(text);
        number
            .filter(|number| (least..=greatest).contains(number))
            .ok_or_else(|| format!("{text:?} is no {name} ({least} to {greatest})"))
    };
    if range == "*" {
        // Sunday counts once.
        let last = if field == Field::Weekday { 6 } else { greatest };
        return Ok((least, last));
    }
    match range.split_once('-') {
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            // fri-sun: as an end, Sunday is the last day.
            let sunday = field == Field::Weekday && to == 0 && from > 0;
            Ok((from, if sunday { 7 } else { to }))
        }
        None if stepped => Err(format!(
            "a step needs a range: write {range}-{greatest}/… or */… for the {name}"
        )),
        None => number(range).map(|only| (only, only)),
    }
}
