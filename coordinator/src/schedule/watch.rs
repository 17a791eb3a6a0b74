//! What schedules look at beside the clock.

use crate::core::Core;
use holdfast_decide::policy::Policy;
use holdfast_decide::{Observation, ServerView};
use holdfast_types::{CollectionName, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

/// After a start agents connect within this time; where nodes are listed, they are waited for as long as jobs wait.
const AGENTS_CONNECT: Duration = Duration::from_secs(30);

/// Collections that nodes have told of.
pub(super) fn known(seen: &Observation) -> BTreeSet<CollectionName> {
    let servers = seen.nodes.values().filter_map(|view| match &view.server {
        ServerView::Seen(server) => Some(server),
        ServerView::Failing { .. } | ServerView::Unknown => None,
    });
    servers
        .flat_map(|server| server.collections.keys().cloned())
        .collect()
}

/// Why it is too early after the start to know what there is. A run at once would capture what the first agent has.
pub(super) fn unsettled(core: &Core, policy: &Policy) -> Option<String> {
    let waited = core.clock.now().since(core.started);
    let grace = core.limits.agent_grace;
    if policy.nodes.is_empty() {
        let soon = waited < AGENTS_CONNECT.min(grace);
        return soon.then(|| "agents connect after the start of the coordinator".to_owned());
    }
    if waited >= grace {
        return None;
    }
    let nodes = core.nodes.list();
    let here = |wanted: &NodeId| {
        let mut connected = nodes.iter().filter(|(_, record)| record.connected);
        connected.any(|(node, _)| node == wanted)
    };
    let removed = core.members.removed();
    let expected = policy.nodes.iter().map(|node| core.members.successor(node));
    let mut expected = expected.filter(|node| !removed.contains(node));
    let missing = expected.find(|node| !here(node))?;
    Some(format!("node {missing} has not connected since the start"))
}
