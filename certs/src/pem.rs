//! Reading PEM files: certificates and keys, of limited size. Writing them is the authority's business.

use rustls_pki_types::pem::{Error as ParseError, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A PEM file is never larger than this, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

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

/// A certificate as PEM text.
pub(crate) fn to_pem(der: &CertificateDer<'_>) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), lines)
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

/// Where the next version of a file waits to be renamed into its place.
pub(crate) fn waiting(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
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
    use super::{PemError, read_certificates, read_key};

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
