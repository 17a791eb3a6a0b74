//! The on-disk format of Holdfast, sans IO: bytes in, bytes out.
//!
//! Captured files become chunks ([`chunker`]), chunks are encoded ([`codec`]) and sealed into packs
//! ([`pack`]); an [`index`] says which pack holds which chunk, a [`recipe`] how files are rebuilt,
//! and a [`manifest`] makes a recovery point of recipes. Beside them stand the entries of write-ahead logs ([`wal`]). `docs/format/` specifies every byte.
//!
//! This crate reads no clock, draws no random numbers and does no IO: salts and instants are
//! arguments.

mod aead;
pub mod chunk_key;
pub mod chunker;
pub mod codec;
mod cursor;
pub mod extra_listing;
pub mod file_class;
pub mod index;
pub mod kek;
pub mod key_file;
pub mod keyring;
pub mod keys;
pub mod manifest;
pub mod pack;
mod padding;
pub mod recipe;
pub mod recovery_code;
pub mod recovery_sheet;
pub mod repository_file;
pub mod sealed;
pub mod wal;

pub use chunk_key::ChunkKey;
pub use chunker::{ChunkEvent, FileChunker, FileRecipeBody, MAX_CHUNK_BYTES, chunk_blob};
pub use codec::{Codec, CodecError, Decoder, Encoder};
pub use extra_listing::{EntryKind, ExtraListing, ListedEntry, ListingError};
pub use file_class::{FileClass, classify};
pub use index::{IndexError, IndexObject, PackIndex};
pub use kek::{Kek, KekError, KeyHint};
pub use key_file::{FIRST_HOLDER, KeyFile, RemovedKey, WrappedKeys};
pub use keyring::{Keyring, MasterKeys, RingKey};
pub use keys::MasterKey;
pub use manifest::{
    CapturedExtra, CollectionEntry, ExtraEntry, LeftOut, Manifest, ManifestError, NodeEntry,
    PeerEntry, PointStats, RecipeOwner, ReplicaEntry, ShardEntry, ShardKeyEntry, StoredRecipe,
    WalMark,
};
pub use pack::{FinishedPack, PackBuilder, PackEntry, PackError, PackHeader};
pub use recipe::{Extent, FileRecipe, RecipeError, ShardRecipe};
pub use repository_file::{RepositoryFile, RepositoryFileError};
pub use sealed::{ObjectKind, Opened, SealedError};
pub use wal::{WalFrame, WalLook, WalObject, WalObjectError, WalOrigin, WalRun};
