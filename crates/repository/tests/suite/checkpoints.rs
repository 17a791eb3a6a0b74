//! Checks that read some packs only, and checks that are interrupted and go on.

use crate::place::TestStore;
use crate::support::{capture, copy_of, create, files, open, rotten};
use holdfast_repository::{
    Repository, Sample, VerifyCheckpoint, VerifyLevel, VerifyObserver, VerifyOptions,
    VerifyProgress, VerifyReport,
};
use holdfast_store::CountingStore;
use holdfast_types::Timestamp;
use std::sync::{Arc, Mutex};

/// Keeps what it was told.
#[derive(Default)]
struct Told(Mutex<Vec<(VerifyProgress, VerifyCheckpoint)>>);

impl VerifyObserver for Told {
    fn progressed(&self, progress: VerifyProgress, checkpoint: &VerifyCheckpoint) {
        let mut told = self.0.lock().unwrap();
        told.push((progress, checkpoint.clone()));
    }
}

fn options(level: VerifyLevel) -> VerifyOptions {
    VerifyOptions::read_only(level, Timestamp::EPOCH)
}

/// What a report says, whether it was made in one go or not.
fn findings(report: &VerifyReport) -> String {
    let mut damaged: Vec<_> = report.damaged.iter().map(ToString::to_string).collect();
    damaged.sort();
    let VerifyReport {
        packs_read,
        chunks,
        bytes_read,
        affected,
        superseded,
        quarantine,
        unexplained,
        ..
    } = report;
    let counts = (packs_read, chunks, bytes_read, unexplained);
    format!("{counts:?} {damaged:?} {affected:?} {superseded:?} {quarantine:?}")
}

#[tokio::test]
async fn an_interrupted_check_goes_on_from_any_pack() {
    let (store, _) = rotten().await;
    let told = Told::default();
    let full = options(VerifyLevel::Full);
    let whole = open(store.clone())
        .await
        .verify_with(&full, &told)
        .await
        .unwrap();
    assert_eq!(whole.affected.len(), 1);
    let told = told.0.into_inner().unwrap();
    assert_eq!(told.len() as u64, whole.packs_read);
    assert!(
        told.is_sorted_by_key(|(_, checkpoint)| checkpoint.after),
        "a stable order"
    );
    let (last, _) = told.last().unwrap();
    assert_eq!(
        (last.packs_done, last.bytes_done),
        (last.packs_total, last.bytes_total)
    );
    for (progress, checkpoint) in told {
        // As it is stored between two processes.
        let json = serde_json::to_string(&checkpoint).unwrap();
        let mut rest = options(VerifyLevel::Full);
        rest.resume = Some(serde_json::from_str(&json).unwrap());
        let counting = Arc::new(CountingStore::new(store.clone()));
        let repository = open(counting.clone()).await;
        let observer = Told::default();
        let resumed = repository.verify_with(&rest, &observer).await.unwrap();
        assert_eq!(findings(&resumed), findings(&whole), "{progress:?}");
        let read = observer.0.into_inner().unwrap();
        assert_eq!(
            read.len() as u64,
            progress.packs_total - progress.packs_done,
            "nothing is read twice"
        );
    }
}

#[tokio::test]
async fn successive_samples_find_what_a_full_check_finds() {
    let (store, pack) = rotten().await;
    let mut read = 0;
    let mut found = Vec::new();
    let mut from = 30;
    for _ in 0..10 {
        let sample = Sample::new(10, 99, from).unwrap();
        from = sample.next();
        let repository = open(copy_of(store.as_ref()).await).await;
        let level = VerifyLevel::Sample(sample);
        let report = repository.verify(level).await.unwrap();
        assert_eq!(report.level, level);
        read += report.packs_read;
        found.extend(report.damaged.into_iter().map(|found| found.object));
    }
    assert_eq!(read, open(store).await.stats().packs, "each once");
    assert_eq!(found, [pack.as_str()]);
}

/// Packs come and go between two checks: what came is read by the next one.
#[tokio::test]
async fn a_checkpoint_holds_for_what_was_there() {
    let store = Arc::new(TestStore::without_locks());
    let repository: Repository = create(store.clone()).await;
    let epoch = repository.claim_epoch().await.unwrap();
    capture(&repository, epoch, 1, &files(1)).await.unwrap();
    let told = Told::default();
    let full = options(VerifyLevel::Full);
    repository.verify_with(&full, &told).await.unwrap();
    let (_, checkpoint) = told.0.into_inner().unwrap().swap_remove(0);
    capture(&repository, epoch, 2, &files(2)).await.unwrap();
    let mut rest = options(VerifyLevel::Full);
    let after = checkpoint.after;
    rest.resume = Some(checkpoint);
    let told = Told::default();
    let report = repository.verify_with(&rest, &told).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    let told = told.0.into_inner().unwrap();
    assert!(told.iter().all(|(_, checkpoint)| checkpoint.after > after));
}
