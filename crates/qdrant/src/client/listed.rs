//! What a server lists, with what it has under names that we can't use: nothing vanishes.

/// Longest part of an unusable name that is shown, in characters: no valid one is longer.
const MAX_SHOWN: usize = 255;

/// Named things on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// Those with a valid name.
    pub usable: Vec<T>,
    /// The others, in words and with their names escaped: `collection "a\nb"`. They can neither be captured
    /// nor restored, so whoever promises to capture everything must name them.
    pub unusable: Vec<String>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            usable: Vec::new(),
            unusable: Vec::new(),
        }
    }
}

/// A name as it can be printed anywhere: quoted, escaped, not endless.
pub(super) fn shown(name: &str) -> String {
    match name.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn names_are_shown_on_one_short_line() {
        assert_eq!(shown("a\n\u{1b}[31m\"b"), r#""a\n\u{1b}[31m\"b""#);
        assert_eq!(shown(&"ä".repeat(300)).chars().count(), 255 + 3);
    }
}
