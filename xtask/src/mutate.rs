//! `cargo xtask mutate`: changes one thing at a time in a pure crate and looks whether its tests notice.
//!
//! The work is done by cargo-mutants on a copy of the sources, in a folder of its own; what it found stays in
//! `target/mutants/mutants.out`. It is a tool like cargo itself, and no dependency of the workspace.

use crate::run::{cargo, checked, root};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use std::path::Path;
use std::process::Stdio;

/// The version that was tried.
const VERSION: &str = "27.1.0";
/// Where the mutated sources are.
const SOURCES: &str = "crates/decide/src";

#[derive(Args)]
pub(crate) struct Options {
    /// Only these files and folders below `crates/decide/src`, such as `retention` or `retention/guard.rs`; else all
    paths: Vec<String>,
    /// Passed on to cargo-mutants, such as `-- --list` or `-- --shard 1/8`
    #[arg(last = true)]
    args: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut asked = cargo(&["mutants", "--version"]);
    let version = asked
        .stderr(Stdio::null())
        .output()
        .context("can't start cargo")?;
    ensure!(
        version.status.success(),
        "cargo-mutants is not installed (MIT licence; {VERSION} was tried): cargo install cargo-mutants --locked --version {VERSION}"
    );
    let mut mutants = cargo(&["mutants", "--package", "holdfast-decide"]);
    mutants.args(["--output", "target/mutants", "--no-shuffle"]);
    for path in &options.paths {
        for glob in globs(&root(), path)? {
            mutants.args(["--file", &glob]);
        }
    }
    checked(mutants.args(&options.args))
        .context("a change that no test notices, or that could not be tried, is listed above and in target/mutants/mutants.out")
}

/// What a path below the sources stands for: a file, or a folder with the file of its name.
fn globs(root: &Path, path: &str) -> Result<Vec<String>> {
    let path = path.trim_start_matches(SOURCES).trim_matches('/');
    let found = root.join(SOURCES).join(path);
    let mut globs = Vec::new();
    if found.is_dir() {
        globs.push(format!("{SOURCES}/{path}/**/*.rs"));
    }
    for name in [path.to_owned(), format!("{path}.rs")] {
        if root.join(SOURCES).join(&name).is_file() {
            globs.push(format!("{SOURCES}/{name}"));
        }
    }
    if globs.is_empty() {
        // cargo-mutants would find nothing to change, and call that a success.
        bail!("no file or folder {path} below {SOURCES}");
    }
    Ok(globs)
}

#[cfg(test)]
mod tests {
    use super::globs;
    use crate::run::root;

    #[test]
    fn a_path_is_a_file_or_a_folder_with_its_file() {
        let globs = |path| globs(&root(), path);
        assert_eq!(
            globs("retention").unwrap(),
            [
                "crates/decide/src/retention/**/*.rs",
                "crates/decide/src/retention.rs"
            ]
        );
        let file = ["crates/decide/src/retention/guard.rs"];
        assert_eq!(globs("retention/guard.rs").unwrap(), file);
        assert_eq!(globs("crates/decide/src/retention/guard").unwrap(), file);
        let error = globs("retenion").unwrap_err().to_string();
        assert!(error.contains("no file or folder retenion"), "{error}");
    }
}
