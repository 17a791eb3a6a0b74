//! Where the logs of a collection's shards must come together: an operation that concerns the collection stands in each of them, and is
//! sent once ([`Plan::Everywhere`](super::Plan::Everywhere)).
//!
//! | what happens | what follows |
//! |---|---|
//! | a log comes to such an operation | it waits |
//! | every log waits for the same one | it is sent, and all go on |
//! | all wait, for different ones (two were ordered at the same time, and shards got them in another order) | the one of the first log is sent; those that did not wait for it pass it over when they come to it |
//! | a log has ended, as at an instant to which is restored | it holds nobody up |

use super::Request;

/// The logs of one collection.
#[derive(Clone, Debug)]
pub struct Together {
    logs: Vec<State>,
    /// For each log what was sent before it came to it.
    ahead: Vec<Vec<Request>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Running,
    Waiting(Request),
    Ended,
}

/// What is to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Once for the collection.
    pub request: Request,
    /// The logs that are past this operation when it has been sent, and go on.
    pub go_on: Vec<usize>,
}

impl Together {
    /// So many logs, numbered from 0.
    #[must_use]
    pub fn new(logs: usize) -> Self {
        Self {
            logs: vec![State::Running; logs],
            ahead: vec![Vec::new(); logs],
        }
    }

    /// A log has come to an operation that concerns the collection. Whether it is past it, since it has been sent before: else it waits
    /// until [`Self::due`] names it. A log that is not known waits for ever.
    #[must_use]
    pub fn arrive(&mut self, log: usize, request: Request) -> bool {
        let (Some(state), Some(ahead)) = (self.logs.get_mut(log), self.ahead.get_mut(log)) else {
            return false;
        };
        if let Some(at) = ahead.iter().position(|sent| *sent == request) {
            ahead.remove(at);
            return true;
        }
        *state = State::Waiting(request);
        false
    }

    /// A log has no further operation.
    pub fn end(&mut self, log: usize) {
        if let Some(state) = self.logs.get_mut(log) {
            *state = State::Ended;
        }
    }

    /// What to send when no log can go on by itself; `None` while one can, and when all have ended.
    pub fn due(&mut self) -> Option<Due> {
        if self.logs.contains(&State::Running) {
            return None;
        }
        let request = self.logs.iter().find_map(|log| match log {
            State::Waiting(request) => Some(request.clone()),
            State::Running | State::Ended => None,
        })?;
        let mut go_on = Vec::new();
        for (at, (log, ahead)) in self.logs.iter_mut().zip(&mut self.ahead).enumerate() {
            match log {
                State::Waiting(other) if *other == request => {
                    *log = State::Running;
                    go_on.push(at);
                }
                State::Waiting(_) => ahead.push(request.clone()),
                State::Running | State::Ended => {}
            }
        }
        Some(Due { request, go_on })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::{Due, Together};

    fn request(name: &str) -> Request {
        Request {
            method: "PUT",
            path: name.to_owned(),
            body: Vec::new(),
            may_miss: false,
            inexact: 0,
        }
    }

    fn due(name: &str, go_on: &[usize]) -> Option<Due> {
        let (request, go_on) = (request(name), go_on.to_vec());
        Some(Due { request, go_on })
    }

    #[test]
    fn an_operation_is_sent_when_every_log_has_come_to_it() {
        let mut logs = Together::new(3);
        for log in [2, 0] {
            assert!(!logs.arrive(log, request("a")));
            assert_eq!(logs.due(), None);
        }
        assert!(!logs.arrive(1, request("a")));
        assert_eq!(logs.due(), due("a", &[0, 1, 2]));
        assert_eq!(logs.due(), None, "all go on");
        for log in 0..3 {
            assert!(!logs.arrive(log, request("a")), "again is another one");
        }
        assert_eq!(logs.due(), due("a", &[0, 1, 2]));
    }

    #[test]
    fn another_order_holds_nobody_up_and_sends_nothing_twice() {
        let mut logs = Together::new(3);
        assert!(!logs.arrive(0, request("a")));
        assert!(!logs.arrive(1, request("b")));
        assert!(!logs.arrive(2, request("a")));
        assert_eq!(logs.due(), due("a", &[0, 2]));
        assert_eq!(logs.due(), None);
        assert!(!logs.arrive(0, request("b")));
        assert!(!logs.arrive(2, request("b")));
        assert_eq!(logs.due(), due("b", &[0, 1, 2]));
        assert!(logs.arrive(1, request("a")), "it was sent before");
        assert!(!logs.arrive(1, request("a")), "once");
    }

    #[test]
    fn a_log_that_has_ended_is_not_waited_for() {
        let mut logs = Together::new(2);
        assert!(!logs.arrive(1, request("a")));
        logs.end(0);
        assert_eq!(logs.due(), due("a", &[1]));
        logs.end(1);
        assert_eq!(logs.due(), None);
        assert!(!logs.arrive(7, request("a")), "no such log");
    }
}
