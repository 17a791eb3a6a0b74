//! Which releases of this program work together: same major, minors at most one apart. So a deployment can be upgraded one
//! program after the other, and nothing is spoken between programs that were never tested together.

/// Whether two releases, as in `0.3.1`, may talk to each other.
#[must_use]
pub fn releases_fit(ours: &str, theirs: &str) -> bool {
    match (parse(ours), parse(theirs)) {
        (Some(a), Some(b)) => a.0 == b.0 && a.1.abs_diff(b.1) <= 1,
        (Some(_) | None, _) => false,
    }
}

/// What to install beside a program of this release, in words such as `0.3.1 (any release from 0.2 to 0.4 works)`.
#[must_use]
pub fn fitting_releases(of: &str) -> String {
    match parse(of) {
        Some((major, minor)) => format!(
            "{of} (any release from {major}.{} to {major}.{} works)",
            minor.saturating_sub(1),
            minor.saturating_add(1)
        ),
        None => of.to_owned(),
    }
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split('.').map(|number| number.parse::<u64>().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::{fitting_releases, releases_fit};

    #[test]
    fn releases_may_differ_by_one_minor() {
        for (ours, theirs, fit) in [
            ("0.1.0", "0.1.9", true),
            ("0.1.0", "0.2.0", true),
            ("0.2.0", "0.1.7", true),
            ("0.3.0", "0.1.0", false),
            ("0.1.0", "0.3.0", false),
            ("1.0.0", "0.9.0", false),
            ("0.1.0", "", false),
            ("0.1.0", "x.y", false),
        ] {
            assert_eq!(releases_fit(ours, theirs), fit, "{ours} {theirs}");
            assert_eq!(releases_fit(theirs, ours), fit, "{theirs} {ours}");
        }
    }

    #[test]
    fn what_to_install_is_named() {
        let said = "0.3.1 (any release from 0.2 to 0.4 works)";
        assert_eq!(fitting_releases("0.3.1"), said);
        let said = "1.0.0 (any release from 1.0 to 1.1 works)";
        assert_eq!(fitting_releases("1.0.0"), said);
    }
}
