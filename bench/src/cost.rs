//! What something cost: time on the wall, time on the processors, memory. From the kernel's own books.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use std::ops::Sub;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Unit of the times in /proc, the same on all common platforms (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// How often the memory of a running program is read.
const LOOK: Duration = Duration::from_millis(10);

/// What something cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Seconds on the wall.
    pub(crate) wall: f64,
    /// Seconds on processors, of programs and kernel.
    pub(crate) cpu: f64,
    /// Largest resident memory in bytes; 0 where it was not read.
    pub(crate) memory: u64,
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Result<Cost> {
    let name = format!("{command:?}");
    let (begun, before) = (Instant::now(), children()?);
    let mut child = command.spawn().with_context(|| name.clone())?;
    let mut memory = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        memory = memory.max(peak_memory(child.id()).unwrap_or(0));
        thread::sleep(LOOK);
    };
    ensure!(status.success(), "{name}: {status}");
    Ok(Cost {
        wall: begun.elapsed().as_secs_f64(),
        cpu: (children()? - before).0,
        memory,
    })
}

/// Does something in this process; no other thread may be busy meanwhile.
pub(crate) fn of<T>(act: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let (begun, before) = (Instant::now(), Cpu::of("self")?);
    let done = act()?;
    let cost = Cost {
        wall: begun.elapsed().as_secs_f64(),
        cpu: (Cpu::of("self")? - before).0,
        memory: 0,
    };
    Ok((done, cost))
}

/// Seconds on processors so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu(pub(crate) f64);

impl Cpu {
    /// Of a running process: a pid or `self`, children apart.
    pub(crate) fn of(process: impl std::fmt::Display) -> Result<Self> {
        ticks(&process.to_string(), [14, 15])
    }
}

impl Sub for Cpu {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self(self.0 - before.0)
    }
}

/// Of all children that have ended and been waited for.
fn children() -> Result<Cpu> {
    ticks("self", [16, 17])
}

/// The sum of fields of /proc/PID/stat, numbered from 1 as in proc(5).
fn ticks(process: &str, fields: [usize; 2]) -> Result<Cpu> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path)?;
    // the second field is a name in parentheses, which may hold anything
    let (_, rest) = text.rsplit_once(") ").context("no name in a stat file")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let mut sum = 0.0;
    for field in fields {
        let part = parts.get(field - 3).context("a short stat file")?;
        sum += part.parse::<f64>().with_context(|| path.clone())?;
    }
    Ok(Cpu(sum / TICKS_PER_SECOND))
}

fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{of, run};
    use std::process::Command;

    #[test]
    fn a_busy_program_costs_processor_time() {
        let mut busy = Command::new("sh");
        let cost =
            run(busy.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"])).unwrap();
        assert!(cost.cpu > 0.0 && cost.memory > 0, "{cost:?}");
        assert!(run(Command::new("sh").args(["-c", "exit 3"])).is_err());
    }

    #[test]
    fn what_is_done_here_costs_too() {
        let spin = || Ok((0..100_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
        assert!(of(spin).unwrap().1.cpu > 0.0);
    }
}
