//! The probe passes good stores, and each check finds the defect that it is for.

#![expect(
    clippy::unwrap_used,
    reason = "a test file: a failed expectation is a failed test"
)]

use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_store::{
    DiskStore, KeyPrefix, MemoryStore, ObjectKey, ObjectMeta, ObjectStore, ProbeOptions, PutMode,
    StoreError, probe,
};
use holdfast_types::Timestamp;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One broken promise each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// Bytes come back changed.
    Corrupts,
    /// An object that was replaced is read in its first form.
    Stale,
    /// What is not there reads as empty.
    EmptyForMissing,
    /// A range past the end is cut short instead of refused.
    ShortRanges,
    /// The newest object is not listed yet.
    LateListing,
    /// A listing ends after a thousand entries.
    OnePage,
    /// A listing goes through folders, not bytes.
    TreeOrder,
    /// Create-only is ignored.
    Unconditional,
    /// Create-only looks first and writes later.
    CheckThenWrite,
    /// Create-only is ignored for large objects, as by a multipart upload without condition.
    UnconditionalParts,
    /// Large objects lose their end.
    TruncatesLarge,
    /// A deletion does nothing.
    KeepsDeleted,
    /// A deleted object stays in listings.
    ListsDeleted,
    /// The clock is off by an hour.
    WrongClock,
}

struct Defective {
    inner: MemoryStore,
    defect: Defect,
    first: Mutex<HashMap<ObjectKey, Bytes>>,
    deleted: Mutex<Vec<ObjectMeta>>,
    newest: Mutex<Option<ObjectKey>>,
}

const LARGE: usize = 1 << 20;

impl Defective {
    fn new(defect: Defect) -> Self {
        Self {
            inner: MemoryStore::new(),
            defect,
            first: Mutex::default(),
            deleted: Mutex::default(),
            newest: Mutex::default(),
        }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    async fn put(
        &self,
        key: &ObjectKey,
        mut data: Bytes,
        mut mode: PutMode,
    ) -> Result<(), StoreError> {
        let large = data.len() > LARGE;
        if self.is(Defect::Unconditional) || (large && self.is(Defect::UnconditionalParts)) {
            mode = PutMode::Overwrite;
        }
        if self.is(Defect::CheckThenWrite) && mode == PutMode::CreateNew {
            if self.inner.head(key).await?.is_some() {
                return Err(StoreError::AlreadyExists { key: key.clone() });
            }
            tokio::task::yield_now().await;
            mode = PutMode::Overwrite;
        }
        if large && self.is(Defect::TruncatesLarge) {
            data.truncate(LARGE);
        }
        self.first
            .lock()
            .unwrap()
            .entry(key.clone())
            .or_insert_with(|| data.clone());
        *self.newest.lock().unwrap() = Some(key.clone());
        self.inner.put(key, data, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        let found = match self.inner.get(key).await {
            Err(StoreError::NotFound { .. }) if self.is(Defect::EmptyForMissing) => Bytes::new(),
            other => other?,
        };
        if self.is(Defect::Corrupts) && found.len() > 50 {
            let mut changed = found.to_vec();
            changed[50] ^= 1;
            return Ok(changed.into());
        }
        if self.is(Defect::Stale) {
            return Ok(self
                .first
                .lock()
                .unwrap()
                .get(key)
                .cloned()
                .unwrap_or(found));
        }
        Ok(found)
    }

    async fn list(&self, prefix: &KeyPrefix) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut listed = self.inner.list(prefix).await?;
        match self.defect {
            Defect::OnePage => listed.truncate(1000),
            Defect::TreeOrder => listed.sort_by_key(|meta| {
                let parts = meta.key.as_str().split('/');
                parts.map(str::to_owned).collect::<Vec<_>>()
            }),
            Defect::LateListing => {
                let newest = self.newest.lock().unwrap().clone();
                listed.retain(|meta| Some(&meta.key) != newest.as_ref());
            }
            Defect::ListsDeleted => {
                listed.extend(self.deleted.lock().unwrap().iter().cloned());
                listed.sort_by(|a, b| a.key.cmp(&b.key));
            }
            Defect::Corrupts
            | Defect::Stale
            | Defect::EmptyForMissing
            | Defect::ShortRanges
            | Defect::Unconditional
            | Defect::CheckThenWrite
            | Defect::UnconditionalParts
            | Defect::TruncatesLarge
            | Defect::KeepsDeleted
            | Defect::WrongClock => {}
        }
        Ok(listed)
    }
}

impl ObjectStore for Defective {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.put(key, data, mode))
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(self.get(key))
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            match self.inner.get_range(key, offset, len).await {
                Err(StoreError::OutOfRange { size, .. }) if self.is(Defect::ShortRanges) => {
                    let from = offset.min(size);
                    self.inner.get_range(key, from, size - from).await
                }
                other => other,
            }
        })
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        Box::pin(async move {
            let mut found = self.inner.head(key).await?;
            if let (Some(meta), true) = (&mut found, self.is(Defect::WrongClock)) {
                meta.modified = meta.modified.after(Duration::from_secs(3600));
            }
            Ok(found)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        Box::pin(self.list(prefix))
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.is_empty()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if self.is(Defect::KeepsDeleted) {
                return Ok(());
            }
            let found = self.inner.head(key).await?;
            self.deleted.lock().unwrap().extend(found);
            self.inner.delete(key).await
        })
    }

    fn describe(&self) -> String {
        format!("{:?}", self.defect)
    }
}

/// Memory counts writes instead of time, so its clock stands near the epoch.
async fn failed(defect: Defect) -> Vec<&'static str> {
    let store = Defective::new(defect);
    let report = probe(&store, ProbeOptions::at(Timestamp::EPOCH))
        .await
        .unwrap();
    assert_eq!(
        report.verdict().is_ok(),
        report.failed().count() == 0,
        "{report:?}"
    );
    report.failed().collect()
}

#[tokio::test]
async fn good_stores_pass_and_are_left_empty() {
    let memory = MemoryStore::new();
    let report = probe(&memory, ProbeOptions::at(Timestamp::EPOCH))
        .await
        .unwrap();
    report.verdict().unwrap();
    assert!(report.checks.iter().all(|check| !check.why.is_empty()));
    assert!(memory.is_empty().await.unwrap());

    let dir = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(dir.path()).unwrap();
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = Timestamp::from_micros(i64::try_from(micros.as_micros()).unwrap());
    let options = ProbeOptions {
        listed_objects: 100,
        ..ProbeOptions::at(now)
    };
    // What others have in the folder of probes stays.
    let other = "probe/other/object".parse().unwrap();
    disk.put(&other, Bytes::new(), PutMode::CreateNew)
        .await
        .unwrap();
    probe(&disk, options).await.unwrap().verdict().unwrap();
    assert_eq!(disk.list(&KeyPrefix::root()).await.unwrap().len(), 1);
    disk.delete(&other).await.unwrap();
    disk.clear_folders(&"probe/other".parse().unwrap())
        .await
        .unwrap();
    assert!(disk.is_empty().await.unwrap(), "not even a folder is left");

    probe(&disk, options).await.unwrap().verdict().unwrap();
    assert!(disk.is_empty().await.unwrap(), "not even a folder is left");
}

#[tokio::test]
async fn each_check_finds_the_defect_that_it_is_for() {
    for (defect, check) in [
        (Defect::Corrupts, "read-after-write"),
        (Defect::Stale, "overwrite"),
        (Defect::EmptyForMissing, "missing"),
        (Defect::ShortRanges, "ranges"),
        (Defect::LateListing, "list-after-write"),
        (Defect::OnePage, "long-listing"),
        (Defect::TreeOrder, "long-listing"),
        (Defect::Unconditional, "conditional-put"),
        (Defect::CheckThenWrite, "one-winner"),
        (Defect::UnconditionalParts, "large-object"),
        (Defect::TruncatesLarge, "large-object"),
        (Defect::KeepsDeleted, "delete"),
        (Defect::ListsDeleted, "delete"),
        (Defect::ListsDeleted, "clean-up"),
        (Defect::WrongClock, "clock"),
    ] {
        let failed = failed(defect).await;
        assert!(failed.contains(&check), "{defect:?}: {failed:?}");
    }
}

#[tokio::test]
async fn narrow_defects_fail_nothing_else() {
    for (defect, checks) in [
        (Defect::CheckThenWrite, &["one-winner"][..]),
        (Defect::UnconditionalParts, &["large-object"]),
        (Defect::WrongClock, &["clock"]),
        (Defect::ShortRanges, &["ranges"]),
        (Defect::Stale, &["overwrite"]),
    ] {
        assert_eq!(failed(defect).await, checks, "{defect:?}");
    }
}

#[tokio::test]
async fn the_refusal_names_the_store_and_every_broken_promise() {
    let store = Defective::new(Defect::Unconditional);
    let report = probe(&store, ProbeOptions::at(Timestamp::EPOCH))
        .await
        .unwrap();
    let text = report.verdict().unwrap_err().to_string();
    assert!(text.starts_with("Unconditional can't hold a repository; conditional-put: a create-only write replaced an object; one-winner: 20 of 20 create-only writers of one key were told that they won"), "{text}");
}
