//! Where a repository's objects live: one trait, its disk and memory implementations, and the
//! decorators that count, limit, retry and break things; and the probe that puts a store to the test.
//!
//! An object is immutable bytes under an [`ObjectKey`]. Stores know nothing of packs, keys or
//! recovery points, and never retry, cache or limit by themselves: that is what decorators are for.
//!
//! What every implementation promises (the suite in `crates/store-suite` holds them to it):
//! - an object appears whole or not at all, and is durable when `put` returns;
//! - no read takes memory for more than [`MAX_OBJECT_BYTES`], however large the object is;
//! - of any number of racing [`PutMode::CreateNew`] on one key, exactly one succeeds;
//! - a read after a successful write sees it, and a listing after it names it.

mod counting;
mod disk;
mod error;
mod fault;
mod keeper;
mod key;
mod limit;
mod lock;
mod memory;
mod object_store;
mod probe;
mod retry;

pub use counting::{CountingStore, StoreCounts};
pub use disk::DiskStore;
pub use error::StoreError;
pub use fault::{FaultKind, FaultPlan, FaultStore, StopAt, StopEffect};
pub use keeper::{ColdClass, LockMode, ObjectKeeper, ObjectLock};
pub use key::{KeyPrefix, ObjectKey, ParseKeyError};
pub use limit::{LimitStore, StoreLimits};
pub use lock::{LockAttempt, StoreLock};
pub use memory::MemoryStore;
pub use object_store::{MAX_OBJECT_BYTES, ObjectMeta, ObjectStore, PutMode};
pub use probe::{PROBE_FOLDER, ProbeCheck, ProbeOptions, ProbeRefusal, ProbeReport, probe};
pub use retry::{RetryPolicy, RetryStore};
