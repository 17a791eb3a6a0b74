//! Where the key-encryption key comes from: exactly one of several ways. Nothing is read here.

use super::CoordinatorConfigError;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a key command may take unless the configuration says otherwise.
const DEFAULT_KEY_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the repository's key-encryption key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file with 64 hexadecimal digits.
    KeyFile(PathBuf),
    /// An environment variable with 64 hexadecimal digits.
    KeyEnv(String),
    /// A file with a passphrase.
    PassphraseFile(PathBuf),
    /// An environment variable with a passphrase.
    PassphraseEnv(String),
    /// A program that prints 64 hexadecimal digits, or 32 bytes: for any KMS.
    KeyCommand {
        /// Program and arguments; no shell reads them.
        argv: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
    /// A recovery sheet, or a file with its code.
    RecoverySheet(PathBuf),
}

/// As it stands in the configuration, or on the command line.
#[derive(Clone, Debug, Default)]
pub struct RawKeySource {
    /// [`KeySource::KeyFile`].
    pub key_file: Option<PathBuf>,
    /// [`KeySource::KeyEnv`].
    pub key_env: Option<String>,
    /// [`KeySource::PassphraseFile`].
    pub passphrase_file: Option<PathBuf>,
    /// [`KeySource::PassphraseEnv`].
    pub passphrase_env: Option<String>,
    /// [`KeySource::KeyCommand`].
    pub key_command: Option<Vec<String>>,
    /// Seconds.
    pub key_command_timeout_secs: Option<u64>,
    /// [`KeySource::RecoverySheet`].
    pub recovery_sheet: Option<PathBuf>,
}

impl KeySource {
    /// The key of the configuration that names it.
    #[must_use]
    pub const fn option(&self) -> &'static str {
        match self {
            Self::KeyFile(_) => "key_file",
            Self::KeyEnv(_) => "key_env",
            Self::PassphraseFile(_) => "passphrase_file",
            Self::PassphraseEnv(_) => "passphrase_env",
            Self::KeyCommand { .. } => "key_command",
            Self::RecoverySheet(_) => "recovery_sheet",
        }
    }

    /// The file that is read, and the full key that names it.
    #[must_use]
    pub fn file(&self) -> Option<(&'static str, &Path)> {
        match self {
            Self::KeyFile(path) => Some(("repository.key_file", path)),
            Self::PassphraseFile(path) => Some(("repository.passphrase_file", path)),
            Self::RecoverySheet(path) => Some(("repository.recovery_sheet", path)),
            Self::KeyEnv(_) | Self::PassphraseEnv(_) | Self::KeyCommand { .. } => None,
        }
    }
}

/// Exactly one of the ways.
///
/// # Errors
/// If none or several are given, or what belongs to another.
pub fn validate(raw: RawKeySource) -> Result<KeySource, CoordinatorConfigError> {
    let RawKeySource {
        key_file,
        key_env,
        passphrase_file,
        passphrase_env,
        key_command,
        key_command_timeout_secs,
        recovery_sheet,
    } = raw;
    if key_command.is_none() && key_command_timeout_secs.is_some() {
        return Err(CoordinatorConfigError::Value {
            key: "repository.key_command_timeout_secs",
            rule: "needs a key_command beside it",
        });
    }
    let timeout = match key_command_timeout_secs {
        Some(0) => {
            return Err(CoordinatorConfigError::Value {
                key: "repository.key_command_timeout_secs",
                rule: "must be at least 1",
            });
        }
        Some(secs) => Duration::from_secs(secs),
        None => DEFAULT_KEY_COMMAND_TIMEOUT,
    };
    if key_command
        .as_ref()
        .is_some_and(|argv| argv.first().is_none_or(String::is_empty))
    {
        return Err(CoordinatorConfigError::Value {
            key: "repository.key_command",
            rule: "must be a list of a program and its arguments, such as [\"vault\", \"read\", \"…\"]",
        });
    }
    let given = [
        key_file.map(KeySource::KeyFile),
        key_env.map(KeySource::KeyEnv),
        passphrase_file.map(KeySource::PassphraseFile),
        passphrase_env.map(KeySource::PassphraseEnv),
        key_command.map(|argv| KeySource::KeyCommand { argv, timeout }),
        recovery_sheet.map(KeySource::RecoverySheet),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(source), None) => Ok(source),
        (None, _) | (Some(_), Some(_)) => Err(CoordinatorConfigError::Value {
            key: "repository",
            rule: "needs exactly one of key_file, key_env, passphrase_file, passphrase_env, key_command and recovery_sheet",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{KeySource, RawKeySource, validate};
    use std::time::Duration;

    fn all() -> [RawKeySource; 6] {
        let none = RawKeySource::default;
        [
            RawKeySource {
                key_file: Some("k".into()),
                ..none()
            },
            RawKeySource {
                key_env: Some("K".into()),
                ..none()
            },
            RawKeySource {
                passphrase_file: Some("p".into()),
                ..none()
            },
            RawKeySource {
                passphrase_env: Some("P".into()),
                ..none()
            },
            RawKeySource {
                key_command: Some(vec!["kms".into(), "get key".into()]),
                ..none()
            },
            RawKeySource {
                recovery_sheet: Some("s".into()),
                ..none()
            },
        ]
    }

    #[test]
    fn each_alone_and_no_two() {
        let names: Vec<_> = all()
            .into_iter()
            .map(|raw| validate(raw).unwrap().option())
            .collect();
        assert_eq!(
            names,
            [
                "key_file",
                "key_env",
                "passphrase_file",
                "passphrase_env",
                "key_command",
                "recovery_sheet"
            ]
        );
        for (i, one) in all().into_iter().enumerate() {
            for other in all().into_iter().skip(i + 1) {
                let both = RawKeySource {
                    key_file: one.key_file.clone().or(other.key_file),
                    key_env: one.key_env.clone().or(other.key_env),
                    passphrase_file: one.passphrase_file.clone().or(other.passphrase_file),
                    passphrase_env: one.passphrase_env.clone().or(other.passphrase_env),
                    key_command: one.key_command.clone().or(other.key_command),
                    key_command_timeout_secs: None,
                    recovery_sheet: one.recovery_sheet.clone().or(other.recovery_sheet),
                };
                let error = validate(both).unwrap_err().to_string();
                assert!(error.contains("exactly one"), "{error}");
            }
        }
        assert!(validate(RawKeySource::default()).is_err());
    }

    #[test]
    fn a_command_has_a_program_and_its_time() {
        let command = |argv: &[&str], secs| RawKeySource {
            key_command: Some(argv.iter().map(|part| (*part).to_owned()).collect()),
            key_command_timeout_secs: secs,
            ..RawKeySource::default()
        };
        for bad in [
            command(&[], None),
            command(&[""], None),
            command(&["kms"], Some(0)),
        ] {
            let error = validate(bad).unwrap_err().to_string();
            assert!(error.starts_with("repository.key_command"), "{error}");
        }
        let source = validate(command(&["kms"], Some(5))).unwrap();
        let timeout = Duration::from_secs(5);
        assert!(matches!(source, KeySource::KeyCommand { timeout: t, .. } if t == timeout));
        // An option that would be ignored is refused.
        let alone = RawKeySource {
            key_file: Some("k".into()),
            key_command_timeout_secs: Some(5),
            ..RawKeySource::default()
        };
        assert!(validate(alone).is_err());
    }
}
