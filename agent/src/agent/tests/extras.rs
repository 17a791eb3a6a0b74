//! Extras: hooks and files, whatever comes between.

use super::world::{World, cancel, failure_code};
use crate::config::{ExtraSection, Hook};
use holdfast_archive::{EntryKind, ExtraListing};
use holdfast_proto::v1;
use holdfast_types::ByteCount;
use std::path::PathBuf;
use std::time::Duration;
use v1::command_result::Outcome;

/// A node with an extra `dump`, of which the hook before writes the file and the one after removes it.
struct Dumper {
    world: World,
    dir: tempfile::TempDir,
}

fn shell(script: String) -> Hook {
    Hook {
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script],
    }
}

impl Dumper {
    /// What the hooks do more, in the test's directory: before the dump is written, and after it was removed.
    async fn new(before: &str, after: &str) -> Self {
        let mut world = World::new().await;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let told = "$HOLDFAST_HOOK $HOLDFAST_EXTRA $HOLDFAST_NODE $HOLDFAST_CLUSTER $HOLDFAST_RECOVERY_POINT $HOLDFAST_JOB $HOLDFAST_OUTCOME";
        let (log, dump, here) = (at("log"), at("dump"), dir.path().display());
        world.config.extras = vec![ExtraSection {
            name: "dump".parse().unwrap(),
            paths: vec![dump.clone().into()],
            config: false,
            before: Some(shell(format!(
                "cd {here}; echo {told} >> {log}; {before}; echo content > {dump}; chmod 640 {dump}"
            ))),
            after: Some(shell(format!(
                "echo {told} >> {log}; rm -f {dump}; {after}"
            ))),
            timeout: Duration::from_secs(20),
            required: true,
            limit: ByteCount::mib(1),
        }];
        Self { world, dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn give(&self, id: &str) {
        self.world.coordinator.give(id, capture("dump")).await;
    }

    async fn outcome(&self, id: &str) -> Outcome {
        self.world.coordinator.result(id, 0).await
    }

    /// The hooks that have run, with how the extra had ended then.
    fn hooks(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.at("log")).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let first = words.next().unwrap_or_default();
            format!("{first} {}", words.nth(5).unwrap_or_default())
                .trim()
                .to_owned()
        };
        log.lines().map(line).collect()
    }

    async fn until_exists(&self, name: &str) {
        self.world.eventually(|| self.at(name).exists()).await;
    }
}

fn capture(name: &str) -> v1::command::Command {
    v1::command::Command::CaptureExtra(v1::CaptureExtra {
        name: name.into(),
        recovery_point: "20261121t101530z-0a1b2c3d".into(),
        job_id: "backup-1".into(),
    })
}

fn message(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failure(failure) => failure.message,
        other @ (Outcome::Capture(_)
        | Outcome::Restore(_)
        | Outcome::Extra(_)
        | Outcome::Cancelled(_)) => {
            panic!("no failure: {other:?}")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_are_delivered_between_the_hooks() {
    let dumper = Dumper::new("true", "true").await;
    let agent = dumper.world.start();
    dumper.give("x0").await;
    let Outcome::Extra(done) = dumper.outcome("x0").await else {
        panic!("it must be captured")
    };
    assert_eq!((done.logical_bytes, done.warnings.len()), (8, 0));
    let (extra, recipe) = dumper.world.coordinator.lock().extras["x0"].clone();
    assert_eq!((extra.files, extra.bytes), (1, 8));
    let contents = dumper.world.coordinator.contents(&recipe);
    let path = dumper.at("dump").display().to_string();
    assert_eq!(contents[&format!("files{path}")], b"content\n");
    let listing = ExtraListing::from_json(&contents["listing.json"]).unwrap();
    let entry = &listing.entries[0];
    assert_eq!((format!("/{}", entry.path), entry.mode), (path, 0o640));
    let hash = blake3::hash(b"content\n").to_hex().to_string();
    assert_eq!(
        entry.kind,
        EntryKind::File {
            size: 8,
            blake3: hash
        }
    );
    assert!(!dumper.at("dump").exists(), "the hook after has run");
    let log = std::fs::read_to_string(dumper.at("log")).unwrap();
    assert_eq!(
        log,
        "before dump n1 demo 20261121t101530z-0a1b2c3d backup-1\n\
         after dump n1 demo 20261121t101530z-0a1b2c3d backup-1 captured\n"
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coordinator_learns_names_and_nothing_else() {
    let dumper = Dumper::new("true", "true").await;
    let agent = dumper.world.start();
    let beat = dumper.world.coordinator.until("an inventory", |inner| {
        inner
            .heartbeats
            .iter()
            .find_map(|beat| beat.inventory.clone())
    });
    let inventory = beat.await;
    assert!(inventory.captures_extras);
    let told = v1::ExtraInfo {
        name: "dump".into(),
        config: false,
        required: true,
    };
    assert_eq!(inventory.extras, [told]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_fails_the_extra_and_the_other_one_runs() {
    let dumper = Dumper::new("echo no room >&2; exit 3", "true").await;
    let agent = dumper.world.start();
    dumper.give("x0").await;
    let outcome = dumper.outcome("x0").await;
    assert_eq!(failure_code(&outcome), "extra-failed");
    let text = message(outcome);
    let want = "the hook before of extra dump: /bin/sh ended with exit status: 3: no room";
    assert_eq!(text, want);
    assert_eq!(dumper.hooks(), ["before", "after failed"]);
    dumper.world.coordinator.give("x1", capture("other")).await;
    let text = message(dumper.outcome("x1").await);
    assert!(text.contains("no [[extra]] called other"), "{text}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_hook_that_fails_is_a_warning() {
    let dumper = Dumper::new("true", "echo still busy >&2; exit 1").await;
    let agent = dumper.world.start();
    dumper.give("x0").await;
    let Outcome::Extra(done) = dumper.outcome("x0").await else {
        panic!("it must be captured")
    };
    assert_eq!(
        done.warnings,
        ["the hook after of extra dump: /bin/sh ended with exit status: 1: still busy"]
    );
    assert!(dumper.world.coordinator.lock().extras.contains_key("x0"));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_the_hook_and_runs_the_other() {
    let dumper = Dumper::new("touch began; sleep 600", "true").await;
    let agent = dumper.world.start();
    dumper.give("x0").await;
    dumper.until_exists("began").await;
    dumper.world.coordinator.give("x0-x", cancel("x0")).await;
    let outcome = dumper.outcome("x0").await;
    assert_eq!(failure_code(&outcome), "cancelled");
    assert_eq!(dumper.hooks(), ["before", "after failed"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_hangs_is_killed_in_time() {
    let mut dumper = Dumper::new("sleep 600", "true").await;
    dumper.world.config.extras[0].timeout = Duration::from_secs(1);
    let agent = dumper.world.start();
    dumper.give("x0").await;
    let text = message(dumper.outcome("x0").await);
    assert!(text.contains("did not end within 1 s"), "{text}");
    assert_eq!(dumper.hooks(), ["before", "after failed"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_it_begins_anew_and_ends_with_the_last_hook() {
    let once = "if [ ! -e began ]; then touch began; sleep 600; fi";
    let dumper = Dumper::new(once, "true").await;
    let agent = dumper.world.start();
    dumper.give("x0").await;
    dumper.until_exists("began").await;
    agent.kill().await;
    let agent = dumper.world.start();
    let outcome = dumper.outcome("x0").await;
    assert!(matches!(outcome, Outcome::Extra(_)), "{outcome:?}");
    assert_eq!(dumper.hooks(), ["before", "before", "after captured"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_runs_no_hook_twice() {
    let dumper = Dumper::new("true", "true").await;
    dumper.world.coordinator.lock().break_after = Some(1);
    let agent = dumper.world.start();
    dumper.give("x0").await;
    let outcome = dumper.outcome("x0").await;
    assert!(matches!(outcome, Outcome::Extra(_)), "{outcome:?}");
    assert_eq!(dumper.hooks(), ["before", "after captured"]);
    agent.stop().await;
}
