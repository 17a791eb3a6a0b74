//! Sums of small logs.

use super::{ByFilter, Diff, Fate, Large, Limits, OfCollection};
use crate::change::PointId;
use ciborium::{Value, cbor};

fn diff(limits: Limits, log: Vec<Result<Value, ciborium::value::Error>>) -> Diff {
    let mut diff = Diff::new(limits);
    for (value, index) in log.into_iter().zip(100..) {
        let mut bytes = Vec::new();
        ciborium::into_writer(&value.unwrap(), &mut bytes).unwrap();
        diff.add(index, &bytes);
    }
    diff
}

fn upsert(ids: &[u64]) -> Result<Value, ciborium::value::Error> {
    let points = ids.iter().map(|id| cbor!({"id" => id, "vector" => [1.0]}));
    let points: Vec<Value> = points.map(Result::unwrap).collect();
    cbor!({"upsert_points" => {"points" => points}})
}

fn delete(ids: &[u64]) -> Result<Value, ciborium::value::Error> {
    cbor!({"delete_points" => {"ids" => ids}})
}

fn set(ids: &[u64]) -> Result<Value, ciborium::value::Error> {
    cbor!({"set_payload" => {"payload" => {"a" => 1}, "points" => ids}})
}

fn perhaps(ids: &[u64]) -> Result<Value, ciborium::value::Error> {
    let points = ids.iter().map(|id| cbor!({"id" => id, "vector" => [1.0]}));
    let points: Vec<Value> = points.map(Result::unwrap).collect();
    cbor!({"upsert_points_conditional" => {"points_op" => {"points" => points}, "condition" => {}}})
}

fn fates(diff: &Diff) -> Vec<(u64, Fate)> {
    let number = |id: &PointId| match id {
        PointId::Number(number) => *number,
        PointId::Uuid(_) => u64::MAX,
    };
    diff.points
        .iter()
        .map(|(id, fate)| (number(id), *fate))
        .collect()
}

#[test]
fn the_last_operation_on_a_point_counts() {
    let log = vec![
        upsert(&[1, 2, 3]),
        set(&[2, 4, 5]),
        delete(&[3, 5, 6]),
        set(&[3]),
        upsert(&[6]),
        perhaps(&[2, 4, 3, 7]),
    ];
    let diff = diff(Limits::default(), log);
    assert_eq!(
        fates(&diff),
        [
            (1, Fate::Put),
            (2, Fate::Put),
            (3, Fate::PerhapsPut),
            (4, Fate::PerhapsPut),
            (5, Fate::Removed),
            (6, Fate::Put),
            (7, Fate::PerhapsPut),
        ]
    );
    assert_eq!(diff.count(Fate::PerhapsPut), 3);
    let kinds: Vec<_> = diff.kinds.into_iter().collect();
    let expected = [
        ("delete_points", 1),
        ("set_payload", 2),
        ("upsert_points", 2),
        ("upsert_points_conditional", 1),
    ];
    assert_eq!(kinds, expected.map(|(kind, n)| (kind.to_owned(), n)));
    let changed_after = [(Fate::Put, Fate::Put), (Fate::Removed, Fate::Removed)];
    for (known, fate) in changed_after {
        assert_eq!(super::after(known, Fate::Changed), fate);
    }
}

#[test]
fn operations_by_filter_are_listed_with_it() {
    let filter = |n: u64| cbor!({"must" => [{"key" => "g", "match" => {"value" => n}}]}).unwrap();
    let log = vec![
        cbor!({"delete_points_by_filter" => filter(1)}),
        cbor!({"set_payload" => {"payload" => {}, "points" => null, "filter" => filter(1)}}),
        cbor!({"delete_points_by_filter" => filter(1)}),
        cbor!({"delete_points_by_filter" => filter(2)}),
        cbor!({"sync_points" => {"from_id" => 3, "to_id" => null, "points" => [{"id" => 4, "vector" => [1.0]}]}}),
    ];
    let limits = Limits {
        filters: 3,
        ..Limits::default()
    };
    let diff = diff(limits, log);
    let one = |kind: &str, filter: &str, count, first, last| ByFilter {
        kind: kind.to_owned(),
        filter: filter.to_owned(),
        count,
        first,
        last,
    };
    let json = |n| format!(r#"{{"must":[{{"key":"g","match":{{"value":{n}}}}}]}}"#);
    assert_eq!(
        diff.by_filter,
        [
            one("delete_points_by_filter", &json(1), 2, 100, 102),
            one("set_payload", &json(1), 1, 101, 101),
            one("delete_points_by_filter", &json(2), 1, 103, 103),
        ]
    );
    assert_eq!(diff.by_filter_left_out, 1, "the range");
    assert_eq!(fates(&diff), [(4, Fate::Put)]);
}

#[test]
fn changes_of_the_collection_and_what_can_not_be_read() {
    let log = vec![
        cbor!({"create_index" => {"field_name" => "a.b", "field_schema" => "keyword"}}),
        cbor!({"delete_vector_name" => {"vector_name" => "v"}}),
        cbor!({"rename_points" => {"from" => 1}}),
        cbor!({"delete_points" => {"ids" => [1], "why" => 1}}),
        cbor!({"rename_points" => {"from" => 2}}),
        cbor!([1, 2]),
    ];
    let diff = diff(Limits::default(), log);
    let of = |index, kind: &str, name: &str| OfCollection {
        index,
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    assert_eq!(
        diff.of_collection,
        [
            of(100, "create_index", "a.b"),
            of(101, "delete_vector_name", "v")
        ]
    );
    assert!(
        diff.points.is_empty(),
        "what was read in part is not counted"
    );
    let unread: Vec<_> = diff
        .unread
        .iter()
        .map(|(why, n)| (why.as_str(), *n))
        .collect();
    assert_eq!(
        unread,
        [
            (
                "operations of the kind \"rename_points\" are not known to this program",
                2
            ),
            ("the entry is no operation", 1),
            (
                "the operation delete_points has a part that is not known to this program: \"why\"",
                1
            ),
        ]
    );
    assert_eq!(
        (
            diff.kinds["rename_points"],
            diff.kinds["?"],
            diff.kinds["delete_points"]
        ),
        (2, 1, 1)
    );
}

#[test]
fn limits_are_kept_and_said() {
    let limits = Limits {
        points: 3,
        filters: 1,
        largest: 2,
    };
    let log = vec![
        upsert(&[1, 2]),
        delete(&[3, 4, 5]),
        upsert(&[1]),
        set(&[6, 7]),
    ];
    let diff = diff(limits, log);
    assert_eq!(
        fates(&diff),
        [(1, Fate::Put), (2, Fate::Put), (3, Fate::Removed)]
    );
    assert_eq!(diff.points_left_out, 4);
    let large = |points, index, kind: &str| Large {
        points,
        index,
        kind: kind.to_owned(),
    };
    assert_eq!(
        diff.largest,
        [
            large(3, 101, "delete_points"),
            large(2, 100, "upsert_points")
        ]
    );
}
