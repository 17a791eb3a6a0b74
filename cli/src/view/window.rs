//! Instants: which can be restored, and to which one a restore leads.

use super::text::grouped;
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;

/// `restore window`.
#[derive(Debug, Serialize)]
pub(crate) struct WindowsView {
    pub(crate) collections: Vec<WindowView>,
}

/// One collection.
#[derive(Debug, Serialize)]
pub(crate) struct WindowView {
    pub(crate) collection: String,
    /// Every instant within one can be restored.
    pub(crate) stretches: Vec<StretchView>,
    /// What lies between them, and behind the last.
    pub(crate) gaps: Vec<GapView>,
    /// Recovery points that can be restored as they are only.
    pub(crate) singles: Vec<SingleView>,
}

/// Instants that can be restored.
#[derive(Debug, Serialize)]
pub(crate) struct StretchView {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// Those that are used, oldest first.
    pub(crate) recovery_points: Vec<String>,
}

/// Instants that can't be.
#[derive(Debug, Serialize)]
pub(crate) struct GapView {
    pub(crate) after: Timestamp,
    /// Null if nothing later can be restored.
    pub(crate) before: Option<Timestamp>,
    pub(crate) why: Vec<String>,
}

/// A recovery point that leads to no instant.
#[derive(Debug, Serialize)]
pub(crate) struct SingleView {
    pub(crate) recovery_point: String,
    /// Everything acknowledged before is contained.
    pub(crate) captured_at: Timestamp,
    pub(crate) why: Vec<String>,
}

/// Where a restore with `--to` leads.
#[derive(Debug, Serialize)]
pub(crate) struct InstantView {
    /// What was asked for: an instant, `latest`, or `before-drop`; null with `--to-op`.
    pub(crate) to: Option<String>,
    /// The operation that was asked for.
    pub(crate) to_op: Option<u64>,
    /// How operations get there: `splice` or `requests`.
    pub(crate) by: &'static str,
    /// Nothing is contained that was written after it.
    pub(crate) instant: Timestamp,
    /// Everything is contained that was acknowledged before it.
    pub(crate) complete_before: Timestamp,
    /// Operations that are replayed, of all shards.
    pub(crate) operations: u64,
    /// Bytes of their data, about.
    pub(crate) bytes: u64,
}

/// What is replayed on a shard.
#[derive(Debug, Serialize)]
pub(crate) struct ReplayedView {
    pub(crate) shard: u32,
    /// Whose log it is.
    pub(crate) node: String,
    pub(crate) timeline: String,
    /// The first operation.
    pub(crate) from: u64,
    /// The operation after the last.
    pub(crate) until: u64,
    pub(crate) bytes: u64,
    pub(crate) complete_before: Timestamp,
}

impl From<&v1::RestoreWindowResponse> for WindowsView {
    fn from(wire: &v1::RestoreWindowResponse) -> Self {
        Self {
            collections: wire.collections.iter().map(WindowView::from).collect(),
        }
    }
}

impl From<&v1::CollectionWindow> for WindowView {
    fn from(wire: &v1::CollectionWindow) -> Self {
        let stretches = wire.stretches.iter().map(|stretch| StretchView {
            from: Timestamp::from_micros(stretch.from_us),
            to: Timestamp::from_micros(stretch.to_us),
            recovery_points: stretch.recovery_points.clone(),
        });
        let gaps = wire.gaps.iter().map(|gap| GapView {
            after: Timestamp::from_micros(gap.after_us),
            before: (gap.before_us != 0).then(|| Timestamp::from_micros(gap.before_us)),
            why: gap.why.clone(),
        });
        let singles = wire.singles.iter().map(|single| SingleView {
            recovery_point: single.recovery_point.clone(),
            captured_at: Timestamp::from_micros(single.captured_us),
            why: single.why.clone(),
        });
        Self {
            collection: wire.collection.clone(),
            stretches: stretches.collect(),
            gaps: gaps.collect(),
            singles: singles.collect(),
        }
    }
}

impl From<&v1::PlannedInstant> for InstantView {
    fn from(wire: &v1::PlannedInstant) -> Self {
        use v1::restore_target::Target;
        let by = match wire.target.is_some_and(|target| target.by_requests) {
            true => "requests",
            false => "splice",
        };
        let (to, to_op) = match wire.target.and_then(|target| target.target) {
            Some(Target::InstantUs(at)) => (Some(Timestamp::from_micros(at).to_string()), None),
            Some(Target::Latest(_)) => (Some("latest".to_owned()), None),
            Some(Target::Operation(number)) => (None, Some(number)),
            Some(Target::BeforeDrop(_)) => (Some("before-drop".to_owned()), None),
            None => (None, None),
        };
        Self {
            to,
            to_op,
            by,
            instant: Timestamp::from_micros(wire.instant_us),
            complete_before: Timestamp::from_micros(wire.complete_before_us),
            operations: wire.entries,
            bytes: wire.bytes,
        }
    }
}

impl From<&v1::ReplayedLog> for ReplayedView {
    fn from(wire: &v1::ReplayedLog) -> Self {
        Self {
            shard: wire.shard_id,
            node: wire.node.clone(),
            timeline: wire.timeline.clone(),
            from: wire.from,
            until: wire.until,
            bytes: wire.bytes,
            complete_before: Timestamp::from_micros(wire.complete_before_us),
        }
    }
}

impl InstantView {
    /// What it means, in sentences.
    pub(super) fn sentences(&self) -> String {
        let width = self.instant.since(self.complete_before);
        let width = match width.is_zero() {
            true => String::new(),
            false => format!(
                "\nWhat was written in the {:.3} s between is contained in part, in the order in which each shard logged it",
                width.as_secs_f64()
            ),
        };
        format!(
            "Nothing written after {} is contained; everything acknowledged before {} is{width}\nReplayed: {} operations, about {}, by {}",
            self.instant,
            self.complete_before,
            grouped(self.operations),
            ByteCount(self.bytes),
            self.by,
        )
    }
}

impl View for WindowsView {
    const KIND: &'static str = "restore-window";

    fn text(&self) -> String {
        let each = self.collections.iter().map(WindowView::text);
        let text = each.collect::<Vec<_>>().join("\n\n");
        if text.is_empty() {
            "There is no recovery point yet".to_owned()
        } else {
            text
        }
    }
}

impl WindowView {
    fn text(&self) -> String {
        let mut lines = vec![self.collection.clone()];
        if self.stretches.is_empty() {
            lines.push("  no instant can be restored".to_owned());
        }
        for (n, stretch) in self.stretches.iter().enumerate() {
            let points = &stretch.recovery_points;
            let more = match points.len().saturating_sub(1) {
                0 => String::new(),
                more => format!(" and {more} later"),
            };
            let first = points.first().map_or("", String::as_str);
            lines.push(format!(
                "  from {} to {}, by {first}{more}",
                stretch.from, stretch.to
            ));
            if let Some(gap) = self.gaps.get(n) {
                let until = gap.before.map(|before| format!(" until {before}"));
                lines.push(format!(
                    "    then none{}: {}",
                    until.unwrap_or_default(),
                    gap.why.join("; ")
                ));
            }
        }
        for single in &self.singles {
            lines.push(format!(
                "  {} of {}, as it is only: {}",
                single.recovery_point,
                single.captured_at,
                single.why.join("; ")
            ));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::WindowsView;
    use crate::output::{View as _, render_json};
    use holdfast_proto::v1;

    const POINT: &str = "20261121t101530z-0a1b2c3d";

    fn window() -> v1::RestoreWindowResponse {
        let stretch = |from_us, to_us| v1::WindowStretch {
            from_us,
            to_us,
            recovery_points: vec![POINT.into()],
        };
        v1::RestoreWindowResponse {
            collections: vec![v1::CollectionWindow {
                collection: "products".into(),
                stretches: vec![
                    stretch(1_795_000_000_000_000, 1_795_000_100_500_000),
                    stretch(1_795_000_200_000_000, 1_795_000_300_000_000),
                ],
                singles: vec![v1::WindowSingle {
                    recovery_point: POINT.into(),
                    captured_us: 1_794_000_000_000_000,
                    why: vec!["shard 0: its log was not archived when it was captured".into()],
                }],
                gaps: vec![
                    v1::WindowGap {
                        after_us: 1_795_000_100_500_000,
                        before_us: 1_795_000_200_000_000,
                        why: vec!["shard 0: operations 7 to 9 are missing".into()],
                    },
                    v1::WindowGap {
                        after_us: 1_795_000_300_000_000,
                        before_us: 0,
                        why: vec!["shard 0: nothing more of its log is archived".into()],
                    },
                ],
            }],
        }
    }

    #[test]
    fn restore_windows() {
        let view = WindowsView::from(&window());
        insta::assert_snapshot!(render_json(&view, false), @r#"
{"kind":"restore-window","format":1,"collections":[{"collection":"products","stretches":[{"from":"2026-11-18T11:06:40Z","to":"2026-11-18T11:08:20.5Z","recovery_points":["20261121t101530z-0a1b2c3d"]},{"from":"2026-11-18T11:10:00Z","to":"2026-11-18T11:11:40Z","recovery_points":["20261121t101530z-0a1b2c3d"]}],"gaps":[{"after":"2026-11-18T11:08:20.5Z","before":"2026-11-18T11:10:00Z","why":["shard 0: operations 7 to 9 are missing"]},{"after":"2026-11-18T11:11:40Z","before":null,"why":["shard 0: nothing more of its log is archived"]}],"singles":[{"recovery_point":"20261121t101530z-0a1b2c3d","captured_at":"2026-11-06T21:20:00Z","why":["shard 0: its log was not archived when it was captured"]}]}]}
"#);
        insta::assert_snapshot!(view.text(), @r"
products
  from 2026-11-18T11:06:40Z to 2026-11-18T11:08:20.5Z, by 20261121t101530z-0a1b2c3d
    then none until 2026-11-18T11:10:00Z: shard 0: operations 7 to 9 are missing
  from 2026-11-18T11:10:00Z to 2026-11-18T11:11:40Z, by 20261121t101530z-0a1b2c3d
    then none: shard 0: nothing more of its log is archived
  20261121t101530z-0a1b2c3d of 2026-11-06T21:20:00Z, as it is only: shard 0: its log was not archived when it was captured
");
    }
}
