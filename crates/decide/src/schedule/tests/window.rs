//! Windows against looking at every second minute.

use super::{at, windows, zone};
use crate::schedule::Window;
use holdfast_types::Timestamp;
use proptest::prelude::*;

#[test]
fn windows_over_midnight_belong_to_the_day_they_begin_on() {
    let utc = zone("UTC");
    let nights = windows(&["Mon-Fri 22:00-06:00"]);
    for (instant, open) in [
        // 2026-11-20 is a Friday.
        ("2026-11-20T21:59:59Z", false),
        ("2026-11-20T22:00:00Z", true),
        ("2026-11-21T05:59:59Z", true),
        ("2026-11-21T06:00:00Z", false),
        ("2026-11-22T23:00:00Z", false),
        ("2026-11-23T05:00:00Z", false),
        ("2026-11-23T22:00:00Z", true),
    ] {
        assert_eq!(nights.allow(at(instant), &utc), open, "{instant}");
    }
    let opens = nights.open_from(at("2026-11-21T06:00:00Z"), &utc);
    assert_eq!(opens, Some(at("2026-11-23T22:00:00Z")));
    assert_eq!(
        nights.close_after(at("2026-11-20T23:00:00Z"), &utc),
        Some(at("2026-11-21T06:00:00Z"))
    );
    let always = windows(&[]);
    assert!(always.allow(at("2026-11-21T06:00:00Z"), &utc));
    assert_eq!(always.close_after(at("2026-11-21T06:00:00Z"), &utc), None);
}

#[test]
fn what_is_no_window_is_refused() {
    for good in [
        "22:00-06:00",
        "Sat,Sun",
        "mon 00:00-24:00",
        "Fri-Mon 10:00-11:30",
    ] {
        assert!(good.parse::<Window>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "Mon-",
        "8:00-9:00",
        "08:00-08:00",
        "24:00-06:00",
        "24:30-25:00",
        "08:00",
        "Mon Tue 08:00-09:00",
        "Foo 08:00-09:00",
    ] {
        assert!(bad.parse::<Window>().is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn openings_and_closings_are_where_the_answer_changes(
        day in 0..5_usize,
        from in 0..24_i64, half in any::<bool>(), to in 0..24_i64,
        named in prop_oneof![Just(""), Just("Sun "), Just("Sat-Mon "), Just("Mon-Fri ")],
        minutes in 0..1500_i64,
    ) {
        let (name, near) = [
            ("UTC", "2026-11-21T00:00:00Z"),
            ("Europe/Berlin", "2026-03-28T12:00:00Z"),
            ("Europe/Berlin", "2026-10-24T12:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
            ("Pacific/Apia", "2011-12-29T12:00:00Z"),
        ][day];
        let (tz, half) = (zone(name), if half { "30" } else { "00" });
        let text = format!("{named}{from:02}:{half}-{to:02}:{half}");
        prop_assume!(from != to);
        let windows = windows(&[&text]);
        let start = at(near).as_micros() + minutes * 60_000_000;
        let instants = (0..8 * 1440_i64).map(|n| Timestamp::from_micros(start + n * 60_000_000));
        let mut instants = instants.collect::<Vec<_>>().into_iter();
        let begin = instants.next().unwrap();
        let now = windows.allow(begin, &tz);
        let change = instants.find(|at| windows.allow(*at, &tz) != now);
        if now {
            prop_assert_eq!(windows.open_from(begin, &tz), Some(begin));
            if let Some(change) = change {
                prop_assert_eq!(windows.close_after(begin, &tz), Some(change), "{} in {}", text, name);
            }
        } else if let Some(change) = change {
            prop_assert_eq!(windows.open_from(begin, &tz), Some(change), "{} in {}", text, name);
        }
    }
}
