//! Answers as they are shown.

use super::DiffView;
use crate::output::{View as _, render_json};
use holdfast_proto::v1;
use holdfast_proto::v1::diff_point_id::Id;

const SECOND: i64 = 1_000_000;
const FROM: i64 = 1_795_000_000 * SECOND;

fn place(shard_id: u32, index: u64, seconds: i64) -> Option<v1::LoggedOperation> {
    Some(v1::LoggedOperation {
        shard_id,
        index,
        after_us: FROM + seconds * SECOND,
        by_us: FROM + seconds * SECOND + SECOND / 10,
    })
}

/// Found by the first look at a log.
fn seen_first(shard_id: u32, index: u64, seconds: i64) -> Option<v1::LoggedOperation> {
    let place = place(shard_id, index, seconds);
    place.map(|place| v1::LoggedOperation {
        after_us: 0,
        ..place
    })
}

pub(in crate::view) fn asked() -> v1::DiffRequest {
    v1::DiffRequest {
        collection: "products".into(),
        from_us: FROM,
        to_us: FROM + 300 * SECOND,
        ids: 2,
    }
}

/// Ids of both forms; of one fate more than are named.
fn fates() -> Vec<v1::DiffPoints> {
    let ids = |ids: Vec<Id>| -> Vec<v1::DiffPointId> {
        let ids = ids.into_iter();
        ids.map(|id| v1::DiffPointId { id: Some(id) }).collect()
    };
    let uuid = Id::Uuid("550e8400-e29b-41d4-a716-446655440000".into());
    vec![
        v1::DiffPoints {
            fate: "put".into(),
            count: 2,
            ids: ids(vec![Id::Number(7), uuid]),
        },
        v1::DiffPoints {
            fate: "changed".into(),
            ..Default::default()
        },
        v1::DiffPoints {
            fate: "removed".into(),
            count: 1300,
            ids: ids(vec![Id::Number(1), Id::Number(2)]),
        },
    ]
}

pub(in crate::view) fn told() -> v1::DiffResponse {
    let kind = |kind: &str, count, points, first, last| v1::DiffKind {
        kind: kind.into(),
        count,
        points,
        first,
        last,
    };
    v1::DiffResponse {
        operations: 1236,
        bytes: 4 << 20,
        kinds: vec![
            kind(
                "delete_points",
                1,
                300,
                place(0, 44, 100),
                place(0, 44, 100),
            ),
            kind(
                "upsert_points",
                1235,
                1235,
                seen_first(1, 7, 2),
                place(0, 90, 299),
            ),
        ],
        kinds_left_out: 3,
        points: fates(),
        points_left_out: 5,
        by_filter: vec![v1::DiffFilter {
            kind: "delete_points_by_filter".into(),
            filter: "{\"must\":[]}".into(),
            count: 2,
            first: place(0, 50, 120),
            last: place(0, 51, 130),
        }],
        by_filter_left_out: 4,
        largest: vec![v1::DiffLarge {
            kind: "delete_points".into(),
            points: 300,
            operation: place(0, 44, 100),
        }],
        of_collection: vec![v1::DiffSchema {
            kind: "create_index".into(),
            name: "group".into(),
            operation: place(0, 60, 140),
        }],
        of_collection_left_out: 0,
        unread: vec![v1::DiffUnread {
            why: "operations of the kind \"rename\" are not known to this program".into(),
            count: 2,
        }],
        unread_left_out: 1,
        gaps: vec![v1::DiffGap {
            shard_id: Some(1),
            after_us: FROM + 200 * SECOND,
            before_us: FROM + 210 * SECOND,
            why: "operations 20 to 39 are missing".into(),
        }],
        notes: vec!["a log of shard 2 can't be read".into()],
        perhaps_earlier: 1,
        perhaps_later: 2,
    }
}

#[test]
fn what_happened_in_between() {
    let view = DiffView::new(&asked(), &told());
    insta::assert_snapshot!(render_json(&view, false), @r#"{"kind":"diff","format":1,"collection":"products","from":"2026-11-18T11:06:40Z","to":"2026-11-18T11:11:40Z","complete":false,"gaps":[{"shard":1,"after":"2026-11-18T11:10:00Z","before":"2026-11-18T11:10:10Z","why":"operations 20 to 39 are missing"}],"operations":1236,"bytes":4194304,"kinds":[{"operation":"delete_points","count":1,"points":300,"first":{"shard":0,"number":44,"after":"2026-11-18T11:08:20Z","by":"2026-11-18T11:08:20.1Z","restore_to":"2026-11-18T11:08:20Z"},"last":{"shard":0,"number":44,"after":"2026-11-18T11:08:20Z","by":"2026-11-18T11:08:20.1Z","restore_to":"2026-11-18T11:08:20Z"}},{"operation":"upsert_points","count":1235,"points":1235,"first":{"shard":1,"number":7,"after":null,"by":"2026-11-18T11:06:42.1Z","restore_to":null},"last":{"shard":0,"number":90,"after":"2026-11-18T11:11:39Z","by":"2026-11-18T11:11:39.1Z","restore_to":"2026-11-18T11:11:39Z"}}],"kinds_left_out":3,"points":[{"fate":"put","count":2,"ids":[7,"550e8400-e29b-41d4-a716-446655440000"],"more":0},{"fate":"changed","count":0,"ids":[],"more":0},{"fate":"removed","count":1300,"ids":[1,2],"more":1298}],"points_left_out":5,"largest":[{"operation":"delete_points","points":300,"at":{"shard":0,"number":44,"after":"2026-11-18T11:08:20Z","by":"2026-11-18T11:08:20.1Z","restore_to":"2026-11-18T11:08:20Z"}}],"by_filter":[{"operation":"delete_points_by_filter","filter":"{\"must\":[]}","count":2,"first":{"shard":0,"number":50,"after":"2026-11-18T11:08:40Z","by":"2026-11-18T11:08:40.1Z","restore_to":"2026-11-18T11:08:40Z"},"last":{"shard":0,"number":51,"after":"2026-11-18T11:08:50Z","by":"2026-11-18T11:08:50.1Z","restore_to":"2026-11-18T11:08:50Z"}}],"by_filter_left_out":4,"schema":[{"operation":"create_index","name":"group","at":{"shard":0,"number":60,"after":"2026-11-18T11:09:00Z","by":"2026-11-18T11:09:00.1Z","restore_to":"2026-11-18T11:09:00Z"}}],"schema_left_out":0,"unread":[{"why":"operations of the kind \"rename\" are not known to this program","count":2}],"unread_left_out":1,"perhaps_earlier":1,"perhaps_later":2,"notes":["a log of shard 2 can't be read"]}"#);
    insta::assert_snapshot!(view.text(), @r#"
    products from 2026-11-18T11:06:40Z to 2026-11-18T11:11:40Z: 1,236 operations, about 4.0 MiB

    INCOMPLETE: more may have been written than is shown. What is not known:
      shard 1, 2026-11-18T11:10:00Z to 2026-11-18T11:10:10Z: operations 20 to 39 are missing
    Next: if only the end is not known, ask again in some seconds. `holdfast status` shows whether an agent is away or behind,
    `holdfast restore window products` which instants can be restored, and why not the others.

    OPERATION      COUNT  POINTS NAMED  FIRST SEEN BY           LAST SEEN BY
    delete_points  1      300           2026-11-18T11:08:20.1Z  2026-11-18T11:08:20.1Z
    upsert_points  1,235  1,235         2026-11-18T11:06:42.1Z  2026-11-18T11:11:39.1Z
    and 3 of other kinds

    POINTS THAT WERE  COUNT  IDS
    put               2      7, 550e8400-e29b-41d4-a716-446655440000
    removed           1,300  1, 2 and 1,298 more
    These are too few: further points were named 5 times, more than are remembered. Choose a shorter time.

    Below, --to is an instant just before each operation. To look at what was there then, beside the collection:
      holdfast restore run --to INSTANT --collection products --as products_before

    Operations that name most points:
      --to 2026-11-18T11:08:20Z  delete_points of 300 points (shard 0, operation 44)

    Operations by filter (whom they met is not known):
      --to 2026-11-18T11:08:40Z  delete_points_by_filter {"must":[]} (shard 0, operation 50, the first of 2)
      and 4 more

    Changes of payload indexes and named vectors:
      --to 2026-11-18T11:09:00Z  create_index of group (shard 0, operation 60)

    Operations that could not be read in full (their points are not among those above):
      2: operations of the kind "rename" are not known to this program
      and 1 more

    Notes:
      a log of shard 2 can't be read
      1 of these operations may have been written before 2026-11-18T11:06:40Z: they were found later
      2 more operations may have been written by 2026-11-18T11:11:40Z: they were found later, and don't count
    "#);
}

#[test]
fn nothing_happened() {
    let view = DiffView::new(&asked(), &v1::DiffResponse::default());
    assert!(view.complete);
    insta::assert_snapshot!(view.text(), @r#"
    products from 2026-11-18T11:06:40Z to 2026-11-18T11:11:40Z: 0 operations, about 0 B

    Nothing was written.
    "#);
}

#[test]
fn what_nobody_knows_is_said() {
    let told = v1::DiffResponse {
        gaps: vec![v1::DiffGap {
            shard_id: None,
            after_us: FROM,
            before_us: FROM + 300 * SECOND,
            why: "no recovery point holds products".into(),
        }],
        ..Default::default()
    };
    let view = DiffView::new(&asked(), &told);
    assert!(!view.complete && view.gaps[0].shard.is_none());
    insta::assert_snapshot!(view.text(), @r#"
    products from 2026-11-18T11:06:40Z to 2026-11-18T11:11:40Z: 0 operations, about 0 B

    INCOMPLETE: more may have been written than is shown. What is not known:
      which shards there were, 2026-11-18T11:06:40Z to 2026-11-18T11:11:40Z: no recovery point holds products
    Next: if only the end is not known, ask again in some seconds. `holdfast status` shows whether an agent is away or behind,
    `holdfast restore window products` which instants can be restored, and why not the others.

    Of what is known, nothing was written.
    "#);
}

#[test]
fn the_instant_before_is_before_and_not_outside() {
    let large = |(after_us, by_us)| v1::DiffLarge {
        operation: Some(v1::LoggedOperation {
            after_us,
            by_us,
            ..Default::default()
        }),
        ..Default::default()
    };
    let told = v1::DiffResponse {
        largest: [(0, FROM + 9), (FROM - 5, FROM + 1), (FROM + 4, FROM + 4)]
            .map(large)
            .into(),
        ..Default::default()
    };
    let view = DiffView::new(&asked(), &told);
    let before = view.largest.iter().map(|large| {
        let at = large.at.as_ref().expect("a place");
        (
            at.after.is_some(),
            at.restore_to.map(|to| to.as_micros() - FROM),
        )
    });
    assert_eq!(
        before.collect::<Vec<_>>(),
        [(false, None), (true, Some(0)), (true, Some(3))]
    );
    let first = "(no instant before it is known)   of 0 points (shard 0, operation 0)";
    assert!(view.text().contains(first), "{}", view.text());
}
