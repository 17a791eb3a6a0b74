//! Calendar periods, as a table of count and key.
//!
//! Two instants are of one period if their keys are equal. The key is also what people read, so
//! an hour carries its UTC offset: when clocks go back, the hour that comes twice is two hours.

use super::policy::Rule;
use jiff::Zoned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of calendar period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// An hour of the zone's clock.
    Hourly,
    /// A date.
    Daily,
    /// An ISO 8601 week, Monday to Sunday; its year is the one that has its Thursday.
    Weekly,
    /// A month.
    Monthly,
    /// A calendar year.
    Yearly,
}

/// How one kind of period is counted.
pub(super) struct PeriodRow {
    pub(super) period: Period,
    /// How many periods the rule keeps.
    pub(super) count: fn(&Rule) -> u32,
    /// The period of an instant in its zone.
    pub(super) key: fn(&Zoned) -> String,
}

pub(super) const PERIODS: [PeriodRow; 5] = [
    PeriodRow {
        period: Period::Hourly,
        count: |rule| rule.hourly,
        key: |at| at.strftime("%Y-%m-%d %H:00%:z").to_string(),
    },
    PeriodRow {
        period: Period::Daily,
        count: |rule| rule.daily,
        key: |at| at.strftime("%Y-%m-%d").to_string(),
    },
    PeriodRow {
        period: Period::Weekly,
        count: |rule| rule.weekly,
        key: |at| at.strftime("%G-W%V").to_string(),
    },
    PeriodRow {
        period: Period::Monthly,
        count: |rule| rule.monthly,
        key: |at| at.strftime("%Y-%m").to_string(),
    },
    PeriodRow {
        period: Period::Yearly,
        count: |rule| rule.yearly,
        key: |at| at.strftime("%Y").to_string(),
    },
];

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::PERIODS;
    use crate::retention::fixture::{berlin, lord_howe, st_johns};
    use jiff::tz::TimeZone;

    fn keys(at: &str, tz: TimeZone) -> Vec<String> {
        let at = at.parse::<jiff::Timestamp>().unwrap().to_zoned(tz);
        PERIODS.iter().map(|row| (row.key)(&at)).collect()
    }

    #[test]
    fn periods_are_those_of_the_zone() {
        let utc = [
            "2026-12-31 23:00+00:00",
            "2026-12-31",
            "2026-W53",
            "2026-12",
            "2026",
        ];
        assert_eq!(keys("2026-12-31T23:30:00Z", TimeZone::UTC), utc);
        let berlin_keys = [
            "2027-01-01 00:00+01:00",
            "2027-01-01",
            "2026-W53",
            "2027-01",
            "2027",
        ];
        assert_eq!(keys("2026-12-31T23:30:00Z", berlin()), berlin_keys);
    }

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        for (at, week) in [
            ("2024-12-29T12:00:00Z", "2024-W52"),
            ("2024-12-30T12:00:00Z", "2025-W01"),
            ("2027-01-03T12:00:00Z", "2026-W53"),
            ("2027-01-04T12:00:00Z", "2027-W01"),
        ] {
            assert_eq!(keys(at, TimeZone::UTC)[2], week, "{at}");
        }
    }

    #[test]
    fn the_hour_that_comes_twice_is_two_and_the_one_left_out_is_none() {
        let hour = |at| keys(at, berlin())[0].clone();
        assert_eq!(hour("2026-10-25T00:30:00Z"), "2026-10-25 02:00+02:00");
        assert_eq!(hour("2026-10-25T01:30:00Z"), "2026-10-25 02:00+01:00");
        assert_eq!(hour("2026-03-29T00:59:59Z"), "2026-03-29 01:00+01:00");
        assert_eq!(hour("2026-03-29T01:00:00Z"), "2026-03-29 03:00+02:00");
    }

    #[test]
    fn odd_zones() {
        let hour = |at| keys(at, lord_howe())[0].clone();
        assert_eq!(hour("2026-04-04T14:45:00Z"), "2026-04-05 01:00+11:00");
        assert_eq!(hour("2026-04-04T15:15:00Z"), "2026-04-05 01:00+10:30");
        let hour = |at| keys(at, st_johns())[0].clone();
        assert_eq!(hour("2010-11-07T02:30:30Z"), "2010-11-07 00:00-02:30");
        assert_eq!(hour("2010-11-07T02:31:30Z"), "2010-11-06 23:00-03:30");
        // the date goes back by one for an hour
        let day = |at| keys(at, st_johns())[1].clone();
        assert_eq!(day("2010-11-07T02:30:30Z"), "2010-11-07");
        assert_eq!(day("2010-11-07T02:31:30Z"), "2010-11-06");
        assert_eq!(day("2010-11-07T03:30:30Z"), "2010-11-07");
    }

    #[test]
    fn the_leap_day_is_a_day() {
        assert_eq!(keys("2028-02-29T12:00:00Z", TimeZone::UTC)[1], "2028-02-29");
    }
}
