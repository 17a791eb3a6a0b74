//! Puts the files of a pair into place so that no interruption leaves something useless behind.
//!
//! Two files can't be swapped in one step, so this is what happens instead:
//! 1. every file is written as `NAME.new` and made durable, the certificate first: its `.new` is there
//!    as long as anything is under way;
//! 2. the key is renamed into place: from here on the new pair counts;
//! 3. the authority's certificate is renamed if it is another one, the certificate last.
//!
//! | interrupted | what is there | what follows |
//! |---|---|---|
//! | before 2 | the old pair, or none, and `.new` files | the old pair works; the next call removes the `.new` files |
//! | between 2 and 3 | the new key, the old certificate or none, the new one as `cert.pem.new` | programs load `cert.pem.new` with the key ([`crate::tls`]); the next renewal puts it into place, the next issue begins anew |
//! | after 3 | the new pair | – |
//!
//! An error before 2 removes what the call wrote. One renewal is not safe from that: a change of the
//! *authority* that is interrupted between 2 and 3 leaves the old `ca.pem`, and must be run again.
//! Nor does it guard against two calls on one directory at the same time.

use super::{CERT_FILE, KEY_FILE};
use crate::pem::{PemError, read, read_certificates, waiting};
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// A certificate, its key, and other certificates to go with them; where each belongs, and its PEM text.
pub(crate) struct Placement<'a> {
    pub(crate) cert: (PathBuf, &'a str),
    pub(crate) key: (PathBuf, &'a str),
    pub(crate) beside: Option<(PathBuf, &'a str)>,
}

impl Placement<'_> {
    /// Writes the files, over those that are there.
    pub(crate) fn place(&self) -> Result<(), PemError> {
        let written = self.write_new().and_then(|()| rename(&self.key.0));
        if let Err(error) = written {
            self.discard();
            return Err(error);
        }
        if let Some((path, _)) = &self.beside {
            rename(path)?;
        }
        rename(&self.cert.0)?;
        self.sync()
    }

    /// Writes and removes again what waits beside the files, so that what could fail fails before it matters.
    pub(crate) fn rehearse(&self) -> Result<(), PemError> {
        let written = self.write_new();
        self.discard();
        written
    }

    fn files(&self) -> impl Iterator<Item = &(PathBuf, &str)> {
        [&self.cert, &self.key].into_iter().chain(&self.beside)
    }

    fn discard(&self) {
        for (path, _) in self.files() {
            let _gone = std::fs::remove_file(waiting(path));
        }
    }

    fn write_new(&self) -> Result<(), PemError> {
        for (path, text) in self.files() {
            let mode = if *path == self.key.0 { PRIVATE } else { PUBLIC };
            let path = waiting(path);
            // Left behind by a call that was interrupted before it changed anything.
            remove_if_there(&path)?;
            write(&path, text, mode).map_err(|source| write_error(&path, source))?;
        }
        self.sync()
    }

    fn sync(&self) -> Result<(), PemError> {
        let dirs: BTreeSet<&Path> = self.files().map(|(path, _)| dir_of(path)).collect();
        dirs.into_iter().try_for_each(sync)
    }
}

/// The directory of a file; of a bare name that in which the program runs.
fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Completes a renewal that was interrupted after the key was in place.
pub(super) fn finish_interrupted(dir: &Path) -> Result<(), PemError> {
    if holds_waiting_pair(dir, CERT_FILE, KEY_FILE) {
        rename(&dir.join(CERT_FILE))?;
        sync(dir)?;
    }
    Ok(())
}

/// Removes what an issue that was interrupted before its end left: a directory without a certificate,
/// but with one that waits. Files that are no part of it stay.
///
/// `names` are those of the certificate, its key, and what lies beside them.
pub(super) fn discard_interrupted(dir: &Path, names: &[&str]) -> Result<(), PemError> {
    let [cert, key, beside @ ..] = names else {
        return Ok(());
    };
    if dir.join(cert).exists() || !waiting(&dir.join(cert)).exists() {
        return Ok(());
    }
    // They were not there when that call began, or it would have been refused.
    if holds_waiting_pair(dir, cert, key) {
        for name in beside.iter().chain([key]) {
            remove_if_there(&dir.join(name))?;
        }
    }
    // The certificate last: what is left by an interruption of this is found again by it.
    for name in names.iter().rev() {
        remove_if_there(&waiting(&dir.join(name)))?;
    }
    sync(dir)
}

/// Whether the key in place is that of the certificate that waits.
fn holds_waiting_pair(dir: &Path, cert: &str, key: &str) -> bool {
    let cert = read_certificates(&waiting(&dir.join(cert)));
    let key = read(&dir.join(key)).ok();
    let key = key.and_then(|pem| KeyPair::from_pem(&String::from_utf8(pem).ok()?).ok());
    match (cert, key) {
        (Ok(certs), Some(key)) => holds_key(&certs[0], &key),
        (Err(_), _) | (_, None) => false,
    }
}

/// Whether the key is the certificate's.
pub(crate) fn holds_key(cert: &CertificateDer<'_>, key: &KeyPair) -> bool {
    use rcgen::PublicKeyData as _;
    use x509_parser::prelude::FromDer as _;
    x509_parser::prelude::X509Certificate::from_der(cert)
        .is_ok_and(|(_, cert)| cert.public_key().raw == key.subject_public_key_info())
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn rename(path: &Path) -> Result<(), PemError> {
    std::fs::rename(waiting(path), path).map_err(|source| write_error(path, source))
}

fn sync(dir: &Path) -> Result<(), PemError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| write_error(dir, source))
}

fn remove_if_there(path: &Path) -> Result<(), PemError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_error(path: &Path, source: io::Error) -> PemError {
    PemError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
