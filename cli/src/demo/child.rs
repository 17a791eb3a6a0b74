//! A process started by the demo: its log, its end, and the guarantee that it does not outlive us.

use crate::failure::{Failure, Outcome};
use holdfast_service::failure::Code;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child as Process, Command};

/// Time to end after a TERM; then it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Lines of a log shown when something failed.
const TAIL_LINES: usize = 15;

/// How to start a process.
#[derive(Debug)]
pub(super) struct Recipe<'a> {
    /// For messages, and the log's file name.
    pub(super) name: &'static str,
    pub(super) program: &'a Path,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(&'static str, String)>,
    /// Working directory.
    pub(super) dir: &'a Path,
    /// Directory of logs.
    pub(super) logs: &'a Path,
}

/// A running process. Dropping it kills it, unless it was released.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    log: PathBuf,
    process: Process,
    pid: Option<Pid>,
    released: bool,
}

impl Child {
    /// Starts a process with both outputs in a log file.
    pub(super) fn start(recipe: Recipe<'_>) -> Outcome<Self> {
        let log = recipe.logs.join(format!("{}.log", recipe.name));
        let failed = |error: std::io::Error| {
            Failure::new(
                Code::Internal,
                format!("can't start {}", recipe.program.display()),
            )
            .caused_by(&error)
        };
        let out = std::fs::File::create(&log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        let mut command = Command::new(recipe.program);
        // Settings of another server in the environment must not leak into this one.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("QDRANT__") || text.starts_with("HOLDFAST_") {
                command.env_remove(&name);
            }
        }
        let process = command
            .args(&recipe.args)
            .envs(recipe.env.iter().map(|(name, value)| (name, value)))
            .current_dir(recipe.dir)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C goes to us alone: we stop the others, in order.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pid = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Self {
            name: recipe.name,
            log,
            process,
            pid,
            released: false,
        })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.pid.map_or(0, |pid| pid.as_raw_nonzero().get())
    }

    /// A failure if it has ended.
    pub(super) fn check(&mut self) -> Outcome<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(Failure::new(
                Code::Internal,
                format!("{} ended unexpectedly ({status})", self.name),
            )
            .because(self.last_words())),
        }
    }

    /// The end of its log, for a failure message.
    pub(super) fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        format!(
            "--- {} ---\n{}",
            self.log.display(),
            lines[from..].join("\n")
        )
    }

    /// The most memory it has had, in bytes, where the system tells (Linux).
    pub(super) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// Ends it: TERM first, KILL when it takes too long.
    pub(super) async fn stop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, self.process.wait())
            .await
            .is_err()
        {
            self.signal(Signal::KILL);
            // It can't refuse; an error would only mean that it is gone already.
            let _ = self.process.wait().await;
        }
    }

    /// Lets it live on when this program ends.
    pub(super) fn release(&mut self) {
        self.released = true;
    }

    fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        last.unwrap_or_default().to_owned()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Only while we have not yet waited for it: its id can't belong to another process before that.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.released && self.ended().is_none() {
            self.signal(Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Child, Recipe};
    use rustix::process::{Pid, test_kill_process};
    use std::path::Path;

    fn shell(script: &str, dir: &Path) -> Child {
        Child::start(Recipe {
            name: "shell",
            program: Path::new("/bin/sh"),
            args: vec!["-c".into(), script.into()],
            env: vec![("WORD", "hello".into())],
            dir,
            logs: dir,
        })
        .expect("a shell")
    }

    #[tokio::test]
    async fn a_child_that_ends_early_is_reported_with_its_last_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut child = shell("echo $WORD; echo port taken >&2; exit 3", dir.path());
        let _ = child.process.wait().await;
        let text = child.check().expect_err("ended").render();
        assert!(
            text.contains("ended unexpectedly (exit status: 3)"),
            "{text}"
        );
        assert!(text.contains("port taken"), "{text}");
        assert!(child.log_tail().contains("hello"), "{}", child.log_tail());
    }

    #[tokio::test]
    async fn stopping_ends_it_and_dropping_kills_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut child = shell("exec sleep 600", dir.path());
        assert!(child.check().is_ok());
        child.stop().await;
        assert!(child.check().is_err());

        let child = shell("exec sleep 600", dir.path());
        let pid = Pid::from_raw(child.pid()).expect("a pid");
        assert!(test_kill_process(pid).is_ok());
        drop(child);
        // The runtime reaps it in the background.
        let gone = async {
            while test_kill_process(pid).is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), gone)
            .await
            .expect("killed and reaped");
    }
}
