//! Of everything that there is reason to doubt at the end of the logs a person is told, or the checker refuses.

use super::model::{history, point_id, t};
use super::{simple, to};
use crate::fixture::name;
use crate::instant::{
    Base, BasePoint, Doubt, InstantRequest, InstantTarget, PartView, check_choice, choose,
};
use holdfast_types::ShardId;

#[test]
fn the_checker_demands_every_doubt_about_the_latest() {
    let (mut behind, ahead) = (simple(), simple());
    behind.looks.truncate(8);
    behind.captures = vec![(32, 0, 0)];
    let mut history = history(&[behind, ahead]);
    // Something stands behind what is known of the first shard.
    let (first, why) = (3, "bit rot".to_owned());
    history.logs[0]
        .parts
        .push(PartView::Unreadable { first, why });
    // A later capture that no log goes on from, with another collection.
    let later = |base: &Base| Base {
        captured_at: t(110),
        timeline: None,
        ..base.clone()
    };
    let bases: Vec<Base> = history.points[0].collections[&name("docs")]
        .iter()
        .map(later)
        .collect();
    let newer = BasePoint {
        id: point_id(4),
        ordinary: true,
        collections: [(name("books"), bases.clone()), (name("docs"), bases)].into(),
    };
    history.points.insert(0, newer);

    let request = InstantRequest {
        collections: vec![],
        ..to(InstantTarget::Latest)
    };
    let choice = choose(&history, &request).unwrap();
    let kinds: Vec<&str> = choice.warnings.iter().map(kind).collect();
    assert_eq!(kinds, ["breaks off", "behind", "left out", "newer point"]);
    assert_eq!(check_choice(&choice, &request, &history), []);
    for nth in 0..choice.warnings.len() {
        let mut silent = choice.clone();
        let doubt = silent.warnings.remove(nth);
        let wrong = check_choice(&silent, &request, &history);
        assert_eq!(wrong.len(), 1, "{doubt}: {wrong:?}");
        assert!(wrong[0].to_string().contains("nobody is told"), "{wrong:?}");
    }
    // What is told of the other shard does not count.
    for nth in 0..2 {
        let mut other = choice.clone();
        if let Doubt::BreaksOff { shard, .. } | Doubt::Behind { shard, .. } =
            &mut other.warnings[nth]
        {
            *shard = ShardId(1);
        }
        assert_eq!(check_choice(&other, &request, &history).len(), 1);
    }
}

fn kind(doubt: &Doubt) -> &'static str {
    match doubt {
        Doubt::BreaksOff { .. } => "breaks off",
        Doubt::Behind { .. } => "behind",
        Doubt::LeftOut { .. } => "left out",
        Doubt::NewerPoint { .. } => "newer point",
        Doubt::Returned { .. } => "returned",
        Doubt::WentOn { .. } => "went on",
        Doubt::PassedOver { .. } => "passed over",
        Doubt::EndUnseen { .. } => "end unseen",
    }
}
