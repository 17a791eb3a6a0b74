//! Whether a run has to wait for a calmer moment.

use super::Policy;
use crate::observation::Observation;
use crate::schedule::{Schedule, Slow};
use holdfast_types::Timestamp;

/// Of the nodes that have something that the schedule captures, the one whose searches take longest, if that is longer than they may.
#[must_use]
pub fn slow(
    policy: &Policy,
    schedule: &Schedule,
    seen: &Observation,
    now: Timestamp,
) -> Option<Slow> {
    let limit = schedule.limits.max_query_latency?;
    let nodes = seen.nodes.iter().filter_map(|(node, view)| {
        let latency = view.searches.filter(|took| *took > limit)?;
        let mut collections = view.usable(now)?.collections.keys();
        let captured = collections.any(|name| {
            let mut schedules = policy.schedules_of(name);
            schedules.any(|other| other.name == schedule.name)
        });
        captured.then(|| Slow {
            node: node.clone(),
            latency,
            limit,
        })
    });
    nodes.max_by(|a, b| (a.latency, &b.node).cmp(&(b.latency, &a.node)))
}

#[cfg(test)]
mod tests {
    use super::slow;
    use crate::fixture::{NOW, collection, node, seen};
    use crate::observation::Observation;
    use crate::policy::{Policy, RawPolicy, validate};
    use std::time::Duration;

    fn policy() -> Policy {
        let text = r#"
            [[schedules]]
            name = "kind"
            every = "1h"
            limits = { max_query_latency = "50ms" }
            [[schedules]]
            name = "harsh"
            every = "1h"
            [[rules]]
            collections = ["docs"]
            schedules = ["kind"]
            [[rules]]
            collections = ["*"]
            schedules = ["harsh"]
        "#;
        let raw: RawPolicy = toml::from_str(text).unwrap();
        validate(raw, &|_| None).unwrap()
    }

    fn world(searches: [Option<u64>; 3]) -> Observation {
        let mut obs = seen([
            node("n1", None, [collection("docs", 1, &[0])]),
            node("n2", None, [collection("docs", 1, &[0])]),
            node("n3", None, [collection("logs", 1, &[0])]),
        ]);
        for (view, took) in obs.nodes.values_mut().zip(searches) {
            view.searches = took.map(Duration::from_millis);
        }
        obs
    }

    #[test]
    fn only_who_is_captured_counts_and_the_slowest_is_named() {
        let policy = policy();
        let found = |obs: &Observation, name: &str| {
            let schedule = policy.schedule(&name.parse().unwrap()).unwrap();
            slow(&policy, schedule, obs, NOW).map(|slow| slow.to_string())
        };
        let calm = world([Some(50), None, Some(900)]);
        assert_eq!(found(&calm, "kind"), None);
        let busy = world([Some(51), Some(80), Some(900)]);
        assert_eq!(
            found(&busy, "kind").as_deref(),
            Some("a search takes 80 ms at node n2, and may take 50 ms")
        );
        assert_eq!(found(&busy, "harsh"), None, "it has no limit");
        let mut away = world([Some(51), None, None]);
        away.nodes
            .values_mut()
            .for_each(|view| view.connected = false);
        assert_eq!(found(&away, "kind"), None, "what it said is old");
    }
}
