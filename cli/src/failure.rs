//! What a command reports when it fails: one message that says what happened, what is at risk, and
//! what to do. Rendering is a pure function of the value, tested by snapshots.
//!
//! It does not decide exit codes: those come from the shared table in `holdfast-service`.

mod advice;
mod from_wire;

pub(crate) use advice::Action;
pub(crate) use from_wire::{advised, from_failure, from_job_failure, from_status};

use holdfast_proto::v1;
use holdfast_service::exit::ExitCode;
use holdfast_service::failure::Code;
use serde::Serialize;
use std::error::Error;

/// A command's failure. Boxed inside, so that results stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(Box<Told>);

/// What is told of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    exit: ExitCode,
    code: String,
    what: String,
    causes: Vec<String>,
    risk: Option<String>,
    todo: Option<String>,
    shown: bool,
}

/// The result of a command.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// A failure in the JSON contract.
#[derive(Serialize)]
pub(crate) struct FailureView<'a> {
    kind: &'static str,
    format: u32,
    code: &'a str,
    exit_code: u8,
    message: &'a str,
    causes: &'a [String],
    at_risk: Option<&'a str>,
    to_do: Option<&'a str>,
}

impl Failure {
    /// A failure with the exit code that belongs to `code`.
    pub(crate) fn new(code: Code, what: impl Into<String>) -> Self {
        Self(Box::new(Told {
            exit: code.exit_code(),
            code: code.to_string(),
            what: what.into(),
            causes: Vec::new(),
            risk: None,
            todo: None,
            shown: false,
        }))
    }

    /// Ends with another code than the one that belongs to the failure's kind.
    pub(crate) fn exiting(mut self, exit: ExitCode) -> Self {
        self.0.exit = exit;
        self
    }

    /// Adds an error and everything behind it as causes.
    pub(crate) fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self = self.because(error.to_string());
            next = error.source();
        }
        self
    }

    /// Adds one cause, unless an earlier one says the same already.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        let said = |earlier: &String| earlier.contains(&cause);
        if !cause.is_empty() && !self.0.causes.iter().any(said) && !self.0.what.contains(&cause) {
            self.0.causes.push(cause);
        }
        self
    }

    /// Says what is at risk.
    pub(crate) fn risking(mut self, risk: impl Into<String>) -> Self {
        self.0.risk = Some(risk.into());
        self
    }

    /// Says what to do.
    pub(crate) fn todo(mut self, todo: impl Into<String>) -> Self {
        self.0.todo = Some(todo.into());
        self
    }

    /// Says that the command has printed its document although it failed: there must be only one.
    pub(crate) fn already_shown(mut self) -> Self {
        self.0.shown = true;
        self
    }

    /// Whether the command has printed its document although it failed.
    pub(crate) fn is_shown(&self) -> bool {
        self.0.shown
    }

    /// What happened, for the coordinator.
    pub(crate) fn to_wire(&self) -> v1::Failure {
        v1::Failure {
            code: self.0.code.clone(),
            message: self.0.what.clone(),
            retryable: self.0.code.parse::<Code>().is_ok_and(Code::is_retryable),
        }
    }

    /// What is at risk.
    pub(crate) fn risk(&self) -> Option<&str> {
        self.0.risk.as_deref()
    }

    /// What to do.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.0.todo.as_deref()
    }

    /// The code that the process ends with.
    pub(crate) fn exit(&self) -> ExitCode {
        self.0.exit
    }

    /// The message for people, without a final newline.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}", self.0.what);
        for cause in &self.0.causes {
            line(&mut text, "because", cause);
        }
        if let Some(risk) = &self.0.risk {
            line(&mut text, "at risk", risk);
        }
        if let Some(todo) = &self.0.todo {
            line(&mut text, "to do", todo);
        }
        text
    }

    /// The document for programs.
    pub(crate) fn view(&self) -> FailureView<'_> {
        FailureView {
            kind: "error",
            format: crate::output::JSON_FORMAT,
            code: &self.0.code,
            exit_code: self.0.exit.code(),
            message: &self.0.what,
            causes: &self.0.causes,
            at_risk: self.0.risk.as_deref(),
            to_do: self.0.todo.as_deref(),
        }
    }
}

/// Appends a labelled line; further lines of `text` are indented below it.
fn line(out: &mut String, label: &str, text: &str) {
    let indented = text.replace('\n', "\n           ");
    out.push_str(&format!("\n  {label:<8} {indented}"));
}

#[cfg(test)]
mod tests;
