//! From a configured place to a store, and the proof that the place is fit to be one.

use super::fault_of;
use crate::config::{CoordinatorConfig, CopySection, Location, S3Location};
use crate::fault::Fault;
use holdfast_service::failure::Code;
use holdfast_store::{
    DiskStore, LimitStore, ObjectStore, ProbeOptions, ProbeReport, RetryPolicy, RetryStore,
    StoreError, StoreLimits, probe,
};
use holdfast_store_s3::S3Store;
use holdfast_types::Timestamp;
use std::sync::Arc;

/// Opens the store. With `create`, a directory is made if it is absent; a bucket never is. The outer error is of the
/// configuration, the inner one of the place.
pub(super) async fn open_store(
    place: &Location,
    create: bool,
) -> Result<Result<Arc<dyn ObjectStore>, StoreError>, Fault> {
    open_bounded(place, create, StoreLimits::default()).await
}

/// The same, within these bounds and within those that a bucket has of its own.
async fn open_bounded(
    place: &Location,
    create: bool,
    bounds: StoreLimits,
) -> Result<Result<Arc<dyn ObjectStore>, StoreError>, Fault> {
    let store: Arc<dyn ObjectStore> = match place {
        Location::Disk(path) => {
            let disk = if create {
                DiskStore::create(path)
            } else {
                DiskStore::open(path)
            };
            match disk {
                Ok(disk) => retried(disk, bounds),
                Err(error) if is_no_place(&error) => {
                    let place = format!("repository.path: {} can't be used", path.display());
                    return Err(Fault::from_error(Code::Config, &error).within(&place));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Location::S3(s3) => {
            let S3Location {
                options, limits, ..
            } = &**s3;
            let bucket = S3Store::open(options.clone()).await;
            let bucket = bucket.map_err(|error| Fault::from_error(Code::Config, &error))?;
            retried(LimitStore::new(bucket, *limits), bounds)
        }
    };
    Ok(Ok(store))
}

/// Whether what the configuration names can't be a folder. A disk that fails is another matter.
fn is_no_place(error: &StoreError) -> bool {
    use std::io::ErrorKind as Kind;
    let StoreError::Io { source, .. } = error else {
        return false;
    };
    matches!(
        source.kind(),
        Kind::NotADirectory | Kind::IsADirectory | Kind::InvalidFilename | Kind::InvalidInput
    )
}

/// Opens the store of a copy, with the copy's own bounds. The outer error is of the configuration, the inner one of the place.
pub(crate) async fn open_copy_store(
    section: &CopySection,
    create: bool,
) -> Result<Result<Arc<dyn ObjectStore>, StoreError>, Fault> {
    open_bounded(&section.place, create, section.limits).await
}

/// Retries outside: each of them is a request that the limits count.
fn retried<S: ObjectStore + 'static>(store: S, bounds: StoreLimits) -> Arc<dyn ObjectStore> {
    let bounded = LimitStore::new(store, bounds);
    Arc::new(RetryStore::new(bounded, RetryPolicy::default()))
}

/// Tries whether the configured place keeps every promise that a repository needs. What it writes for that, it removes.
///
/// # Errors
/// If the place can't be opened at all. Broken promises are in the report.
pub async fn probe_place(config: &CoordinatorConfig, now: Timestamp) -> Result<ProbeReport, Fault> {
    let place = &config.repository.place;
    let store = open_store(place, false).await?.map_err(of_place)?;
    tried(place, store.as_ref(), now).await
}

/// The same of the place of a copy, within the copy's own bounds, whether or not it is one already.
///
/// # Errors
/// As [`probe_place`].
pub async fn probe_copy(section: &CopySection, now: Timestamp) -> Result<ProbeReport, Fault> {
    let probed = async {
        let store = open_copy_store(section, false).await?.map_err(of_place)?;
        tried(&section.place, store.as_ref(), now).await
    };
    let within = format!("copy {}", section.name);
    probed.await.map_err(|fault| fault.within(&within))
}

fn of_place(error: StoreError) -> Fault {
    fault_of(&error.into())
}

async fn tried(
    place: &Location,
    store: &dyn ObjectStore,
    now: Timestamp,
) -> Result<ProbeReport, Fault> {
    let mut options = ProbeOptions::at(now);
    if let Location::S3(s3) = place {
        // Large enough to go in parts.
        options.large_object_bytes = s3.options.multipart_threshold + s3.options.part_bytes;
    }
    probe(store, options).await.map_err(of_place)
}

#[cfg(test)]
mod tests {
    use super::retried;
    use bytes::Bytes;
    use holdfast_store::{
        CountingStore, FaultPlan, FaultStore, MemoryStore, ObjectStore as _, PutMode, RetryPolicy,
        StoreLimits,
    };
    use std::num::NonZeroU64;
    use std::sync::Arc;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_sent_again_count_again() {
        let refusing = FaultPlan {
            fail_per_mille: 1000,
            ..FaultPlan::default()
        };
        let broken = FaultStore::new(MemoryStore::new(), refusing);
        let counted = Arc::new(CountingStore::new(broken));
        let limits = StoreLimits {
            bytes_per_second: NonZeroU64::new(100),
            ..StoreLimits::default()
        };
        let store = retried(counted.clone(), limits);
        let began = Instant::now();
        let data = Bytes::from(vec![7; 1000]);
        let key = "a".parse().unwrap();
        let put = store.put(&key, data, PutMode::Overwrite).await;
        assert!(put.unwrap_err().is_retryable());
        let tries = u64::from(RetryPolicy::default().attempts);
        assert_eq!(counted.counts().puts, tries);
        // 10 seconds for each, of which the first is had at once.
        let least = tries * 10 - 1;
        let took = began.elapsed().as_secs();
        assert!(took >= least, "{took} s, {least} are due");
    }
}
