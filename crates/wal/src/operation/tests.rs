//! Operations as a server writes them, and bytes that nobody writes.

use super::{ClockTag, Operation, Scope};
use ciborium::Value;
use ciborium::cbor;
use proptest::prelude::*;

fn read(value: &Value) -> Option<Operation> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    Operation::read(&bytes)
}

fn scope(value: Result<Value, ciborium::value::Error>) -> (String, Scope) {
    let operation = read(&value.unwrap()).unwrap();
    (operation.kind, operation.scope)
}

fn hexadecimal(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|p| u8::from_str_radix(p, 16).unwrap()).collect()
}

/// Two entries of a log that Qdrant 1.18.3 wrote: a shard's first one, and a deletion of one point.
#[test]
fn entries_of_a_real_log() {
    let first = hexadecimal("bf 6d 7570736572745f706f696e7473 a1 66 706f696e7473 80 ff");
    let read = Operation::read(&first).unwrap();
    assert_eq!(read.kind, "upsert_points");
    assert_eq!((read.scope, read.clock), (Scope::Points(0), None));

    let delete = hexadecimal(
        "bf 6d 64656c6574655f706f696e7473 a1 63 696473 81 02 69 636c6f636b5f746167 a5 67 706565725f6964 1b0011d6fd41416c88
         68 636c6f636b5f6964 00 6a 636c6f636b5f7469636b 03 65 746f6b656e 1b94978d267db51352 65 666f726365 f4 ff",
    );
    let read = Operation::read(&delete).unwrap();
    assert_eq!(read.kind, "delete_points");
    assert_eq!(read.scope, Scope::Points(1));
    let tag = ClockTag {
        peer_id: 0x0011_d6fd_4141_6c88,
        clock_id: 0,
        clock_tick: 3,
        token: 0x9497_8d26_7db5_1352,
        force: false,
    };
    assert_eq!(read.clock, Some(tag));
}

#[test]
fn every_kind_tells_what_it_applies_to() {
    let batch = cbor!({"upsert_points" => {"batch" => {"ids" => [1, 2, "3"], "vectors" => [[0.5]], "payloads" => null}}});
    assert_eq!(scope(batch), ("upsert_points".into(), Scope::Points(3)));
    let conditional = cbor!({"upsert_points_conditional" => {
        "points_op" => {"points" => [{"id" => 1, "vector" => [1.0]}]}, "condition" => {"must" => []}}});
    assert_eq!(scope(conditional).1, Scope::Points(1));
    let filter = cbor!({"set_payload" => {"payload" => {"a" => 1}, "points" => null, "filter" => {"must" => []}, "key" => null}});
    assert_eq!(scope(filter).1, Scope::Filter);
    let ids = cbor!({"overwrite_payload" => {"payload" => {"a" => 1}, "points" => [1, 2], "filter" => null}});
    assert_eq!(scope(ids).1, Scope::Points(2));
    let vectors = cbor!({"delete_vectors" => [{"points" => [1, 2, 3, 4]}, ["text"]]});
    assert_eq!(scope(vectors).1, Scope::Points(4));
    let by_filter = cbor!({"delete_points_by_filter" => {"must" => []}});
    assert_eq!(scope(by_filter).1, Scope::Filter);
    let index = cbor!({"create_index" => {"field_name" => "a", "field_schema" => "integer"}});
    assert_eq!(scope(index).1, Scope::Shard);
}

#[test]
fn kinds_of_newer_servers_keep_their_name() {
    let newer =
        cbor!({"rename_points" => [{"deep" => [1, [2, {"x" => null}]]}], "clock_tag" => null});
    assert_eq!(scope(newer), ("rename_points".into(), Scope::Unknown));
    let odd = cbor!({"delete_points" => "all of them"});
    assert_eq!(scope(odd), ("delete_points".into(), Scope::Unknown));
}

#[test]
fn what_is_no_operation_is_not_taken_for_one() {
    let two = cbor!({"delete_points" => {"ids" => [1]}, "create_index" => {}}).unwrap();
    assert_eq!(read(&two), None);
    let none = cbor!({"clock_tag" => {"peer_id" => 1}}).unwrap();
    assert_eq!(read(&none), None);
    assert_eq!(Operation::read(b""), None);
    assert_eq!(Operation::read(&[0x81; 100_000]), None, "deep nesting ends");
    let mut bytes = vec![0xa1, 0x61, b'x'];
    bytes.resize(100_000, 0x81);
    assert_eq!(Operation::read(&bytes), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Operation::read(&bytes);
    }

    /// A real entry with some bytes changed gets further into the reader than noise does.
    #[test]
    fn damaged_operations_never_panic(at in 0usize..64, to: u8, cut in 0usize..64) {
        let value = cbor!({"upsert_points" => {"points" => [{"id" => 7, "vector" => [1.5, 2.5], "payload" => {"k" => "v"}}]}});
        let mut bytes = Vec::new();
        ciborium::into_writer(&value.unwrap(), &mut bytes).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let _ = Operation::read(&bytes);
    }
}
