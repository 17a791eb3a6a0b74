//! The reference of the JSON contract: no field may be missing there.

use super::members::member_removal;
use super::removal::pruned;
use super::repo::{leftovers, rebuilt, verified};
use super::restores::{plan, restored};
use super::{backup_plan, collections, copies, jobs, nodes, policy, status, summary};
use crate::output::render_json;
use crate::view::diff::tests::{asked, told};
use crate::view::{
    BackupPlanView, BackupView, CollectionsView, DiffView, DrainView, HoldView, JobDetailView,
    MarkedView, NodesView, PlanView, PruneView, RestoreView, SchedulesView, StatusView,
};
use holdfast_proto::v1;

/// Every field that a program may read is described in the reference.
#[test]
fn the_reference_names_every_field() {
    let reference = include_str!("../../../../docs/reference/json-output.md");
    let (check, shown, explained, diff) = policy::views();
    let documents = [
        render_json(&StatusView::new(String::new(), &status()), false),
        render_json(&NodesView::from(&nodes()), false),
        render_json(
            &DrainView::begun(String::new(), &v1::DrainNodeResponse::default()),
            false,
        ),
        render_json(&member_removal(), false),
        render_json(&CollectionsView::from(&collections()), false),
        render_json(&BackupView::from(&summary()).as_result(), false),
        render_json(&BackupPlanView::from(&backup_plan()), false),
        render_json(&PlanView::from(&plan()), false),
        render_json(&RestoreView::new(String::new(), &restored()), false),
        render_json(&DiffView::new(&asked(), &told()), false),
        render_json(&PruneView::new(&pruned(), false), false),
        render_json(&HoldView::from(&v1::Hold::default()), false),
        render_json(&MarkedView::deleted(String::new(), None), false),
        render_json(&verified(), false),
        render_json(&leftovers(), false),
        render_json(&rebuilt(true), false),
        render_json(&SchedulesView::from(&policy::standing()), false),
        render_json(&check, false),
        render_json(&shown, false),
        render_json(&explained, false),
        render_json(&diff, false),
        render_json(&copies::listed(), false),
        render_json(&copies::added(), false),
        render_json(&copies::changed(), false),
        render_json(&copies::promotion(), false),
        render_json(&JobDetailView::from(&jobs::running()), false),
    ];
    let mut missing = Vec::new();
    for document in documents {
        let value: serde_json::Value = serde_json::from_str(&document).expect("JSON");
        let kind = value["kind"].as_str().expect("a kind").to_owned();
        fields(&value, &mut |name| {
            if !reference.contains(&format!("`{name}`")) {
                missing.push(format!("{kind}: {name}"));
            }
        });
        assert!(reference.contains(&format!("`{kind}`")), "{kind}");
    }
    assert_eq!(missing, Vec::<String>::new());
}

fn fields(value: &serde_json::Value, found: &mut impl FnMut(&str)) {
    if let Some(object) = value.as_object() {
        for (name, value) in object {
            found(name);
            fields(value, found);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fields(item, found);
    }
}
