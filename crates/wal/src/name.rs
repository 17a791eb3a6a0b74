//! What the names in a log's folder say.

/// The meaning of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `closed-<n>`: a full file; n is the index of its first entry.
    Closed(u64),
    /// `open-<n>`: the file that is written to, or one made for later. n only counts files: the index of its first entry follows
    /// from the closed ones.
    Open(u64),
}

impl FileName {
    /// Reads a name; `None` for what is no log file: `first-index`, `tmp-open-…`, anything else.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(first) = name.strip_prefix("closed-") {
            return number(first).map(Self::Closed);
        }
        number(name.strip_prefix("open-")?).map(Self::Open)
    }
}

/// Digits only: the standard parser would take a sign, too.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::FileName;

    #[test]
    fn names() {
        assert_eq!(FileName::parse("closed-0"), Some(FileName::Closed(0)));
        assert_eq!(FileName::parse("open-12"), Some(FileName::Open(12)));
        let max = format!("closed-{}", u64::MAX);
        assert_eq!(FileName::parse(&max), Some(FileName::Closed(u64::MAX)));
        for other in [
            "first-index",
            "tmp-open-3",
            "open-",
            "open-+1",
            "closed--1",
            "closed-1.tmp",
            "closed-18446744073709551616",
            "",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn closed_files_come_before_open_ones() {
        assert!(FileName::Closed(9) < FileName::Open(1));
    }
}
