//! The harness of the cross-crate tests: it starts the real programs on loopback and drives them as
//! a user would. It contains no test of its own and nothing of the product.
#![expect(
    clippy::print_stdout,
    reason = "a skipped test says so on stdout, a failed one what it did"
)]

pub mod cluster;
pub mod dataset;
pub mod digest;
pub mod gate;
pub mod history;
pub mod mount;
pub mod process;
pub mod qdrant;
pub mod site;
pub mod wait;

/// Says that a test was not run and why; `cargo xtask test` counts these lines.
pub fn skipped(why: &str) {
    println!("SKIPPED: {why}");
}

/// A line in a test's own output, to be read when it fails.
pub fn say(what: &str) {
    println!("{what}");
}

/// Says on which server a test ran. What ran on the devnode alone counts as not proven on a real one.
pub fn ran_on(kind: qdrant::Kind) {
    match kind {
        qdrant::Kind::Real => println!("ran on a real Qdrant server"),
        qdrant::Kind::Devnode => skipped(
            "a real Qdrant server: none in $HOLDFAST_QDRANT_BIN or on PATH, so this ran on holdfast-devnode only",
        ),
    }
}
