//! A child process with a log file, stopped by its own pid when dropped.

use anyhow::{Context as _, Result, bail, ensure};
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How to start a program again exactly as before.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, added to the test's own.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub dir: PathBuf,
    /// Where its stdout and stderr go; appended to.
    pub log: PathBuf,
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    recipe: Recipe,
    child: Child,
}

impl Process {
    /// Starts the program.
    ///
    /// # Errors
    /// If the log can't be opened or the program can't be started.
    pub fn start(recipe: Recipe) -> Result<Self> {
        let child = spawn(&recipe)?;
        Ok(Self { recipe, child })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the program still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Everything the program printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.recipe.log).unwrap_or_default()
    }

    /// Ends the program as a power cut would: SIGKILL.
    ///
    /// # Errors
    /// If the process can't be signalled or reaped.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill().context("kill -9")?;
        self.child.wait().context("reap")?;
        Ok(())
    }

    /// Lets the program hang: SIGSTOP. It answers nothing until [`Self::thaw`]; dropping it ends it all the same.
    ///
    /// # Errors
    /// If it can't be signalled.
    pub fn freeze(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// Lets a frozen program go on: SIGCONT.
    ///
    /// # Errors
    /// If it can't be signalled.
    pub fn thaw(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, which: &str) -> Result<()> {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([which, &pid]).status();
        ensure!(
            status.context("kill")?.success(),
            "kill {which} {pid} failed"
        );
        Ok(())
    }

    /// Starts the program again after it ended.
    ///
    /// # Errors
    /// If it still runs or can't be started.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(
            self.child.try_wait()?.is_some(),
            "{:?} still runs",
            self.recipe.program
        );
        self.child = spawn(&self.recipe)?;
        Ok(())
    }

    /// Asks the program to stop (SIGTERM) and waits for it; yields its exit code.
    ///
    /// # Errors
    /// If it does not stop within `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<Option<i32>> {
        let status = Command::new("kill")
            .arg(self.pid().to_string())
            .status()
            .context("kill")?;
        ensure!(status.success(), "kill {} failed", self.pid());
        self.wait(limit)
    }

    /// Waits for the program to end by itself; yields its exit code.
    ///
    /// # Errors
    /// If it does not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<i32>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            ensure!(
                Instant::now() < end,
                "{:?} still runs after {limit:?}:\n{}",
                self.recipe.program,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Peak resident memory in bytes, from the kernel (`VmHWM`).
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace()
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(recipe: &Recipe) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(&recipe.log)?;
    Command::new(&recipe.program)
        .args(&recipe.args)
        .envs(recipe.env.iter().cloned())
        .current_dir(&recipe.dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("can't start {}", recipe.program.display()))
}

/// A program of the workspace: beside this executable, or one folder up where test executables live.
///
/// # Errors
/// If the program was not built; `cargo xtask test` builds them first.
pub fn built(program: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let beside = exe.parent().context("the executable has no folder")?;
    let folders = [Some(beside), beside.parent()];
    let found = folders
        .into_iter()
        .flatten()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "{program} was not built: run `cargo build --workspace --bins` or `cargo xtask test`"
        )
    })
}

/// Below the ports that Linux gives to outgoing connections (`ip_local_port_range`, from 32768): one of those could be taken by any client
/// between this call and the moment at which the program listens.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A port that was free a moment ago on 127.0.0.1; no other call in this process yields it until all were used.
///
/// # Errors
/// If no port can be had.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::try_from(PORTS.len())?;
    // Test processes that run at the same time begin at different places.
    let first = std::process::id().wrapping_mul(509);
    for _ in 0..count {
        let place = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + u16::try_from(place)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {PORTS:?} is free")
}
