//! Running the program that prints the key, such as the client of a KMS. It is started without a shell and with
//! nothing on its standard input, and it ends, with its children, when its time is over.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

/// Bytes that are kept of its output: more than any key.
const MAX_OUTPUT_BYTES: usize = 4096;
/// Bytes that are kept of what it complains of.
const MAX_ERROR_BYTES: usize = 1024;

/// Why a command gave no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
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
    #[error("{program} did not end within {} s{said}; it was killed", timeout.as_secs())]
    Timeout {
        program: String,
        timeout: Duration,
        said: String,
    },
    /// It printed too much.
    #[error(
        "{program} printed more than {MAX_OUTPUT_BYTES} bytes; a key is 32 bytes or 64 hexadecimal digits"
    )]
    TooLong { program: String },
}

/// What the command prints on its standard output.
pub(super) async fn output(
    argv: &[String],
    timeout: Duration,
) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let (program, args) = argv.split_first().expect("validated: a program is named");
    let failed = |source| CommandError::Start {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut printed = Kept::new(MAX_OUTPUT_BYTES);
    let mut complained = Kept::new(MAX_ERROR_BYTES);
    let group = child.id();
    let ended = tokio::time::timeout(timeout, async {
        tokio::join!(printed.fill(stdout), complained.fill(stderr), child.wait())
    });
    let program = program.clone();
    let Ok(ended) = ended.await else {
        end(&mut child, group).await;
        let said = complained.said();
        return Err(CommandError::Timeout {
            program,
            timeout,
            said,
        });
    };
    let (read, _, status) = ended;
    let status = read.and(status).map_err(|source| CommandError::Start {
        program: program.clone(),
        source,
    })?;
    if !status.success() {
        let said = complained.said();
        return Err(CommandError::Failed {
            program,
            status,
            said,
        });
    }
    if printed.overflown {
        return Err(CommandError::TooLong { program });
    }
    Ok(printed.bytes)
}

/// Kills the command and what it started.
async fn end(child: &mut Child, group: Option<u32>) {
    let group = group.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(group) = group {
        // It may have ended by itself in this moment.
        let _gone = kill_process_group(group, Signal::KILL);
    }
    let _reaped = child.wait().await;
}

/// The beginning of a stream. Its memory never moves, so that no part of a key is left behind.
struct Kept {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    overflown: bool,
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(limit)),
            limit,
            overflown: false,
        }
    }

    /// Reads to the end, so that the writer is never held up, and keeps what fits.
    async fn fill(&mut self, from: Option<impl AsyncRead + Unpin>) -> io::Result<()> {
        let Some(mut from) = from else { return Ok(()) };
        let mut buffer = Zeroizing::new([0; 1024]);
        loop {
            let read = from.read(buffer.as_mut_slice()).await?;
            if read == 0 {
                return Ok(());
            }
            let fits = read.min(self.limit - self.bytes.len());
            self.bytes.extend_from_slice(&buffer[..fits]);
            self.overflown |= fits < read;
        }
    }

    /// As the end of a sentence.
    fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        match text.trim() {
            "" => String::new(),
            said => format!(": {}", said.chars().map(plain).collect::<String>()),
        }
    }
}
