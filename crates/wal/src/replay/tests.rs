//! Requests for operations, by what they say.

use super::{Plan, Refusal, Request, Ring, Source, plan};
use crate::change::{Entry, PointId};
use ciborium::{Value, cbor};

fn bytes(value: Result<Value, ciborium::value::Error>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&value.unwrap(), &mut bytes).unwrap();
    bytes
}

/// The one shard of a collection.
fn alone() -> Source {
    Source {
        shard: 0,
        ring: Ring::of(1),
        key: None,
    }
}

fn planned(
    value: Result<Value, ciborium::value::Error>,
    source: &Source,
) -> Result<Plan<'static>, Refusal> {
    let entry: &'static [u8] = bytes(value).leak();
    plan(Entry::read(entry).unwrap().change, source)
}

fn sent(value: Result<Value, ciborium::value::Error>) -> Vec<String> {
    let Plan::Send(requests) = planned(value, &alone()).unwrap() else {
        panic!("another plan");
    };
    requests.iter().map(shown).collect()
}

fn shown(request: &Request) -> String {
    let path = request.path.replace("?wait=true&ordering=medium", "");
    assert!(
        path.len() < request.path.len() || path.contains("scroll"),
        "{path}"
    );
    let missing = if request.may_miss { " *" } else { "" };
    let body = String::from_utf8(request.body.clone()).unwrap();
    format!("{} {path} {body}{missing}", request.method)
}

#[test]
fn points_are_sent_with_all_they_have() {
    let uuid = Value::Bytes(vec![0xab; 16]);
    let upsert = cbor!({"upsert_points" => {"points" => [
        {"id" => 18_446_744_073_709_551_615u64, "vector" => [0.1f32, -2.0], "payload" => {"big" => 18_446_744_073_709_551_615u64, "neg" => -9_223_372_036_854_775_808i64, "f" => 0.1, "one" => 1.0, "q\"" => "\n\u{1f600}"}},
        {"id" => uuid, "vector" => {"" => [1e30f32], "s" => {"indices" => [4_294_967_295u32], "values" => [0.25]}, "m" => [[1.0], [2.0]]}, "payload" => null},
    ]}});
    assert_eq!(
        sent(upsert),
        [concat!(
            r#"PUT points {"points":[{"id":18446744073709551615,"vector":[0.1,-2.0],"#,
            r#""payload":{"big":18446744073709551615,"neg":-9223372036854775808,"f":0.1,"one":1.0,"q\"":"\u000a😀"}},"#,
            r#"{"id":"abababab-abab-abab-abab-abababababab","vector":{"":[1e30],"s":{"indices":[4294967295],"values":[0.25]},"m":[[1.0],[2.0]]}}]}"#,
        )]
    );
}

#[test]
fn of_a_point_that_comes_twice_the_last_counts() {
    let upsert = cbor!({"upsert_points_conditional" => {
        "points_op" => {"points" => [{"id" => 1, "vector" => [1.0]}, {"id" => 2, "vector" => [2.0]}, {"id" => 1, "vector" => [3.0]}]},
        "condition" => {}, "update_mode" => "update_only"}});
    assert_eq!(
        sent(upsert),
        [
            r#"PUT points {"update_filter":{},"update_mode":"update_only","points":[{"id":2,"vector":[2.0]},{"id":1,"vector":[3.0]}]}"#
        ]
    );
    let update = cbor!({"update_vectors" => {"points" => [{"id" => 1, "vector" => {"a" => [1.0]}}, {"id" => 1, "vector" => {"b" => [2.0]}}], "update_filter" => {"must" => []}}});
    assert_eq!(
        sent(update),
        [
            r#"PUT points/vectors {"update_filter":{"must":[]},"points":[{"id":1,"vector":{"a":[1.0]}},{"id":1,"vector":{"b":[2.0]}}]} *"#
        ],
        "vectors of one point are merged by the server"
    );
}

#[test]
fn operations_that_may_miss_a_point_go_out_in_groups() {
    let ids: Vec<Value> = (0..70u64).map(Value::from).collect();
    let sizes = |value| -> Vec<(usize, bool)> {
        let requests = sent(value);
        let of = |text: &String| {
            (
                text.split(['[', ']']).nth(1).unwrap().split(',').count(),
                text.ends_with('*'),
            )
        };
        requests.iter().map(of).collect()
    };
    let groups = [(32, true), (32, true), (6, true)];
    let list = || Value::Array(ids.clone());
    assert_eq!(
        sizes(cbor!({"clear_payload" => {"points" => list()}})),
        groups
    );
    assert_eq!(
        sizes(cbor!({"set_payload" => {"payload" => {"a" => 1}, "points" => list()}})),
        groups
    );
    assert_eq!(
        sizes(cbor!({"delete_vectors" => [{"points" => list()}, ["v"]]})),
        groups
    );
    assert_eq!(
        sizes(cbor!({"delete_points" => {"ids" => list()}})),
        [(70, false)]
    );
}

#[test]
fn one_shard_needs_no_question() {
    let filter =
        || cbor!({"must" => {"key" => "a", "range" => {"lt" => 1.5, "gt" => null}}}).unwrap();
    let json = r#"{"must":{"key":"a","range":{"lt":1.5,"gt":null}}}"#;
    for (value, expected) in [
        (
            cbor!({"delete_points_by_filter" => filter()}),
            format!(r#"POST points/delete {{"filter":{json}}}"#),
        ),
        (
            cbor!({"clear_payload_by_filter" => filter()}),
            format!(r#"POST points/payload/clear {{"filter":{json}}}"#),
        ),
        (
            cbor!({"delete_vectors_by_filter" => [filter(), ["v", ""]]}),
            format!(r#"POST points/vectors/delete {{"filter":{json},"vector":["v",""]}}"#),
        ),
        (
            cbor!({"set_payload" => {"payload" => {"b" => 1}, "points" => null, "filter" => filter(), "key" => "x[0].y"}}),
            format!(
                r#"POST points/payload {{"filter":{json},"key":"x[0].y","payload":{{"b":1}}}}"#
            ),
        ),
        (
            cbor!({"overwrite_payload" => {"payload" => {"b" => 1}, "points" => null, "filter" => filter(), "key" => "x"}}),
            format!(r#"PUT points/payload {{"filter":{json},"payload":{{"b":1}}}}"#),
        ),
        (
            cbor!({"delete_payload" => {"keys" => ["a", "b.c"], "points" => null, "filter" => filter()}}),
            format!(r#"POST points/payload/delete {{"filter":{json},"keys":["a","b.c"]}}"#),
        ),
    ] {
        assert_eq!(sent(value), [expected]);
    }
}

#[test]
fn what_has_no_effect_is_not_sent() {
    assert!(
        sent(cbor!({"upsert_points" => {"points" => []}})).is_empty(),
        "a shard's first entry"
    );
    assert!(
        sent(cbor!({"set_payload" => {"payload" => {}, "points" => null, "filter" => null}}))
            .is_empty()
    );
    assert!(
        sent(cbor!({"create_index" => {"field_name" => "a", "field_schema" => null}})).is_empty()
    );
}

#[test]
fn of_several_shards_the_points_of_one_are_meant() {
    let ring = Ring::of(3);
    let shard = ring.shard_of(PointId::Number(1)).unwrap();
    let source = Source {
        shard,
        ring: ring.clone(),
        key: Some("\"k\"".to_owned()),
    };
    let delete = cbor!({"delete_payload" => {"keys" => ["a"], "points" => null, "filter" => {"must" => []}}});
    let Plan::Select(select) = planned(delete, &source).unwrap() else {
        panic!("another plan");
    };
    assert_eq!(
        shown(&select.page(None)),
        r#"POST points/scroll?consistency=all {"shard_key":"k","filter":{"must":[]},"limit":10000,"with_payload":false,"with_vector":false}"#
    );
    let next = select.page(Some(PointId::Uuid([1; 16])));
    assert!(shown(&next).contains(r#""offset":"01010101-0101-0101-0101-010101010101","#));
    let kept: Vec<_> = (0..100)
        .map(PointId::Number)
        .filter(|id| select.keeps(*id))
        .collect();
    assert!(
        kept.contains(&PointId::Number(1)) && kept.len() < 60,
        "{kept:?}"
    );
    assert!(kept.iter().all(|id| ring.shard_of(*id) == Some(shard)));
    let requests = select.requests(&kept[..2]).unwrap();
    let ids = format!("[{},{}]", kept[0], kept[1]);
    assert_eq!(
        requests.iter().map(shown).collect::<Vec<_>>(),
        [format!(
            r#"POST points/payload/delete {{"shard_key":"k","points":{ids},"keys":["a"]}}"#
        )]
    );
    let other = (0..)
        .find(|n| ring.shard_of(PointId::Number(*n)) != Some(shard))
        .unwrap();
    let refusal = planned(cbor!({"delete_points" => {"ids" => [1, other]}}), &source).unwrap_err();
    let belongs = ring.shard_of(PointId::Number(other)).unwrap();
    assert_eq!(
        refusal,
        Refusal::OtherShard {
            id: other.to_string(),
            shard,
            belongs
        }
    );
    let stranger = Source { shard: 9, ..source };
    let refusal = planned(cbor!({"delete_points" => {"ids" => [1]}}), &stranger).unwrap_err();
    assert_eq!(refusal, Refusal::NoSuchShard(9));
}

#[test]
fn a_range_is_made_equal() {
    let sync = cbor!({"sync_points" => {"from_id" => 5, "to_id" => 20, "points" => [{"id" => 7, "vector" => [1.0]}, {"id" => 9, "vector" => [2.0]}]}});
    let Plan::Select(select) = planned(sync, &alone()).unwrap() else {
        panic!("another plan");
    };
    assert!(shown(&select.page(None)).contains(r#"{"offset":5,"limit":"#));
    let there = [5, 6, 7, 19, 20].map(PointId::Number);
    let kept: Vec<_> = there.into_iter().filter(|id| select.keeps(*id)).collect();
    assert_eq!(kept, [5, 6, 7, 19].map(PointId::Number));
    assert!(select.is_behind(PointId::Number(20)) && !select.is_behind(PointId::Number(19)));
    assert!(!select.keeps(PointId::Number(4)) && select.is_behind(PointId::Uuid([0; 16])));
    let requests = select.requests(&kept).unwrap();
    assert_eq!(
        requests.iter().map(shown).collect::<Vec<_>>(),
        [
            r#"POST points/delete {"points":[5,6,19]}"#,
            r#"PUT points {"points":[{"id":7,"vector":[1.0]},{"id":9,"vector":[2.0]}]}"#,
        ]
    );
}

#[test]
fn what_concerns_the_collection_is_sent_once() {
    let source = Source {
        shard: 2,
        ring: Ring::of(3),
        key: None,
    };
    for (value, expected) in [
        (
            cbor!({"create_index" => {"field_name" => "a.b", "field_schema" => "keyword"}}),
            r#"PUT index {"field_name":"a.b","field_schema":"keyword"}"#,
        ),
        (
            cbor!({"delete_index" => "a.\"b/c\"[]"}),
            "DELETE index/a%2E%22b%2Fc%22%5B%5D ",
        ),
        (
            cbor!({"create_vector_name" => {"vector_name" => "v", "config" => {"sparse" => {"modifier" => "idf"}}}}),
            r#"PUT vectors/v {"sparse":{"modifier":"idf"}}"#,
        ),
        (
            cbor!({"delete_vector_name" => {"vector_name" => "v"}}),
            "DELETE vectors/v ",
        ),
    ] {
        let Plan::Everywhere(request) = planned(value, &source).unwrap() else {
            panic!("another plan");
        };
        assert_eq!(shown(&request), expected);
    }
}

#[test]
fn large_operations_are_divided() {
    let rows: Vec<Value> = (0..40u64)
        .map(|id| {
            cbor!({"id" => id, "vector" => [1.5], "payload" => {"t" => "x".repeat(500_000)}})
                .unwrap()
        })
        .collect();
    let Plan::Send(requests) =
        planned(cbor!({"upsert_points" => {"points" => rows}}), &alone()).unwrap()
    else {
        panic!("another plan");
    };
    assert_eq!(requests.len(), 3);
    let mut ids = Vec::new();
    for request in requests {
        assert!(request.body.len() < 9 << 20);
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        ids.extend(
            body["points"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["id"].as_u64().unwrap()),
        );
    }
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
}

#[test]
fn numbers_that_json_lacks() {
    let vector = cbor!({"upsert_points" => {"points" => [{"id" => 3, "vector" => [f32::NAN]}]}});
    assert_eq!(
        planned(vector, &alone()).unwrap_err(),
        Refusal::NotANumber("3".to_owned())
    );
    let far =
        cbor!({"upsert_points" => {"points" => [{"id" => 3, "vector" => [f32::NEG_INFINITY]}]}});
    assert_eq!(
        sent(far),
        [r#"PUT points {"points":[{"id":3,"vector":[-1e39]}]}"#]
    );
    // It came by gRPC: no JSON is read as this number.
    let lost = cbor!({"set_payload" => {"payload" => {"a" => 2.384_991_728_390_319_8e2}, "points" => [1]}});
    let Plan::Send(requests) = planned(lost, &alone()).unwrap() else {
        panic!("another plan");
    };
    assert_eq!(requests[0].inexact, 1);
}
