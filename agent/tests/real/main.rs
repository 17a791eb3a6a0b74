//! Against a real Qdrant server: `$HOLDFAST_QDRANT_BIN`, else `qdrant` on the PATH. Without one each test prints a line that begins
//! with `SKIPPED:` and passes.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step is a failed test; a skipped test says so"
)]

mod crafted;
mod log;
mod replay;
mod server;
mod splice;
