//! What commands that remove recovery points show.

use super::{POINT, summary};
use crate::output::View;
use crate::view::PruneView;
use holdfast_proto::v1;

pub(super) fn pruned() -> v1::PruneReport {
    let sum = |packs| {
        let bytes = packs << 25;
        Some(v1::PackSum { packs, bytes })
    };
    v1::PruneReport {
        configured: true,
        verdicts: vec![
            v1::PointVerdict {
                recovery_point: POINT.into(),
                committed_us: 1_795_000_004_500_000,
                collections: vec!["products".into()],
                keep: true,
                reasons: vec![
                    "last 1 of 5: products".into(),
                    "the newest point: products".into(),
                ],
            },
            v1::PointVerdict {
                recovery_point: "20261101t101530z-0a1b2c3d".into(),
                committed_us: 1_793_000_004_500_000,
                collections: vec!["products".into()],
                keep: false,
                reasons: vec!["no rule keeps it: products".into()],
            },
        ],
        swept: vec!["20261001t101530z-0a1b2c3d".into()],
        spared: vec![],
        refused: vec![],
        waiting: summary().removal.into_iter().collect(),
        garbage: Some(v1::GarbageSummary {
            kept: sum(9),
            dead: sum(2),
            waiting: sum(2),
            next_sweep_us: 1_795_086_400_000_000,
            ..v1::GarbageSummary::default()
        }),
        logs: vec![v1::LogRemoval {
            collection: "products".into(),
            shard: 1,
            timeline: "ab".repeat(16),
            parts: 90,
            of_parts: 120,
            bytes: 3 << 20,
            refused: 2,
            reason: "recovery point 20261101t101530z-0a1b2c3d goes on from operation 41".into(),
        }],
    }
}

#[test]
fn pruning() {
    insta::assert_snapshot!(PruneView::new(&pruned(), false).text(), @r"
RECOVERY POINT             COMMITTED             VERDICT  COLLECTIONS  BECAUSE
20261121t101530z-0a1b2c3d  2026-11-18 11:06:44Z  keep     products     last 1 of 5: products; the newest point: products
20261101t101530z-0a1b2c3d  2026-10-26 07:33:24Z  REMOVE   products     no rule keeps it: products

MARKED                     UNDELETE UNTIL        BY         BECAUSE
20261121t101530z-0a1b2c3d  2026-11-21 11:08:20Z  retention  no rule keeps it: products

ARCHIVED LOG  DELETED          BYTES    WHY THE REST STAYS
products/1    90 of 120 parts  3.0 MiB  recovery point 20261101t101530z-0a1b2c3d goes on from operation 41; the store refuses to delete 2

Would be marked        1 of 2 recovery points
Would be deleted       20261001t101530z-0a1b2c3d
Kept after all         none
Data kept              288.0 MiB in 9 packs
Data no longer needed  64.0 MiB in 2 packs
Data rewritten         0 B in 0 packs
Marked, waiting        64.0 MiB in 2 packs
Space freed            0 B in 0 packs
Next may go            2026-11-19 11:06:40Z

Nothing was changed. To carry it out: holdfast backup prune --confirm
");
}
