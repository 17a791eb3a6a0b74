//! Keeps docs/reference/cli.md equal to what `--help` says. With HOLDFAST_BLESS=1 the test writes it.

use super::Cli;
use clap::CommandFactory;
use std::fmt::Write;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cli.md");

const HEAD: &str = "# The `holdfast` command line

Results go to standard output, progress and errors to standard error. Exit codes: [exit-codes.md](exit-codes.md).
`--output json`: [json-output.md](json-output.md).

This page is made from the program's own help by a test of the crate `holdfast`; to renew it, run
`HOLDFAST_BLESS=1 cargo test -p holdfast reference`.

## Connecting

Commands that ask the coordinator take its address and a certificate from, in this order: options, environment
variables (`HOLDFAST_COORDINATOR`, `HOLDFAST_TLS_DIR` or `HOLDFAST_CERT`, `HOLDFAST_KEY` and `HOLDFAST_CA`), and a
settings file: the one named by `--config` or `HOLDFAST_CONFIG`, else `./holdfast.toml`, else
`~/.config/holdfast/holdfast.toml`:

```toml
coordinator = \"https://holdfast.internal:6350\"
tls_dir = \"tls\"    # with cert.pem, key.pem and ca.pem; or the keys cert, key and ca. Relative to this file.
```

There is no unencrypted way in. Reading needs a viewer's certificate, everything else an operator's.

## Interrupting

Ctrl-C during `backup create` or `restore run` stops watching only: the job goes on in the coordinator. The
message says under which id; `holdfast jobs list` shows it, `holdfast jobs cancel JOB` stops it.
";

fn section(command: &mut clap::Command, path: &str, out: &mut String) {
    if !path.is_empty() {
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let text = lines.join("\n");
        write!(
            out,
            "\n## `holdfast{path}`\n\n```text\n{}\n```\n",
            text.trim_end()
        )
        .expect("a String takes everything");
    }
    for sub in command.get_subcommands_mut() {
        if sub.get_name() != "help" {
            let path = format!("{path} {}", sub.get_name());
            section(sub, &path, out);
        }
    }
}

#[test]
fn the_reference_is_what_help_says() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut text = HEAD.to_owned();
    section(&mut command, "", &mut text);
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        fs_err::write(FILE, &text).expect("the reference can be written");
    }
    let written = fs_err::read_to_string(FILE).expect("the reference is there");
    assert!(
        written == text,
        "docs/reference/cli.md is out of date: see its head for how to renew it"
    );
}
