//! `holdfast-agent`: see the library.

fn main() -> std::process::ExitCode {
    holdfast_agent::cli::main()
}
