//! Copies of the repository.

use super::text::{millis, short_time};
use super::{FailureLine, some};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::{ByteCount, Timestamp};
use serde::Serialize;

/// `repo copy list`.
#[derive(Debug, Serialize)]
pub(crate) struct CopiesView {
    copies: Vec<CopyView>,
}

/// One copy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CopyView {
    pub(crate) name: String,
    place: String,
    schedule: String,
    made: bool,
    recovery_points: Option<u64>,
    lag: Option<LagView>,
    max_lag_seconds: u64,
    last_run: Option<RunView>,
    open_run: Option<RunView>,
    trouble: Option<FailureLine>,
    trouble_at: Option<Timestamp>,
    again: Option<Timestamp>,
    last_check: Option<CopyCheckView>,
    warnings: Vec<String>,
    /// Holds, pins and keys that the repository no longer has.
    only_here: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct LagView {
    recovery_points: u64,
    stored_bytes: u64,
    seconds: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct RunView {
    started: Timestamp,
    ended: Option<Timestamp>,
    recovery_points: u64,
    total: Option<u64>,
    copied_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
struct CopyCheckView {
    ended: Timestamp,
    covered: String,
    needs_attention: bool,
}

/// `repo copy add`.
#[derive(Debug, Serialize)]
pub(crate) struct CopyAddedView {
    name: String,
    place: String,
    found: String,
    made: bool,
}

/// `repo copy sync`, `verify` and `remove`.
#[derive(Debug, Serialize)]
pub(crate) struct CopyChangeView {
    name: String,
    changed: bool,
    waited: bool,
    released: u64,
    /// The job that it is; absent for `remove`.
    job: Option<String>,
    copy: Option<CopyView>,
    #[serde(skip)]
    said: String,
}

fn instant(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}

impl From<&v1::CopyRun> for RunView {
    fn from(wire: &v1::CopyRun) -> Self {
        Self {
            started: Timestamp::from_micros(wire.started_us),
            ended: instant(wire.ended_us),
            recovery_points: wire.points,
            total: (wire.ended_us == 0).then_some(wire.total),
            copied_bytes: wire.bytes,
        }
    }
}

impl From<&v1::CopyStatus> for CopyView {
    fn from(wire: &v1::CopyStatus) -> Self {
        Self {
            name: wire.name.clone(),
            place: wire.place.clone(),
            schedule: wire.schedule.clone(),
            made: wire.made,
            recovery_points: wire.lag.map(|_| wire.recovery_points),
            lag: wire.lag.map(|lag| LagView {
                recovery_points: lag.points,
                stored_bytes: lag.bytes,
                seconds: lag.seconds,
            }),
            max_lag_seconds: wire.max_lag_seconds,
            last_run: wire.last_run.as_ref().map(RunView::from),
            open_run: wire.open_run.as_ref().map(RunView::from),
            trouble: wire.trouble.as_ref().map(FailureLine::from),
            trouble_at: instant(wire.trouble_at_us),
            again: instant(wire.again_us),
            last_check: wire.last_check.as_ref().map(|check| CopyCheckView {
                ended: Timestamp::from_micros(check.ended_us),
                covered: check.covered.clone(),
                needs_attention: check.needs_attention,
            }),
            warnings: wire.warnings.clone(),
            only_here: wire.only_here.clone(),
        }
    }
}

impl CopyView {
    /// How it stands, as a phrase.
    pub(crate) fn summary(&self) -> String {
        let (Some(lag), Some(points)) = (self.lag, self.recovery_points) else {
            return "not seen yet".to_owned();
        };
        if lag.recovery_points == 0 {
            return format!("up to date, {points} recovery points");
        }
        format!(
            "behind by {} recovery points ({}, {}), {points} are there",
            lag.recovery_points,
            ByteCount(lag.stored_bytes),
            millis(lag.seconds.saturating_mul(1000))
        )
    }

    fn lines(&self) -> String {
        let mut text = format!(
            "{}: {}\n  at {}, {}",
            self.name,
            self.summary(),
            self.place,
            self.schedule
        );
        if let Some(run) = &self.open_run {
            let of = run.total.unwrap_or_default();
            text += &format!(
                "\n  a run since {}: {} of {of} recovery points came",
                short_time(run.started),
                run.recovery_points
            );
        }
        if let Some(ended) = self.last_run.and_then(|run| run.ended) {
            text += &format!("\n  last brought up to date {}", short_time(ended));
        }
        if let Some(check) = &self.last_check {
            let verdict = if check.needs_attention {
                "damage"
            } else {
                "sound"
            };
            let ended = short_time(check.ended);
            text += &format!("\n  last check {ended}, {verdict}: {}", check.covered);
        }
        for warning in &self.warnings {
            text += &format!("\n  WARNING: {warning}");
        }
        text
    }
}

impl From<&v1::ListCopiesResponse> for CopiesView {
    fn from(wire: &v1::ListCopiesResponse) -> Self {
        Self {
            copies: wire.copies.iter().map(CopyView::from).collect(),
        }
    }
}

impl View for CopiesView {
    const KIND: &'static str = "copies";

    fn text(&self) -> String {
        if self.copies.is_empty() {
            return "no copy is configured: add a [[copy]] to the coordinator's configuration"
                .to_owned();
        }
        let copies: Vec<String> = self.copies.iter().map(CopyView::lines).collect();
        copies.join("\n")
    }
}

impl CopyAddedView {
    pub(crate) fn new(name: String, wire: v1::AddCopyResponse) -> Self {
        Self {
            name,
            place: wire.place,
            found: wire.found,
            made: wire.made,
        }
    }
}

impl View for CopyAddedView {
    const KIND: &'static str = "copy-add";

    fn text(&self) -> String {
        let Self { name, place, .. } = self;
        let found = some(&self.found).unwrap_or_default();
        if self.made {
            return format!("{place} is the copy {name} now, and is being filled ({found})");
        }
        format!(
            "{place}: {found}\nnothing was changed: where the place exists, try it with `holdfast repo probe --copy {name}`, then repeat this with --confirm"
        )
    }
}

impl CopyChangeView {
    pub(crate) fn synced(
        copy: &v1::CopyStatus,
        waited: bool,
        answer: &v1::SyncCopyResponse,
    ) -> Self {
        let released = answer.released;
        let view = CopyView::from(copy);
        let mut said = if waited {
            view.lines()
        } else {
            format!(
                "copy {} is being brought up to date; follow it with `holdfast jobs watch {}`",
                copy.name, answer.job_id
            )
        };
        if released > 0 {
            said += &format!("\n{released} objects were written or removed for --release");
        }
        Self {
            name: copy.name.clone(),
            changed: true,
            waited,
            released,
            job: some(&answer.job_id),
            copy: Some(view),
            said,
        }
    }

    /// What `--release` would remove.
    pub(crate) fn would_release(copy: &v1::CopyStatus) -> Self {
        let name = &copy.name;
        let said = if copy.only_here.is_empty() {
            format!(
                "nothing would be removed: the last run found no hold, pin or key on copy {name} that the repository no longer has"
            )
        } else {
            format!(
                "these would be removed from copy {name}, because the repository no longer has them:\n  {}\nnothing was changed: if they were released or removed on purpose, repeat it with --confirm",
                copy.only_here.join("\n  ")
            )
        };
        Self {
            name: name.clone(),
            changed: false,
            waited: false,
            released: 0,
            job: None,
            copy: Some(CopyView::from(copy)),
            said,
        }
    }

    pub(crate) fn verified(copy: &v1::CopyStatus, waited: bool, job: &str) -> Self {
        let view = CopyView::from(copy);
        let said = if waited {
            view.lines()
        } else {
            format!(
                "copy {} is being checked; follow it with `holdfast jobs watch {job}`",
                copy.name
            )
        };
        Self {
            name: copy.name.clone(),
            changed: true,
            waited,
            released: 0,
            job: some(job),
            copy: Some(view),
            said,
        }
    }

    pub(crate) fn removed(name: String, removed: bool) -> Self {
        let said = if removed {
            format!(
                "copy {name} is left as it is, and nothing of it was deleted: take its [[copy]] out of the configuration"
            )
        } else {
            format!("copy {name} would be left as it is: repeat it with --confirm")
        };
        Self {
            name,
            changed: removed,
            waited: false,
            released: 0,
            job: None,
            copy: None,
            said,
        }
    }
}

impl View for CopyChangeView {
    const KIND: &'static str = "copy-change";

    fn text(&self) -> String {
        self.said.clone()
    }
}
