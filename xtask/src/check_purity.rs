//! The pure crates are pure by the same list: one that lags behind has a hole that nobody sees.

use crate::run::root;
use anyhow::{Context as _, Result, ensure};
use std::fs;

/// Crates in which clippy forbids clocks, randomness and IO.
const PURE: [&str; 4] = [
    "crates/types",
    "crates/archive",
    "crates/decide",
    "crates/wal",
];

pub(crate) fn run() -> Result<()> {
    let mut lists = Vec::new();
    for folder in PURE {
        let path = root().join(folder).join("clippy.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        lists.push((folder, text));
    }
    let odd = odd_ones(&lists);
    ensure!(
        odd.is_empty(),
        "{}: clippy.toml is not that of {}: make them equal",
        odd.join(", "),
        PURE[0]
    );
    println!("check-purity: {} crates under one list", PURE.len());
    Ok(())
}

/// The folders whose list is not the first one's.
fn odd_ones<'a>(lists: &[(&'a str, String)]) -> Vec<&'a str> {
    let (first, others) = lists.split_first().expect("there are pure crates");
    let odd = others.iter().filter(|(_, text)| *text != first.1);
    odd.map(|(folder, _)| *folder).collect()
}

#[cfg(test)]
mod tests {
    use super::odd_ones;

    #[test]
    fn the_list_that_differs_is_named() {
        let list = |folder, text: &str| (folder, text.to_owned());
        let equal = [list("a", "x"), list("b", "x")];
        assert!(odd_ones(&equal).is_empty());
        let odd = [list("a", "x"), list("b", "x"), list("c", "y")];
        assert_eq!(odd_ones(&odd), ["c"]);
    }

    #[test]
    fn the_lists_of_this_workspace_are_equal() {
        super::run().unwrap();
    }
}
