//! The program `holdfast-coordinator`.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_certs::install_crypto_provider();
    holdfast_coordinator::cli::main().into()
}
