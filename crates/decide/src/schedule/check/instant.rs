//! Whether one instant is planned, or in a window: read from the texts, without any search.

use crate::schedule::timing::Timing;
use crate::schedule::window::Windows;
use holdfast_types::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;

const MONTHS: &str = "jan feb mar apr may jun jul aug sep oct nov dec";
const DAYS: &str = "sun mon tue wed thu fri sat";

/// Whether the timing has this instant.
pub(super) fn is_planned(timing: &Timing, tz: &TimeZone, at: Timestamp) -> bool {
    let text = match timing {
        Timing::Every(every) => {
            return i128::from(at.as_micros()) % i128::try_from(every.as_micros()).unwrap_or(1)
                == 0;
        }
        Timing::Cron(cron) => fields(&cron.to_string()),
    };
    let Some(wall) = zoned(at, tz) else {
        return false;
    };
    let hour_free = (0..24).all(|hour| fits(&text[1], hour, 0, 23, ""));
    // The same wall time an hour (or so) before: then this is the second time.
    let before = wall.time_zone().to_ambiguous_zoned(wall.datetime());
    let first = before
        .earlier()
        .is_ok_and(|earlier| earlier.timestamp() == wall.timestamp());
    if matches(&text, &wall) && (first || hour_free) {
        return true;
    }
    // What the clock skipped, read by the clock of before.
    let Some(change) = tz.preceding(next(wall.timestamp())).next() else {
        return false;
    };
    let Some(earlier) = change
        .timestamp()
        .checked_sub(jiff::Span::new().microseconds(1))
        .ok()
    else {
        return false;
    };
    let old = tz.to_offset(earlier);
    let gap = i64::from(change.offset().seconds()) - i64::from(old.seconds());
    let since = wall.timestamp().as_second() - change.timestamp().as_second();
    since < gap && matches(&text, &wall.timestamp().to_zoned(TimeZone::fixed(old)))
}

/// Whether a run may begin at this instant.
pub(super) fn in_window(windows: &Windows, tz: &TimeZone, at: Timestamp) -> bool {
    let Some(wall) = zoned(at, tz) else {
        return false;
    };
    let minute = i64::from(wall.hour()) * 60 + i64::from(wall.minute());
    let today = i64::from(wall.weekday().to_sunday_zero_offset());
    let yesterday = (today + 6) % 7;
    let open = |text: String| {
        let parts: Vec<String> = text.split(' ').map(str::to_lowercase).collect();
        let times = parts.iter().find(|part| part.contains(':'));
        let (from, to) = times
            .and_then(|times| times.split_once('-'))
            .unwrap_or(("00:00", "24:00"));
        let (from, to) = (minutes(from), minutes(to));
        let days = parts.iter().find(|part| !part.contains(':'));
        let on = |day: i64| days.is_none_or(|days| day_listed(days, day));
        if from < to {
            on(today) && from <= minute && minute < to
        } else {
            (on(today) && from <= minute) || (on(yesterday) && minute < to)
        }
    };
    windows.0.is_empty() || windows.0.iter().map(ToString::to_string).any(open)
}

fn day_listed(days: &str, day: i64) -> bool {
    days.split(',').any(|item| {
        let (from, to) = item.split_once('-').unwrap_or((item, item));
        let (from, to) = (word(DAYS, from), word(DAYS, to));
        if from <= to {
            (from..=to).contains(&day)
        } else {
            day >= from || day <= to
        }
    })
}

fn minutes(time: &str) -> i64 {
    let mut parts = time.split(':').map(|part| part.parse().unwrap_or(0));
    parts.next().unwrap_or(0) * 60 + parts.next().unwrap_or(0)
}

fn zoned(at: Timestamp, tz: &TimeZone) -> Option<Zoned> {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
    Some(at.to_zoned(tz.clone()))
}

fn next(at: jiff::Timestamp) -> jiff::Timestamp {
    at.checked_add(jiff::Span::new().microseconds(1))
        .unwrap_or(at)
}

fn fields(text: &str) -> [String; 5] {
    let text = match text {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        other => other,
    };
    let mut fields = text.split_whitespace().map(str::to_lowercase);
    std::array::from_fn(|_| fields.next().unwrap_or_default())
}

fn matches(text: &[String; 5], wall: &Zoned) -> bool {
    let whole = wall.second() == 0 && wall.subsec_nanosecond() == 0;
    let day = fits(&text[2], i64::from(wall.day()), 1, 31, "");
    let weekday = i64::from(wall.weekday().to_sunday_zero_offset());
    let named =
        fits(&text[4], weekday, 0, 6, DAYS) || weekday == 0 && fits(&text[4], 7, 0, 7, DAYS);
    let star = text[2].contains('*') || text[4].contains('*');
    let days = if star { day && named } else { day || named };
    whole
        && fits(&text[0], i64::from(wall.minute()), 0, 59, "")
        && fits(&text[1], i64::from(wall.hour()), 0, 23, "")
        && fits(&text[3], i64::from(wall.month()), 1, 12, MONTHS)
        && days
}

/// Whether a field names a number.
fn fits(field: &str, number: i64, least: i64, most: i64, words: &str) -> bool {
    field.split(',').any(|item| {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let step: i64 = step.parse().unwrap_or(1);
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (word(words, from), word(words, to)),
            None => (word(words, range), word(words, range)),
        };
        let to = if words == DAYS && to == 0 && from > 0 {
            7
        } else {
            to
        };
        from <= number && number <= to && (number - from) % step == 0
    })
}

fn word(words: &str, text: &str) -> i64 {
    let first = if words == MONTHS { 1 } else { 0 };
    let named = words
        .split(' ')
        .position(|word| word == text && !word.is_empty());
    let named = named
        .and_then(|at| i64::try_from(at).ok())
        .map(|at| at + first);
    named.or_else(|| text.parse().ok()).unwrap_or(-1)
}
