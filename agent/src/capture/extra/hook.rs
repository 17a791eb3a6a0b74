//! Running a hook: without a shell, with nothing on its standard input, in a process group of its own, and to an end.
//!
//! Its standard output is discarded; the end of what it writes to standard error is told if it fails. Its arguments are
//! never shown: they may hold a password. A program that it leaves behind in the background is left alone if it ended in
//! time, and killed with it if it did not.

use crate::config::Hook;
use futures::FutureExt as _;
use futures::future::FusedFuture as _;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Bytes that are kept of what it complains of: the last ones.
const MAX_ERROR_BYTES: usize = 1024;
/// How long its last words are waited for when it has ended: something in the background may keep the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why a hook is not through.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    /// It can't be started.
    #[error("can't run {program}")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("{program} ended with {status}{said}")]
    Failed {
        program: String,
        status: ExitStatus,
        said: String,
    },
    /// It took too long.
    #[error("{program} did not end within {} s (timeout_secs) and was killed{said}", timeout.as_secs())]
    Timeout {
        program: String,
        timeout: Duration,
        said: String,
    },
}

/// Runs it to its end. When this is dropped, it is killed with everything that it started.
pub(super) async fn run(
    hook: &Hook,
    timeout: Duration,
    environment: &[(&str, String)],
) -> Result<(), HookError> {
    let program = hook.program.display().to_string();
    let failed = |source| HookError::Start {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(&hook.program)
        .args(&hook.args)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut group = Group::of(child.id());
    let stderr = child.stderr.take();
    let mut tail = Tail::default();
    let ended = {
        let mut reading = pin!(tail.fill(stderr).fuse());
        let ended = tokio::time::timeout(timeout, async {
            tokio::select! {
                status = child.wait() => status,
                () = &mut reading => child.wait().await,
            }
        });
        let ended = ended.await;
        match &ended {
            Ok(_) => group.disarm(),
            Err(_) => {
                group.kill();
                let _reaped = child.wait().await;
            }
        }
        if !reading.is_terminated() {
            let _more = tokio::time::timeout(LAST_WORDS, reading).await;
        }
        ended
    };
    let said = tail.said();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(HookError::Failed {
            program,
            status,
            said,
        }),
        Ok(Err(source)) => Err(failed(source)),
        Err(_) => Err(HookError::Timeout {
            program,
            timeout,
            said,
        }),
    }
}

/// The process group of a running program. Dropping it kills the group.
struct Group(Option<Pid>);

impl Group {
    fn of(id: Option<u32>) -> Self {
        Self(id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// The program has ended: its number may be another's from now on.
    fn disarm(&mut self) {
        self.0 = None;
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // It may have ended by itself in this moment.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a stream.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    /// Reads to the end, so that the writer is never held up, and keeps the last bytes.
    async fn fill(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = [0; 1024];
        // What can't be read is not told.
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.bytes.extend(&buffer[..read]);
            let over = self.bytes.len().saturating_sub(MAX_ERROR_BYTES);
            self.cut |= over > 0;
            self.bytes.drain(..over);
        }
    }

    /// As the end of a sentence.
    fn said(self) -> String {
        let bytes = Vec::from(self.bytes);
        let text = String::from_utf8_lossy(&bytes);
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let text: String = text.trim().chars().map(plain).collect();
        match (text.as_str(), self.cut) {
            ("", _) => String::new(),
            (text, false) => format!(": {text}"),
            (text, true) => format!(": …{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HookError, MAX_ERROR_BYTES, run};
    use crate::config::Hook;
    use std::path::Path;
    use std::time::{Duration, Instant};

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Hook {
        Hook {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
        }
    }

    async fn ended(script: &str, timeout: Duration) -> Result<(), HookError> {
        run(
            &shell(script),
            timeout,
            &[("HOLDFAST_NODE", "n1".to_owned())],
        )
        .await
    }

    async fn until_gone(path: &Path) -> bool {
        let pid = std::fs::read_to_string(path).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        for _ in 0..200 {
            // A zombie has been killed too; only its parent has not looked yet.
            let state = std::fs::read_to_string(process.join("stat"));
            if state.map_or(true, |stat| stat.contains(") Z ")) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    #[tokio::test]
    async fn it_is_told_where_it_is_and_how_it_failed() {
        ended("test \"$HOLDFAST_NODE\" = n1", LONG).await.unwrap();
        let error = ended("echo out; echo no room >&2; exit 3", LONG)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(text, "/bin/sh ended with exit status: 3: no room");
        let missing = Hook {
            program: "/no/such/program".into(),
            args: vec!["hunter2".to_owned()],
        };
        let error = run(&missing, LONG, &[]).await.unwrap_err();
        let text = crate::failure::chain(&error);
        assert!(text.starts_with("can't run /no/such/program: "), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn of_a_long_complaint_the_end_is_kept() {
        let error = ended("seq 1 2000 >&2; exit 1", LONG).await.unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with("1999 2000") && text.contains("…"), "{text}");
        assert!(text.len() < MAX_ERROR_BYTES + 100, "{}", text.len());
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!(
            "echo waiting >&2; sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait",
            pid.display()
        );
        let began = Instant::now();
        let error = ended(&script, Duration::from_secs(1)).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(20));
        let text = error.to_string();
        assert_eq!(
            text,
            "/bin/sh did not end within 1 s (timeout_secs) and was killed: waiting"
        );
        assert!(until_gone(&pid).await, "its child must be gone");
    }

    #[tokio::test]
    async fn one_that_is_not_waited_for_any_more_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!(
            "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait",
            pid.display()
        );
        let hook = shell(&script);
        let running = run(&hook, LONG, &[]);
        let made = async {
            while !pid.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            _ = running => panic!("it must still run"),
            () = made => {}
        }
        assert!(until_gone(&pid).await, "its child must be gone");
    }

    #[tokio::test]
    async fn what_it_leaves_in_the_background_holds_nothing_up() {
        let began = Instant::now();
        ended("sleep 5 & exit 0", LONG).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(4));
    }
}
