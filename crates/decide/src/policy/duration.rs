//! Durations as people write them: `30s`, `15m`, `6h`, `7d`, `2w`, or several of these as in `1h 30m`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("w", 7 * 86_400),
    ("d", 86_400),
    ("h", 3600),
    ("m", 60),
    ("s", 1),
];

/// Reads one. `ms` stands for milliseconds. The error says what is expected.
///
/// # Errors
/// For anything else.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no duration: write it like 30s, 15m, 6h, 7d or 1h 30m");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(refused)?;
        let number: u64 = rest[..digits].parse().map_err(|_| refused())?;
        let tail = &rest[digits..];
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let part = match &tail[..letters] {
            "ms" => Some(Duration::from_millis(number)),
            unit => {
                let unit = UNITS.iter().find(|(name, _)| *name == unit);
                let seconds = unit.and_then(|(_, seconds)| number.checked_mul(*seconds));
                seconds.map(Duration::from_secs)
            }
        };
        // A hundred years are more than anybody means.
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= Duration::from_hours(100 * 366 * 24))
            .ok_or_else(refused)?;
        rest = tail[letters..].trim_start();
    }
    Ok(total)
}

/// The shortest such text of a duration; parts of a millisecond are left out.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let mut left = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, seconds) in UNITS {
        // A week is said only where it is whole: 8d, not 1w 1d.
        if unit == "w" && !left.is_multiple_of(seconds) {
            continue;
        }
        if left >= seconds {
            parts.push(format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    if duration.subsec_millis() > 0 {
        parts.push(format!("{}ms", duration.subsec_millis()));
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{duration_text, parse_duration};
    use std::time::Duration;

    #[test]
    fn people_write_and_read_durations() {
        for (text, seconds, back) in [
            ("30s", 30, "30s"),
            ("15m", 900, "15m"),
            ("90m", 5400, "1h 30m"),
            ("1h 30m", 5400, "1h 30m"),
            ("1h30m", 5400, "1h 30m"),
            ("8d", 8 * 86_400, "8d"),
            ("2w", 14 * 86_400, "2w"),
            ("0s", 0, "0s"),
        ] {
            let parsed = parse_duration(text).unwrap();
            assert_eq!(parsed, Duration::from_secs(seconds), "{text}");
            assert_eq!(duration_text(parsed), back);
        }
        assert_eq!(duration_text(parse_duration("250ms").unwrap()), "250ms");
        for bad in [
            "",
            "15",
            "m",
            "-1m",
            "1.5h",
            "1y",
            "1h-",
            "99999999999999999999s",
            "101000d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
