//! The search against a model that looks at every minute.

use super::{at, zone};
use crate::schedule::Cron;
use holdfast_types::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

const MINUTE: i64 = 60_000_000;

fn cron(text: &str) -> Cron {
    text.parse().unwrap()
}

fn refused(text: &str) -> String {
    text.parse::<Cron>().unwrap_err().to_string()
}

/// One field by the book: every number, spelled out.
fn book(field: &str, least: i64, most: i64) -> Vec<i64> {
    let mut all = Vec::new();
    for item in field.split(',') {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None if range == "*" => (least, most),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        let mut number: i64 = from;
        while number <= to {
            all.push(number);
            number += step.parse::<i64>().unwrap();
        }
    }
    all
}

/// Whether a wall time fits, by the book.
fn fits(text: &str, wall: jiff::civil::DateTime) -> bool {
    let fields: Vec<&str> = text.split(' ').collect();
    let day = book(fields[2], 1, 31).contains(&wall.day().into());
    let weekday = wall.weekday().to_sunday_zero_offset();
    let named = book(fields[4], 0, 7)
        .iter()
        .any(|n| n % 7 == i64::from(weekday));
    let both = fields[2].contains('*') || fields[4].contains('*');
    book(fields[0], 0, 59).contains(&wall.minute().into())
        && book(fields[1], 0, 23).contains(&wall.hour().into())
        && book(fields[3], 1, 12).contains(&wall.month().into())
        && if both { day && named } else { day || named }
}

/// Every planned instant in `[from, to)`: each minute is looked at, and what the clock did between it and the one before.
fn model(text: &str, from: Timestamp, to: Timestamp, tz: &TimeZone) -> Vec<Timestamp> {
    let hours = book(text.split(' ').nth(1).unwrap(), 0, 23);
    // Ranges may overlap: an hour counts once.
    let hourly = (0..24).all(|hour| hours.contains(&hour));
    let wall_at = |micros| {
        let at = jiff::Timestamp::from_microsecond(micros).unwrap();
        tz.to_datetime(at)
    };
    let mut found = Vec::new();
    // Wall times of the last day and a half: what comes again has been.
    let mut been = std::collections::BTreeSet::new();
    let begin = from.as_micros() - 36 * 60 * MINUTE;
    let mut micros = begin;
    let mut last = wall_at(begin - MINUTE);
    let mut shift = Vec::new();
    while micros < to.as_micros() {
        let wall = wall_at(micros);
        let mut skipped = last.checked_add(jiff::Span::new().minutes(1)).unwrap();
        let mut after = micros;
        while skipped < wall {
            if fits(text, skipped) {
                shift.push(after);
            }
            after += MINUTE;
            skipped = skipped.checked_add(jiff::Span::new().minutes(1)).unwrap();
        }
        let again = !been.insert(wall);
        if fits(text, wall) && (hourly || !again) {
            found.push(micros);
        }
        last = wall;
        micros += MINUTE;
    }
    found.extend(shift.iter().filter(|at| **at < to.as_micros()));
    found.sort_unstable();
    found.dedup();
    found.retain(|at| *at >= from.as_micros());
    found.into_iter().map(Timestamp::from_micros).collect()
}

/// Every planned instant in `[from, to)` by the search.
fn searched(text: &str, from: Timestamp, to: Timestamp, tz: &TimeZone) -> Vec<Timestamp> {
    let cron = cron(text);
    let mut found = Vec::new();
    let mut last = Timestamp::from_micros(from.as_micros() - 1);
    while let Some(next) = cron.next_after(last, tz) {
        assert!(next > last);
        if next >= to {
            break;
        }
        found.push(next);
        last = next;
    }
    found
}

/// Days on which clocks change, and one on which they don't.
const DAYS: [(&str, &str); 12] = [
    ("Europe/Berlin", "2026-03-29T00:00:00Z"),
    ("Europe/Berlin", "2026-10-25T00:00:00Z"),
    ("America/New_York", "2026-03-08T00:00:00Z"),
    ("America/New_York", "2026-11-01T00:00:00Z"),
    // Half an hour.
    ("Australia/Lord_Howe", "2026-04-04T12:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T12:00:00Z"),
    // At midnight.
    ("America/Havana", "2026-03-08T00:00:00Z"),
    ("Asia/Beirut", "2026-03-28T12:00:00Z"),
    // A whole day was left out.
    ("Pacific/Apia", "2011-12-30T00:00:00Z"),
    // Behind by three quarters.
    ("Asia/Kathmandu", "2026-05-05T00:00:00Z"),
    ("Africa/Casablanca", "2026-02-14T12:00:00Z"),
    ("UTC", "2028-02-28T12:00:00Z"),
];

fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    let number = least..=most;
    let range = (number.clone(), number.clone(), 1..=most.max(2) / 2).prop_map(|(a, b, step)| {
        let (from, to) = (a.min(b), a.max(b));
        format!("{from}-{to}/{step}")
    });
    let item = prop_oneof![number.prop_map(|n| n.to_string()), range];
    let list = prop::collection::vec(item, 1..3).prop_map(|items| items.join(","));
    let stepped = (1..=most.max(2) / 2).prop_map(|step| format!("*/{step}"));
    prop_oneof![4 => Just("*".to_owned()), 1 => stepped, 3 => list]
}

fn expression() -> impl Strategy<Value = String> {
    (
        field(0, 59),
        field(0, 23),
        field(1, 31),
        field(1, 12),
        field(0, 7),
    )
        .prop_map(|(minute, hour, day, month, weekday)| {
            format!("{minute} {hour} {day} {month} {weekday}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_search_finds_what_looking_at_every_minute_finds(
        text in expression(),
        day in 0..DAYS.len(),
        early in 0_i64..600,
    ) {
        let (name, middle) = DAYS[day];
        let tz = zone(name);
        let middle = at(middle).as_micros();
        let from = Timestamp::from_micros(middle - early * MINUTE);
        let to = Timestamp::from_micros(middle + 40 * 60 * MINUTE);
        if text.parse::<Cron>().is_ok() {
            prop_assert_eq!(searched(&text, from, to, &tz), model(&text, from, to, &tz), "{} in {}", text, name);
        }
    }

    #[test]
    fn every_refusal_is_of_days_that_no_month_has(text in expression()) {
        if let Err(error) = text.parse::<Cron>() {
            prop_assert!(error.to_string().contains("no month that it names"), "{}", error);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[0-9a-z*/,@ -]{0,30}") {
        let _any = text.parse::<Cron>();
    }
}

#[test]
fn the_dangerous_days_by_hand() {
    let berlin = zone("Europe/Berlin");
    let next = |text: &str, after: &str| cron(text).next_after(at(after), &berlin).unwrap();
    // 02:30 does not come on that Sunday: 03:30 summer time.
    assert_eq!(
        next("30 2 * * *", "2026-03-28T12:00:00Z"),
        at("2026-03-29T01:30:00Z")
    );
    assert_eq!(
        next("30 2 * * *", "2026-03-29T01:30:00Z"),
        at("2026-03-30T00:30:00Z")
    );
    // It comes twice on this one: the first time.
    assert_eq!(
        next("30 2 * * *", "2026-10-24T12:00:00Z"),
        at("2026-10-25T00:30:00Z")
    );
    assert_eq!(
        next("30 2 * * *", "2026-10-25T00:30:00Z"),
        at("2026-10-26T01:30:00Z")
    );
    // What means elapsed time goes on through both hours.
    assert_eq!(
        next("*/30 * * * *", "2026-10-25T00:30:00Z"),
        at("2026-10-25T01:00:00Z")
    );
    assert_eq!(
        next("*/30 * * * *", "2026-10-25T01:00:00Z"),
        at("2026-10-25T01:30:00Z")
    );
}

#[test]
fn rare_days_are_found() {
    let utc = TimeZone::UTC;
    let leap = cron("0 0 29 2 *");
    assert_eq!(
        leap.next_after(at("2096-03-01T00:00:00Z"), &utc),
        Some(at("2104-02-29T00:00:00Z"))
    );
    // A Sunday besides: the star in */7 makes both count.
    let sunday = cron("0 0 29 2 */7");
    assert_eq!(
        sunday.next_after(at("2026-01-01T00:00:00Z"), &utc),
        Some(at("2032-02-29T00:00:00Z"))
    );
}

#[test]
fn names_words_and_lists() {
    let same = |a: &str, b: &str| {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2027-02-01T00:00:00Z"));
        assert_eq!(
            searched(a, from, to, &TimeZone::UTC),
            searched(b, from, to, &TimeZone::UTC),
            "{a}"
        );
    };
    same("@daily", "0 0 * * *");
    same("@weekly", "0 0 * * 7");
    same("@yearly", "0 0 1 jan *");
    same("0 2 * * mon-fri", "0 2 * * 1-5");
    same("0 2 * * Fri-Sun", "0 2 * * 5,6,0");
    same("0 2 * JAN,mar *", "0 2 * 1,3 *");
    same("5-10/5 2 * * *", "5,10 2 * * *");
    // One of the two days is enough.
    same("0 0 13 * fri", "0 0 13 * 5");
    assert_eq!(
        searched(
            "0 0 13 * fri",
            at("2026-11-01T00:00:00Z"),
            at("2026-11-15T00:00:00Z"),
            &TimeZone::UTC
        ),
        [at("2026-11-06T00:00:00Z"), at("2026-11-13T00:00:00Z")]
    );
}

#[test]
fn mistakes_are_named() {
    for (text, says) in [
        ("", "0 fields in place of 5"),
        ("* * * *", "4 fields"),
        ("* * * * * *", "6 fields"),
        ("60 * * * *", "no minute (0 to 59)"),
        ("* 24 * * *", "no hour"),
        ("* * 0 * *", "no day of month"),
        ("* * * 13 *", "no month"),
        ("* * * * 8", "no day of week"),
        ("* * * * funday", "no day of week"),
        ("10-5 * * * *", "runs backwards"),
        ("*/0 * * * *", "the step"),
        ("5/10 * * * *", "a step needs a range"),
        ("-5 * * * *", "no minute"),
        ("+5 * * * *", "no minute"),
        ("1,,2 * * * *", "no minute"),
        ("0 0 31 2,4 *", "no month that it names has such a day"),
        ("@fortnightly", "use one of @hourly"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}
