//! Copies: further stores of one repository, brought up to date from the primary, each complete in itself.
//!
//! A copy has the repository's identity, keys and objects, so bucket and key alone open it. What is copied is
//! proven first: a pack by its name, which is the hash of its bytes; everything else by its seal. The order is the
//! writer's own, and so is the commit: a manifest is put only when a fresh listing of the copy shows every chunk that it
//! names ([`crate::points`]). Nothing that the primary lost is removed here: points go by the copy's own retention,
//! through tombstone, grace and sweep ([`crate::marks`], [`crate::gc`]), holds, pins and keys only when that is asked for.
//!
//! **Who writes to a copy.** A store says what it is in `copies/role` ([`role`]). The writer of a copy uses the term that it has
//! claimed *on the primary*, by the same claim ([`crate::epochs::claim_as`]), so the terms of both stores are one sequence, and a
//! coordinator that was superseded on the primary is refused on the copy, too, as is one of a duplicate of the primary. A promotion
//! claims a term far ahead of all that the primary can have given out. So neither the old primary's coordinator nor an old command
//! passes for newer. A primary that could not be reached then knows nothing of it: only the copy, and agents who have heard the new
//! term, refuse it. When it comes back it has to be told ([`crate::Repository::retire`]).
//!
//! | while … | the primary captures | collects garbage | dies | the copy collects garbage | kill −9 |
//! |---|---|---|---|---|---|
//! | packs are copied | goes on | sweeps nothing that was there | the point is not committed here | never: one after the other | what came counts, and is not sent again |
//! | a point is committed | goes on | goes on | it is whole here | waits | committed or not, never half |
//!
//! A pack that a tombstone of the copy names is never put back under its name, because its deletion may still be under way:
//! its chunks are stored anew, in a pack of the copy's own. So are the needed chunks of packs that are mostly unneeded, and
//! those of a pack that is damaged on the primary, or that quarantine says anything of.
//!
//! **Memory**: both catalogues (48 bytes a chunk each), two packs on their way, one manifest, one recipe, and 40 bytes for every distinct
//! chunk of one shard that the copy lacks. This module does not decide which points a copy wants.

mod identity;
mod keys;
mod marks;
mod point;
mod role;

pub(crate) use identity::{Found, check_other, identify, initialise};
pub(crate) use keys::sync_keys;
pub(crate) use marks::sync_marks;
pub(crate) use point::{Bringer, Side};
pub(crate) use role::{Expected, read_role, write_role};
pub use role::{RoleRefusal, StoreRole, TheRole};

/// What a store holds that may become a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPlace {
    /// Nothing, or what an interrupted making of a copy left.
    Nothing,
    /// This repository, and what the store says that it is; nothing if it never was a copy.
    Ours(Option<TheRole>),
}

/// What came to a copy with a recovery point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncedPoint {
    /// Whether the point was not there before.
    pub new: bool,
    /// Packs that were copied as they are.
    pub packs: u64,
    /// Chunks that were stored anew, because their packs could not or need not be copied.
    pub chunks: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// What was done to the keys of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysSynced {
    /// Objects that were written.
    pub written: u64,
    /// Holders whose keys open only the copy, removed on the primary or lost there; and older files of holders whose keys were
    /// replaced, which are called so.
    pub only_in_copy: Vec<String>,
}

/// What was done to holds and pins of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarksSynced {
    /// Objects that were written.
    pub written: u64,
    /// Holds and pins that only the copy has, by name: released on the primary, or lost there.
    pub only_in_copy: Vec<String>,
    /// Those that can't be read on the primary, and so were not copied.
    pub damaged: Vec<String>,
}
