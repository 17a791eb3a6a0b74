//! One line of text for an error and its causes, for log lines: each error's own text says its layer only.

use std::error::Error;
use std::fmt::Write as _;

pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String can't fail.
        let _ok = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
