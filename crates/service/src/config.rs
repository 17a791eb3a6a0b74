//! Reading a TOML configuration file into a typed value, with messages that name file, line and key.
//!
//! It does not validate meaning and does not merge with environment or flags: the caller turns the
//! raw struct into checked types. An unknown key is an error where someone is looking
//! (`config check`) and a warning where a service must start.

mod known_keys;

use known_keys::nearest_key;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A configuration file is never larger than this, in bytes; a mistaken path might be.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What to do about unknown keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// They are an error.
    Strict,
    /// They are returned for the caller to warn about.
    Lenient,
}

/// A value read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The value.
    pub value: T,
    /// Keys of the file that mean nothing; always empty after a strict load.
    pub unknown_keys: Vec<UnknownKey>,
}

/// A key that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The dotted path, such as `tls.certt`.
    pub key: String,
    /// The line it stands on, from 1.
    pub line: usize,
    /// The known key that looks most like it.
    pub did_you_mean: Option<String>,
}

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is too large to be a configuration file.
    #[error("{} has more than {MAX_FILE_BYTES} bytes: is it a configuration file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is not TOML, or a value is missing or of the wrong type.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The file has keys that mean nothing.
    #[error("{}", list_unknown(path, keys))]
    UnknownKeys {
        /// The file.
        path: PathBuf,
        /// The keys, in order of the file.
        keys: Vec<UnknownKey>,
    },
}

/// Reads and parses the file at `path`.
///
/// # Errors
/// [`ConfigError`]; unknown keys only if `strictness` says so.
pub fn load<T: DeserializeOwned>(
    path: &Path,
    strictness: Strictness,
) -> Result<Loaded<T>, ConfigError> {
    parse(&read(path)?, path, strictness)
}

/// The text of a configuration file, of limited size.
///
/// # Errors
/// [`ConfigError`].
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let read_error = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(read_error)?.len();
    if size > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    std::fs::read_to_string(path).map_err(read_error)
}

/// Parses `text`; `path` only appears in messages.
///
/// # Errors
/// [`ConfigError`]; unknown keys only if `strictness` says so.
pub fn parse<T: DeserializeOwned>(
    text: &str,
    path: &Path,
    strictness: Strictness,
) -> Result<Loaded<T>, ConfigError> {
    let invalid = |error: toml::de::Error| ConfigError::Invalid {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().replace('\n', ", "),
    };
    let mut unknown: Vec<Vec<String>> = Vec::new();
    let deserializer = toml::Deserializer::parse(text).map_err(invalid)?;
    let value = serde_ignored::deserialize(deserializer, |key| unknown.push(segments(&key)))
        .map_err(invalid)?;
    let table = DeTable::parse(text).map_err(invalid)?;
    let mut keys: Vec<UnknownKey> = unknown
        .iter()
        .map(|key| UnknownKey {
            key: key.join("."),
            line: line_of(text, offset_of(table.get_ref(), key)),
            did_you_mean: nearest_key::<T>(key),
        })
        .collect();
    keys.sort_by_key(|key| key.line);
    if strictness == Strictness::Strict && !keys.is_empty() {
        return Err(ConfigError::UnknownKeys {
            path: path.to_owned(),
            keys,
        });
    }
    Ok(Loaded {
        value,
        unknown_keys: keys,
    })
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: unknown key `{}`", self.line, self.key)?;
        if let Some(known) = &self.did_you_mean {
            write!(f, " (did you mean `{known}`?)")?;
        }
        Ok(())
    }
}

fn list_unknown(path: &Path, keys: &[UnknownKey]) -> String {
    let keys: Vec<String> = keys.iter().map(UnknownKey::to_string).collect();
    format!("{}: {}", path.display(), keys.join("; "))
}

fn segments(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path as P;
    match path {
        P::Root => Vec::new(),
        P::Seq { parent, index } => with(parent, index.to_string()),
        P::Map { parent, key } => with(parent, key.clone()),
        P::Some { parent } | P::NewtypeStruct { parent } | P::NewtypeVariant { parent } => {
            segments(parent)
        }
    }
}

fn with(parent: &serde_ignored::Path<'_>, last: String) -> Vec<String> {
    let mut all = segments(parent);
    all.push(last);
    all
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().fold(0, |n, b| n + usize::from(*b == b'\n'))
}

/// Byte offset of the deepest key of `path` that the text has.
fn offset_of(table: &DeTable<'_>, path: &[String]) -> usize {
    let Some((first, rest)) = path.split_first() else {
        return 0;
    };
    let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == first) else {
        return 0;
    };
    let deeper = match (value.get_ref(), rest) {
        (_, []) => 0,
        (DeValue::Table(inner), _) => offset_of(inner, rest),
        (DeValue::Array(items), [index, rest @ ..]) => index
            .parse::<usize>()
            .ok()
            .and_then(|index| items.get(index))
            .and_then(|item| item.get_ref().as_table())
            .map_or(0, |inner| offset_of(inner, rest)),
        (_, _) => 0,
    };
    if deeper == 0 {
        key.span().start
    } else {
        deeper
    }
}

#[cfg(test)]
mod tests;
