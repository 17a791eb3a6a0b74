//! Licences, duplicates and sources of all dependencies, by `deny.toml`.

use crate::run::{cargo, checked};
use anyhow::Result;

/// Runs cargo-deny, if it is installed; else returns the line that says that it was skipped. It is not installed
/// here: it takes longer to compile than everything that it checks.
pub(crate) fn run() -> Result<Option<&'static str>> {
    let version = cargo(&["deny", "--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        return Ok(Some(
            "SKIPPED: deny.toml: cargo-deny is not installed (cargo install cargo-deny --locked)",
        ));
    }
    let args = ["deny", "--offline", "check", "bans", "licenses", "sources"];
    checked(&mut cargo(&args))?;
    Ok(None)
}
