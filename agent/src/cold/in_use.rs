//! Whether a Qdrant uses a data directory.
//!
//! Three looks, since none sees everything: its address, its locks on write-ahead logs, and open files of processes
//! that this one may look at. A server in another container with no collection yet escapes all but the first.

use super::disk;
use crate::failure::Failed;
use fs_err as fs;
use holdfast_service::failure::Code;
use rustix::fs::{FlockOperation, flock};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// How long a stopped server may take to refuse a connection.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// Refuses a directory that is in use.
pub(super) fn refuse(qdrant: &Url, root: &Path) -> Result<(), Failed> {
    let why = if answers(qdrant) {
        let process = opened(root).map(|process| format!(", and {process} has files of it open"));
        format!(
            "the Qdrant of the agent's configuration answers at {qdrant}{}",
            process.unwrap_or_default()
        )
    } else if let Some(log) = locked(root)? {
        format!(
            "{} has {} locked",
            opened(root).unwrap_or_else(|| "a Qdrant of another container or user".to_owned()),
            log.display()
        )
    } else if let Some(process) = opened(root) {
        format!("{process} has files of it open")
    } else {
        return Ok(());
    };
    Err(Failed::new(
        Code::PlanBlocked,
        format!(
            "the storage directory {} is in use: {why}; stop that Qdrant first, a cold restore is for one that is stopped",
            root.display()
        ),
    ))
}

fn answers(qdrant: &Url) -> bool {
    let host = qdrant
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']']);
    let port = qdrant.port_or_known_default().unwrap_or(6333);
    let addresses = (host, port).to_socket_addrs().into_iter().flatten();
    let mut addresses = addresses.take(4);
    addresses.any(|address| TcpStream::connect_timeout(&address, CONNECT_WITHIN).is_ok())
}

/// A shard's log whose lock somebody holds: the server locks its directory.
fn locked(root: &Path) -> Result<Option<PathBuf>, Failed> {
    for collection in entries(&root.join("collections"))? {
        for shard in entries(&collection)? {
            let wal = shard.join("wal");
            if !wal.is_dir() {
                continue;
            }
            let dir = fs::File::open(&wal).map_err(|error| disk(&error))?;
            // Released when it is closed, at the end of this turn.
            if flock(dir.file(), FlockOperation::NonBlockingLockExclusive).is_err() {
                return Ok(Some(wal));
            }
        }
    }
    Ok(None)
}

/// A process that has a file below the directory open, with its name.
fn opened(root: &Path) -> Option<String> {
    let processes = std::fs::read_dir("/proc").ok()?;
    for process in processes.filter_map(Result::ok) {
        let pid = process.file_name().to_string_lossy().into_owned();
        if pid == std::process::id().to_string() || !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let open = std::fs::read_dir(process.path().join("fd"));
        let mut open = open.into_iter().flatten().filter_map(Result::ok);
        let below = |target: std::path::PathBuf| target.starts_with(root);
        if open.any(|file| std::fs::read_link(file.path()).is_ok_and(below)) {
            let name = std::fs::read_to_string(process.path().join("comm"));
            let name = name.unwrap_or_default();
            return Some(format!("process {pid} ({})", name.trim()));
        }
    }
    None
}

fn entries(dir: &Path) -> Result<Vec<std::path::PathBuf>, Failed> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let found = fs::read_dir(dir).map_err(|error| disk(&error))?;
    let paths = found.map(|entry| entry.map(|entry| entry.path()));
    paths
        .collect::<Result<_, _>>()
        .map_err(|error: std::io::Error| disk(&error))
}

#[cfg(test)]
mod tests {
    use super::refuse;
    use rustix::fs::{FlockOperation, flock};
    use std::fs::File;
    use std::net::TcpListener;

    #[test]
    fn a_server_is_seen_by_its_address_its_locks_and_its_open_files() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let url = url.parse().unwrap();
        let why = |error: crate::failure::Failed| error.message;
        assert!(why(refuse(&url, dir.path()).unwrap_err()).contains("answers"));
        drop(listener);
        refuse(&url, dir.path()).unwrap();

        let wal = dir.path().join("collections/docs/0/wal");
        std::fs::create_dir_all(&wal).unwrap();
        refuse(&url, dir.path()).unwrap();
        let held = File::open(&wal).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        let said = why(refuse(&url, dir.path()).unwrap_err());
        let path = dir.path().display();
        assert!(
            said.starts_with(&format!("the storage directory {path} is in use: ")),
            "{said}"
        );
        assert!(
            said.contains(&format!("has {path}/collections/docs/0/wal locked; stop")),
            "{said}"
        );
        drop(held);
        refuse(&url, dir.path()).unwrap();
    }
}
