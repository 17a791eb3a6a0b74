//! Which of the coordinator's requests to look at Qdrant a look answers.
//!
//! The observer numbers what it is asked across sessions, the coordinator within its own life: a look
//! that was made for an earlier coordinator must not answer a later one's request of the same number.

use std::collections::VecDeque;

/// Requests that wait for a look, at most; older ones are answered with the newest.
const PENDING: usize = 64;

/// The requests of one session.
#[derive(Debug, Default)]
pub(super) struct Observing {
    /// The observer's number and the coordinator's, in the order of arrival.
    pending: VecDeque<(u64, u64)>,
    answered: u64,
}

impl Observing {
    /// Notes the coordinator's `request`, which the observer numbered `asked`.
    pub(super) fn note(&mut self, asked: u64, request: u64) {
        if self.pending.len() == PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back((asked, request));
    }

    /// The newest request that is answered by a look made after the observer's number `asked`.
    pub(super) fn answers(&mut self, asked: u64) -> u64 {
        while let Some((_, request)) = self.pending.pop_front_if(|(number, _)| *number <= asked) {
            self.answered = self.answered.max(request);
        }
        self.answered
    }
}

#[cfg(test)]
mod tests {
    use super::{Observing, PENDING};

    #[test]
    fn a_look_answers_what_was_asked_before_it() {
        let mut observing = Observing::default();
        // looks for earlier sessions answer nothing here
        assert_eq!(observing.answers(7), 0);
        observing.note(8, 1);
        observing.note(9, 2);
        assert_eq!(observing.answers(7), 0);
        assert_eq!(observing.answers(8), 1);
        assert_eq!(observing.answers(20), 2);
        assert_eq!(observing.answers(20), 2);
    }

    #[test]
    fn more_requests_than_are_kept_are_answered_by_the_newest() {
        let mut observing = Observing::default();
        for n in 1..=2 * PENDING as u64 {
            observing.note(n, n);
        }
        assert_eq!(observing.pending.len(), PENDING);
        assert_eq!(observing.answers(u64::MAX), 2 * PENDING as u64);
    }
}
