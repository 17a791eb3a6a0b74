//! The result of `config check`.

use crate::output::View;
use serde::Serialize;
use std::path::PathBuf;

/// `config check`, of a file in which nothing is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigCheckView {
    pub(crate) file: PathBuf,
    /// `agent` or `coordinator`.
    pub(crate) program: &'static str,
    /// Always true: an invalid file is a failure with exit code 3.
    pub(crate) valid: bool,
}

impl View for ConfigCheckView {
    const KIND: &'static str = "config-check";

    fn text(&self) -> String {
        format!(
            "{}: valid configuration of holdfast-{}",
            self.file.display(),
            self.program
        )
    }
}
