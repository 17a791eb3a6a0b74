//! Sums of small logs.

use super::{ByFilter, Diff, Fate, Large, Limits, OfCollection, Tally};
use crate::change::PointId;
use ciborium::{Value, cbor};

fn diff(limits: Limits, log: Vec<Result<Value, ciborium::value::Error>>) -> Diff {
    let mut diff = Diff::new(limits);
    for (value, index) in log.into_iter().zip(100_u64..) {
        diff.add(0, index, &bytes(value));
    }
    diff
}

fn bytes(value: Result<Value, ciborium::value::Error>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&value.unwrap(), &mut bytes).unwrap();
    bytes
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
    let number = |(id, _): &(PointId, u32)| match id {
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
    let tally = |count, points, first, last| Tally {
        count,
        points,
        first,
        last,
    };
    let expected = [
        ("delete_points", tally(1, 3, 102, 102)),
        ("set_payload", tally(2, 4, 101, 103)),
        ("upsert_points", tally(2, 4, 100, 104)),
        ("upsert_points_conditional", tally(1, 4, 105, 105)),
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
        listed: 3,
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
    let (listed, left_out) = diff.earliest_filters();
    let wanted = [
        one("delete_points_by_filter", &json(1), 2, 100, 102),
        one("set_payload", &json(1), 1, 101, 101),
        one("delete_points_by_filter", &json(2), 1, 103, 103),
    ];
    assert_eq!(listed, wanted.iter().collect::<Vec<_>>());
    assert_eq!(left_out, 1, "the range");
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
    let of = |at, kind: &str, name: &str| OfCollection {
        at,
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
            diff.kinds["rename_points"].count,
            diff.kinds["?"].count,
            diff.kinds["delete_points"].count
        ),
        (2, 1, 1)
    );
}

#[test]
fn limits_are_kept_and_said() {
    let limits = Limits {
        points: 3,
        largest: 2,
        ..Limits::default()
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
    let large = |points, at, kind: &str| Large {
        points,
        at,
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

#[test]
fn lists_and_texts_are_bounded() {
    let limits = Limits {
        listed: 2,
        filters: 3,
        text: 6,
        ..Limits::default()
    };
    let by =
        |n: &str| cbor!({"delete_points_by_filter" => {"must" => [{"is_null" => {"key" => n}}]}});
    let index = |field: &str| cbor!({"delete_index" => field});
    let other = |kind: &str| cbor!({kind => 1});
    let log = vec![
        by("a"),
        by("b"),
        by("a"),
        by("c"),
        by("d"),
        index("äöüß"),
        index("kurz"),
        index("f"),
        other("one"),
        other("two"),
        other("one"),
    ];
    let diff = diff(limits, log);
    let (filters, left_out) = diff.earliest_filters();
    let filters = filters.iter().map(|one| (&*one.filter, one.count));
    let filters: Vec<_> = filters.collect();
    // Cut alike, and told apart by what was cut.
    assert_eq!(filters, [("{\"must…", 2), ("{\"must…", 1)]);
    assert_eq!(
        left_out, 2,
        "one that had no place, one that is not remembered"
    );
    let names: Vec<_> = diff.of_collection.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["äöü…", "kurz"]);
    assert_eq!(diff.of_collection_left_out, 1);
    let kinds: Vec<_> = diff.kinds.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["delete_index", "delete_points_by_filter"]);
    assert_eq!(diff.kinds_left_out, 3);
    let unread: Vec<_> = diff.unread.iter().map(|(why, n)| (&**why, *n)).collect();
    assert_eq!(unread, [("operat…", 3)]);
    assert_eq!(diff.unread_left_out, 0);
}

/// Logs are added one after the other; what came first is said by the order of the places.
#[test]
fn several_logs_are_one_sum() {
    let mut diff = Diff::new(Limits {
        largest: 2,
        ..Limits::default()
    });
    let filter = || cbor!({"delete_points_by_filter" => {"must" => []}});
    let log = [
        ((5, "a"), delete(&[1, 2])),
        ((9, "a"), filter()),
        ((3, "b"), delete(&[4, 5])),
        ((4, "b"), filter()),
        ((8, "b"), delete(&[6, 7])),
    ];
    for (at, value) in log {
        diff.add(0, at, &bytes(value));
    }
    let deleted = diff.kinds["delete_points"];
    assert_eq!((deleted.first, deleted.last), ((3, "b"), (8, "b")));
    let filter = diff.earliest_filters().0[0];
    assert_eq!((filter.first, filter.last), ((4, "b"), (9, "a")));
    let largest: Vec<_> = diff.largest.iter().map(|large| large.at).collect();
    assert_eq!(largest, [(3, "b"), (5, "a")], "of equal ones the earlier");
}

/// Under shard keys: what is removed in one shard is there in the other.
#[test]
fn one_id_in_two_shards_is_two_points() {
    let mut diff = Diff::new(Limits::default());
    diff.add(1, 5, &bytes(delete(&[1, 2])));
    diff.add(2, 4, &bytes(upsert(&[1])));
    let fates: Vec<_> = diff.points.into_iter().collect();
    let wanted = [
        ((PointId::Number(1), 1), Fate::Removed),
        ((PointId::Number(1), 2), Fate::Put),
        ((PointId::Number(2), 1), Fate::Removed),
    ];
    assert_eq!(fates, wanted);
}

/// What comes later in the order of the logs may be earlier in time.
#[test]
fn lists_hold_the_earliest() {
    let mut diff = Diff::new(Limits {
        listed: 2,
        ..Limits::default()
    });
    let by =
        |n: &str| cbor!({"delete_points_by_filter" => {"must" => [{"is_null" => {"key" => n}}]}});
    let index = |field: &str| cbor!({"delete_index" => field});
    for (shard, at, value) in [
        (0, 20, by("a")),
        (0, 21, index("a")),
        (0, 30, by("b")),
        (0, 31, index("b")),
        (0, 32, by("b")),
        (1, 10, by("c")),
        (1, 11, index("c")),
        (1, 25, by("a")),
    ] {
        diff.add(shard, at, &bytes(value));
    }
    let (filters, left_out) = diff.earliest_filters();
    let filters: Vec<_> = filters.iter().map(|one| (one.first, one.count)).collect();
    assert_eq!((filters, left_out), (vec![(10, 1), (20, 2)], 2));
    let changes: Vec<_> = diff.of_collection.iter().map(|one| one.at).collect();
    assert_eq!((changes, diff.of_collection_left_out), (vec![11, 21], 1));
}
