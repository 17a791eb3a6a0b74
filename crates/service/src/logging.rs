//! The log: events on stderr, as text for people or JSON for machines.
//!
//! Libraries emit events and never call [`init`]; only a program's `main` does, once. Results of
//! commands don't belong here: they go to stdout.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for a person, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The `[log]` section of every configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// Which events: a level, or directives like `info,holdfast_agent=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error(
        "log filter {filter:?} is not valid: use a level such as info, or directives such as info,holdfast_agent=debug"
    )]
    Filter {
        /// The text as given.
        filter: String,
        /// What the parser said.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// `init` was called twice.
    #[error("the log has been set up already")]
    AlreadySet,
}

/// Sends events that pass `filter` to stderr.
///
/// # Errors
/// If the filter does not parse, or the process has a log already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let filter = parse_filter(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(format == LogFormat::Text && std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LoggingError::AlreadySet)
}

/// Checks a filter without setting anything up, for `config check`.
///
/// # Errors
/// If the filter does not parse.
pub fn check_filter(filter: &str) -> Result<(), LoggingError> {
    parse_filter(filter).map(|_| ())
}

/// What says at INFO which access key it found.
const QUIET: &str = "aws_config=warn";

/// `filter` with noisy libraries silenced, unless it names them itself.
fn parse_filter(filter: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|source| LoggingError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!(
                "log format {other:?} is not valid: use text or json"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LogConfig, LogFormat, check_filter};

    #[test]
    fn filters_are_checked() {
        for good in ["info", "warn,holdfast_agent=debug", "off"] {
            assert!(check_filter(good).is_ok(), "{good}");
        }
        for bad in ["info,holdfast=loudly", "a=b=c"] {
            let error = check_filter(bad).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn the_section_has_defaults() {
        let config: LogConfig = toml::from_str("format = \"json\"").unwrap();
        assert_eq!(config.format, LogFormat::Json);
        assert_eq!(config.filter, "info");
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
