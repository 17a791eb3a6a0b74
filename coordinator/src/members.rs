//! What operators said of nodes: drained, removed, replaced. Durable before it counts, and read by planners and at the door.
//!
//! [`change`] carries an operator's word out, [`risk`] says before what it would cost, and [`mod@rebase`] has captured what a
//! node that took another's place is to be the source of. What nodes are there is no business of
//! this module: they say so themselves ([`crate::observe`]).
//!
//! A removed node's certificates are refused by the beginning of their lifetime: none that was ever let in began after
//! the moment of the removal, and one that is issued later is a new word of whoever has the authority's key.
//!
//! | while … | the agent connects | its call is under way | kill −9 |
//! |---|---|---|---|
//! | its node is removed | refused, or expelled after its hello | refused at its next call; its streams are ended | removed or not, never half |

mod change;
mod rebase;
mod risk;

pub(crate) use change::expel;
pub use change::{Removed, remove, set_drained};
pub use rebase::run as rebase;
pub(crate) use risk::only_on;

use crate::catalog::{Catalog, CatalogError};
use crate::core::Core;
use crate::fault::Fault;
use holdfast_certs::PeerIdentity;
use holdfast_decide::Observation;
use holdfast_service::failure::Code;
use holdfast_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

const SECOND: i64 = 1_000_000;

/// What is said of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Set while it is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Mark>,
    /// Set from its removal until it comes back by a newer certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removal>,
    /// Certificates that began before are refused, for good. Whole seconds, as certificates have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_before: Option<Timestamp>,
}

/// An operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When it was said.
    pub since: Timestamp,
    /// Who said it.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

/// That a node is gone for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The word.
    pub mark: Mark,
    /// The node that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<NodeId>,
}

/// What is said of all nodes. Readers never wait for the catalogue.
#[derive(Debug, Default)]
pub struct Members {
    said: RwLock<BTreeMap<NodeId, Member>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Members {
    /// What was recorded before.
    #[must_use]
    pub fn new(said: BTreeMap<NodeId, Member>) -> Self {
        Self {
            said: RwLock::new(said),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// What is said of a node.
    #[must_use]
    pub fn get(&self, node: &NodeId) -> Member {
        self.read().get(node).cloned().unwrap_or_default()
    }

    /// Nodes that are drained, with the word.
    #[must_use]
    pub fn drained(&self) -> BTreeMap<NodeId, Mark> {
        let said = self.read();
        let drained = said
            .iter()
            .filter_map(|(node, member)| Some((node.clone(), member.drained.clone()?)));
        drained.collect()
    }

    /// Nodes that are removed, with the word.
    #[must_use]
    pub fn removals(&self) -> BTreeMap<NodeId, Removal> {
        let said = self.read();
        let removed = said
            .iter()
            .filter_map(|(node, member)| Some((node.clone(), member.removed.clone()?)));
        removed.collect()
    }

    /// Nodes that are removed.
    #[must_use]
    pub fn removed(&self) -> BTreeSet<NodeId> {
        self.removals().into_keys().collect()
    }

    /// The node that stands in a node's place now: itself, unless it was replaced.
    #[must_use]
    pub fn successor(&self, node: &NodeId) -> NodeId {
        let said = self.read();
        let (mut current, mut passed) = (node, BTreeSet::new());
        while let Some(next) = said
            .get(current)
            .and_then(|member| member.removed.as_ref()?.successor.as_ref())
        {
            // Two nodes that replaced each other, with a return between.
            if !passed.insert(current) {
                break;
            }
            current = next;
        }
        current.clone()
    }

    /// Tells planners.
    pub fn tell(&self, seen: &mut Observation) {
        for node in self.drained().keys() {
            if let Some(view) = seen.nodes.get_mut(node) {
                view.drained = true;
            }
        }
        seen.past.removed = self.removed();
    }

    /// Whether a peer is let in at all.
    ///
    /// # Errors
    /// `node-removed`.
    pub fn check(&self, peer: &PeerIdentity) -> Result<(), Fault> {
        let Some(node) = peer.identity().node() else {
            return Ok(());
        };
        self.check_certificate(node, peer.valid_from())
    }

    fn check_certificate(&self, node: &NodeId, valid_from: Timestamp) -> Result<(), Fault> {
        let member = self.get(node);
        match member.refused_before {
            Some(before) if valid_from < before => Err(refusal(node, &member, before)),
            None | Some(_) => Ok(()),
        }
    }

    /// A node has come by a certificate that is not refused: if it was removed, it is back.
    ///
    /// # Errors
    /// A failing catalogue.
    pub async fn readmit(&self, catalog: &Catalog, node: &NodeId) -> Result<(), CatalogError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut member = self.get(node);
        if member.removed.take().is_none() {
            return Ok(());
        }
        tracing::warn!(%node, "a node that was removed is back with a newer certificate");
        self.put(catalog, vec![(node.clone(), member)]).await
    }

    /// Says this from now on. It is durable when this returns, and did not happen if it fails.
    async fn put(
        &self,
        catalog: &Catalog,
        changed: Vec<(NodeId, Member)>,
    ) -> Result<(), CatalogError> {
        catalog.put_members(changed.clone()).await?;
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        said.extend(changed);
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, Member>> {
        self.said.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of nodes needs a person.
#[must_use]
pub fn warnings(core: &Core) -> Vec<String> {
    let Some(loaded) = &core.policy else {
        return Vec::new();
    };
    let removals = core.members.removals();
    let named = loaded.policy.nodes.iter();
    let told = named.filter_map(|node| {
        let removal = removals.get(node)?;
        let instead = match &removal.successor {
            Some(successor) => format!("name {successor} in its place"),
            None => "take it out".to_owned(),
        };
        Some(format!(
            "the policy names node {node} in `nodes`, which was removed at {}: {instead}, and restart the coordinator",
            removal.mark.since
        ))
    });
    told.collect()
}

/// The end of the second before which certificates of a node that is removed now are refused.
fn cut(now: Timestamp, member: &Member) -> Timestamp {
    let second = Timestamp::from_micros(now.as_micros().div_euclid(SECOND) * SECOND);
    // Twice within a second: what was issued between the two is refused as well.
    let next = member
        .refused_before
        .map(|before| Timestamp::from_micros(before.as_micros().saturating_add(SECOND)));
    next.map_or(second, |next| next.max(second))
}

fn refusal(node: &NodeId, member: &Member, before: Timestamp) -> Fault {
    let since = match &member.removed {
        Some(Removal { mark, .. }) => {
            let why = if mark.reason.is_empty() {
                String::new()
            } else {
                format!(" ({})", mark.reason)
            };
            format!(
                "node {node} was removed at {} by {}{why}",
                mark.since, mark.by
            )
        }
        None => format!("node {node} was removed once, and has come back since"),
    };
    Fault::new(
        Code::NodeRemoved,
        format!(
            "{since}; its certificates that began before {before} are refused: stop this agent, or enrol it anew (`holdfast nodes enrol {node}`)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::{Mark, Member, Members, Removal, cut};
    use crate::catalog::Catalog;
    use crate::fixture::NOW;
    use holdfast_types::{NodeId, Timestamp};
    use std::time::Duration;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn mark() -> Mark {
        Mark {
            since: NOW,
            by: "alice".into(),
            reason: "scrapped".into(),
        }
    }

    fn replaced_by(successor: Option<&str>) -> Member {
        Member {
            removed: Some(Removal {
                mark: mark(),
                successor: successor.map(node),
            }),
            ..Member::default()
        }
    }

    fn said(list: &[(&str, Member)]) -> Members {
        let entry = |(name, member): &(&str, Member)| (node(name), member.clone());
        Members::new(list.iter().map(entry).collect())
    }

    #[test]
    fn a_successor_is_followed_to_the_end() {
        let members = said(&[
            ("n1", replaced_by(Some("n2"))),
            ("n2", replaced_by(Some("n3"))),
            ("n4", replaced_by(None)),
            ("a", replaced_by(Some("b"))),
            ("b", replaced_by(Some("a"))),
        ]);
        for (of, is) in [("n1", "n3"), ("n3", "n3"), ("n4", "n4"), ("n9", "n9")] {
            assert_eq!(members.successor(&node(of)), node(is), "{of}");
        }
        // It comes to an end.
        let _either = members.successor(&node("a"));
    }

    #[test]
    fn certificates_from_before_the_removal_are_refused_and_newer_ones_are_not() {
        let before = cut(NOW, &Member::default());
        assert!(before <= NOW && NOW.since(before) < Duration::from_secs(1));
        let member = Member {
            refused_before: Some(before),
            ..replaced_by(None)
        };
        // A second removal within the same second refuses what was issued between.
        assert!(cut(NOW, &member) > before);
        let members = said(&[("n1", member)]);
        let earlier = Timestamp::from_micros(before.as_micros() - 1_000_000);
        let refused = members.check_certificate(&node("n1"), earlier).unwrap_err();
        assert_eq!(refused.code, "node-removed");
        assert!(refused.message.contains("by alice (scrapped)"), "{refused}");
        assert!(members.check_certificate(&node("n1"), before).is_ok());
        assert!(members.check_certificate(&node("n2"), earlier).is_ok());
    }

    #[tokio::test]
    async fn what_was_said_is_remembered_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let catalog = Catalog::create(&path, "0123").unwrap();
        assert!(catalog.members().await.unwrap().is_empty());
        let members = Members::default();
        let drained = Member {
            drained: Some(mark()),
            ..Member::default()
        };
        let removed = Member {
            refused_before: Some(cut(NOW, &Member::default())),
            ..replaced_by(Some("n1"))
        };
        let both = vec![(node("n1"), drained), (node("n2"), removed)];
        members.put(&catalog, both).await.unwrap();
        drop(catalog);

        let catalog = Catalog::open(&path, "0123").unwrap();
        let members = Members::new(catalog.members().await.unwrap());
        assert_eq!(
            members.drained().into_keys().collect::<Vec<_>>(),
            [node("n1")]
        );
        assert_eq!(members.removed(), [node("n2")].into());
        members.readmit(&catalog, &node("n2")).await.unwrap();
        assert!(members.removed().is_empty());
        // Its old certificates stay refused.
        assert!(
            members
                .check_certificate(&node("n2"), Timestamp::EPOCH)
                .is_err()
        );
    }
}
