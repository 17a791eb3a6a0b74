//! What a copy wants, remembered as long as nothing has changed that it follows from.

use holdfast_repository::Marks;
use holdfast_types::{RecoveryPointId, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Rules and holds look at the clock, so nothing is remembered for longer.
const AT_MOST: Duration = Duration::from_mins(1);

/// What an answer follows from, the configuration and the clock apart.
#[derive(Debug)]
pub(super) struct Basis {
    /// The state of the catalogue's listing.
    pub(super) listing: u64,
    /// What is said of points.
    pub(super) marks: Arc<Marks>,
    /// Points that only the copy has.
    pub(super) others: BTreeSet<RecoveryPointId>,
}

impl Basis {
    fn is(&self, other: &Self) -> bool {
        self.listing == other.listing
            && Arc::ptr_eq(&self.marks, &other.marks)
            && self.others == other.others
    }
}

/// One answer, and what it follows from.
#[derive(Debug)]
pub(super) struct Remembered<T>(Mutex<Option<(Basis, Timestamp, Arc<T>)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Remembered<T> {
    /// The answer, if it still holds.
    pub(super) fn get(&self, basis: &Basis, now: Timestamp) -> Option<Arc<T>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, at, answer) = kept.as_ref()?;
        let holds = known.is(basis) && now.distance(*at) < AT_MOST;
        holds.then(|| Arc::clone(answer))
    }

    /// Remembers an answer in place of any other.
    pub(super) fn keep(&self, basis: Basis, at: Timestamp, answer: Arc<T>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((basis, at, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::{AT_MOST, Basis, Remembered};
    use holdfast_repository::Marks;
    use holdfast_types::{RecoveryPointId, Timestamp};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn an_answer_holds_until_something_changes_or_a_minute_has_passed() {
        let marks = Arc::new(Marks::default());
        let basis = |listing, marks: &Arc<Marks>, others: &[u32]| Basis {
            listing,
            marks: Arc::clone(marks),
            others: others
                .iter()
                .map(|n| RecoveryPointId::new(Timestamp::EPOCH, *n))
                .collect(),
        };
        let now = Timestamp::EPOCH.after(Duration::from_secs(1000));
        let remembered = Remembered::default();
        assert_eq!(
            remembered.get(&basis(1, &marks, &[]), now),
            None::<Arc<i32>>
        );
        remembered.keep(basis(1, &marks, &[7]), now, Arc::new(5));
        let same = || basis(1, &marks, &[7]);
        assert_eq!(remembered.get(&same(), now), Some(Arc::new(5)));
        let moment = Duration::from_micros(1);
        let soon = now.after(AT_MOST - moment);
        assert_eq!(remembered.get(&same(), soon), Some(Arc::new(5)));
        assert_eq!(remembered.get(&same(), now.after(AT_MOST)), None);
        // A clock that was set back.
        assert_eq!(remembered.get(&same(), Timestamp::EPOCH), None);
        for other in [
            basis(2, &marks, &[7]),
            basis(1, &Arc::new(Marks::default()), &[7]),
            basis(1, &marks, &[]),
        ] {
            assert_eq!(remembered.get(&other, now), None, "{other:?}");
        }
    }
}
