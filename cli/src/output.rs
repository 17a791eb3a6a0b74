//! Results on standard output: text for people or one JSON document for programs.
//!
//! Nothing else in this program writes to standard output. A reader that goes away (`| head`) is no error.

use crate::args::OutputFormat;
use crate::failure::{Failure, Outcome};
use holdfast_service::failure::Code;
use serde::Serialize;
use std::io::{self, Write};

/// Version of the JSON contract. Fields are added without a new number; it grows only when a field
/// is removed or changes its meaning.
pub(crate) const JSON_FORMAT: u32 = 1;

/// A result that can be shown both ways.
pub(crate) trait View: Serialize {
    /// The document's `kind` in the JSON contract.
    const KIND: &'static str;

    /// The text for people, without a final newline.
    fn text(&self) -> String;
}

/// A document of the JSON contract: the view's fields behind its kind and format.
#[derive(Serialize)]
struct Document<'a, V> {
    kind: &'static str,
    format: u32,
    #[serde(flatten)]
    view: &'a V,
}

/// Where results go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Text for people.
    Text,
    /// One JSON document.
    Json,
    /// JSON lines: the events of a job, its result last.
    JsonLines,
}

impl Output {
    /// Results in this format; `events` only means something with JSON.
    pub(crate) fn new(format: OutputFormat, events: bool) -> Self {
        match (format, events) {
            (OutputFormat::Text, _) => Self::Text,
            (OutputFormat::Json, false) => Self::Json,
            (OutputFormat::Json, true) => Self::JsonLines,
        }
    }

    /// Prints a command's result.
    pub(crate) fn show<V: View>(self, view: &V) -> Outcome<()> {
        match self {
            Self::Text => write(&format!("{}\n", view.text())),
            Self::Json => write(&format!("{}\n", render_json(view, true))),
            Self::JsonLines => write(&format!("{}\n", render_json(view, false))),
        }
    }

    /// Prints an event, if events were asked for.
    pub(crate) fn event<V: View>(self, view: &V) -> Outcome<()> {
        match self {
            Self::JsonLines => self.show(view),
            Self::Text | Self::Json => Ok(()),
        }
    }

    /// Reports a failure: always as text on standard error, with `--output json` also as the document.
    pub(crate) fn fail(self, failure: &Failure) {
        // There is no one left to tell if standard error is gone.
        let _ = writeln!(io::stderr(), "{}", failure.render());
        // A command that has shown its document already says the rest by its exit code.
        if self != Self::Text && !failure.is_shown() {
            let _ = write(&format!(
                "{}\n",
                to_json(&failure.view(), self == Self::Json)
            ));
        }
    }
}

/// Prints text that is already complete, such as a completion script.
pub(crate) fn write(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Code::Internal,
            "standard output can't be written to",
        )
        .caused_by(&error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The JSON document of a view.
pub(crate) fn render_json<V: View>(view: &V, pretty: bool) -> String {
    let document = Document {
        kind: V::KIND,
        format: JSON_FORMAT,
        view,
    };
    to_json(&document, pretty)
}

fn to_json(value: &impl Serialize, pretty: bool) -> String {
    let text = if pretty {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    text.expect("views have string keys and no failing serializers")
}
