//! The demo's own directory and free ports.

use crate::failure::{Failure, Outcome};
use holdfast_service::failure::Code;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A directory that only this demo uses.
#[derive(Debug)]
pub(super) struct WorkDir {
    path: PathBuf,
    /// False for an empty directory of the user: then only its contents are removed.
    ours: bool,
    keep: bool,
}

impl WorkDir {
    /// Makes `wanted`, or a new directory in the system's temporary one.
    pub(super) fn make(wanted: Option<&Path>, keep: bool) -> Outcome<Self> {
        let path = match wanted {
            Some(path) => path.to_owned(),
            None => {
                std::env::temp_dir().join(format!("holdfast-demo-{:08x}", rand::random::<u32>()))
            }
        };
        let failed = |error: std::io::Error| {
            Failure::new(
                Code::Config,
                format!("can't use directory {}", path.display()),
            )
            .caused_by(&error)
            .todo("name a new or empty directory with --dir")
        };
        let ours = !path.exists();
        if ours {
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(failed)?;
        } else if std::fs::read_dir(&path).map_err(failed)?.next().is_some() {
            return Err(Failure::new(
                Code::Config,
                format!("directory {} is not empty", path.display()),
            )
            .risking("nothing: nothing in it was touched")
            .todo("name a new or empty directory with --dir"));
        }
        let path = path.canonicalize().map_err(failed)?;
        Ok(Self { path, ours, keep })
    }

    /// Whatever was asked for: it will be removed.
    pub(super) fn discard(&mut self) {
        self.keep = false;
    }

    /// Where it is, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it.
    pub(super) fn subdir(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.path.join(name);
        fs_err::create_dir_all(&path).map_err(|error| {
            Failure::new(Code::Internal, "can't make a directory").caused_by(&error)
        })?;
        Ok(path)
    }

    /// Writes a file into it that only this user can read.
    pub(super) fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path.join(name);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| {
                Failure::new(Code::Internal, format!("can't write {}", path.display()))
                    .caused_by(&error)
            })?;
        Ok(path)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // Leftovers in a temporary directory do no harm; there is nobody to tell.
        if self.ours {
            let _ = std::fs::remove_dir_all(&self.path);
            return;
        }
        for entry in std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let _ = match path.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
        }
    }
}

/// `N` different free TCP ports on 127.0.0.1. All are held until all are known; somebody else could
/// take one before it is used, and then the process that wanted it says so.
pub(super) fn free_ports<const N: usize>() -> Outcome<[u16; N]> {
    let failed = |error: std::io::Error| {
        Failure::new(Code::Internal, "can't find a free port on 127.0.0.1").caused_by(&error)
    };
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        *port = listener.local_addr().map_err(failed)?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::{WorkDir, free_ports};

    #[test]
    fn a_new_directory_goes_and_a_users_directory_stays() {
        let outer = tempfile::tempdir().expect("a directory");
        let new = outer.path().join("new");
        let made = WorkDir::make(Some(&new), false).expect("made");
        made.write("key", "x").expect("written");
        drop(made);
        assert!(!new.exists());

        let made = WorkDir::make(Some(outer.path()), false).expect("empty");
        made.subdir("logs").expect("made");
        made.write("key", "x").expect("written");
        drop(made);
        assert_eq!(
            std::fs::read_dir(outer.path())
                .expect("still there")
                .count(),
            0
        );
    }

    #[test]
    fn what_lies_there_is_never_touched() {
        let outer = tempfile::tempdir().expect("a directory");
        std::fs::write(outer.path().join("thesis.tex"), "years").expect("written");
        assert!(WorkDir::make(Some(outer.path()), false).is_err());
        assert!(outer.path().join("thesis.tex").exists());
    }

    #[test]
    fn kept_directories_stay() {
        let outer = tempfile::tempdir().expect("a directory");
        let path = outer.path().join("kept");
        drop(WorkDir::make(Some(&path), true).expect("made"));
        assert!(path.exists());
    }

    #[test]
    fn ports_are_different() {
        let mut ports = free_ports::<8>().expect("ports");
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
