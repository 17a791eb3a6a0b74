//! In which order the collections of a restore come back, and who says so.
//!
//! The order is taken when a restore is planned and stands in its plan: what the policy says later changes nothing about a job
//! that goes on. A collection is known by its captured name: under which name it comes back does not make it more urgent.

use crate::policy::{LAST_IN_ORDER, Policy};
use crate::restore::RestorePlan;
use holdfast_types::CollectionName;
use std::collections::BTreeMap;

/// The places of the collections of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryOrder {
    /// Who gives them, in words, such as `the policy /etc/holdfast/policy.toml`.
    pub from: String,
    /// The least comes first; equal ones by name.
    pub places: BTreeMap<CollectionName, u32>,
}

impl RecoveryOrder {
    /// What a policy says of these collections.
    #[must_use]
    pub fn of<'a>(
        policy: &Policy,
        from: String,
        collections: impl IntoIterator<Item = &'a CollectionName>,
    ) -> Self {
        let collections = collections.into_iter();
        let places = collections.map(|name| (name.clone(), policy.recovery_place(name)));
        Self {
            from,
            places: places.collect(),
        }
    }

    /// The place of a collection.
    #[must_use]
    pub fn place(&self, collection: &CollectionName) -> u32 {
        let place = self.places.get(collection);
        place.copied().unwrap_or(LAST_IN_ORDER)
    }
}

impl RestorePlan {
    /// The order in words, if somebody gave it and there is one.
    #[must_use]
    pub fn order_line(&self) -> Option<String> {
        let from = self.order_from.as_ref()?;
        let place = |place: Option<u32>| place.map_or_else(String::new, |n| format!(" ({n})"));
        let steps = self.steps.iter();
        let steps = steps.map(|step| format!("{}{}", step.target, place(step.recovery_order)));
        let steps: Vec<String> = steps.collect();
        (steps.len() > 1).then(|| {
            format!(
                "collections come back in the order of {from}: {}",
                steps.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::RecoveryOrder;
    use crate::fixture::{NOW, captured, name, single};
    use crate::policy::{Policy, RawPolicy, validate};
    use crate::restore::{Mapping, PointView, RestorePlan, RestoreRequest, plan_restore};
    use crate::restore_check::check_restore;
    use crate::violation::Violation;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    fn policy() -> Policy {
        let rule = |collection: &str, place: Option<u32>| crate::policy::RawPolicyRule {
            collections: vec![collection.parse().unwrap()],
            recovery_order: place,
            ..Default::default()
        };
        let raw = RawPolicy {
            rules: vec![
                rule("users", Some(1)),
                rule("logs-*", Some(5000)),
                rule("shop-*", Some(10)),
            ],
            ..RawPolicy::default()
        };
        validate(raw, &|_| None).unwrap()
    }

    fn request(names: &[&str], ordered: bool) -> (PointView, RestoreRequest) {
        let point = PointView::Found(names.iter().map(|name| captured(name)).collect());
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        let order =
            ordered.then(|| RecoveryOrder::of(&policy(), "the policy p.toml".to_owned(), &names));
        let request = RestoreRequest {
            point: "20261121t101530z-0a1b2c3d".parse().unwrap(),
            collections: vec![],
            node: None,
            replication_factor: None,
            overwrite: false,
            with_aliases: true,
            instant: None,
            order,
        };
        (point, request)
    }

    fn sources(plan: &RestorePlan) -> Vec<&str> {
        let steps = plan.steps.iter();
        steps.map(|step| step.source.as_str()).collect()
    }

    #[test]
    fn the_least_comes_back_first_and_the_plan_says_who_wants_it() {
        let names = ["logs-1", "other", "shop-b", "shop-a", "users"];
        let (point, order) = request(&names, true);
        let plan = plan_restore(&single(&[]), &point, &order, NOW);
        assert_eq!(
            plan.order_line().unwrap(),
            "collections come back in the order of the policy p.toml: \
             users (1), shop-a (10), shop-b (10), other (1000), logs-1 (5000)"
        );
        assert_eq!(check_restore(&plan, &order, &point, &single(&[]), NOW), []);
        let (_, without) = request(&names, false);
        let plan = plan_restore(&single(&[]), &point, &without, NOW);
        assert_eq!(sources(&plan), names, "as the recovery point has them");
        assert_eq!((plan.order_from.as_ref(), plan.order_line()), (None, None));
    }

    #[test]
    fn the_captured_name_counts() {
        let (point, mut order) = request(&["shop-a", "users"], true);
        let map = |source: &str, target: &str| Mapping {
            source: name(source),
            target: name(target),
        };
        order.collections = vec![map("shop-a", "users"), map("users", "z")];
        let plan = plan_restore(&single(&[]), &point, &order, NOW);
        assert_eq!(sources(&plan), ["users", "shop-a"]);
        assert_eq!(plan.blockers, []);
    }

    #[test]
    fn another_order_is_refused_by_the_checker() {
        let (point, order) = request(&["logs-1", "users"], true);
        let good = plan_restore(&single(&[]), &point, &order, NOW);
        type Spoil = fn(&mut RestorePlan);
        let ways: [Spoil; 4] = [
            |plan| plan.steps.reverse(),
            |plan| plan.steps[0].recovery_order = Some(2),
            |plan| plan.steps[0].recovery_order = None,
            |plan| plan.order_from = None,
        ];
        for spoil in ways {
            let mut plan = good.clone();
            spoil(&mut plan);
            let found = check_restore(&plan, &order, &point, &single(&[]), NOW);
            assert!(matches!(found[..], [Violation::Order(_)]), "{found:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_overtakes(
            names in prop::collection::btree_set("(users|other|logs-[a-c]|shop-[a-c])", 1..7),
            shuffled in prop::collection::vec(0..7_usize, 0..7),
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (point, mut order) = request(&names, true);
            let mut wishes: Vec<&str> = shuffled.iter().filter_map(|at| names.get(*at).copied()).collect();
            let mut seen = std::collections::BTreeSet::new();
            wishes.retain(|wish| seen.insert(*wish));
            order.collections = wishes.iter().map(|wish| Mapping { source: name(wish), target: name(wish) }).collect();
            let plan = plan_restore(&single(&[]), &point, &order, NOW);
            prop_assert_eq!(check_restore(&plan, &order, &point, &single(&[]), NOW), vec![]);
            let mut expected = if wishes.is_empty() { names.clone() } else { wishes };
            expected.sort_unstable();
            let mut got = sources(&plan);
            let keys: Vec<_> = plan.steps.iter().map(|step| (step.recovery_order, step.source.clone())).collect();
            prop_assert!(keys.is_sorted(), "{keys:?}");
            got.sort_unstable();
            prop_assert_eq!(got, expected);
        }
    }
}
