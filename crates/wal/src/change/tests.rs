//! Operations as a server writes them, parts that no server of today writes, and bytes that nobody writes.

use super::{Change, Entry, Mode, PointId, Selection, Unread, Vector, Vectors};
use crate::json::text;
use ciborium::{Value, cbor};
use proptest::prelude::*;

fn bytes(value: Result<Value, ciborium::value::Error>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&value.unwrap(), &mut bytes).unwrap();
    bytes
}

fn refused(value: Result<Value, ciborium::value::Error>) -> String {
    Entry::read(&bytes(value)).unwrap_err().to_string()
}

#[test]
fn points_by_rows() {
    let uuid = Value::Bytes((0..16).collect());
    let entry = bytes(cbor!({"upsert_points" => {"points" => [
        {"id" => 7, "vector" => [0.5, -1.25], "payload" => {"a" => [1, null, {"b" => true}]}},
        {"id" => uuid, "vector" => {"t" => [[1.0], [2.0]], "s" => {"indices" => [3, 1], "values" => [0.1f32, 2.0]}}, "payload" => null},
    ]}, "clock_tag" => {"peer_id" => 1, "clock_id" => 2, "clock_tick" => 3, "token" => 4, "force" => true}}));
    let entry = Entry::read(&entry).unwrap();
    assert_eq!(
        (entry.kind, entry.clock.unwrap().clock_tick),
        ("upsert_points", 3)
    );
    let Change::Upsert {
        points,
        guard: None,
    } = entry.change
    else {
        panic!("{:?}", entry.change);
    };
    assert_eq!(points[0].id, PointId::Number(7));
    assert_eq!(
        text(points[0].payload.unwrap()),
        r#"{"a":[1,null,{"b":true}]}"#
    );
    let Vectors::Default(Vector::Dense(dense)) = &points[0].vectors else {
        panic!("{points:?}");
    };
    assert_eq!(dense.iter().collect::<Vec<_>>(), [0.5, -1.25]);
    assert_eq!(
        points[1].id.to_string(),
        "00010203-0405-0607-0809-0a0b0c0d0e0f"
    );
    assert_eq!(points[1].payload, None);
    let shown = format!("{:?}", points[1].vectors);
    assert!(shown.contains("Multi([[1.0], [2.0]])"), "{shown}");
    assert!(
        shown.contains("indices: [3, 1], values: [0.1, 2.0]"),
        "{shown}"
    );
}

#[test]
fn points_by_columns_end_with_the_shortest() {
    let entry = bytes(cbor!({"upsert_points_conditional" => {
        "points_op" => {"batch" => {
            "ids" => [1, 2, 3],
            "vectors" => {"a" => [[1.0], [2.0], [3.0]], "b" => [[4.0], [5.0]]},
            "payloads" => [{"k" => 1}, null],
        }},
        "condition" => {"must" => [{"key" => "k", "match" => {"value" => 1}}]},
        "update_mode" => "insert_only",
    }}));
    let Change::Upsert {
        points,
        guard: Some(guard),
    } = Entry::read(&entry).unwrap().change
    else {
        panic!("another kind");
    };
    assert_eq!(guard.mode, Some(Mode::InsertOnly));
    assert_eq!(
        text(guard.filter),
        r#"{"must":[{"key":"k","match":{"value":1}}]}"#
    );
    assert_eq!(points.len(), 2);
    assert_eq!(text(points[0].payload.unwrap()), r#"{"k":1}"#);
    let shown = format!("{:?}", points[1]);
    assert!(
        shown.contains(r#"[("a", Dense([2.0])), ("b", Dense([5.0]))]"#),
        "{shown}"
    );
    let none = bytes(
        cbor!({"upsert_points" => {"batch" => {"ids" => [1, 2], "vectors" => {}, "payloads" => null}}}),
    );
    let Change::Upsert { points, .. } = Entry::read(&none).unwrap().change else {
        panic!("another kind");
    };
    assert_eq!(points.len(), 2, "points without vectors");
}

#[test]
fn every_other_kind() {
    let filter =
        || cbor!({"must_not" => [{"has_id" => [4, Value::Bytes(vec![255; 16])]}]}).unwrap();
    let json = r#"{"must_not":[{"has_id":[4,"ffffffff-ffff-ffff-ffff-ffffffffffff"]}]}"#;
    let shown = |value| format!("{:?}", Entry::read(&bytes(value)).unwrap().change);
    for (value, expected) in [
        (cbor!({"delete_points" => {"ids" => [1, 2]}}), "Delete(Ids([Number(1), Number(2)]))".to_owned()),
        (cbor!({"delete_points_by_filter" => filter()}), format!("Delete(Filter({json}))")),
        (
            cbor!({"sync_points" => {"from_id" => 3, "to_id" => null, "points" => []}}),
            "Sync { from: Some(Number(3)), to: None, points: [] }".to_owned(),
        ),
        (
            cbor!({"update_vectors" => {"points" => [{"id" => 1, "vector" => []}], "update_filter" => filter()}}),
            format!("UpdateVectors {{ points: [Point {{ id: Number(1), vectors: Default(Dense([])), payload: None }}], filter: Some({json}) }}"),
        ),
        (
            cbor!({"delete_vectors" => [{"points" => [5], "shard_key" => "x"}, ["a", "b"]]}),
            r#"DeleteVectors { of: Ids([Number(5)]), names: ["a", "b"] }"#.to_owned(),
        ),
        (
            cbor!({"delete_vectors_by_filter" => [filter(), ["a"]]}),
            format!(r#"DeleteVectors {{ of: Filter({json}), names: ["a"] }}"#),
        ),
        (
            cbor!({"set_payload" => {"payload" => {"a" => 1}, "points" => null, "filter" => filter(), "key" => "x.y"}}),
            format!(r#"SetPayload {{ payload: {{"a":1}}, of: Filter({json}), key: Some("x.y") }}"#),
        ),
        (
            cbor!({"overwrite_payload" => {"payload" => {}, "points" => [1], "filter" => filter(), "key" => null}}),
            "OverwritePayload { payload: {}, of: Ids([Number(1)]) }".to_owned(),
        ),
        (
            cbor!({"delete_payload" => {"keys" => ["a[0].b"], "points" => null, "filter" => null}}),
            r#"DeletePayload { keys: ["a[0].b"], of: Ids([]) }"#.to_owned(),
        ),
        (cbor!({"clear_payload" => {"points" => [9]}}), "ClearPayload(Ids([Number(9)]))".to_owned()),
        (cbor!({"clear_payload_by_filter" => filter()}), format!("ClearPayload(Filter({json}))")),
        (
            cbor!({"create_index" => {"field_name" => "a", "field_schema" => {"type" => "integer", "lookup" => true, "range" => null}}}),
            r#"CreateIndex { field: "a", schema: Some({"type":"integer","lookup":true,"range":null}) }"#.to_owned(),
        ),
        (cbor!({"delete_index" => "a.b"}), r#"DeleteIndex { field: "a.b" }"#.to_owned()),
        (
            cbor!({"create_vector_name" => {"vector_name" => "v", "config" => {"dense" => {"size" => 4, "distance" => "Dot"}}}}),
            r#"CreateVector { name: "v", config: {"dense":{"size":4,"distance":"Dot"}} }"#.to_owned(),
        ),
        (cbor!({"delete_vector_name" => {"vector_name" => "v"}}), r#"DeleteVector { name: "v" }"#.to_owned()),
    ] {
        assert_eq!(shown(value), expected);
    }
}

#[test]
fn what_is_not_known_is_named() {
    for (value, message) in [
        (
            cbor!({"rename_points" => {"a" => 1}}),
            r#"operations of the kind "rename_points" are not known to this program"#,
        ),
        (
            cbor!({"delete_points" => {"ids" => [1], "reason" => "x"}}),
            r#"the operation delete_points has a part that is not known to this program: "reason""#,
        ),
        (
            cbor!({"upsert_points" => {"points" => [{"id" => 1, "vector" => {"a" => {"indices" => [], "values" => [], "norm" => 1}}, "payload" => null}]}}),
            r#"the operation upsert_points has a part that is not known to this program: "points.vector.a.norm""#,
        ),
        (
            cbor!({"delete_points_by_filter" => {"must" => [{"nested" => {"key" => "a", "filter" => {"should" => [{"key" => "b", "near" => 1}]}}}]}}),
            r#"the operation delete_points_by_filter has a part that is not known to this program: "must.nested.filter.should.near""#,
        ),
        (
            cbor!({"create_index" => {"field_name" => "a", "field_schema" => {"type" => "text", "stemmer" => {"kind" => 1}}}}),
            r#"the operation create_index has a part that is not known to this program: "field_schema.stemmer.kind""#,
        ),
        (
            cbor!({"upsert_points_conditional" => {"points_op" => {"points" => []}, "condition" => {}, "update_mode" => "merge"}}),
            r#"the operation upsert_points_conditional has a part that is not known to this program: "update_mode.merge""#,
        ),
        (
            cbor!({"delete_points" => {"ids" => [-1]}}),
            r#"the operation delete_points can't be read at "ids""#,
        ),
        (
            cbor!({"set_payload" => {"payload" => [], "points" => [1]}}),
            r#"the operation set_payload can't be read at "payload""#,
        ),
        (cbor!({"clock_tag" => null}), "the entry is no operation"),
        (
            cbor!({"delete_index" => "a", "delete_points" => {}}),
            "the entry is no operation",
        ),
    ] {
        assert_eq!(refused(value), message);
    }
    assert_eq!(
        Entry::read(&[0x81; 100_000]).unwrap_err(),
        Unread::NotAnOperation
    );
}

/// An array in an array in … is walked over without end of the stack.
#[test]
fn depth_is_bounded() {
    let mut deep = b"\xa1\x6bset_payload\xa2\x66points\x80\x67payload\xa1\x61x".to_vec();
    deep.resize(deep.len() + 250, 0x81);
    deep.push(0);
    let Change::SetPayload {
        payload,
        of: Selection::Ids(_),
        ..
    } = Entry::read(&deep).unwrap().change
    else {
        panic!("another kind");
    };
    assert_eq!(text(payload).len(), 500 + 7);
    deep.insert(deep.len() - 1, 0x81);
    deep.resize(deep.len() + 200_000, 0x81);
    assert!(Entry::read(&deep).is_err());
}

#[test]
fn uuids_are_read_with_and_without_hyphens() {
    let uuid = PointId::Uuid([0x12; 16]);
    assert_eq!(PointId::parse_uuid(&uuid.to_string()), Some(uuid));
    assert_eq!(
        PointId::parse_uuid(&"12".repeat(16).to_uppercase()),
        Some(uuid)
    );
    for wrong in [
        "",
        "12",
        &"12".repeat(17),
        &"1g".repeat(16),
        &"é".repeat(16),
        "-",
    ] {
        assert_eq!(PointId::parse_uuid(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::read(&bytes);
    }

    #[test]
    fn damaged_operations_never_panic(kind in 0usize..4, damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        let mut entry = bytes([
            cbor!({"upsert_points" => {"batch" => {"ids" => [1, 2], "vectors" => {"a" => [[1.5], [2.5]]}, "payloads" => [{"k" => "v"}, null]}}}),
            cbor!({"upsert_points" => {"points" => [{"id" => 7, "vector" => [1.5, 2.5], "payload" => {"k" => 1.25}}]}}),
            cbor!({"delete_vectors_by_filter" => [{"must" => {"key" => "a", "range" => {"lt" => 1.5}}}, ["t"]]}),
            cbor!({"set_payload" => {"payload" => {"a" => {"b" => [1, "x"]}}, "points" => [1, 2], "filter" => null, "key" => "k"}}),
        ].into_iter().nth(kind).unwrap());
        for (at, to) in damage {
            let at = usize::from(at) % entry.len();
            entry[at] = to;
        }
        if let Ok(read) = Entry::read(&entry) {
            let _ = format!("{read:?}");
            let source = crate::replay::Source { shard: 0, ring: crate::replay::Ring::of(1), key: None };
            if let Ok(crate::replay::Plan::Send(requests)) = crate::replay::plan(read.change, &source) {
                for request in requests {
                    let _: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                }
            }
        }
    }
}
