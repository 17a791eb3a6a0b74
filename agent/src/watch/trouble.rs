//! What is wrong with a storage directory, in words, while it is news.

use super::files::Suspect;
use crate::tail::LogKey;
use holdfast_proto::v1;
use holdfast_types::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is not seen again is forgotten.
const KEEP: Duration = Duration::from_secs(3600);
/// Most that are told of; the others wait until one is forgotten.
const MOST: usize = 16;
/// Files that are named, of one kind in one shard.
const NAMED: usize = 3;

/// Troubles, and when each was last seen.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<String, Timestamp>);

impl Troubles {
    /// Something is wrong now. Told to the log once.
    pub(super) fn note(&mut self, now: Timestamp, words: &str) {
        if let Some(seen) = self.0.get_mut(words) {
            *seen = now;
        } else if self.0.len() < MOST {
            tracing::error!(
                reason = words,
                "something is wrong with Qdrant's storage directory"
            );
            self.0.insert(words.to_owned(), now);
        }
    }

    /// What no server does to its files.
    pub(super) fn note_lost(&mut self, now: Timestamp, key: &LogKey, lost: &[Suspect]) {
        let (gone, shorter): (Vec<_>, Vec<_>) = lost.iter().partition(|file| file.was.is_none());
        let kinds = [
            (shorter, "are shorter than they were"),
            (gone, "are gone from a segment that is still there"),
        ];
        for (files, what) in kinds {
            if files.is_empty() {
                continue;
            }
            let named: Vec<&str> = files.iter().take(NAMED).map(|file| &*file.path).collect();
            let words = format!(
                "{}/{}: {} files {what}: {}",
                key.collection,
                key.shard,
                files.len(),
                named.join(", ")
            );
            self.note(now, &words);
        }
    }

    /// Those of the last hour.
    pub(super) fn told(&mut self, now: Timestamp) -> Vec<v1::StorageTrouble> {
        self.0.retain(|_, seen| now.since(*seen) < KEEP);
        let told = self.0.iter().map(|(words, seen)| v1::StorageTrouble {
            at_us: seen.as_micros(),
            message: words.clone(),
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{KEEP, MOST, Troubles};
    use holdfast_types::Timestamp;
    use std::time::Duration;

    #[test]
    fn what_is_over_is_forgotten_and_what_goes_on_is_not() {
        let start = Timestamp::from_micros(1_000_000);
        let minute = Duration::from_secs(60);
        let mut troubles = Troubles::default();
        troubles.note(start, "a");
        troubles.note(start, "b");
        troubles.note(start.after(minute), "b");
        assert_eq!(troubles.told(start.after(minute)).len(), 2);
        let told = troubles.told(start.after(KEEP));
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].message.as_str(), told[0].at_us),
            ("b", start.after(minute).as_micros())
        );
    }

    #[test]
    fn no_flood_is_kept() {
        let mut troubles = Troubles::default();
        for n in 0..2 * MOST {
            troubles.note(Timestamp::EPOCH, &format!("trouble {n}"));
        }
        assert_eq!(troubles.told(Timestamp::EPOCH).len(), MOST);
    }
}
