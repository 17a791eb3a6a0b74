//! What stays whatever the rules say, and what a failed proof is worth.

use super::{each, failed, kept, last, only, point, proven, said};
use crate::fixture::name;
use crate::retention::{Proof, RetentionPolicy, Rule};

fn floor(min_proven: u32) -> RetentionPolicy {
    RetentionPolicy {
        min_proven,
        ..only(last(0))
    }
}

#[test]
fn proven_points_stay_down_to_the_floor() {
    let mut points = each("docs", &[1, 2, 3, 4, 5, 6]);
    for nth in [1, 3, 4, 5] {
        points[nth] = proven(points[nth].clone());
    }
    assert_eq!(kept(&points, &floor(0)), [1]);
    assert_eq!(kept(&points, &floor(1)), [1, 2]);
    assert_eq!(kept(&points, &floor(3)), [1, 2, 4, 5]);
    let texts = said(&points, &floor(2), 4);
    assert_eq!(texts, ["one of the 2 newest proven points: docs"]);
}

#[test]
fn untried_points_take_the_places_of_missing_proven_ones() {
    let mut points = each("docs", &[1, 2, 3, 4, 5, 6]);
    points[4] = proven(points[4].clone());
    points[1] = failed(points[1].clone());
    assert_eq!(kept(&points, &floor(1)), [1, 5]);
    assert_eq!(kept(&points, &floor(3)), [1, 3, 5]);
    assert_eq!(kept(&points, &floor(9)), [1, 3, 4, 5, 6]);
    let texts = said(&points, &floor(3), 3);
    assert_eq!(texts, ["only 1 of 3 points are proven: docs"]);
}

#[test]
fn each_collection_has_its_floor() {
    let mut points = each("docs", &[1, 2]);
    points.push(proven(point("books docs", 3)));
    points.extend([4, 5].map(|hours| proven(point("docs", hours))));
    points.push(proven(point("books", 6)));
    assert_eq!(kept(&points, &floor(1)), [1, 3]);
    assert_eq!(kept(&points, &floor(2)), [1, 3, 4, 6]);
}

#[test]
fn a_proof_is_of_one_collection() {
    let mut points = vec![point("books docs", 1), point("books docs", 2)];
    points.extend([3, 4].map(|hours| proven(point("books docs", hours))));
    // Of the newest, one collection came back and one did not.
    points[0].proofs = [(name("books"), Proof::Proven), (name("docs"), lost())].into();
    points[1].proofs = [(name("docs"), lost())].into();
    // books: the newest is proven; docs: the third is the newest proven, and the newest sound.
    assert_eq!(kept(&points, &floor(1)), [1, 3]);
    points.remove(2);
    assert_eq!(kept(&points, &floor(1)), [1, 4]);
    let only_books = RetentionPolicy {
        rules: vec![Rule {
            collections: vec!["books".parse().unwrap()],
            ..last(2)
        }],
        ..floor(0)
    };
    // A failure of docs takes no place of books from the point.
    let texts = said(&points, &only_books, 2);
    assert_eq!(texts[0], "last 2 of 2: books");
}

fn lost() -> Proof {
    Proof::Failed { why: "lost".into() }
}

#[test]
fn the_newest_sound_point_stays_beside_a_failed_one() {
    let mut points = each("docs", &[1, 2, 3, 4]);
    points[0] = failed(points[0].clone());
    points[1] = failed(points[1].clone());
    assert_eq!(kept(&points, &floor(0)), [1, 3]);
    let texts = said(&points, &floor(0), 3);
    let newest = "the newest point that has not failed its proof: docs";
    assert_eq!(texts, [newest]);
    let all_failed: Vec<_> = points.into_iter().map(failed).collect();
    assert_eq!(kept(&all_failed, &floor(3)), [1]);
}

#[test]
fn a_failed_point_takes_no_place_from_a_good_one() {
    let mut points = each("docs", &[1, 2, 3, 4, 5]);
    points[1] = failed(points[1].clone());
    assert_eq!(kept(&points, &only(last(2))), [1, 2, 3]);
    assert_eq!(
        said(&points, &only(last(2)), 2),
        [
            "last 2 of 2: docs",
            "failed its proof: docs: shard 0 has 9 of 10 points"
        ]
    );
    assert_eq!(said(&points, &only(last(2)), 3), ["last 2 of 2: docs"]);
    // it ages out like any other
    points[3] = failed(points[3].clone());
    assert_eq!(kept(&points, &only(last(2))), [1, 2, 3]);
    let daily = Rule {
        daily: 1,
        ..Rule::default()
    };
    points[0] = failed(points[0].clone());
    assert_eq!(kept(&points, &only(daily)), [1, 3]);
}
