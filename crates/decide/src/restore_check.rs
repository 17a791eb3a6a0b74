//! Reads a restore plan again before it is recorded: nothing that exists may be lost without
//! permission and a safety capture, and everything must be readable where it goes.
//!
//! Deliberately shares no code with the planner.

use crate::backup_check::{check_captures, fresh};
use crate::instant::ReplayWay;
use crate::observation::{Observation, ServerSeen};
use crate::restore::{PointView, RestorePlan, RestoreRequest, RestoreStep};
use crate::violation::Violation;
use holdfast_types::{Compatibility, Timestamp};
use std::collections::HashSet;

/// Everything wrong with `plan`; empty if it may be carried out.
#[must_use]
pub fn check_restore(
    plan: &RestorePlan,
    request: &RestoreRequest,
    point: &PointView,
    seen: &Observation,
    now: Timestamp,
) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if plan.epoch != seen.epoch {
        wrong.push(Violation::Epoch {
            plan: plan.epoch,
            now: seen.epoch,
        });
    }
    if seen.running.is_some() {
        wrong.push(Violation::Busy);
    }
    if !plan.blockers.is_empty() {
        wrong.push(Violation::Blocked);
    }
    if plan.steps.is_empty() {
        wrong.push(Violation::Empty);
    }
    if let Some(safety) = &plan.safety {
        wrong.extend(check_captures(safety, seen, now));
    }
    let Some(node) = &plan.node else {
        wrong.push(Violation::Blocked);
        return wrong;
    };
    let other_node = request.node.as_ref().is_some_and(|named| named != node);
    match fresh(seen, node, now) {
        Some(server) if !other_node => {
            for step in &plan.steps {
                check_step(plan, step, request, server, &mut wrong);
                check_source(step, point, server, &mut wrong);
            }
        }
        Some(_) | None => wrong.push(Violation::NodeUnusable(node.clone())),
    }
    let mut targets = HashSet::new();
    for step in &plan.steps {
        if !targets.insert(&step.target) {
            wrong.push(Violation::TargetTwice(step.target.clone()));
        }
    }
    wrong.extend(not_as_asked(plan, request));
    wrong.extend(other_instant(plan, request, seen));
    wrong.extend(other_order(plan, request));
    wrong.extend(crate::cluster_check::not_of_the_cluster(
        plan, request, point, seen, now,
    ));
    wrong
}

/// Whether the plan replays what was chosen, on what it restores.
fn other_instant(
    plan: &RestorePlan,
    request: &RestoreRequest,
    seen: &Observation,
) -> Option<Violation> {
    let choice = match (&plan.instant, &request.instant) {
        (None, None) => return None,
        (Some(planned), Some(chosen)) if planned == chosen => planned,
        (Some(_) | None, _) => return Some(Violation::Instant("the plan has other logs")),
    };
    let what = if choice.point != plan.point || choice.point != request.point {
        "its logs belong to another recovery point"
    } else if !plan.steps.iter().all(|step| {
        let of_source = choice.collections.iter().find(|c| c.name == step.source);
        of_source.is_some_and(|logs| logs.shards.len() == step.shards as usize)
    }) {
        "a shard has no log"
    } else if plan.steps.iter().any(|step| step.points.is_some()) {
        "the number of points is that of the capture"
    } else if !plan.node.as_ref().is_some_and(|node| {
        let server = seen.nodes.get(node).map(|view| &view.server);
        matches!(server, Some(crate::ServerView::Seen(server))
            if server.splices_logs && (server.replays_logs || choice.way == ReplayWay::Splice))
    }) {
        "the agent would leave the logs out, or bring them in another way"
    } else {
        return None;
    };
    Some(Violation::Instant(what))
}

/// Whether the steps come in the order that was asked for, and say so.
fn other_order(plan: &RestorePlan, request: &RestoreRequest) -> Option<Violation> {
    let Some(order) = &request.order else {
        let unasked = plan.order_from.is_some()
            || plan.steps.iter().any(|step| step.recovery_order.is_some());
        return unasked.then_some(Violation::Order("nobody asked for one"));
    };
    let place = |step: &RestoreStep| order.places.get(&step.source).copied();
    let what = if plan.order_from.as_ref() != Some(&order.from) {
        "the plan does not say whose it is"
    } else if plan
        .steps
        .iter()
        .any(|step| step.recovery_order.is_none() || step.recovery_order != place(step))
    {
        "a collection has another place"
    } else if plan.steps.windows(2).any(|pair| {
        let [first, then] = pair else { return false };
        (place(first), &first.source) > (place(then), &then.source)
    }) {
        "a collection comes before one that is more urgent"
    } else {
        return None;
    };
    Some(Violation::Order(what))
}

/// What a step does to what is there.
fn check_step(
    plan: &RestorePlan,
    step: &RestoreStep,
    request: &RestoreRequest,
    server: &ServerSeen,
    wrong: &mut Vec<Violation>,
) {
    let saved = plan.node.as_ref().is_some_and(|node| {
        plan.safety.as_ref().is_some_and(|safety| {
            safety.collections.contains(&step.target)
                && safety
                    .captures
                    .iter()
                    .filter(|capture| capture.collection == step.target)
                    .all(|capture| {
                        let receives = |r: &crate::Receiver| r.node == capture.node;
                        capture.node == *node
                            || plan.in_cluster && plan.receivers.iter().any(receives)
                    })
        })
    });
    match (server.collections.contains_key(&step.target), step.replaces) {
        (true, replaces) if !(replaces && request.overwrite && saved) => {
            wrong.push(Violation::Unsafe(step.target.clone()));
        }
        (false, true) => wrong.push(Violation::NothingReplaced(step.target.clone())),
        (true | false, _) => {}
    }
    for (name, view) in &server.collections {
        for alias in &view.aliases {
            if *name != step.target && step.aliases.contains(alias) {
                wrong.push(Violation::AliasTaken(alias.clone()));
            }
            if alias.as_str() == step.target.as_str() {
                wrong.push(Violation::AliasTaken(alias.clone()));
            }
        }
        for alias in step.aliases.iter().filter(|a| a.as_str() == name.as_str()) {
            wrong.push(Violation::AliasTaken(alias.clone()));
        }
    }
    if !request.with_aliases {
        wrong.extend(step.aliases.iter().cloned().map(Violation::AliasTaken));
    }
}

/// What a step reads.
fn check_source(
    step: &RestoreStep,
    point: &PointView,
    server: &ServerSeen,
    wrong: &mut Vec<Violation>,
) {
    let found = match point {
        PointView::Found(captured) => captured.iter().find(|c| c.name == step.source),
        PointView::Unknown | PointView::Damaged { .. } | PointView::Foreign { .. } => None,
    };
    let Some(captured) = found else {
        wrong.push(Violation::NotInPoint(step.source.clone()));
        return;
    };
    let unreadable = captured
        .versions
        .iter()
        .any(|version| version.restores_into(&server.version) != Compatibility::Compatible);
    if unreadable || !server.version.is_supported() {
        wrong.push(Violation::Version(step.source.clone()));
    }
}

/// Steps that were not asked for, and wishes that no step fulfils.
fn not_as_asked(plan: &RestorePlan, request: &RestoreRequest) -> Vec<Violation> {
    if request.collections.is_empty() {
        let renamed = plan.steps.iter().filter(|step| step.source != step.target);
        return renamed
            .map(|step| Violation::Unasked(step.target.clone()))
            .collect();
    }
    let fits = |step: &RestoreStep, wish: &crate::Mapping| {
        step.source == wish.source && step.target == wish.target
    };
    let unasked = plan
        .steps
        .iter()
        .filter(|step| !request.collections.iter().any(|wish| fits(step, wish)))
        .map(|step| Violation::Unasked(step.target.clone()));
    let omitted = request
        .collections
        .iter()
        .filter(|wish| !plan.steps.iter().any(|step| fits(step, wish)))
        .map(|wish| Violation::Omitted(wish.source.clone()));
    unasked.chain(omitted).collect()
}

#[cfg(test)]
mod tests {
    use super::check_restore;
    use crate::fixture::{NOW, busy, captured, name, server, single};
    use crate::observation::Observation;
    use crate::restore::{Mapping, PointView, RestorePlan, RestoreRequest, plan_restore};
    use holdfast_types::Epoch;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    fn order(overwrite: bool) -> RestoreRequest {
        RestoreRequest {
            point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
            collections: vec![Mapping {
                source: name("docs"),
                target: name("docs"),
            }],
            node: None,
            replication_factor: None,
            overwrite,
            with_aliases: true,
            instant: None,
            order: None,
        }
    }

    #[test]
    fn each_way_to_spoil_a_plan_is_found() {
        type Spoil = fn(&mut RestorePlan, &mut Observation, &mut RestoreRequest);
        let ways: &[(&str, Spoil)] = &[
            ("another term", |plan, _, _| plan.epoch = Epoch(1)),
            ("no safety capture", |plan, _, _| plan.safety = None),
            ("no permission", |_, _, request| request.overwrite = false),
            ("an unseen target", |plan, _, _| {
                plan.steps[0].replaces = false
            }),
            ("a wrong source", |plan, _, _| {
                plan.steps[0].source = name("x")
            }),
            ("another target", |plan, _, _| {
                plan.steps[0].target = name("x")
            }),
            ("a step twice", |plan, _, _| {
                let first = plan.steps[0].clone();
                plan.steps.push(first);
            }),
            ("no step", |plan, _, _| plan.steps.clear()),
            ("no node", |plan, _, _| plan.node = None),
            ("another node", |_, _, request| {
                request.node = Some("n2".parse().unwrap());
            }),
            ("aliases unasked", |_, _, request| {
                request.with_aliases = false
            }),
            ("another server", |_, obs, _| {
                server(obs, "n1").version = "1.21.0".parse().unwrap();
            }),
            ("a new job", |_, obs, _| *obs = busy(obs.clone())),
            ("an alias moved", |_, obs, _| {
                let mut other = crate::fixture::collection("other", 1, &[0]);
                other.1.aliases = vec!["docs-live".parse().unwrap()];
                server(obs, "n1").collections.extend([other]);
            }),
        ];
        let (obs, point, request) = (
            single(&["docs"]),
            PointView::Found(vec![captured("docs")]),
            order(true),
        );
        let plan = plan_restore(&obs, &point, &request, NOW);
        assert_eq!(check_restore(&plan, &request, &point, &obs, NOW), []);
        for (what, spoil) in ways {
            let (mut plan, mut obs, mut request) = (plan.clone(), obs.clone(), request.clone());
            spoil(&mut plan, &mut obs, &mut request);
            let found = check_restore(&plan, &request, &point, &obs, NOW);
            assert!(!found.is_empty(), "{what}");
        }
    }

    #[test]
    fn what_appears_after_planning_is_not_overwritten() {
        let (point, request) = (PointView::Found(vec![captured("docs")]), order(true));
        let plan = plan_restore(&single(&[]), &point, &request, NOW);
        let found = check_restore(&plan, &request, &point, &single(&["docs"]), NOW);
        assert_eq!(found, [crate::Violation::Unsafe(name("docs"))]);
    }

    proptest! {
        /// A plan without blockers passes the check, and nothing that exists is lost without
        /// permission and capture, whatever names, aliases and versions meet.
        #[test]
        fn planner_and_checker_agree(
            there in prop::collection::btree_set(prop::sample::select(vec!["a", "b", "c"]), 0..3),
            alias in prop::option::of(prop::sample::select(vec!["a", "a-live", "b-live", "z"])),
            mapping in prop::collection::vec((
                prop::sample::select(vec!["a", "b", "c"]),
                prop::sample::select(vec!["a", "b", "z", "a-live"]),
            ), 0..3),
            version in prop::sample::select(vec!["1.18.2", "1.19.1", "1.20.0", "1.17.0"]),
            overwrite in any::<bool>(),
            with_aliases in any::<bool>(),
        ) {
            let there: Vec<&str> = there.into_iter().collect();
            let mut obs = single(&there);
            server(&mut obs, "n1").version = version.parse().unwrap();
            if let (Some(alias), Some(view)) = (alias, server(&mut obs, "n1").collections.values_mut().next()) {
                view.aliases.push(alias.parse().unwrap());
            }
            let collections = mapping.iter().map(|(source, target)| Mapping {
                source: name(source),
                target: name(target),
            });
            let request = RestoreRequest {
                collections: collections.collect(),
                with_aliases,
                ..order(overwrite)
            };
            let point = PointView::Found(vec![captured("a"), captured("b")]);
            let plan = plan_restore(&obs, &point, &request, NOW);
            if plan.is_runnable() {
                prop_assert_eq!(check_restore(&plan, &request, &point, &obs, NOW), vec![]);
                for step in &plan.steps {
                    let exists = there.contains(&step.target.as_str());
                    let saved = plan.safety.as_ref().is_some_and(|s| s.collections.contains(&step.target));
                    prop_assert!(!exists || (overwrite && saved));
                }
            }
        }
    }
}
