//! A repository out of which points and entries go, time after time, while it grows and rots: what the rules promised stays.

use super::model::{POINTS, Truth, one_by_one, point_id, t, truth, vouched_history};
use super::to;
use crate::fixture::name;
use crate::instant::{
    ArchivedLog, Base, Choice, History, InstantTarget, PartView, Standing, choose,
};
use crate::logs::{LogEnd, LogFacts, LogPoint, PartFacts, check_logs, plan_logs, reach, stretch};
use crate::retention::fixture::dated;
use crate::retention::{
    Decision, LogReach, LogRun, PointFacts, RetentionPolicy, Rule, plan_retention,
};
use holdfast_types::{RecoveryPointId, ShardId, TimelineId, Timestamp};
use jiff::tz::TimeZone;
use proptest::prelude::{Strategy, prop_assert, proptest};
use proptest::test_runner::Config;
use proptest::{collection, option, sample};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type LogKey = (TimelineId, ShardId);

/// When every object was stored, by the store: the repository was copied.
const COPIED: i64 = 1_000_000;

/// What happens between two times at which rules are applied.
#[derive(Clone, Debug)]
struct Turn {
    later: i64,
    window: Option<u64>,
    keep_last: u32,
    /// Somebody deletes a point.
    deleted: Option<usize>,
    /// Something befalls a part of a log, and a verification finds it.
    damage: Option<(usize, usize, Damage)>,
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Gone,
    Unreadable,
    /// Nothing is wrong with it, but it is taken to be damaged.
    Doubted,
}

/// What is there, and what is not any more.
struct World {
    truths: Vec<Truth>,
    /// As it would be if nothing ever went.
    whole: History,
    committed: BTreeMap<RecoveryPointId, i64>,
    removed: BTreeSet<RecoveryPointId>,
    /// Of each log, the first entry that was left.
    below: BTreeMap<LogKey, u64>,
    gone: BTreeSet<(LogKey, u64)>,
    unreadable: BTreeSet<(LogKey, u64)>,
    doubted: BTreeSet<(LogKey, u64)>,
}

impl World {
    fn new(truths: Vec<Truth>) -> Self {
        let truths = one_by_one(truths.into_iter().map(Truth::kept).collect());
        let committed = (0..POINTS).map(|nth| {
            let last = truths.iter().map(|truth| truth.committed(nth)).max();
            (point_id(nth), last.unwrap())
        });
        Self {
            whole: vouched_history(&truths),
            committed: committed.collect(),
            removed: BTreeSet::new(),
            below: BTreeMap::new(),
            gone: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            doubted: BTreeSet::new(),
            truths,
        }
    }

    /// What is there. What a capture that went had said of a log to which nothing was written, its agent says.
    fn view(&self, now: i64) -> History {
        let mut view = self.whole.clone();
        view.points.retain(|point| self.committed[&point.id] <= now);
        let bases = view
            .points
            .iter()
            .flat_map(|point| &point.collections[&name("docs")]);
        let said = bases.filter_map(|base| {
            Some(Standing {
                timeline: base.timeline?,
                shard: base.shard,
                at: base.captured_at,
                next: base.next?,
            })
        });
        view.standings = said.collect();
        view.points
            .retain(|point| !self.removed.contains(&point.id));
        for log in &mut view.logs {
            let key = key(log);
            let below = self.below.get(&key).copied().unwrap_or(0);
            log.parts.retain(|part| {
                let is_stored = last_look(part).is_some_and(|by| by <= t(now));
                is_stored && part.first() >= below && !self.gone.contains(&(key, part.first()))
            });
            for part in &mut log.parts {
                let first = part.first();
                if self.unreadable.contains(&(key, first)) {
                    let why = "bit rot".to_owned();
                    *part = PartView::Unreadable { first, why };
                }
            }
        }
        view.logs.retain(|log| !log.parts.is_empty());
        view
    }

    /// Whether something was lost that nobody had decided upon.
    fn befalls(&mut self, turn: &Turn, now: i64) -> bool {
        let view = self.view(now);
        let mut is_lost = false;
        if let Some(nth) = turn.deleted
            && !view.points.is_empty()
        {
            let point = &view.points[nth % view.points.len()];
            is_lost |= self.removed.insert(point.id.clone());
        }
        if let Some((log, part, damage)) = turn.damage
            && !view.logs.is_empty()
        {
            let log = &view.logs[log % view.logs.len()];
            let nth = part % log.parts.len();
            let place = (key(log), log.parts[nth].first());
            is_lost |= match damage {
                Damage::Doubted => {
                    self.doubted.insert(place);
                    false
                }
                // That the last ones are gone is not seen before there is another.
                Damage::Gone if nth + 1 < log.parts.len() => self.gone.insert(place),
                Damage::Gone | Damage::Unreadable => self.unreadable.insert(place),
            };
        }
        is_lost
    }

    fn remove_points(&mut self, policy: &RetentionPolicy, now: i64) {
        let points = self.points(&self.view(now), now);
        let facts: Vec<PointFacts> = points.into_iter().map(|point| point.facts).collect();
        for verdict in plan_retention(&facts, policy, &TimeZone::UTC, t(now)) {
            if verdict.decision == Decision::Remove {
                self.removed.insert(verdict.id);
            }
        }
    }

    fn remove_entries(&mut self, policy: &RetentionPolicy, now: i64) {
        let view = self.view(now);
        let points = self.points(&view, now);
        let logs = view.logs.iter().map(|log| LogFacts {
            timeline: log.timeline,
            shard: log.shard,
            collection: Some(name("docs")),
            followed: false,
            parts: log.parts.iter().map(listed).collect(),
        });
        let logs: Vec<LogFacts> = logs.collect();
        let verdicts = plan_logs(&points, &logs, policy, Duration::ZERO, t(now));
        let wrong = check_logs(&verdicts, &points, &logs, policy, Duration::ZERO, t(now));
        assert!(wrong.is_empty(), "{wrong:?}");
        for (log, verdict) in logs.iter().zip(verdicts) {
            if verdict.surplus > 0 {
                let left = log.parts.get(verdict.surplus);
                let below = left.map_or(u64::MAX, |part| part.first);
                self.below.insert((log.timeline, log.shard), below);
            }
        }
    }

    /// What the coordinator knows of points, in its way.
    fn points(&self, view: &History, now: i64) -> Vec<LogPoint> {
        let points = view.points.iter().map(|point| {
            let mut facts = dated("docs", t(self.committed[&point.id]), 0);
            facts.id = point.id.clone();
            let bases = point.collections[&name("docs")].iter();
            let logs: Option<_> = bases.map(|base| self.run(view, base, now)).collect();
            facts.logs = logs.map(|logs| (name("docs"), logs)).into_iter().collect();
            LogPoint {
                facts,
                collections: point.collections.clone(),
                marked: false,
            }
        });
        points.collect()
    }

    fn run(&self, view: &History, base: &Base, now: i64) -> Option<(LogRun, LogReach)> {
        let (timeline, certain) = (base.timeline?, base.certain?);
        let (shard, own) = (base.shard, (timeline, base.shard));
        let log = view.logs.iter().find(|log| key(log) == own);
        let parts = log.map_or(&[][..], |log| &log.parts);
        let facts: Vec<PartFacts> = parts.iter().map(listed).collect();
        let doubted = log.map(|log| self.doubted(log)).unwrap_or_default();
        let stretch = stretch(&facts, &doubted, certain);
        let part = stretch
            .last
            .and_then(|last| parts.iter().find(|part| part.first() == last.first));
        let newest = parts
            .last()
            .map(|last| last_look(last).unwrap_or(t(COPIED)));
        let is_live = self.truths[shard.0 as usize].is_looked_at(base, now);
        let said = view
            .standings
            .iter()
            .filter(|said| (said.timeline, said.shard) == own);
        let known = said.map(|said| said.at).max();
        // The end of a log is not judged before it is there.
        let arriving = !is_live && self.is_arriving(own, now);
        let end = LogEnd {
            is_live,
            newest: newest.unwrap_or(Timestamp::EPOCH),
            known: if arriving {
                t(now)
            } else {
                known.unwrap_or(Timestamp::EPOCH)
            },
        };
        let run = LogRun {
            shard,
            timeline,
            stretch: stretch.number,
        };
        Some((run, reach(&stretch, part.and_then(last_look), &end, t(now))))
    }

    fn is_arriving(&self, own: LogKey, now: i64) -> bool {
        let log = self.whole.logs.iter().find(|log| key(log) == own);
        let mut parts = log.into_iter().flat_map(|log| &log.parts);
        parts.any(|part| last_look(part).is_some_and(|by| by > t(now)))
    }

    /// What a verification flags.
    fn doubted(&self, log: &ArchivedLog) -> BTreeSet<u64> {
        let mut doubted = BTreeSet::new();
        let mut end = None;
        for part in &log.parts {
            let first = part.first();
            let next = match part {
                PartView::Read(part) => Some(part.next),
                PartView::Unreadable { .. } => None,
            };
            let follows = end.is_none_or(|end| end == first);
            if next.is_none() || !follows || self.doubted.contains(&(key(log), first)) {
                doubted.insert(first);
            }
            end = next;
        }
        doubted
    }

    /// For each shard, below which number operations are contained, if the instant can be restored.
    fn state(&self, view: &History, at: i64) -> Option<Vec<u64>> {
        let choice = choose(view, &to(InstantTarget::Instant(t(at)))).ok()?;
        Some(self.contained(&choice))
    }

    fn contained(&self, choice: &Choice) -> Vec<u64> {
        let nth = (0..POINTS).find(|nth| point_id(*nth) == choice.point);
        let logs = choice.collections[0].shards.iter();
        let until = logs.map(|log| {
            let base = self.truths[log.shard.0 as usize].base(log.shard.0, nth.unwrap());
            log.until.max(base.next.unwrap())
        });
        until.collect()
    }
}

fn key(log: &ArchivedLog) -> LogKey {
    (log.timeline, log.shard)
}

fn last_look(part: &PartView) -> Option<Timestamp> {
    match part {
        PartView::Read(part) => Some(part.looks.last()?.by),
        PartView::Unreadable { .. } => None,
    }
}

fn listed(part: &PartView) -> PartFacts {
    PartFacts {
        first: part.first(),
        size: 1,
        stored: t(COPIED),
        merged: false,
    }
}

fn policy(turn: &Turn) -> RetentionPolicy {
    let rule = Rule {
        keep_last: turn.keep_last,
        instants_within: Duration::from_mins(turn.window.unwrap_or(0)),
        ..Rule::default()
    };
    RetentionPolicy {
        rules: vec![rule],
        min_proven: 0,
        keep_safety: Duration::ZERO,
    }
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let damage = sample::select(vec![Damage::Gone, Damage::Unreadable, Damage::Doubted]);
    let damage = (0..6_usize, 0..20_usize, damage);
    let turn = (
        10..90_i64,
        option::weighted(0.8, 1..200_u64),
        0..4_u32,
        option::weighted(0.3, 0..POINTS),
        option::weighted(0.3, damage),
    );
    let turn = turn.prop_map(|(later, window, keep_last, deleted, damage)| Turn {
        later,
        window,
        keep_last,
        deleted,
        damage,
    });
    collection::vec(turn, 1..6)
}

proptest! {
    #![proptest_config(Config::with_cases(2000))]

    /// Rules are applied again and again, with windows that grow and shrink, while points are deleted and parts rot. Every instant of a window that
    /// could be restored before can be afterwards, also after the next times, while it is in the windows of these; or another with the same operations,
    /// or with some more that had truly been written by then (replicas are looked at at different times). Without a window, entries go that none
    /// of the points that stay can use: every instant that they reach stays.
    #[test]
    fn what_was_removed_is_not_missed(truths in collection::vec(truth(), 1..4), turns in turns()) {
        let mut world = World::new(truths);
        let mut promised: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        let mut now = 0;
        for (nth, turn) in turns.iter().enumerate() {
            now += turn.later;
            if world.befalls(turn, now) {
                promised.clear();
            }
            let policy = policy(turn);
            let opens = turn.window.map_or(0, |window| (now - window.cast_signed()).max(0));
            if turn.window.is_none() {
                // Of points the rules promise nothing about instants.
                promised.clear();
                world.remove_points(&policy, now);
            }
            let before = world.view(now);
            promised.retain(|at, _| *at >= opens);
            for at in opens..now {
                if let Some(state) = world.state(&before, at) {
                    promised.entry(at).or_insert(state);
                }
            }
            world.remove_points(&policy, now);
            world.remove_entries(&policy, now);
            let after = world.view(now);
            let left: BTreeSet<_> = (0..now).filter_map(|at| world.state(&after, at)).collect();
            for (at, had) in &promised {
                let fits = |state: &&Vec<u64>| {
                    let shards = state.iter().zip(had).zip(&world.truths);
                    let mut fits = shards.map(|((has, had), truth)| had <= has && *has <= truth.count(*at).max(*had));
                    fits.all(|fits| fits)
                };
                let good = world.state(&after, *at).is_some() || left.iter().any(|state| fits(&state));
                prop_assert!(good, "time {nth}, {at} of {now}: {had:?} is not in {left:?}");
            }
        }
    }
}
