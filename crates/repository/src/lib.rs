//! A repository of recovery points in an object store: write sessions, committing, reading,
//! verifying.
//!
//! Commit order: packs → index → manifest. The manifest's conditional put is the only commit; a
//! crash at any point before leaves packs and indexes that nothing names, never half a recovery
//! point. Everything is immutable once written, so readers need no locks.
//!
//! | while … | a capture puts | another flushes | a point is committed | chunks are read | verify |
//! |---|---|---|---|---|---|
//! | a capture puts | shares the open pack | waits for packs on their way | – | – | – |
//! | a writer with a newer epoch appears | fails at flush | refused | refused | goes on | goes on |
//! | damage is found | stores the chunk anew | – | refused if it concerns the point | another copy, else a named error | reported, and recorded in quarantine |
//!
//! Archived write-ahead logs stand beside the points, under `wal/`: each part is one create-only object. They go only when they are named.
//!
//! This crate does not decide which points to keep: callers do. What no point needs, it deletes when told to.

mod buffers;
mod catalog;
mod chunk_table;
mod core_state;
mod create;
mod damage;
mod epochs;
mod error;
mod fill;
mod gc;
mod heal;
mod keep;
mod key_slot;
mod keys;
mod layout;
mod leftovers;
mod load;
mod marks;
mod notes;
mod packer;
mod points;
mod proofs;
mod quarantine;
mod reader;
mod rebuild_index;
mod report;
mod repository;
mod rescue;
mod segment_cache;
mod sessions;
mod sync;
mod system;
mod unlock;
mod verify;
mod wal;
mod write_session;

pub use damage::{Damage, DamagedObject};
pub use error::RepositoryError;
pub use gc::{GarbageOptions, GarbageReport, GarbageWatcher, PackCount};
pub use heal::{HealPlan, Healed, LostPoints};
pub use keep::{ColdRule, KeepOptions, KeepReport, LockRule};
pub use keys::{KeyListing, KeyRefusal, KeyState, MasterRotation};
pub use layout::{WalPart, WalSeries};
pub use leftovers::Leftovers;
pub use marks::{Marks, Pin, PlacedHold, PointTombstone};
pub use packer::Tuning;
pub use points::MAX_RECIPE_BYTES;
pub use proofs::{LastProof, PointProofs, ProofOutcome};
pub use quarantine::{BadPlace, QuarantineRecord, QuarantineState};
pub use reader::StoredChunk;
pub use rebuild_index::RebuiltIndex;
pub use report::{OpenReport, PointListing, RepositoryStats};
pub use repository::{Absence, PROMOTION_JUMP, Protection, Repository, RepositoryOptions};
pub use sync::{CopyPlace, KeysSynced, MarksSynced, RoleRefusal, StoreRole, SyncedPoint, TheRole};
pub use verify::{
    AffectedExtra, AffectedPoint, AffectedShard, InvalidSample, Recording, Sample, SavedFinding,
    VerifyCheckpoint, VerifyLevel, VerifyObserver, VerifyOptions, VerifyProgress, VerifyReport,
};
pub use wal::{Appended, RemovedParts, StoredPart, WalListing};
pub use write_session::{PutOutcome, SessionStats, WriteSession};
