//! Tests of the journal.

use super::{CURRENT, Found, Journal, JournalError, PREVIOUS, TEMPORARY};
use crate::commands::phase::{Phase, SnapshotRequest};
use crate::commands::{CommandTable, Offer};
use crate::order::{CaptureOrder, Command, CommandId, Method, Order, Work};
use holdfast_service::failure::Code;
use holdfast_types::{Epoch, ShardId, Timestamp};
use std::path::Path;

fn capture(id: &str) -> Command {
    Command {
        id: id.parse().unwrap(),
        epoch: Epoch(3),
        order: Order::Work(Work::Capture(CaptureOrder {
            collection: "docs".parse().unwrap(),
            shard: ShardId(0),
            method: Method::Stored,
            bytes_per_second: None,
            courtesy: None,
        })),
    }
}

async fn filled(dir: &Path) -> CommandTable {
    let (journal, found) = Journal::open(dir).unwrap();
    assert_eq!(found, Found::Nothing);
    journal
        .update(|table| table.note_epoch(Epoch(3)))
        .await
        .unwrap();
    let offer = journal.update(|t| t.offer(capture("a"))).await.unwrap();
    assert_eq!(offer, Offer::Run);
    let id: CommandId = "a".parse().unwrap();
    let phase = Phase::AskingSnapshot(SnapshotRequest {
        asked: Timestamp::EPOCH,
        before: vec!["old.snapshot".into()],
    });
    journal
        .update(move |table| table.advance(&id, phase))
        .await
        .unwrap();
    journal.read(Clone::clone)
}

#[tokio::test]
async fn what_was_written_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let written = filled(dir.path()).await;
    let (journal, found) = Journal::open(dir.path()).unwrap();
    assert_eq!(found, Found::Intact);
    assert_eq!(journal.read(Clone::clone), written);
}

#[tokio::test]
async fn a_torn_temporary_file_is_of_no_account() {
    let dir = tempfile::tempdir().unwrap();
    let written = filled(dir.path()).await;
    std::fs::write(dir.path().join(TEMPORARY), b"holdfast-agent-jour").unwrap();
    let (journal, found) = Journal::open(dir.path()).unwrap();
    assert_eq!(found, Found::Intact);
    assert_eq!(journal.read(Clone::clone), written);
}

#[tokio::test]
async fn every_cut_and_every_flipped_byte_is_noticed_and_the_generation_before_is_used() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let good = std::fs::read(dir.path().join(CURRENT)).unwrap();
    let previous = std::fs::read(dir.path().join(PREVIOUS)).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..good.len())
        .step_by(5)
        .map(|n| good[..n].to_vec())
        .collect();
    damaged.extend((0..good.len()).step_by(11).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x01;
        bytes
    }));
    for bytes in damaged {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CURRENT), &bytes).unwrap();
        std::fs::write(dir.path().join(PREVIOUS), &previous).unwrap();
        match Journal::open(dir.path()) {
            Ok((journal, Found::Damaged { set_aside, .. })) => {
                assert_eq!(std::fs::read(set_aside).unwrap(), bytes);
                assert_eq!(journal.read(|t| t.open().len()), 1);
                assert_eq!(journal.read(CommandTable::highest_epoch), Epoch(3));
            }
            // the flipped byte was the format's number, which must not be second-guessed
            Err(JournalError::Newer { .. }) => {}
            other => panic!("{other:?} for {}", String::from_utf8_lossy(&bytes)),
        }
    }
}

#[tokio::test]
async fn with_both_generations_damaged_it_starts_empty_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(CURRENT), b"x").unwrap();
    std::fs::write(dir.path().join(PREVIOUS), b"y").unwrap();
    let (journal, found) = Journal::open(dir.path()).unwrap();
    assert!(matches!(
        found,
        Found::Damaged {
            recovered: false,
            ..
        }
    ));
    assert_eq!(journal.read(Clone::clone), CommandTable::default());
}

#[tokio::test]
async fn a_newer_journal_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let newer = b"holdfast-agent-journal 2 abc\n{}";
    std::fs::write(dir.path().join(CURRENT), newer).unwrap();
    assert!(matches!(
        Journal::open(dir.path()),
        Err(JournalError::Newer { found: 2, .. })
    ));
    assert_eq!(std::fs::read(dir.path().join(CURRENT)).unwrap(), newer);
}

#[tokio::test]
async fn only_one_agent_may_use_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(dir.path()).unwrap();
    assert!(matches!(
        Journal::open(dir.path()),
        Err(JournalError::Locked(_))
    ));
    drop(first);
    Journal::open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_change_that_can_t_be_written_did_not_happen() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join(TEMPORARY)).unwrap();
    let failed = journal.update(|table| table.note_epoch(Epoch(9))).await;
    assert!(matches!(failed, Err(JournalError::Io { .. })));
    assert_eq!(journal.read(CommandTable::highest_epoch), Epoch(0));
}

#[test]
fn a_new_state_directory_is_nobody_elses_to_enter() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    drop(Journal::open(&state).unwrap());
    let mode = std::fs::metadata(&state).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn what_the_disk_says_has_a_code_and_advice() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join(TEMPORARY)).unwrap();
    let full = journal.update(|table| table.note_epoch(Epoch(9))).await;
    let failed = full.unwrap_err().failed();
    assert_eq!(failed.code, Code::DiskFull);
    for part in [
        "disk is full, free some space",
        dir.path().to_str().unwrap(),
    ] {
        assert!(failed.message.contains(part), "{failed}");
    }
    for (errno, code, advice) in [
        (rustix::io::Errno::ROFS, Code::ReadOnly, "make it writable"),
        (
            rustix::io::Errno::ACCESS,
            Code::Internal,
            "this user may not write",
        ),
        (
            rustix::io::Errno::NOTDIR,
            Code::Internal,
            "must be a directory",
        ),
    ] {
        let error = JournalError::Io {
            dir: "/state".into(),
            source: errno.into(),
        };
        assert_eq!(error.code(), code);
        let text = error.to_string();
        assert!(text.contains(advice) && text.contains("/state"), "{text}");
    }
}
