//! What a probe found: each check with its verdict, and the verdict on the store.

use std::fmt;
use std::time::Duration;

/// One promise that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCheck {
    /// Its name: stable, for scripts.
    pub name: &'static str,
    /// Why a repository needs it.
    pub why: &'static str,
    /// How long it took.
    pub elapsed: Duration,
    /// What was wrong; `None` if the store kept the promise.
    pub failure: Option<String>,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The store, as it describes itself.
    pub store: String,
    /// Every check, in the order of running.
    pub checks: Vec<ProbeCheck>,
    /// Whether objects can be locked there, or why that can't be told. A repository does not need it.
    pub object_lock: Result<bool, String>,
}

/// A store that can't hold a repository; lists every broken promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ProbeRefusal {
    /// The store, as it describes itself.
    pub store: String,
    /// What failed: name of the check and what was wrong.
    pub failed: Vec<(&'static str, String)>,
}

impl ProbeReport {
    /// Names of the checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.checks
            .iter()
            .filter(|check| check.failure.is_some())
            .map(|check| check.name)
    }

    /// The report for people: a line for each check, and one for what is optional.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.checks.iter().map(ToString::to_string).collect();
        lines.push(match &self.object_lock {
            Ok(true) => "yes     object-lock              recovery points can be locked, where that is configured".to_owned(),
            Ok(false) => "no      object-lock              recovery points can't be locked; a repository does not need it".to_owned(),
            Err(why) => format!("unknown object-lock              {why}; a repository does not need it"),
        });
        lines
    }

    /// Whether a repository may be kept there.
    pub fn verdict(&self) -> Result<(), ProbeRefusal> {
        let failed: Vec<_> = self
            .checks
            .iter()
            .filter_map(|check| Some((check.name, check.failure.clone()?)))
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(ProbeRefusal {
            store: self.store.clone(),
            failed,
        })
    }
}

impl fmt::Display for ProbeCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, why, .. } = self;
        match &self.failure {
            None => write!(f, "ok      {name:<24} {} ms", self.elapsed.as_millis()),
            Some(failure) => write!(f, "FAILED  {name:<24} {failure}; needed because {why}"),
        }
    }
}

impl fmt::Display for ProbeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} can't hold a repository", self.store)?;
        for (name, what) in &self.failed {
            write!(f, "; {name}: {what}")?;
        }
        Ok(())
    }
}
