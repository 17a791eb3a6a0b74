//! Records over restarts, and both kinds of jobs beside each other.

use super::{JobBook, is_of_step};
use crate::catalog::Catalog;
use crate::fault::Fault;
use crate::fixture::{NOW, backup_record, committed, upkeep_record};
use crate::job::{JobRecord, JobState};
use holdfast_service::failure::Code;
use holdfast_types::{JobId, Timestamp};
use std::path::Path;

async fn book(path: &Path, kept: usize) -> JobBook {
    let catalog = Catalog::open(path, "0123")
        .or_else(|_| Catalog::create(path, "0123"))
        .unwrap();
    JobBook::load(catalog, kept, NOW).await.unwrap()
}

#[tokio::test]
async fn one_job_at_a_time_and_it_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.redb");
    let record = backup_record();
    {
        let book = book(&path, 9).await;
        let feed = book.begin(record.clone()).await.unwrap();
        feed.note(Timestamp::EPOCH, "begins");
        book.write_log(&record.id).await.unwrap();
        let mut second = record.clone();
        second.id = "backup-2".parse().unwrap();
        assert_eq!(book.begin(second).await.unwrap_err().code, "job-conflict");
    }
    let book = book(&path, 9).await;
    assert_eq!(book.running().await.unwrap().id, record.id);
    let work = record.backup().unwrap();
    let command = work.capture_id(&record.id, 0).unwrap();
    assert!(book.is_pending(&command).await);
    // Its log goes on where it was.
    let feed = book.feed(&record.id).unwrap();
    feed.note(Timestamp::EPOCH, "goes on");
    assert_eq!(texts(&book, &record.id).await, ["begins", "goes on"]);
    book.end(&record.id, JobState::Failed, Timestamp::EPOCH, None)
        .await
        .unwrap();
    assert!(!book.is_pending(&command).await);
    assert_eq!(book.running().await, None);
    drop((book, feed));
    let book = self::book(&path, 9).await;
    assert_eq!(texts(&book, &record.id).await, ["begins", "goes on"]);
}

async fn texts(book: &JobBook, id: &JobId) -> Vec<String> {
    let rows = book.log(id).await.unwrap();
    rows.into_values().map(|line| line.text).collect()
}

/// As a release of before logs and steps has written it.
#[test]
fn an_older_record_is_read() {
    let mut record = backup_record();
    let work = record.backup_mut().unwrap();
    work.committed.insert(0, committed("books", 0, 1));
    let mut json = serde_json::to_value(&record).unwrap();
    assert!(json.as_object_mut().unwrap().remove("asked_by").is_some());
    let backup = &mut json["work"]["backup"];
    assert!(backup.as_object_mut().unwrap().remove("captured").is_some());
    let shard = backup.pointer_mut("/committed/0").unwrap();
    assert!(
        shard
            .as_object_mut()
            .unwrap()
            .remove("elapsed_ms")
            .is_some()
    );
    let read: JobRecord = serde_json::from_value(json).unwrap();
    assert_eq!(read.asked_by, "");
    assert_eq!(read.work, record.work);
}

#[test]
fn parts_belong_to_their_step() {
    let job = "restore-1".parse().unwrap();
    for (command, of_step) in [
        ("restore-1-r1", true),
        ("restore-1-r1-p", true),
        ("restore-1-r1-u0-2", true),
        ("restore-1-r10", false),
        ("restore-1-r10-p", false),
        ("restore-1-r0-p", false),
        ("restore-12-r1-p", false),
    ] {
        let command = command.parse().unwrap();
        assert_eq!(is_of_step(&job, 1, &command), of_step, "{command}");
    }
}

#[tokio::test]
async fn only_so_many_ended_jobs_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.redb");
    let book = book(&path, 2).await;
    for i in 0..4 {
        let mut record = backup_record();
        record.id = format!("backup-{i}").parse().unwrap();
        record.started = Timestamp::from_micros(i);
        book.begin(record.clone()).await.unwrap();
        book.end(&record.id, JobState::Succeeded, Timestamp::EPOCH, None)
            .await
            .unwrap();
    }
    let ids: Vec<String> = book
        .list()
        .await
        .iter()
        .map(|job| job.id.to_string())
        .collect();
    assert_eq!(ids, ["backup-3", "backup-2"]);
    drop(book);
    assert_eq!(self::book(&path, 9).await.list().await.len(), 2);
}

#[tokio::test]
async fn upkeep_runs_beside_a_job_and_a_restart_interrupts_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.redb");
    let (first, second) = (upkeep_record(1), upkeep_record(2));
    let job = backup_record();
    {
        let book = book(&path, 9).await;
        let feed = book.open_upkeep(first.clone()).await;
        book.open_upkeep(second.clone()).await;
        assert_eq!(book.running().await, None);
        book.begin(job.clone()).await.unwrap();
        assert_eq!(book.running().await.unwrap().id, job.id);
        feed.note(NOW, "half way");
        let further = |record: &mut JobRecord| record.upkeep_mut().unwrap().extent.parts = 3;
        book.note_upkeep(&first.id, further).await;
        let done = vec!["deleted 1".to_owned()];
        let end = book.close_upkeep(&second.id, JobState::Succeeded, NOW, None, done);
        end.await;
        book.forget_feed(&second.id);
    }
    let book = book(&path, 9).await;
    assert_eq!(book.running().await.unwrap().id, job.id);
    assert!(book.feed(&first.id).is_none());
    let interrupted = book.get(&first.id).await.unwrap();
    assert_eq!(interrupted.state, JobState::Interrupted);
    assert_eq!(interrupted.ended, Some(NOW));
    assert_eq!(interrupted.failure.as_ref().unwrap().code, "job-failed");
    assert_eq!(interrupted.upkeep().unwrap().extent.parts, 3);
    let log = texts(&book, &first.id).await;
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[1].starts_with("interrupted: the coordinator ended while it ran"));
    let done = book.get(&second.id).await.unwrap();
    assert_eq!(done.state, JobState::Succeeded);
    assert_eq!(done.upkeep().unwrap().found, ["deleted 1"]);
}

#[tokio::test]
async fn upkeep_that_found_nothing_to_do_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.redb");
    let record = upkeep_record(1);
    {
        let book = book(&path, 9).await;
        book.open_upkeep(record.clone()).await;
        book.drop_upkeep(&record.id).await;
        assert_eq!(book.list().await, []);
    }
    assert_eq!(self::book(&path, 9).await.list().await, []);
}

#[tokio::test]
async fn a_job_is_found_by_the_beginning_of_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(&dir.path().join("c.redb"), 9).await;
    for seconds in [1, 12, 13] {
        book.open_upkeep(upkeep_record(seconds)).await;
    }
    let found = async |text: &str| -> Result<String, Fault> {
        book.find(text).await.map(|job| job.id.to_string())
    };
    assert_eq!(found("prune-1").await.unwrap(), "prune-1", "a whole id");
    assert_eq!(found("prune-12").await.unwrap(), "prune-12");
    assert_eq!(found("prune-13").await.unwrap(), "prune-13");
    let refused = found("prune").await.unwrap_err();
    assert_eq!(refused.known_code(), Code::Usage);
    assert_eq!(
        refused.message,
        "the ids of 3 jobs begin with prune (prune-13, prune-12, prune-1): give more of the one you mean"
    );
    let refused = found("rune").await.unwrap_err();
    assert_eq!(refused.known_code(), Code::JobNotFound);
}
