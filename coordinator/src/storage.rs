//! What agents see of the storage directories that they watch, and what a person should know of it.

use crate::observe::NodeRecord;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, NodeId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// A volume that lasts no longer is warned of.
const SOON_FULL: Duration = Duration::from_secs(24 * 3600);
/// One with less than that free is, in hundredths, whatever is foretold.
const LEAST_FREE: u64 = 5;
/// A look that is due for longer is told of.
const STALE: Duration = Duration::from_secs(15 * 60);

/// What shards of one collection have gone through, on all nodes since their agents' starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Churn {
    /// Bytes on the disk of all files that were found new or written to, counted at each look.
    pub touched_bytes: u64,
    /// Segments that went, as optimizers replace them.
    pub gone_segments: u64,
}

/// The watched shards by collection.
#[must_use]
pub fn churn(nodes: &[(NodeId, NodeRecord)]) -> BTreeMap<String, Churn> {
    let mut all: BTreeMap<String, Churn> = BTreeMap::new();
    let looks = nodes
        .iter()
        .filter_map(|(_, record)| record.storage.as_ref());
    for shard in looks.flat_map(|look| &look.shards) {
        let churn = all.entry(shard.collection.clone()).or_default();
        churn.touched_bytes = churn.touched_bytes.saturating_add(shard.touched_bytes);
        churn.gone_segments = churn.gone_segments.saturating_add(shard.gone_segments);
    }
    all
}

/// When the first of bytes and inodes will be used up; `None` if nothing is foretold.
#[must_use]
pub fn lasts(look: &v1::StorageWatch) -> Option<Duration> {
    let least = [look.bytes_last_secs, look.inodes_last_secs];
    least.into_iter().flatten().min().map(Duration::from_secs)
}

/// What a person should know of a connected node's storage, most urgent first.
#[must_use]
pub fn warnings(node: &NodeId, record: &NodeRecord, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(look) = record.storage.as_ref().filter(|_| record.connected) else {
        return warnings;
    };
    let volume = format!("node {node}: the volume of Qdrant's storage");
    let bytes = ByteCount(look.free_bytes).to_string();
    let rooms = [
        (
            bytes,
            look.free_bytes,
            look.total_bytes,
            look.bytes_last_secs,
        ),
        (
            format!("{} inodes", look.free_inodes),
            look.free_inodes,
            look.total_inodes,
            look.inodes_last_secs,
        ),
    ];
    for (left, free, total, lasts) in rooms {
        let lasts = lasts.map(Duration::from_secs);
        let percent = free.saturating_mul(100) / total.max(1);
        if let Some(lasts) = lasts.filter(|lasts| *lasts <= SOON_FULL) {
            warnings.push(format!(
                "{volume} has {left} free ({percent} %) and is full in about {} if it goes on as in the last hour: Qdrant then refuses writes; free some, or make it larger",
                about(lasts)
            ));
        } else if total > 0 && percent < LEAST_FREE {
            warnings.push(format!(
                "{volume} has {left} free ({percent} %): Qdrant refuses writes when nothing is left; free some, or make it larger"
            ));
        }
    }
    if look.polling_because.contains("raise fs.inotify") {
        warnings.push(format!(
            "node {node}: changes of Qdrant's storage are found by looks alone: {}",
            look.polling_because
        ));
    }
    for trouble in &look.troubles {
        warnings.push(format!(
            "node {node}: {} (last seen {}): back up now, then look at the disk and into Qdrant's log",
            trouble.message,
            Timestamp::from_micros(trouble.at_us)
        ));
    }
    let looked = Timestamp::from_micros(look.looked_us.saturating_sub(record.clock_offset_us));
    let due = looked.after(Duration::from_secs(look.next_look_secs));
    if now.since(due) > STALE {
        warnings.push(format!(
            "node {node}: Qdrant's storage was last looked at {looked}: its disk hangs, or the agent does; see its log"
        ));
    }
    warnings
}

/// Hours or minutes.
fn about(time: Duration) -> String {
    match time.as_secs() / 60 {
        minutes @ 0..120 => format!("{minutes} minutes"),
        minutes => format!("{} hours", minutes / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{Churn, churn, lasts, warnings};
    use crate::fixture::{NOW, heard};
    use crate::observe::Registry;
    use holdfast_proto::v1;
    use holdfast_types::NodeId;
    use std::time::Duration;

    fn node() -> NodeId {
        "n1".parse().unwrap()
    }

    /// Node n1, which has told of this look just now.
    fn seen(look: v1::StorageWatch) -> Registry {
        heard(v1::Heartbeat {
            now_us: NOW.as_micros(),
            storage: Some(look),
            ..Default::default()
        })
    }

    fn look(free: u64, lasts: Option<u64>) -> v1::StorageWatch {
        v1::StorageWatch {
            looked_us: NOW.as_micros(),
            total_bytes: 1000 << 20,
            free_bytes: free << 20,
            total_inodes: 100,
            free_inodes: 50,
            bytes_last_secs: lasts,
            ..Default::default()
        }
    }

    fn told(look: v1::StorageWatch, after: Duration) -> Vec<String> {
        let nodes = seen(look).list();
        warnings(&node(), &nodes[0].1, NOW.after(after))
    }

    #[test]
    fn a_volume_that_fills_up_is_told_in_time() {
        let now = Duration::ZERO;
        assert_eq!(told(look(500, None), now), Vec::<String>::new());
        assert_eq!(told(look(50, None), now), Vec::<String>::new(), "just 5 %");
        assert_eq!(told(look(500, Some(25 * 3600)), now), Vec::<String>::new());
        assert_eq!(
            told(look(49, None), now),
            [
                "node n1: the volume of Qdrant's storage has 49.0 MiB free (4 %): Qdrant refuses writes when nothing is left; free some, or make it larger"
            ]
        );
        assert_eq!(
            told(look(49, Some(3 * 3600)), now),
            [
                "node n1: the volume of Qdrant's storage has 49.0 MiB free (4 %) and is full in about 3 hours if it goes on as in the last hour: Qdrant then refuses writes; free some, or make it larger"
            ]
        );
        let inodes = v1::StorageWatch {
            inodes_last_secs: Some(600),
            ..look(500, None)
        };
        assert_eq!(lasts(&inodes), Some(Duration::from_secs(600)));
        let inodes = told(inodes, now);
        assert!(
            inodes[0].contains("50 inodes free (50 %) and is full in about 10 minutes"),
            "{inodes:?}"
        );
    }

    #[test]
    fn troubles_and_looks_that_stay_away_are_told() {
        let trouble = v1::StorageTrouble {
            at_us: NOW.as_micros(),
            message: "docs/0: Input/output error".into(),
        };
        let bad = v1::StorageWatch {
            troubles: vec![trouble],
            next_look_secs: 60,
            ..look(500, None)
        };
        assert_eq!(told(bad.clone(), Duration::from_secs(950)).len(), 1);
        let told_of = told(bad, Duration::from_secs(970));
        assert_eq!(told_of.len(), 2);
        let first = "node n1: docs/0: Input/output error (last seen 2026-";
        assert!(told_of[0].starts_with(first), "{told_of:?}");
        assert!(told_of[1].contains("last looked at"), "{told_of:?}");
    }

    #[test]
    fn an_agent_that_is_away_is_told_of_elsewhere() {
        let registry = seen(look(1, None));
        registry.disconnected(&node());
        let nodes = registry.list();
        assert_eq!(warnings(&node(), &nodes[0].1, NOW), Vec::<String>::new());
    }

    #[test]
    fn shards_add_up() {
        let shard = |collection: &str, touched| v1::WatchedShard {
            collection: collection.into(),
            touched_bytes: touched,
            gone_segments: 1,
            ..Default::default()
        };
        let look = v1::StorageWatch {
            shards: vec![shard("docs", 5), shard("docs", 7), shard("books", 1)],
            ..look(500, None)
        };
        let found = churn(&seen(look).list());
        let docs = Churn {
            touched_bytes: 12,
            gone_segments: 2,
        };
        assert_eq!((found.len(), found["docs"]), (2, docs));
    }
}
