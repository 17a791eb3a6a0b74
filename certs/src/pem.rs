//! Reading and writing PEM files: certificates for everybody, keys for their owner only.
//!
//! Writing never leaves half a file behind, and replaces nothing unless it is told to.

use rustls_pki_types::pem::{Error as ParseError, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A PEM file is never larger than this, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Why a PEM file was refused.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It can't be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It can't be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It exists and would have been replaced.
    #[error("{} exists and is not overwritten: move it away or choose another directory", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It holds nothing of the kind.
    #[error("{} holds no {what} in PEM form", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// It is not PEM.
    #[error("{} is not a valid PEM file", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
    },
}

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    Everybody,
    OwnerOnly,
}

/// What happens to a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Refuse,
    Replace,
}

/// All certificates of a file, in order; at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = read(path)?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certs {
        Ok(certs) if certs.is_empty() => Err(nothing(path, "certificate")),
        Ok(certs) => Ok(certs),
        Err(_) => Err(invalid(path)),
    }
}

/// The private key of a file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    match PrivateKeyDer::from_pem_slice(&read(path)?) {
        Ok(key) => Ok(key),
        Err(ParseError::NoItemsFound) => Err(nothing(path, "private key")),
        Err(_) => Err(invalid(path)),
    }
}

/// Whether others than the owner may read the file; `false` also if it can't be told.
pub(crate) fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

/// The text of a file, of limited size.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    let read_error = |source| PemError::Read {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(read_error)?.len();
    if size > MAX_FILE_BYTES {
        return Err(invalid(path));
    }
    std::fs::read(path).map_err(read_error)
}

/// Writes a file: a new one in place, a replacement under another name first and then renamed.
pub(crate) fn write(
    path: &Path,
    text: &str,
    readable: Readable,
    existing: Existing,
) -> Result<(), PemError> {
    let result = match existing {
        Existing::Refuse => write_new(path, text, readable),
        Existing::Replace => replace(path, text, readable),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(PemError::Exists {
            path: path.to_owned(),
        }),
        other => other.map_err(|source| PemError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

fn replace(path: &Path, text: &str, readable: Readable) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // Left behind by a process that was killed.
    let _gone = std::fs::remove_file(&temporary);
    write_new(&temporary, text, readable)?;
    std::fs::rename(&temporary, path)
}

fn write_new(path: &Path, text: &str, readable: Readable) -> io::Result<()> {
    let mode = match readable {
        Readable::Everybody => PUBLIC,
        Readable::OwnerOnly => PRIVATE,
    };
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file would stop the next attempt.
        let _gone = std::fs::remove_file(path);
    }
    written
}

fn nothing(path: &Path, what: &'static str) -> PemError {
    PemError::Nothing {
        path: path.to_owned(),
        what,
    }
}

fn invalid(path: &Path) -> PemError {
    PemError::Invalid {
        path: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Existing, PemError, Readable, is_exposed, read_certificates, read_key, write};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_private_and_nothing_is_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        write(&path, "one", Readable::OwnerOnly, Existing::Refuse).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!is_exposed(&path));

        let again = write(&path, "two", Readable::OwnerOnly, Existing::Refuse).unwrap_err();
        assert!(matches!(again, PemError::Exists { .. }), "{again}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");

        write(&path, "three", Readable::Everybody, Existing::Replace).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three");
        assert!(is_exposed(&path));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pem");
        let missing = read_certificates(&path).unwrap_err();
        assert!(matches!(missing, PemError::Read { .. }), "{missing}");
        std::fs::write(&path, "hello").unwrap();
        for error in [
            read_certificates(&path).unwrap_err(),
            read_key(&path).unwrap_err(),
        ] {
            assert!(matches!(error, PemError::Nothing { .. }), "{error}");
            assert!(error.to_string().contains("x.pem"), "{error}");
        }
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n!!!\n").unwrap();
        let broken = read_certificates(&path).unwrap_err();
        assert!(matches!(broken, PemError::Invalid { .. }), "{broken}");
    }
}
