//! No source file outgrows its room: 400 lines without tests are questioned, 600 are refused.

use crate::run::root;
use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

const QUESTIONED: usize = 400;
const REFUSED: usize = 600;

pub(crate) fn run() -> Result<()> {
    let mut files = Vec::new();
    collect(&root(), &mut files)?;
    let mut refused = 0;
    for file in &files {
        let lines = code_lines(&fs::read_to_string(file)?);
        if lines > QUESTIONED {
            println!("{lines:5} lines without tests: {}", file.display());
        }
        refused += usize::from(lines > REFUSED);
    }
    ensure!(
        refused == 0,
        "{refused} file(s) past {REFUSED} lines: split each by what changes together"
    );
    println!(
        "check-sizes: {} files, none past {REFUSED} lines",
        files.len()
    );
    Ok(())
}

/// Lines before the unit tests begin.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .count()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    const SKIPPED: [&str; 5] = ["target", ".git", "tests", "benches", "testdata"];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::code_lines;

    #[test]
    fn tests_do_not_count() {
        assert_eq!(code_lines("a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
    }
}
