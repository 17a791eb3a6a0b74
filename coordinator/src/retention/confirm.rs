//! The second operator: where it is configured, what removes must be asked for by two different ones.
//!
//! The second asks for exactly the same, with the same command. Requests are kept in memory only: after a restart, both ask
//! again.

use crate::core::Core;
use crate::fault::Fault;
use holdfast_service::failure::Code;
use holdfast_types::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a request waits for the second operator.
const WINDOW: Duration = Duration::from_hours(1);

/// Requests that one operator has made.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: Mutex<HashMap<String, Request>>,
}

#[derive(Debug)]
struct Request {
    by: String,
    at: Timestamp,
}

impl Requests {
    /// Notes the request, or finds that another operator has made it within the hour.
    fn is_confirmed(&self, what: &str, by: &str, now: Timestamp) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, request| now.since(request.at) <= WINDOW);
        if waiting.get(what).is_some_and(|first| first.by != by) {
            waiting.remove(what);
            return true;
        }
        let by = by.to_owned();
        waiting.insert(what.to_owned(), Request { by, at: now });
        false
    }
}

/// Lets a removal through if one operator is enough, or if another has asked for the same. `what` names the action with
/// everything that it is about.
pub(crate) fn require(core: &Core, what: &str, by: &str) -> Result<(), Fault> {
    let guard = &core.retention;
    let now = core.clock.now();
    if !guard.settings.two_person || guard.requests.is_confirmed(what, by, now) {
        return Ok(());
    }
    tracing::info!(what, by, "waits for a second operator");
    Err(Fault::new(
        Code::SecondOperator,
        format!(
            "{what}: {by} has asked; nothing is done before another operator runs the same command, by {}",
            now.after(WINDOW)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::Requests;
    use holdfast_types::Timestamp;
    use std::time::Duration;

    #[test]
    fn two_different_operators_within_the_hour() {
        let at = |minutes| Timestamp::EPOCH.after(Duration::from_mins(minutes));
        let requests = Requests::default();
        assert!(!requests.is_confirmed("delete a", "ann", at(0)));
        assert!(
            !requests.is_confirmed("delete a", "ann", at(1)),
            "the same one"
        );
        assert!(
            !requests.is_confirmed("delete b", "bob", at(2)),
            "something else"
        );
        assert!(requests.is_confirmed("delete a", "bob", at(3)));
        assert!(!requests.is_confirmed("delete a", "bob", at(4)), "used up");
        assert!(
            !requests.is_confirmed("delete b", "ann", at(63)),
            "too late"
        );
    }
}
