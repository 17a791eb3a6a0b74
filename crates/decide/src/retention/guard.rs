//! What keeps a point by itself, without regard to any rule, and what no longer does.

use super::history::instant;
use super::point::{PointFacts, Proof};
use super::policy::RetentionPolicy;
use super::reason::Reason;
use holdfast_types::Timestamp;

/// Reasons that lie in the point alone: those that keep it first, then those that explain.
pub(super) fn guards(point: &PointFacts, policy: &RetentionPolicy, now: Timestamp) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(reason) = &point.pin {
        let reason = reason.clone();
        reasons.push(Reason::Pinned { reason });
    }
    for hold in &point.holds {
        let owner = hold.owner.clone();
        reasons.push(match hold.expires {
            Some(ended) if !hold.is_active(now) => Reason::HoldEnded { owner, ended },
            expires => Reason::Held {
                owner,
                reason: hold.reason.clone(),
                expires,
            },
        });
    }
    if let Some(until) = point.locked_until.filter(|until| *until > now) {
        reasons.push(Reason::Locked { until });
    }
    if point.in_use {
        reasons.push(Reason::InUse);
    }
    if point.safety {
        let until = point.committed.after(policy.keep_safety);
        reasons.push(if until > now {
            Reason::Safety { until }
        } else {
            Reason::SafetyEnded { ended: until }
        });
    }
    if instant(point, now).is_none() {
        let committed = point.committed;
        reasons.push(Reason::ClockSkew { committed });
    }
    if point.collections.is_empty() {
        reasons.push(Reason::ContentsUnknown);
    }
    for (collection, proof) in &point.proofs {
        if let Proof::Failed { why } = proof {
            reasons.push(Reason::ProofFailed {
                collection: collection.clone(),
                why: why.clone(),
            });
        }
    }
    reasons.sort_by_key(|reason| !reason.keeps());
    reasons
}
