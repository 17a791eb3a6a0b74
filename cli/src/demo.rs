//! `holdfast demo`: backup, loss, restore and proof on one machine, with real processes.
//!
//! It starts them, drives the coordinator as any operator would, and looks at Qdrant past Holdfast for
//! the proof. Whatever happens, what it started is stopped and what it wrote is removed, except with
//! `--keep`. It never touches a Qdrant that it has not started.

mod binaries;
mod child;
mod configs;
mod dataset;
mod load;
mod proof;
mod rest;
mod script;
mod summary;
mod topology;
mod workdir;

use crate::args::DemoArgs;
use crate::command::Context;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use holdfast_service::failure::Code;
use std::path::Path;
use summary::KeptView;
use topology::Topology;
use workdir::WorkDir;

/// Runs the demo.
pub(crate) async fn run(context: Context, args: DemoArgs) -> Outcome<()> {
    let interrupt = Interrupt::listen()?;
    let mut progress = Progress::stderr(context.quiet);
    let dir = WorkDir::make(args.dir.as_deref(), args.keep)?;
    let mut topology = Topology::new(dir)?;
    let played = tokio::select! {
        played = Box::pin(script::play(&mut topology, &args, &mut progress)) => played,
        () = interrupt.wait() => Err(interrupted()),
    };
    progress.clear();
    let result = match played {
        Ok(view) => context
            .output
            .show(&view)
            .and_then(|()| verdict(view.proven)),
        Err(failure) => {
            if failure.exit() != Code::Interrupted.exit_code() {
                topology.show_logs(&mut progress);
            }
            Err(failure)
        }
    };
    let stopped =
        matches!(&result, Err(failure) if failure.exit() == Code::Interrupted.exit_code());
    if args.keep && !stopped {
        let kept = topology.kept();
        topology.release();
        // Without this nobody could find or end what goes on running: it is said with --quiet too.
        Progress::stderr(false).say(&look_around(&kept));
    } else {
        topology.discard();
        topology.stop().await;
    }
    result
}

fn verdict(proven: bool) -> Outcome<()> {
    if proven {
        return Ok(());
    }
    Err(Failure::new(
        Code::ProofFailed,
        "a restored collection differs from what was captured",
    )
    .risking("nothing of yours: the demo uses data of its own")
    .todo(
        "please report this, with the output above and the demo's arguments; --keep keeps the data",
    )
    .already_shown())
}

fn interrupted() -> Failure {
    Failure::new(Code::Interrupted, "interrupted")
        .risking("nothing: the demo's processes are stopped and its directory is removed")
        .todo("start it again when you like")
}

/// What can be asked of a deployment that was left running.
const LOOK: [&str; 6] = [
    "status",
    "nodes",
    "collections",
    "backup list",
    "backup show latest",
    "restore plan latest --collection holdfast_demo --as another",
];

/// How to look at what was left running, and how to end it.
fn look_around(kept: &KeptView) -> String {
    let exe = std::env::current_exe().unwrap_or_else(|_| "holdfast".into());
    let commands: Vec<String> = LOOK
        .iter()
        .map(|name| format!("  {} {name}", quoted(&exe)))
        .collect();
    let pids: Vec<String> = kept.pids.iter().map(i32::to_string).collect();
    format!(
        "\nEverything is still running. Look around:\n  export HOLDFAST_CONFIG={}\n{}\n  \
         curl -s {}/collections\n  tail {}\n\
         Stop everything and remove it:\n  kill {}; sleep 3; rm -r {}\n",
        quoted(&kept.settings),
        commands.join("\n"),
        kept.qdrant_url,
        quoted(&kept.dir.join("logs/agent.log")),
        pids.join(" "),
        quoted(&kept.dir)
    )
}

/// A path as a word for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::summary::KeptView;
    use super::{LOOK, look_around, quoted, verdict};
    use std::path::Path;

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/a-b.c")), "/tmp/a-b.c");
        assert_eq!(quoted(Path::new("/tmp/it's")), r"'/tmp/it'\''s'");
    }

    #[test]
    fn every_command_that_is_printed_can_be_parsed() {
        use clap::Parser;
        for command in LOOK {
            let words = std::iter::once("holdfast").chain(command.split(' '));
            assert!(crate::args::Cli::try_parse_from(words).is_ok(), "{command}");
        }
    }

    #[test]
    fn what_is_left_running_can_be_found_and_ended() {
        let kept = KeptView {
            dir: "/d".into(),
            settings: "/d/holdfast.toml".into(),
            qdrant_url: "http://h:1".into(),
            pids: vec![12, 34],
        };
        let text = look_around(&kept);
        for words in [
            "export HOLDFAST_CONFIG=/d/holdfast.toml",
            " backup show latest",
            "kill 12 34; sleep 3; rm -r /d",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_failed_proof_ends_with_its_own_code() {
        use holdfast_service::exit::ExitCode;
        assert!(verdict(true).is_ok());
        assert_eq!(
            verdict(false).expect_err("failed").exit(),
            ExitCode::ProofFailed
        );
    }
}
