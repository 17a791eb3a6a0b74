//! Recovery points that were listed and are no longer in the repository, though nobody is known to have removed them.
//!
//! A manifest that is gone leaves no trace in the repository: the catalogue is the only other witness. So before its listing is
//! made equal to the repository's, at every start and after every check that ends, both are compared; what is missed is kept beside the
//! listing until the point is back or somebody acknowledges it (`backup delete`). Nothing is brought back or removed here. Garbage is
//! not collected while a point is missed that nobody can have removed: its chunks may be all there.
//!
//! | the manifest is gone, and … | the point is |
//! |---|---|
//! | the catalogue says that its deletion had begun here | removed: the process ended before it was taken out of the listing |
//! | its tombstone says that it is being deleted | removed, by whoever wrote that |
//! | neither, and no term but this catalogue's came in between | missed |
//! | neither, and there were other terms | missed; whoever held them may have removed it |
//! | neither, but it was marked for removal | missed: it could have been undeleted |
//! | neither, and this was a copy until it was promoted | not missed: the copy kept what its own rules say, and promotion has named what it lacks |
//!
//! A rebuilt catalogue knows no more than the repository: `rebuild` names what the old one knew, and that is the end of it.

mod words;

pub(crate) use words::{kept_for, tell, warnings};

use crate::catalog::rebuild::Survey;
use crate::catalog::{Catalog, CatalogError, PointSummary};
use crate::core::Core;
use crate::fault::Fault;
use crate::retention::{self, Removal};
use holdfast_repository::{Marks, PROMOTION_JUMP, RepositoryError};
use holdfast_service::failure::Code;
use holdfast_types::{Epoch, RecoveryPointId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use words::name;

/// A recovery point that was listed once and can't be listed now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Astray {
    /// As it was listed.
    pub point: PointSummary,
    /// How it stands.
    pub state: AstrayState,
}

impl Astray {
    /// Whether it is gone and nobody can have removed it on purpose.
    pub(crate) fn is_surely_missed(&self) -> bool {
        matches!(self.state, AstrayState::Missed { others: false, .. })
    }
}

/// How such a point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AstrayState {
    /// Its manifest is there and can't be read: kept only so that it is missed if it goes.
    Unreadable,
    /// Its manifest is gone.
    Missed {
        /// When that was noticed.
        since: Timestamp,
        /// Whether somebody else had written to the repository by then, who may have removed it.
        others: bool,
    },
}

/// What the catalogue knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Listed points.
    pub(crate) points: Vec<PointSummary>,
    /// Those that went astray before.
    pub(crate) astray: Vec<Astray>,
    /// Those whose deletion has begun here.
    pub(crate) leaving: BTreeSet<RecoveryPointId>,
    /// The last term that the catalogue was used in, if that was recorded.
    pub(crate) held: Option<Epoch>,
}

/// What the repository says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Points whose manifests can be read.
    pub(crate) readable: BTreeSet<RecoveryPointId>,
    /// Those whose can't.
    pub(crate) unreadable: BTreeSet<RecoveryPointId>,
    /// Those that are being deleted.
    pub(crate) swept: BTreeSet<RecoveryPointId>,
    /// Whether somebody else may have written to it since the catalogue was last used.
    pub(crate) others: bool,
    /// When it was looked at.
    pub(crate) now: Timestamp,
}

/// Points that are known and can't be listed, by id.
pub(crate) fn compare(known: &Known, found: &Found) -> Vec<Astray> {
    let listed = known.points.iter().map(|point| (point, None));
    let astray = known.astray.iter();
    let astray = astray.map(|astray| (&astray.point, Some(astray.state)));
    let all: BTreeMap<_, _> = astray
        .chain(listed)
        .map(|(point, earlier)| (&point.id, (point, earlier)))
        .collect();
    let state = |id: &RecoveryPointId, earlier: Option<AstrayState>| {
        if found.readable.contains(id) {
            return None;
        }
        if found.unreadable.contains(id) {
            return Some(AstrayState::Unreadable);
        }
        if known.leaving.contains(id) || found.swept.contains(id) {
            return None;
        }
        match earlier {
            Some(missed @ AstrayState::Missed { .. }) => Some(missed),
            Some(AstrayState::Unreadable) | None => Some(AstrayState::Missed {
                since: found.now,
                others: found.others,
            }),
        }
    };
    let astray = all.into_iter().filter_map(|(id, (point, earlier))| {
        let point = point.clone();
        state(id, earlier).map(|state| Astray { point, state })
    });
    astray.collect()
}

impl Found {
    /// What a survey found.
    pub(crate) fn by(survey: &Survey, marks: &Marks, now: Timestamp) -> Self {
        Self {
            readable: survey.points.iter().map(|point| point.id.clone()).collect(),
            unreadable: survey.damaged.iter().map(|(id, _)| id.clone()).collect(),
            swept: swept(marks),
            others: true,
            now,
        }
    }
}

fn swept(marks: &Marks) -> BTreeSet<RecoveryPointId> {
    let stones = marks.tombstones.values().filter(|stone| stone.swept);
    stones.map(|stone| stone.point.clone()).collect()
}

/// At a start in this term, before anything is written: makes the listing equal to what the survey found.
pub(crate) async fn settle(
    catalog: &Catalog,
    survey: &Survey,
    marks: &Marks,
    epoch: Epoch,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let known = catalog.known().await?;
    let mut found = Found::by(survey, marks, now);
    // A catalogue of before terms were recorded can't tell.
    found.others = known.held.is_none_or(|held| held.next() != epoch);
    let mut astray = compare(&known, &found);
    if known.held.is_some_and(|held| is_promoted(held, epoch)) {
        astray.retain(|astray| known.astray.contains(astray));
    }
    tell_new(&known, &astray);
    catalog
        .replace_points(survey.points.clone(), astray, Some(epoch))
        .await
}

/// Whether what the catalogue listed was a copy's primary: a promotion goes far beyond the terms of before.
fn is_promoted(held: Epoch, epoch: Epoch) -> bool {
    epoch.0.saturating_sub(held.0) >= PROMOTION_JUMP
}

/// While the coordinator runs: compares again. Returns what is missed since the last time, as warnings.
pub(crate) async fn look(core: &Core) -> Result<Vec<String>, Fault> {
    // Nothing is deleted meanwhile.
    let _alone = core.retention.removing.lock().await;
    let of_catalog = |error: CatalogError| Fault::from_error(Code::Internal, &error);
    let of_repository = |error: &RepositoryError| core.repository_failed(error);
    // First what is known: what is committed after that is in the repository, too.
    let known = core.catalog.known().await.map_err(of_catalog)?;
    let listed = core.repository.list_point_ids().await;
    let listed = listed.map_err(|error| of_repository(&error))?;
    // Whoever has removed one of them on purpose has claimed a term before.
    let claimed = core.repository.check_epoch(core.epoch).await;
    claimed.map_err(|error| of_repository(&error))?;
    let marks = core.repository.read_marks().await;
    let mut found = Found {
        readable: listed.into_iter().collect(),
        swept: swept(&marks.map_err(|error| of_repository(&error))?),
        others: false,
        now: core.clock.now(),
        unreadable: BTreeSet::new(),
    };
    let mut back = Vec::new();
    for astray in &known.astray {
        let id = &astray.point.id;
        if !found.readable.contains(id) {
            continue;
        }
        match core.repository.read_point(id).await {
            Ok(manifest) => back.push(PointSummary::of(&manifest)),
            Err(error @ RepositoryError::Store(_)) => return Err(of_repository(&error)),
            Err(_) => {
                found.readable.remove(id);
                found.unreadable.insert(id.clone());
            }
        }
    }
    let astray = compare(&known, &found);
    if back.is_empty() && astray == known.astray {
        return Ok(Vec::new());
    }
    let fresh = tell_new(&known, &astray);
    let written = core.catalog.set_astray(astray, back).await;
    written.map_err(of_catalog)?;
    Ok(fresh.iter().map(|missed| name(&missed.point)).collect())
}

/// Points that were not missed before. Each needs a person.
fn tell_new(known: &Known, astray: &[Astray]) -> Vec<Astray> {
    let is_new = |now: &&Astray| {
        let is_missed = matches!(now.state, AstrayState::Missed { .. });
        is_missed && !known.astray.contains(now)
    };
    let fresh: Vec<Astray> = astray.iter().filter(is_new).cloned().collect();
    for missed in &fresh {
        tell(&missed.point);
    }
    fresh
}

/// If the point is missed, its removal is an acknowledgement: it is missed no more. Returns whether it is.
///
/// # Errors
/// `second-operator`; a failure of repository or catalogue.
pub(crate) async fn acknowledge(core: &Core, wish: &Removal, by: &str) -> Result<bool, Fault> {
    let _alone = core.retention.removing.lock().await;
    let of_catalog = |error: CatalogError| Fault::from_error(Code::Internal, &error);
    let astray = core.catalog.astray().await.map_err(of_catalog)?;
    let missed = astray.iter().any(|astray| {
        astray.point.id == wish.point && matches!(astray.state, AstrayState::Missed { .. })
    });
    if !missed {
        return Ok(false);
    }
    let listed = core.repository.list_point_ids().await;
    let listed = listed.map_err(|error| core.repository_failed(&error))?;
    if listed.contains(&wish.point) {
        return Ok(false);
    }
    if wish.dry_run {
        return Ok(true);
    }
    retention::confirm::require(core, &format!("delete {}", wish.point), by)?;
    let removed = core.catalog.remove_point(wish.point.clone()).await;
    removed.map_err(of_catalog)?;
    tracing::warn!(point = %wish.point, by, reason = wish.reason, "a recovery point that is gone is missed no more");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{Astray, AstrayState, Found, Known, compare, settle};
    use crate::catalog::rebuild::Survey;
    use crate::catalog::{Catalog, PointSummary};
    use crate::fixture::{NOW, manifest};
    use holdfast_repository::{Marks, PROMOTION_JUMP};
    use holdfast_types::{Epoch, RecoveryPointId, Timestamp};

    const NEVER: Timestamp = Timestamp::EPOCH;

    fn point(n: u32) -> PointSummary {
        PointSummary::of(&manifest(
            &format!("20261121t101530z-{n:08x}"),
            i64::from(n),
        ))
    }

    fn id(n: u32) -> RecoveryPointId {
        point(n).id
    }

    fn missed(n: u32, since: Timestamp, others: bool) -> Astray {
        Astray {
            point: point(n),
            state: AstrayState::Missed { since, others },
        }
    }

    fn unreadable(n: u32) -> Astray {
        Astray {
            point: point(n),
            state: AstrayState::Unreadable,
        }
    }

    /// Points 1 to 7 were known; 1 and 2 are as they were.
    fn known() -> Known {
        Known {
            points: vec![point(1), point(2), point(3), point(4)],
            astray: vec![missed(5, NEVER, true), unreadable(6), unreadable(7)],
            ..Known::default()
        }
    }

    fn found() -> Found {
        Found {
            readable: [id(1), id(2)].into(),
            now: NOW,
            ..Found::default()
        }
    }

    #[test]
    fn what_is_gone_is_missed_and_since_when_it_is() {
        let astray = compare(&known(), &found());
        let want = [
            missed(3, NOW, false),
            missed(4, NOW, false),
            missed(5, NEVER, true),
            missed(6, NOW, false),
            missed(7, NOW, false),
        ];
        assert_eq!(astray, want);
        let others = Found {
            others: true,
            ..found()
        };
        assert_eq!(compare(&known(), &others)[0], missed(3, NOW, true));
        assert_eq!(compare(&Known::default(), &found()), [], "nothing is known");
    }

    #[tokio::test]
    async fn who_may_have_removed_it_is_told_by_the_terms() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.redb");
        let catalog = Catalog::create(&path, "0123").unwrap();
        let survey = Survey {
            points: vec![point(1)],
            ..Survey::default()
        };
        let promoted = 3 + PROMOTION_JUMP;
        for (epoch, astray) in [
            (4, vec![missed(2, NOW, false)]),
            (5, vec![missed(2, NOW, true)]),
            (promoted, vec![]),
        ] {
            let all = vec![point(1), point(2)];
            let known = catalog.replace_points(all, vec![], Some(Epoch(3)));
            known.await.unwrap();
            let (none, epoch) = (Marks::default(), Epoch(epoch));
            let settled = settle(&catalog, &survey, &none, epoch, NOW).await;
            settled.unwrap();
            assert_eq!(catalog.astray().await.unwrap(), astray, "{epoch}");
            assert_eq!(catalog.points().await.unwrap(), [point(1)]);
        }
    }

    #[test]
    fn what_is_back_unreadable_or_removed_is_not_missed() {
        let known = Known {
            leaving: [id(3), id(1)].into(),
            ..known()
        };
        let found = Found {
            readable: [id(1), id(2), id(5), id(6)].into(),
            unreadable: [id(7)].into(),
            swept: [id(4)].into(),
            ..found()
        };
        assert_eq!(compare(&known, &found), [unreadable(7)]);
    }
}
