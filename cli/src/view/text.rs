//! Small pieces of text shared by the views.

use comfy_table::{Table, presets};
use holdfast_types::{ByteCount, Timestamp};
use std::time::Duration;

/// A borderless table with a header; no trailing blanks.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let rendered = table.to_string();
    let lines: Vec<&str> = rendered.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// Labelled values, one a line, the values in one column.
pub(super) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs
        .iter()
        .map(|(label, _)| label.len())
        .max()
        .unwrap_or(0);
    let lines: Vec<String> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| format!("{label:<width$}  {value}"))
        .collect();
    lines.join("\n")
}

/// An instant for people: UTC, to the second.
pub(crate) fn short_time(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time}Z"),
        _ => text,
    }
}

/// A duration for people.
pub(crate) fn millis(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => {
            let seconds = ms / 1000;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

/// Bytes per second for people; empty if no time passed.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    let micros = time.as_micros();
    if micros == 0 {
        return String::new();
    }
    let per_second = u128::from(bytes) * 1_000_000 / micros;
    format!(
        "{}/s",
        ByteCount(u64::try_from(per_second).unwrap_or(u64::MAX))
    )
}

/// A list for people; `none` if it is empty.
pub(super) fn list(items: &[String], none: &str) -> String {
    if items.is_empty() {
        none.to_owned()
    } else {
        items.join(", ")
    }
}

/// A number with groups of three digits.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{grouped, millis, rate, short_time, table};
    use holdfast_types::Timestamp;
    use std::time::Duration;

    #[test]
    fn people_read_times_and_numbers() {
        assert_eq!(millis(999), "999 ms");
        assert_eq!(millis(12_345), "12.3 s");
        assert_eq!(millis(61_000), "1 min 1 s");
        assert_eq!(grouped(1), "1");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(rate(3 << 20, Duration::from_millis(1500)), "2.0 MiB/s");
        assert_eq!(rate(1, Duration::ZERO), "");
        assert_eq!(
            short_time(Timestamp::from_micros(1_500_000)),
            "1970-01-01 00:00:01Z"
        );
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let text = table(&["A", "LONG"], [vec!["wide cell".into(), "x".into()]]);
        insta::assert_snapshot!(text, @r"
A          LONG
wide cell  x
");
    }
}
