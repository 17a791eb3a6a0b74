//! What commands about copies show.

use super::{POINT, failure, status};
use crate::output::View;
use crate::view::{
    CopiesView, CopyAddedView, CopyChangeView, Known, Promoted, PromotionView, PruneView,
    StatusView,
};
use holdfast_coordinator::config::{CopySection, DEFAULT_CONFIG, load};
use holdfast_proto::v1;
use holdfast_repository::{Recording, VerifyLevel, VerifyReport};
use holdfast_service::config::Strictness;
use holdfast_types::Epoch;
use std::collections::{BTreeSet, HashSet};

pub(super) fn behind() -> v1::CopyStatus {
    v1::CopyStatus {
        name: "offsite".into(),
        place: "s3://backups/copy".into(),
        schedule: "cron 30 3 * * * (Europe/Berlin)".into(),
        made: true,
        lag: Some(v1::CopyLag {
            points: 3,
            bytes: 12 << 20,
            seconds: 125,
        }),
        max_lag_seconds: 93_600,
        recovery_points: 40,
        last_run: Some(v1::CopyRun {
            started_us: 1_795_000_000_000_000,
            ended_us: 1_795_000_060_000_000,
            points: 2,
            total: 0,
            bytes: 5 << 20,
        }),
        open_run: Some(v1::CopyRun {
            started_us: 1_795_000_100_000_000,
            ended_us: 0,
            points: 1,
            total: 4,
            bytes: 1 << 20,
        }),
        trouble: Some(failure()),
        trouble_at_us: 1_795_000_070_000_000,
        again_us: 1_795_000_190_000_000,
        last_check: Some(v1::CopyCheck {
            ended_us: 1_795_000_000_000_000,
            covered: "5 of 90 packs read".into(),
            needs_attention: false,
        }),
        warnings: vec!["copy offsite is full".into()],
        run_asked: false,
        check_asked: false,
        only_here: vec!["holds/case-7".into(), "key ops".into()],
    }
}

pub(super) fn listed() -> CopiesView {
    let unseen = v1::CopyStatus {
        name: "near".into(),
        place: "/mnt/near".into(),
        schedule: "continuous".into(),
        ..Default::default()
    };
    let copies = vec![behind(), unseen];
    CopiesView::from(&v1::ListCopiesResponse { copies })
}

pub(super) fn added() -> CopyAddedView {
    let answer = v1::AddCopyResponse {
        place: "/mnt/near".into(),
        found: "the place is empty".into(),
        made: false,
    };
    CopyAddedView::new("near".into(), answer)
}

pub(super) fn changed() -> CopyChangeView {
    let answer = v1::SyncCopyResponse {
        released: 2,
        job_id: "copy-sync-7".into(),
    };
    CopyChangeView::synced(&behind(), true, &answer)
}

fn section() -> CopySection {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    let copy = "[[copy]]\nname = \"near\"\npath = \"/mnt/near\"\n";
    std::fs::write(&path, format!("{DEFAULT_CONFIG}\n{copy}")).unwrap();
    let (config, _) = load(&path, Strictness::Strict).unwrap();
    config.copies[0].clone()
}

fn promoted(known: Known, done: Option<Promoted>) -> PromotionView {
    let report = VerifyReport {
        level: VerifyLevel::Quick,
        packs: 9,
        packs_read: 0,
        chunks: 0,
        unexplained: 0,
        unindexed: 0,
        points: 2,
        bytes_read: 0,
        damaged: Vec::new(),
        superseded: BTreeSet::new(),
        affected: Vec::new(),
        missing: HashSet::new(),
        quarantine: Vec::new(),
        recording: Recording::ReadOnly,
    };
    PromotionView::new(&section(), "/mnt/near", &[], &report, known, done)
}

pub(super) fn promotion() -> PromotionView {
    let known = Known::Catalog {
        why: "there is no repository".into(),
        missing: vec![POINT.parse().unwrap()],
    };
    let done = Promoted {
        epoch: Epoch(1_048_579),
        retired: false,
    };
    promoted(known, Some(done))
}

#[test]
fn copies_at_a_glance() {
    insta::assert_snapshot!(listed().text(), @r"
offsite: behind by 3 recovery points (12.0 MiB, 2 min 5 s), 40 are there
  at s3://backups/copy, cron 30 3 * * * (Europe/Berlin)
  a run since 2026-11-18 11:08:20Z: 1 of 4 recovery points came
  last brought up to date 2026-11-18 11:07:40Z
  last check 2026-11-18 11:06:40Z, sound: 5 of 90 packs read
  WARNING: copy offsite is full
near: not seen yet
  at /mnt/near, continuous
");
    insta::assert_snapshot!(added().text(), @r"
/mnt/near: the place is empty
nothing was changed: where the place exists, try it with `holdfast repo probe --copy near`, then repeat this with --confirm
");
    let shown = CopyChangeView::would_release(&behind());
    insta::assert_snapshot!(shown.text(), @r"
these would be removed from copy offsite, because the repository no longer has them:
  holds/case-7
  key ops
nothing was changed: if they were released or removed on purpose, repeat it with --confirm
");
    let nothing = CopyChangeView::would_release(&v1::CopyStatus {
        name: "near".into(),
        ..Default::default()
    });
    insta::assert_snapshot!(nothing.text(), @"nothing would be removed: the last run found no hold, pin or key on copy near that the repository no longer has");
}

#[test]
fn the_status_names_each_copy() {
    let wire = v1::StatusResponse {
        copies: vec![behind()],
        ..status()
    };
    let text = StatusView::new(String::new(), &wire).text();
    let line = "Copy offsite: behind by 3 recovery points (12.0 MiB, 2 min 5 s), 40 are there";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_promotion_says_what_is_lost_and_what_to_type() {
    insta::assert_snapshot!(promotion().text(), @r#"
Copy             near at /mnt/near
Recovery points  0
Newest           none
Damaged objects  0
WARNING: the copy lacks 1 recovery points that the catalogue knows: 20261121t101530z-0a1b2c3d
WARNING: the primary can't be reached, so it is not told that it is replaced (there is no repository): when it comes back, keep its coordinator from starting, and make it a copy (`holdfast repo copy add NAME --take-over --confirm`)
WARNING: from now on [retention] of the coordinator's configuration judges everything that is here, in place of that this copy has no rules and keeps everything: before it is started, see that [retention] keeps at least as much, or take it out (`holdfast backup prune` shows what it would remove)
no chunk was read: --full reads every one
/mnt/near is the primary now, in term 1048579. In the coordinator's configuration, take [[copy]] near out, and let [repository] name this place (its key stays as it is); then start the coordinator:

[repository]
path = "/mnt/near"
"#);
    let nobody = promoted(
        Known::Nothing {
            why: "away".into(),
            catalog: "in use".into(),
        },
        None,
    );
    let text = nobody.text();
    assert!(text.contains("what the copy lacks is not known"), "{text}");
    assert!(text.contains("nothing was changed"), "{text}");
}

#[test]
fn pruning_a_copy_names_its_own_command() {
    let report = v1::PruneReport::default();
    let view = PruneView::of_copy("near".into(), &report, false);
    assert!(
        view.text()
            .contains("holdfast repo copy prune near --confirm")
    );
}
