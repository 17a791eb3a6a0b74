//! What commands on the repository itself show.

use super::POINT;
use crate::output::{View, render_json};
use crate::view::{HealView, LeftoversView, RebuiltIndexView, Resumption, VerifyView};
use holdfast_repository::{
    AffectedPoint, AffectedShard, Damage, DamagedObject, HealPlan, Healed, Leftovers, RebuiltIndex,
    Recording, Sample, VerifyLevel, VerifyReport,
};
use holdfast_store::ObjectMeta;
use holdfast_types::{PackId, ShardId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

pub(super) fn verified() -> VerifyView {
    let report = verify_report();
    let resumption = Resumption {
        resumed: true,
        unkept: Some("permission denied".into()),
    };
    let elapsed = Duration::from_millis(12_345);
    VerifyView::new("/srv/repository".into(), &report, resumption, elapsed)
}

fn verify_report() -> VerifyReport {
    let damaged = |object: &str| DamagedObject {
        object: object.into(),
        damage: Damage::Hash,
    };
    VerifyReport {
        level: VerifyLevel::Sample(Sample::new(5, 42, 95).unwrap()),
        packs: 2000,
        packs_read: 104,
        chunks: 60_123,
        unexplained: 2,
        unindexed: 7,
        points: 12,
        bytes_read: 3_489_660_928,
        damaged: vec![damaged("packs/ab/ab12"), damaged("packs/cd/cd34")],
        superseded: BTreeSet::from(["packs/cd/cd34".to_owned()]),
        affected: vec![AffectedPoint {
            id: POINT.parse().unwrap(),
            manifest: None,
            extras: Vec::new(),
            shards: vec![AffectedShard {
                collection: "products".parse().unwrap(),
                shard: ShardId(1),
                missing_chunks: 3,
                recipe: None,
            }],
        }],
        missing: HashSet::new(),
        quarantine: Vec::new(),
        recording: Recording::ReadOnly,
    }
}

#[test]
fn a_check_of_the_repository() {
    insta::assert_snapshot!(render_json(&verified(), true), @r#"
{
  "kind": "verify",
  "format": 1,
  "place": "/srv/repository",
  "level": "sample",
  "sample": {
    "percent": 5,
    "seed": 42,
    "from_slot": 95,
    "next_slot": 0
  },
  "resumed": true,
  "needs_attention": true,
  "packs": 2000,
  "packs_read": 104,
  "chunks": 60123,
  "unexplained_chunks": 2,
  "unindexed_packs": 7,
  "recovery_points": 12,
  "bytes_read": 3489660928,
  "elapsed_ms": 12345,
  "damaged": [
    {
      "object": "packs/ab/ab12",
      "damage": "its bytes do not hash to its name",
      "superseded": false
    },
    {
      "object": "packs/cd/cd34",
      "damage": "its bytes do not hash to its name",
      "superseded": true
    }
  ],
  "affected": [
    {
      "recovery_point": "20261121t101530z-0a1b2c3d",
      "manifest": null,
      "shards": [
        {
          "collection": "products",
          "shard": 1,
          "missing_chunks": 3,
          "recipe": null
        }
      ],
      "extras": []
    }
  ],
  "recorded": false,
  "not_recorded": "nothing was to be written",
  "not_resumable": "permission denied"
}
"#);
    insta::assert_snapshot!(verified().text(), @r#"
/srv/repository is damaged: 1 of 12 recovery points can't be restored in full
checked (sample, going on with an interrupted check) in 12.3 s: 12 recovery points; 104 of 2,000 packs (60,123 chunks, 3.2 GiB) were read: 5 slots from 95, seed 42; the next sample begins at slot 0

2 chunks are well sealed and belong to no recovery point's namespace: left by captures that were not committed

7 of 2,000 packs are in no index: a backup writes them just now or was cut off, or an index is lost. No data is missing, but every start reads these packs' own lists; if no backup runs, write them anew: stop the coordinator, `holdfast repo rebuild-index --confirm`

RECOVERY POINT             COLLECTION  SHARD  LOST
20261121t101530z-0a1b2c3d  products    1      3 chunks

DAMAGED OBJECT  HOW
packs/ab/ab12   its bytes do not hash to its name
packs/cd/cd34   its bytes do not hash to its name (nothing needs it)

not recorded (nothing was to be written): coordinators don't learn of it from this check

not kept for the next check (permission denied): name a writable --state FILE
"#);
}

pub(super) fn leftovers() -> LeftoversView {
    let object = |key: &str| ObjectMeta {
        key: key.parse().unwrap(),
        size: 5000,
        modified: Timestamp::EPOCH,
    };
    let pack = PackId::from_bytes([0xab; 32]);
    let found = Leftovers {
        objects: BTreeMap::from([
            ("packs".to_owned(), (3, 100_000_000)),
            ("photos".to_owned(), (1, 5000)),
        ]),
        orphan_packs: Ok(vec![(pack, 33_554_432)]),
        unindexed_packs: vec![pack],
        hollow_indexes: BTreeMap::from([("index/cd".to_owned(), vec![pack])]),
        differing_keys: vec!["keys/0123.json".to_owned()],
        settled_records: vec!["packs/ab/ab12".to_owned()],
        probe_objects: vec![object("probe/12")],
        unknown: vec![object("photos/1")],
    };
    LeftoversView::new("/srv/repository".to_owned(), &found)
}

pub(super) fn rebuilt(confirmed: bool) -> RebuiltIndexView {
    let rebuilt = RebuiltIndex {
        packs: 2000,
        chunks: 1_200_000,
        carried_over: vec![PackId::from_bytes([0xab; 32])],
        unreadable: vec![DamagedObject {
            object: "packs/cd/cd34".to_owned(),
            damage: Damage::Hash,
        }],
        written: 3,
        removed: 40,
        damaged: 1,
    };
    RebuiltIndexView::new("/srv/repository".to_owned(), &rebuilt, confirmed)
}

fn healed(confirmed: bool) -> HealView {
    let objects = BTreeMap::from([("packs/ab/ab12".to_owned(), 33_554_432)]);
    let plan = HealPlan {
        objects: objects.clone(),
        unhealable: BTreeMap::from([(
            "packs/cd/cd34".to_owned(),
            "the copy: it is missing".to_owned(),
        )]),
        only_in_copy: vec![format!("points/{POINT}")],
        settled: Vec::new(),
    };
    let healed = Healed {
        objects,
        left: BTreeMap::new(),
        cleared: 1,
    };
    let (place, copy) = ("/srv/repository", "/srv/copy");
    HealView::new(
        place,
        copy,
        &plan,
        confirmed.then_some(&healed),
        &verify_report(),
    )
}

#[test]
fn upkeep_of_the_repository() {
    insta::assert_snapshot!(leftovers().text(), @r#"
NAME    OBJECTS  SIZE
packs   3        95.4 MiB
photos  1        4.9 KiB

1 packs (32.0 MiB) are needed by no recovery point: garbage, or of a backup under way
1 packs are in no index: the next backup indexes them
1 indexes name packs that are missing: `holdfast repo verify` says what that concerns
1 key files should be equal and are not: the coordinator mends them when it starts
1 records of quarantine are settled: `holdfast repo heal --confirm` removes them
1 objects of an interrupted `repo probe` may be removed
1 objects have names that are none of Holdfast's

OBJECT    SIZE
probe/12  4.9 KiB
photos/1  4.9 KiB

not looked at:
  temporary files of a directory (.tmp/): removed whenever a program opens it
  unfinished multipart uploads of a bucket: let a lifecycle rule end them
"#);
    insta::assert_snapshot!(rebuilt(false).text(), @r#"
/srv/repository: 2,000 packs with 1,200,000 chunks would be in 3 new indexes; 40 old ones would be removed, 1 of them damaged
taken over from an old index, because the pack is missing or damaged: abababababababababababababababababababababababababababababababab
in no index: packs/cd/cd34: its bytes do not hash to its name
nothing was changed: repeat it with --confirm while no coordinator runs
"#);
    insta::assert_snapshot!(rebuilt(true).text(), @r#"
/srv/repository: 2,000 packs with 1,200,000 chunks are in 3 new indexes; 40 old ones are removed, 1 of them damaged
taken over from an old index, because the pack is missing or damaged: abababababababababababababababababababababababababababababababab
in no index: packs/cd/cd34: its bytes do not hash to its name
"#);
    insta::assert_snapshot!(healed(false).text(), @r#"
/srv/repository is damaged, and /srv/copy can heal 1 objects

WOULD BE HEALED  SIZE
packs/ab/ab12    32.0 MiB

NOT HEALED     WHY
packs/cd/cd34  the copy: it is missing

ONLY IN THE COPY
20261121t101530z-0a1b2c3d

These may have been removed here on purpose: --lost-points brings all of them back, --lost-point ID one
"#);
    insta::assert_snapshot!(healed(true).headline(), @r#"
/srv/repository is still damaged: 1 objects came from /srv/copy
"#);
}
