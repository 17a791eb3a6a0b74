//! Which node captures next, where not all may at once.
//!
//! A lane is what one node captures in a round, one after the other: its extras, then its shards. Lanes wait for nothing but a
//! free place: what fails in one, and what follows from that, is the business of who runs them.

use super::{CaptureStep, ExtraStep};
use holdfast_types::{CaptureLimits, NodeId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What one node captures; at least one of the two is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Which.
    pub node: NodeId,
    /// Its extras come first, so that a required one that fails costs little: by their index in the plan, in this order.
    pub extras: Vec<usize>,
    /// Its shards, by their index in the plan, in this order.
    pub captures: Vec<usize>,
}

/// All lanes of a round.
#[derive(Clone, Debug)]
pub struct Lanes {
    waiting: VecDeque<Lane>,
    active: BTreeSet<NodeId>,
    at_once: usize,
    bytes_per_second: Option<u64>,
}

/// With less than so many bytes per second for each node, fewer nodes capture at once: Qdrant gives a stream up that does not
/// move for 5 minutes, and so long must last what the connection buffers.
pub(super) const LEAST_SHARE: u64 = 256 << 10;

impl Lanes {
    /// The lanes of these captures of a plan. Those with the most captures begin first: else the last one would go on alone.
    #[must_use]
    pub fn new<'a>(
        captures: impl IntoIterator<Item = (usize, &'a CaptureStep)>,
        limits: &CaptureLimits,
    ) -> Self {
        let mut lanes: BTreeMap<&NodeId, Vec<usize>> = BTreeMap::new();
        for (index, step) in captures {
            lanes.entry(&step.node).or_default().push(index);
        }
        let mut waiting: Vec<Lane> = lanes
            .into_iter()
            .map(|(node, captures)| Lane {
                node: node.clone(),
                extras: Vec::new(),
                captures,
            })
            .collect();
        waiting.sort_by_key(|lane| Reverse(lane.captures.len()));
        let most = limits.max_nodes.map(|most| u64::from(most.get()));
        let bytes_per_second = limits.bytes_per_second();
        let fed = bytes_per_second.map(|bytes| (bytes / LEAST_SHARE).max(1));
        let at_once = most.into_iter().chain(fed).min();
        Self {
            waiting: waiting.into(),
            active: BTreeSet::new(),
            at_once: at_once.map_or(usize::MAX, |most| {
                usize::try_from(most).unwrap_or(usize::MAX)
            }),
            bytes_per_second,
        }
    }

    /// The same with these extras of the plan. Nodes that have nothing else to capture begin last.
    #[must_use]
    pub fn with_extras<'a>(
        mut self,
        extras: impl IntoIterator<Item = (usize, &'a ExtraStep)>,
    ) -> Self {
        for (index, step) in extras {
            let found = self.waiting.iter_mut().find(|lane| lane.node == step.node);
            match found {
                Some(lane) => lane.extras.push(index),
                None => self.waiting.push_back(Lane {
                    node: step.node.clone(),
                    extras: vec![index],
                    captures: Vec::new(),
                }),
            }
        }
        self
    }

    /// The next lane, if it may begin now.
    pub fn begin(&mut self) -> Option<Lane> {
        if self.active.len() >= self.at_once {
            return None;
        }
        let lane = self.waiting.pop_front()?;
        self.active.insert(lane.node.clone());
        Some(lane)
    }

    /// A lane has ended, however it did.
    pub fn end(&mut self, node: &NodeId) {
        self.active.remove(node);
    }

    /// Nodes that capture now. It does not grow once the first lane has ended.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// Bytes per second for a capture that begins now; `None` for no bound. What others were given before is no more than this,
    /// and there are no more of them than were counted then: together they stay within the bound.
    #[must_use]
    pub fn share(&self) -> Option<u64> {
        let active = u64::try_from(self.active.len()).unwrap_or(u64::MAX);
        self.bytes_per_second.map(|bytes| bytes / active.max(1))
    }

    /// Nodes that wait for a place.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST_SHARE, Lane, Lanes};
    use crate::backup::{CaptureStep, ExtraStep, Method};
    use crate::fixture::name;
    use holdfast_types::{CaptureLimits, ShardId};
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
    use std::num::NonZeroU32;

    fn steps(nodes: &[u8]) -> Vec<CaptureStep> {
        let steps = nodes.iter().enumerate();
        steps
            .map(|(shard, node)| CaptureStep {
                collection: name("docs"),
                shard: ShardId(u32::try_from(shard).unwrap()),
                node: format!("n{node}").parse().unwrap(),
                method: Method::Auto,
                repinned: None,
            })
            .collect()
    }

    fn limits(most: u32) -> CaptureLimits {
        CaptureLimits {
            max_nodes: NonZeroU32::new(most),
            ..CaptureLimits::default()
        }
    }

    fn rate(mib: u32) -> CaptureLimits {
        CaptureLimits {
            max_mib_per_sec: NonZeroU32::new(mib),
            ..CaptureLimits::default()
        }
    }

    fn shown(lane: Option<Lane>) -> String {
        lane.map_or_else(String::new, |lane| {
            format!("{} {:?}", lane.node, lane.captures)
        })
    }

    #[test]
    fn places_are_given_and_given_back() {
        let steps = steps(&[1, 2, 2, 3]);
        let mut lanes = Lanes::new(steps.iter().enumerate(), &limits(2));
        assert_eq!(shown(lanes.begin()), "n2 [1, 2]", "the longest first");
        assert_eq!(shown(lanes.begin()), "n1 [0]");
        assert_eq!(shown(lanes.begin()), "");
        assert_eq!((lanes.active(), lanes.waiting()), (2, 1));
        lanes.end(&"n1".parse().unwrap());
        assert_eq!(shown(lanes.begin()), "n3 [3]");
        assert_eq!(shown(lanes.begin()), "");
        let mut all = Lanes::new(steps.iter().enumerate(), &limits(0));
        assert_eq!((0..9).filter(|_| all.begin().is_some()).count(), 3);
    }

    #[test]
    fn extras_are_in_the_lane_of_their_node() {
        let extra = |node: &str| ExtraStep {
            node: node.parse().unwrap(),
            name: "redis".parse().unwrap(),
            config: false,
            required: true,
            absent: None,
        };
        let (steps, extras) = (steps(&[1, 2, 2]), ["n3", "n1", "n3"].map(extra));
        let lanes = Lanes::new(steps.iter().enumerate(), &limits(1));
        let mut lanes = lanes.with_extras(extras.iter().enumerate());
        let mut begun = Vec::new();
        while let Some(lane) = lanes.begin() {
            assert_eq!(
                lanes.active(),
                1,
                "a node with extras alone takes a place, too"
            );
            lanes.end(&lane.node);
            begun.push((lane.node.to_string(), lane.extras, lane.captures));
        }
        let expected: [(&str, Vec<usize>, Vec<usize>); 3] = [
            ("n2", vec![], vec![1, 2]),
            ("n1", vec![1], vec![0]),
            ("n3", vec![0, 2], vec![]),
        ];
        assert_eq!(
            begun,
            expected.map(|(node, extras, captures)| (node.to_owned(), extras, captures))
        );
    }

    #[test]
    fn what_is_left_of_the_bound_goes_to_who_is_left() {
        let three = steps(&[1, 2, 3]);
        let mut lanes = Lanes::new(three.iter().enumerate(), &rate(6));
        while lanes.begin().is_some() {}
        assert_eq!(lanes.share(), Some(2 << 20));
        lanes.end(&"n1".parse().unwrap());
        assert_eq!(lanes.share(), Some(3 << 20));
        let many = steps(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let mut few = Lanes::new(many.iter().enumerate(), &rate(1));
        while few.begin().is_some() {}
        assert_eq!((few.active(), few.share()), (4, Some(LEAST_SHARE)));
        assert_eq!(Lanes::new([], &limits(1)).share(), None);
    }

    proptest! {
        /// Each capture is told its share when it begins, and goes on with it whatever happens to the others.
        #[test]
        fn together_they_stay_within_the_bound(
            nodes in prop::collection::vec(0..9_u8, 1..40),
            most in 0..5_u32,
            mib in 1..20_u32,
            events in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..80),
        ) {
            let steps = steps(&nodes);
            let limits = CaptureLimits { max_nodes: NonZeroU32::new(most), ..rate(mib) };
            let mut lanes = Lanes::new(steps.iter().enumerate(), &limits);
            let mut running: Vec<(Lane, u64)> = Vec::new();
            for (which, ends) in events {
                let mut new = Vec::new();
                while let Some(lane) = lanes.begin() {
                    new.push(lane);
                }
                let share = lanes.share().unwrap();
                prop_assert!(share >= LEAST_SHARE);
                running.extend(new.into_iter().map(|lane| (lane, share)));
                let sum: u64 = running.iter().map(|(_, share)| share).sum();
                prop_assert!(sum <= u64::from(mib) << 20, "{sum}");
                if running.is_empty() {
                    break;
                }
                let at = which.index(running.len());
                if ends {
                    lanes.end(&running.swap_remove(at).0.node);
                } else {
                    running[at].1 = lanes.share().unwrap();
                }
            }
        }

        /// Whoever ends when: never more than allowed at once, every capture once, and nobody waits beside a free place.
        #[test]
        fn never_more_at_once_and_nothing_left_out(
            nodes in prop::collection::vec(0..12_u8, 0..40),
            most in 0..6_u32,
            open in prop::collection::vec(any::<bool>(), 40),
            ends in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let steps = steps(&nodes);
            let captures = steps.iter().enumerate().filter(|(index, _)| open[*index]);
            let mut lanes = Lanes::new(captures, &limits(most));
            let (mut running, mut done, mut peak) = (Vec::new(), Vec::new(), 0);
            for end in ends {
                while let Some(lane) = lanes.begin() {
                    prop_assert!(!lane.captures.is_empty() && lane.captures.is_sorted());
                    prop_assert!(running.iter().all(|other: &Lane| other.node != lane.node));
                    running.push(lane);
                }
                prop_assert!(most == 0 || running.len() <= most as usize);
                prop_assert_eq!(lanes.active(), running.len());
                prop_assert!(lanes.waiting() == 0 || running.len() == most as usize);
                peak = peak.max(running.len());
                if running.is_empty() {
                    break;
                }
                let lane: Lane = running.swap_remove(end.index(running.len()));
                prop_assert!(lane.captures.iter().all(|index| steps[*index].node == lane.node));
                lanes.end(&lane.node);
                done.extend(lane.captures);
                if lanes.waiting() == 0 {
                    prop_assert!(lanes.active() <= peak);
                }
            }
            prop_assert_eq!((running.len(), lanes.waiting()), (0, 0), "12 nodes end within 40 turns");
            done.sort_unstable();
            let expected: Vec<usize> = (0..nodes.len()).filter(|index| open[*index]).collect();
            prop_assert_eq!(done, expected);
        }
    }
}
