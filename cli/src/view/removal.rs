//! What people say of single recovery points: marks, pins and holds.

use super::text::{pairs, short_time, table};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::Timestamp;
use serde::Serialize;

/// The mark of a recovery point that will be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RemovalView {
    pub(super) recovery_point: String,
    since: Timestamp,
    /// From then on it may be gone at any moment.
    pub(crate) until: Timestamp,
    pub(super) reasons: Vec<String>,
    pub(super) by: String,
}

/// What became of one recovery point.
#[derive(Debug, Serialize)]
pub(crate) struct MarkedView {
    recovery_point: String,
    /// Whether anything was changed.
    changed: bool,
    removal: Option<RemovalView>,
    #[serde(skip)]
    said: String,
}

/// One legal hold.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HoldView {
    hold: String,
    reason: String,
    owner: String,
    placed: Timestamp,
    expires: Option<Timestamp>,
    active: bool,
    recovery_points: Vec<String>,
    collections: Vec<String>,
    /// Recovery points that it is on now.
    covers: Vec<String>,
    /// Removal marks that it took back.
    undeleted: Vec<String>,
    #[serde(skip)]
    said: &'static str,
}

/// `hold list`.
#[derive(Debug, Serialize)]
pub(crate) struct HoldsView {
    holds: Vec<HoldView>,
}

impl From<&v1::RemovalMark> for RemovalView {
    fn from(wire: &v1::RemovalMark) -> Self {
        Self {
            recovery_point: wire.recovery_point.clone(),
            since: Timestamp::from_micros(wire.since_us),
            until: Timestamp::from_micros(wire.until_us),
            reasons: wire.reasons.clone(),
            by: wire.by.clone(),
        }
    }
}

impl MarkedView {
    pub(crate) fn deleted(recovery_point: String, mark: Option<&v1::RemovalMark>) -> Self {
        let removal = mark.map(RemovalView::from);
        let said = match &removal {
            Some(mark) => format!(
                "is marked for removal; until {}: holdfast backup undelete {recovery_point}",
                short_time(mark.until)
            ),
            None => "can be removed: repeat it with --confirm".to_owned(),
        };
        Self {
            recovery_point,
            changed: removal.is_some(),
            removal,
            said,
        }
    }

    /// It was lost before.
    pub(crate) fn gone(recovery_point: String, confirmed: bool) -> Self {
        let said = if confirmed {
            "was gone from the repository before: status no longer warns of that"
        } else {
            "is gone from the repository already: repeat it with --confirm, and status no longer warns of that"
        };
        Self::said(recovery_point, confirmed, said)
    }

    pub(crate) fn said(recovery_point: String, changed: bool, said: &str) -> Self {
        Self {
            recovery_point,
            changed,
            removal: None,
            said: said.to_owned(),
        }
    }
}

impl View for MarkedView {
    const KIND: &'static str = "backup-mark";

    fn text(&self) -> String {
        format!("{} {}", self.recovery_point, self.said)
    }
}

impl From<&v1::Hold> for HoldView {
    fn from(wire: &v1::Hold) -> Self {
        let expires = wire.expires_us;
        Self {
            hold: wire.id.clone(),
            reason: wire.reason.clone(),
            owner: wire.owner.clone(),
            placed: Timestamp::from_micros(wire.placed_us),
            expires: (expires != 0).then(|| Timestamp::from_micros(expires)),
            active: wire.active,
            recovery_points: wire.recovery_points.clone(),
            collections: wire.collections.clone(),
            covers: wire.covers.clone(),
            undeleted: Vec::new(),
            said: "",
        }
    }
}

impl HoldView {
    pub(crate) fn placed(wire: &v1::Hold, undeleted: Vec<String>) -> Self {
        Self {
            undeleted,
            said: "is placed",
            ..Self::from(wire)
        }
    }

    pub(crate) fn released(wire: &v1::Hold) -> Self {
        Self {
            said: "is released: what it covered is judged by the rules again",
            ..Self::from(wire)
        }
    }

    pub(crate) fn to_be_released(wire: &v1::Hold) -> Self {
        Self {
            said: "would be released: repeat it with --confirm",
            ..Self::from(wire)
        }
    }

    fn until(&self) -> String {
        let end = self.expires.map(short_time);
        end.unwrap_or_else(|| "released".to_owned())
    }

    fn on(&self) -> String {
        let all = self.recovery_points.iter().chain(&self.collections);
        all.cloned().collect::<Vec<_>>().join(", ")
    }
}

impl View for HoldView {
    const KIND: &'static str = "hold";

    fn text(&self) -> String {
        let mut text = format!("Hold {} {}", self.hold, self.said);
        if !self.undeleted.is_empty() {
            text.push_str(&format!("\nUndeleted: {}", self.undeleted.join(", ")));
        }
        let lines = pairs([
            ("On", self.on()),
            ("Owner", self.owner.clone()),
            ("Reason", self.reason.clone()),
            ("Until", self.until()),
        ]);
        format!("{text}\n{lines}")
    }
}

impl View for HoldsView {
    const KIND: &'static str = "holds";

    fn text(&self) -> String {
        if self.holds.is_empty() {
            return "No legal holds.".to_owned();
        }
        let rows = self.holds.iter().map(|hold| {
            vec![
                hold.hold.clone(),
                if hold.active { "active" } else { "ended" }.to_owned(),
                hold.until(),
                hold.owner.clone(),
                hold.on(),
                hold.covers.len().to_string(),
                hold.reason.clone(),
            ]
        });
        table(
            &["HOLD", "STATE", "UNTIL", "OWNER", "ON", "POINTS", "REASON"],
            rows,
        )
    }
}

impl From<&v1::ListHoldsResponse> for HoldsView {
    fn from(wire: &v1::ListHoldsResponse) -> Self {
        Self {
            holds: wire.holds.iter().map(HoldView::from).collect(),
        }
    }
}
