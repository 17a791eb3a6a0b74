//! Recovery points.

use super::super::{BackupResultView, BackupView, BackupsView};
use super::{detail, summary};
use crate::output::{View as _, render_json};

#[test]
#[expect(clippy::too_many_lines, reason = "one snapshot of each view")]
fn backups() {
    let backup = BackupView::from(&summary());
    let view = BackupResultView {
        job: "backup-7".into(),
        backup: backup.clone(),
    };
    insta::assert_snapshot!(render_json(&view, true), @r#"
{
  "kind": "backup-create",
  "format": 1,
  "job": "backup-7",
  "backup": {
    "recovery_point": "20261121t101530z-0a1b2c3d",
    "begun": "2026-11-18T11:06:40Z",
    "committed": "2026-11-18T11:06:44.5Z",
    "collections": [
      "products"
    ],
    "logical_bytes": 603979776,
    "sent_bytes": 5242880,
    "stored_bytes": 4194304,
    "points": 300000,
    "note": "nightly",
    "elapsed_ms": 4500,
    "safety_for": null,
    "tags": [
      "nightly"
    ],
    "pin": null,
    "holds": [
      "case-17"
    ],
    "removal": {
      "recovery_point": "20261121t101530z-0a1b2c3d",
      "since": "2026-11-18T11:08:20Z",
      "until": "2026-11-21T11:08:20Z",
      "reasons": [
        "no rule keeps it: products"
      ],
      "by": "retention"
    },
    "imported": false,
    "left_out": [
      "collection logs: it was dropped during the capture"
    ],
    "proofs": [
      {
        "collection": "products",
        "state": "proven",
        "why": null,
        "at": "2026-11-18T11:10:00Z",
        "job": "restore-7"
      }
    ],
    "extras": [
      {
        "node": "n1",
        "name": "qdrant",
        "missing": null
      },
      {
        "node": "n1",
        "name": "redis",
        "missing": "no room"
      }
    ]
  }
}
"#);
    insta::assert_snapshot!(view.text(), @r"
Recovery point  20261121t101530z-0a1b2c3d
Begun           2026-11-18 11:06:40Z
Committed       2026-11-18 11:06:44Z
Collections     products
Points          300,000 (exact)
Captured        576.0 MiB of files, holes included
Sent            5.0 MiB
Stored          4.0 MiB
Took            4.5 s
Note            proven; to be removed 2026-11-21 11:08:20Z; held: case-17; [nightly]; nightly
Not in this point: collection logs: it was dropped during the capture
Extra files: qdrant of n1 (`holdfast backup files 20261121t101530z-0a1b2c3d`)
Not in this point: extra redis of n1: no room
Proof of products: restored whole by restore-7, 2026-11-18 11:10:00Z
");
    let view = BackupsView {
        backups: vec![backup],
    };
    insta::assert_snapshot!(render_json(&view, false), @r#"{"kind":"backups","format":1,"backups":[{"recovery_point":"20261121t101530z-0a1b2c3d","begun":"2026-11-18T11:06:40Z","committed":"2026-11-18T11:06:44.5Z","collections":["products"],"logical_bytes":603979776,"sent_bytes":5242880,"stored_bytes":4194304,"points":300000,"note":"nightly","elapsed_ms":4500,"safety_for":null,"tags":["nightly"],"pin":null,"holds":["case-17"],"removal":{"recovery_point":"20261121t101530z-0a1b2c3d","since":"2026-11-18T11:08:20Z","until":"2026-11-21T11:08:20Z","reasons":["no rule keeps it: products"],"by":"retention"},"imported":false,"left_out":["collection logs: it was dropped during the capture"],"proofs":[{"collection":"products","state":"proven","why":null,"at":"2026-11-18T11:10:00Z","job":"restore-7"}],"extras":[{"node":"n1","name":"qdrant","missing":null},{"node":"n1","name":"redis","missing":"no room"}]}]}"#);
    insta::assert_snapshot!(view.text(), @r"
RECOVERY POINT             COMMITTED             COLLECTIONS  POINTS   CAPTURED   SENT     STORED   TOOK   NOTE
20261121t101530z-0a1b2c3d  2026-11-18 11:06:44Z  products     300,000  576.0 MiB  5.0 MiB  4.0 MiB  4.5 s  proven; to be removed 2026-11-21 11:08:20Z; held: case-17; [nightly]; nightly
");
    insta::assert_snapshot!(detail().text(), @r"
Recovery point  20261121t101530z-0a1b2c3d
Begun           2026-11-18 11:06:40Z
Committed       2026-11-18 11:06:44Z
Collections     products
Points          300,000 (exact)
Captured        576.0 MiB of files, holes included
Sent            5.0 MiB
Stored          4.0 MiB
Took            4.5 s
Note            proven; to be removed 2026-11-21 11:08:20Z; held: case-17; [nightly]; nightly
Not in this point: collection logs: it was dropped during the capture
Extra files: qdrant of n1 (`holdfast backup files 20261121t101530z-0a1b2c3d`)
Not in this point: extra redis of n1: no room
Proof of products: restored whole by restore-7, 2026-11-18 11:10:00Z

COLLECTION  SHARD  NODE  QDRANT  METHOD  CAPTURED              FILES  BYTES      ALIASES
products    0      n1    1.18.3  stored  2026-11-21 10:15:30Z  42     576.0 MiB  current
");
}

impl BackupView {
    pub(super) fn as_result(&self) -> BackupResultView {
        BackupResultView {
            job: String::new(),
            backup: self.clone(),
        }
    }
}
