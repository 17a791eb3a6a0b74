//! Which looks may be reported as "everything is here": those between two observations that saw the replica Active.
//!
//! A replica that is not Active misses writes that others acknowledge. Without cluster mode there is nobody else, and every look
//! counts.

use crate::observer::Seen;
use crate::tail::follower::Standing;
use crate::tail::scan::LogKey;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// An end that has not moved is reported so often.
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// Looks that wait for the next observation.
const MAX_WAITING: usize = 64;

/// What was seen of replicas.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    /// The newest observation that counted.
    newest: Option<Observed>,
    /// Looks since then, of each log.
    waiting: BTreeMap<LogKey, Vec<Standing>>,
    /// Looks that may be reported now.
    confirmed: BTreeMap<LogKey, Standing>,
}

#[derive(Debug)]
struct Observed {
    began: Instant,
    ended: Instant,
    /// Replicas that were Active; `None` without cluster mode.
    active: Option<BTreeSet<LogKey>>,
}

impl Reporter {
    /// Takes note of the newest observation.
    pub(super) fn observed(&mut self, seen: Option<&Seen>) {
        let Some(seen) = seen else { return };
        if self
            .newest
            .as_ref()
            .is_some_and(|newest| newest.ended >= seen.ended)
        {
            return;
        }
        let now = Observed {
            began: seen.began,
            ended: seen.ended,
            active: active(seen),
        };
        for (key, waiting) in std::mem::take(&mut self.waiting) {
            let both = [self.newest.as_ref(), Some(&now)];
            let both = both.iter().all(|o| o.is_some_and(|o| o.is_active(&key)));
            let since = self.newest.as_ref().map(|newest| newest.ended);
            let fits = |look: &&Standing| Some(look.began) >= since && look.ended <= now.began;
            if both && let Some(look) = waiting.iter().rfind(fits) {
                self.confirmed.insert(key, *look);
            }
        }
        self.newest = Some(now);
    }

    /// The look that is to be reported of a log, if any.
    pub(super) fn due(
        &mut self,
        key: &LogKey,
        standing: Option<Standing>,
        reported: Option<(Standing, Instant)>,
    ) -> Option<Standing> {
        let newest = self.newest.as_ref()?;
        let standing = if newest.active.is_none() {
            standing?
        } else {
            let waiting = self.waiting.entry(key.clone()).or_default();
            if let Some(standing) = standing
                && waiting.last() != Some(&standing)
            {
                if waiting.len() == MAX_WAITING {
                    waiting.remove(0);
                }
                waiting.push(standing);
            }
            *self.confirmed.get(key)?
        };
        match reported {
            Some((last, _)) if last.began >= standing.began => None,
            Some((last, at))
                if last.next == standing.next && last.timeline == standing.timeline =>
            {
                (at.elapsed() >= REPEAT_EVERY).then_some(standing)
            }
            Some(_) | None => Some(standing),
        }
    }
}

impl Observed {
    fn is_active(&self, key: &LogKey) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.contains(key))
    }
}

/// Replicas that an observation saw Active; `None` without cluster mode. One that failed has seen none.
fn active(seen: &Seen) -> Option<BTreeSet<LogKey>> {
    let Ok(inventory) = &seen.inventory else {
        return Some(BTreeSet::new());
    };
    if inventory.peer_id == 0 {
        return None;
    }
    let mut active = BTreeSet::new();
    for collection in &inventory.collections {
        let Ok(name) = collection.name.parse::<holdfast_types::CollectionName>() else {
            continue;
        };
        for shard in &collection.local_shards {
            if shard.state == "Active" {
                active.insert(LogKey {
                    collection: name.clone(),
                    shard: holdfast_types::ShardId(shard.shard_id),
                });
            }
        }
    }
    Some(active)
}

#[cfg(test)]
mod tests {
    use super::Reporter;
    use crate::observer::Seen;
    use crate::tail::follower::Standing;
    use crate::tail::scan::LogKey;
    use holdfast_proto::v1;
    use holdfast_types::{ShardId, TimelineId};
    use std::time::{Duration, Instant};

    fn seen(begun: Instant, at: u64, peer_id: u64, state: &str) -> Seen {
        let shard = v1::ShardInfo {
            state: state.to_owned(),
            ..Default::default()
        };
        let docs = v1::CollectionInfo {
            name: "docs".to_owned(),
            local_shards: vec![shard],
            ..Default::default()
        };
        Seen {
            inventory: Ok(v1::Inventory {
                peer_id,
                collections: vec![docs],
                ..Default::default()
            }),
            asked: 0,
            began: begun + Duration::from_secs(at),
            ended: begun + Duration::from_secs(at + 1),
        }
    }

    fn look(begun: Instant, at: u64) -> Standing {
        Standing {
            timeline: TimelineId::from_bytes([1; 16]),
            first: None,
            next: at,
            began: begun + Duration::from_secs(at),
            ended: begun + Duration::from_millis(at * 1000 + 500),
        }
    }

    fn key() -> LogKey {
        LogKey {
            collection: "docs".parse().unwrap(),
            shard: ShardId(0),
        }
    }

    #[test]
    fn without_a_cluster_every_look_counts() {
        let begun = Instant::now();
        let mut reporter = Reporter::default();
        assert_eq!(reporter.due(&key(), Some(look(begun, 1)), None), None);
        reporter.observed(Some(&seen(begun, 0, 0, "")));
        let first = look(begun, 1);
        assert_eq!(reporter.due(&key(), Some(first), None), Some(first));
        let reported = Some((first, Instant::now()));
        assert_eq!(reporter.due(&key(), Some(first), reported), None, "told");
        let later = Standing {
            next: first.next,
            ..look(begun, 2)
        };
        assert_eq!(reporter.due(&key(), Some(later), reported), None, "not yet");
        let moved = look(begun, 3);
        assert_eq!(reporter.due(&key(), Some(moved), reported), Some(moved));
    }

    #[test]
    fn in_a_cluster_a_look_counts_between_two_observations_of_an_active_replica() {
        let begun = Instant::now();
        let mut reporter = Reporter::default();
        let mut after = |looks: &[u64], observation: Seen| {
            for at in looks {
                let _ = reporter.due(&key(), Some(look(begun, *at)), None);
            }
            reporter.observed(Some(&observation));
            let due = reporter.due(&key(), None, None);
            due.map(|standing| standing.next)
        };
        assert_eq!(after(&[], seen(begun, 10, 7, "Active")), None);
        // Of 10, 12, 14 and 19: the first began before the observation had ended, the last ended after the next had begun.
        let found = after(&[10, 12, 14, 19], seen(begun, 19, 7, "Active"));
        assert_eq!(found, Some(14));
        assert_eq!(after(&[22], seen(begun, 29, 7, "Dead")), Some(14));
        assert_eq!(after(&[32], seen(begun, 39, 7, "Active")), Some(14));
        assert_eq!(after(&[42], seen(begun, 49, 7, "Active")), Some(42));
    }
}
