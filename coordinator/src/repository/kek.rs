//! Getting the key-encryption key from where it is. Whether it opens the repository shows when that is opened.
//!
//! What is read is wiped from memory; what the operating system keeps of an environment is not.

mod command;

use crate::config::KeySource;
use crate::fault::Fault;
use holdfast_archive::{Kek, KekError, KeyHint};
use holdfast_service::failure::Code;
use std::path::Path;
use zeroize::Zeroizing;

/// Longest file with a key, passphrase or sheet, in bytes.
const MAX_KEY_FILE_BYTES: u64 = 64 << 10;

/// What a key is for: decides how messages name the option, and what they advise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// It opens the repository: `repository.key_file`.
    Opens,
    /// It is to be added: `--new-key-file`.
    New,
}

impl KeyUse {
    fn option(self, source: &KeySource) -> String {
        match self {
            Self::Opens => format!("repository.{}", source.option()),
            Self::New => format!("--new-{}", source.option().replace('_', "-")),
        }
    }
}

/// Reads the key.
///
/// # Errors
/// What is wrong with its source; nothing of the key itself is repeated.
pub async fn read_kek(source: &KeySource, used: KeyUse) -> Result<Kek, Fault> {
    let option = used.option(source);
    let (place, kek) = match source {
        KeySource::KeyFile(path) => of_file(path, source, used, Kek::from_hex)?,
        KeySource::PassphraseFile(path) => of_file(path, source, used, Kek::passphrase)?,
        KeySource::RecoverySheet(path) => of_file(path, source, used, Kek::from_recovery_sheet)?,
        KeySource::KeyEnv(name) => {
            let text = variable(&option, name)?;
            let kek = Kek::from_hex(&text).map(|kek| kek.hinting(KeyHint::Environment));
            (name.clone(), kek)
        }
        KeySource::PassphraseEnv(name) => {
            (name.clone(), Kek::passphrase(&variable(&option, name)?))
        }
        KeySource::KeyCommand { argv, timeout } => {
            let output = command::output(argv, *timeout).await;
            let output =
                output.map_err(|error| Fault::from_error(Code::Config, &error).within(&option))?;
            (argv[0].clone(), Kek::from_command_output(&output))
        }
    };
    kek.map_err(|error| {
        Fault::from_error(Code::Config, &error).within(&format!("{option}: {place}"))
    })
}

fn of_file(
    path: &Path,
    source: &KeySource,
    used: KeyUse,
    parse: impl FnOnce(&str) -> Result<Kek, KekError>,
) -> Result<(String, Result<Kek, KekError>), Fault> {
    let unreadable = |error: std::io::Error| unreadable(source, used, path, &error);
    let len = fs_err::metadata(path).map_err(unreadable)?.len();
    if len > MAX_KEY_FILE_BYTES {
        let option = used.option(source);
        return Err(Fault::new(
            Code::Config,
            format!(
                "{option}: {} has {len} bytes, more than any key",
                path.display()
            ),
        ));
    }
    let text = fs_err::read_to_string(path).map(Zeroizing::new);
    let kek = parse(&text.map_err(unreadable)?);
    Ok((path.display().to_string(), kek))
}

fn variable(option: &str, name: &str) -> Result<Zeroizing<String>, Fault> {
    let text = std::env::var(name).map(Zeroizing::new);
    text.map_err(|_| {
        Fault::new(
            Code::Config,
            format!("{option}: the environment variable {name} is not set: it must hold the key or passphrase"),
        )
    })
}

/// A key that is lost must not be made anew, one that never was must be: the message has to tell both.
fn unreadable(source: &KeySource, used: KeyUse, path: &Path, error: &std::io::Error) -> Fault {
    let (option, place) = (used.option(source), path.display());
    if error.kind() != std::io::ErrorKind::NotFound {
        return Fault::from_error(Code::Config, error).within(&option);
    }
    let advice = match (source, used) {
        (KeySource::KeyFile(_), KeyUse::Opens) => {
            "for a new repository make one of 64 hex digits, as with `openssl rand -hex 32`; for an existing one put back the copy of its own key, since another does not open it; if that is lost, configure another of its keys or a recovery sheet (repository.recovery_sheet), and make a new one with `holdfast key add`"
        }
        (KeySource::KeyFile(_), KeyUse::New) => {
            "make one of 64 hex digits, as with `openssl rand -hex 32`"
        }
        (KeySource::RecoverySheet(_), _) => "write the four lines of the recovery sheet into it",
        (KeySource::PassphraseFile(_), KeyUse::New) => "write the passphrase into it",
        (_, _) => {
            "it holds the repository's passphrase, and an existing repository opens with its own only; if that is lost, configure another of its keys or a recovery sheet (repository.recovery_sheet), and make a new one with `holdfast key add`"
        }
    };
    Fault::new(
        Code::Config,
        format!("{option}: there is no file {place}; {advice}"),
    )
}

#[cfg(test)]
mod tests;
