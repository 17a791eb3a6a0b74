//! Reads chunks. Whatever is returned was authenticated against its id, codec and length; whether
//! the plain bytes hash to the id is for whoever decodes them to check.
//!
//! A chunk that can't be read at one place is sought at its others, and the place is remembered as
//! bad, so that the next capture stores the chunk anew.

use crate::catalog::Pack;
use crate::chunk_table::Location;
use crate::core_state::CoreState;
use crate::segment_cache::SegmentCache;
use crate::{Damage, RepositoryError, layout, system};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use holdfast_archive::pack::{HEADER_LEN, PackOpener};
use holdfast_archive::{Codec, PackEntry, PackHeader};
use holdfast_store::StoreError;
use holdfast_types::ChunkId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

/// Openers kept: a few hundred bytes each.
const MAX_OPENERS: usize = 4096;
/// Shorter chunks are decrypted where they are, which takes 50 µs at most: handing them over would cost more.
const INLINE_BYTES: usize = 256 << 10;

/// A chunk as it stands in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChunk {
    /// Its identity.
    pub id: ChunkId,
    /// How it is encoded.
    pub codec: Codec,
    /// Its plain length in bytes, at most 1 MiB.
    pub plain_len: u32,
    /// The encoded bytes.
    pub data: Bytes,
}

/// What opens a pack's chunks, made of its header: there, or being read. Several readers share one read.
type Opener = Arc<OnceCell<Arc<PackOpener>>>;

/// The one reader of an open repository.
pub(crate) struct Reader {
    core: Arc<CoreState>,
    cache: SegmentCache,
    openers: Mutex<HashMap<u32, Opener>>,
}

impl Reader {
    pub(crate) fn new(core: Arc<CoreState>) -> Self {
        Self {
            cache: SegmentCache::new(core.store.stretch()),
            core,
            openers: Mutex::default(),
        }
    }

    /// Reads a chunk from the best of its places.
    pub(crate) async fn read(&self, id: &ChunkId) -> Result<StoredChunk, RepositoryError> {
        let places = self.core.catalog().places(id);
        let mut failure = RepositoryError::ChunkMissing { id: *id };
        for (place, pack) in places {
            match self.read_at(&place, &pack).await {
                Ok(chunk) => return Ok(chunk),
                Err(error) => {
                    if matches!(error, RepositoryError::Damaged { .. })
                        && self.core.catalog_mut().mark_bad(&place)
                    {
                        tracing::warn!(chunk = %id, pack = %pack.id, %error, "a chunk can't be read here");
                    }
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    /// Reads chunks in the order given, up to `ahead` of them at once.
    pub(crate) fn read_many(
        self: Arc<Self>,
        ids: impl Stream<Item = ChunkId> + Send + 'static,
        ahead: usize,
    ) -> impl Stream<Item = Result<StoredChunk, RepositoryError>> + Send + 'static {
        ids.map(move |id| {
            let reader = self.clone();
            // Tasks of their own go on while the consumer is busy; dropping the stream ends them.
            let reading =
                AbortOnDropHandle::new(tokio::spawn(async move { reader.read(&id).await }));
            async move {
                match reading.await {
                    Ok(result) => result,
                    Err(join) => match join.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(join) => Err(RepositoryError::Aborted {
                            reason: format!("a read was not finished: {join}"),
                        }),
                    },
                }
            }
        })
        .buffered(ahead.max(1))
    }

    async fn read_at(&self, place: &Location, pack: &Pack) -> Result<StoredChunk, RepositoryError> {
        let entry = place.entry;
        let opener = self.opener(place.pack, pack).await?;
        let sealed = self.sealed(place, pack).await?;
        let data = if sealed.len() < INLINE_BYTES {
            open(&opener, &entry, &sealed, pack)?
        } else {
            let pack = *pack;
            system::blocking(move || open(&opener, &entry, &sealed, &pack)).await?
        };
        Ok(StoredChunk {
            id: entry.id,
            codec: entry.codec,
            plain_len: entry.plain_len,
            data,
        })
    }

    async fn opener(&self, number: u32, pack: &Pack) -> Result<Arc<PackOpener>, RepositoryError> {
        let opener = {
            let mut openers = self.openers();
            if openers.len() >= MAX_OPENERS && !openers.contains_key(&number) {
                openers.clear();
            }
            openers.entry(number).or_default().clone()
        };
        let read = || async {
            let key = layout::pack(&pack.id);
            let header = self.core.store.get_range(&key, 0, HEADER_LEN as u64).await;
            let header = header.map_err(|error| pack_error(pack, error))?;
            PackHeader::parse(&header)
                .and_then(|header| header.opener(&self.core.master))
                .map(Arc::new)
                .map_err(|error| RepositoryError::damaged(key, error))
        };
        opener.get_or_try_init(read).await.cloned()
    }

    /// The sealed bytes of a chunk, through the cache.
    async fn sealed(&self, place: &Location, pack: &Pack) -> Result<Bytes, RepositoryError> {
        let start = u64::from(place.entry.offset);
        let end = start + u64::from(place.entry.len);
        if end > pack.readable() {
            return Err(wrong_size(pack, pack.readable()));
        }
        let stretch = self.cache.segment_bytes();
        let last = end.saturating_sub(1).max(start) / stretch;
        let first = start / stretch;
        let mut joined = BytesMut::new();
        for number in first..=last {
            let segment = self.segment(place.pack, number, pack).await?;
            let base = number * stretch;
            let upto = (end - base).min(stretch);
            let part = slice(&segment, start.saturating_sub(base), upto)
                .ok_or_else(|| wrong_size(pack, base + segment.len() as u64))?;
            if number == last && joined.is_empty() {
                return Ok(part);
            }
            if number == first {
                joined.reserve(place.entry.len as usize);
            }
            joined.extend_from_slice(&part);
        }
        Ok(joined.freeze())
    }

    async fn segment(
        &self,
        pack_number: u32,
        number: u64,
        pack: &Pack,
    ) -> Result<Bytes, RepositoryError> {
        let short = u32::try_from(number).expect("offsets in a pack are 32 bits");
        let segment = self.cache.segment((pack_number, short));
        let read = || async {
            let base = number * self.cache.segment_bytes();
            let len = self.cache.segment_bytes().min(pack.readable() - base);
            let key = layout::pack(&pack.id);
            let bytes = self.core.store.get_range(&key, base, len).await;
            bytes.map_err(|error| pack_error(pack, error))
        };
        segment.get_or_try_init(read).await.cloned()
    }

    fn openers(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Opener>> {
        // A map of independent entries is consistent after a panic, too.
        self.openers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a segment from `start` up to `end`, if it is there.
fn slice(segment: &Bytes, start: u64, end: u64) -> Option<Bytes> {
    let start = usize::try_from(start).ok()?;
    let end = usize::try_from(end).ok()?;
    (start <= end && end <= segment.len()).then(|| segment.slice(start..end))
}

fn open(
    opener: &PackOpener,
    entry: &PackEntry,
    sealed: &[u8],
    pack: &Pack,
) -> Result<Bytes, RepositoryError> {
    let mut buffer = sealed.to_vec();
    let len = opener
        .open_in_place(entry, &mut buffer)
        .map_err(|error| RepositoryError::damaged(layout::pack(&pack.id), error))?
        .len();
    buffer.truncate(len);
    Ok(buffer.into())
}

/// A failed read of a pack: damage if the pack is not as it was written.
fn pack_error(pack: &Pack, error: StoreError) -> RepositoryError {
    if let StoreError::OutOfRange { size, .. } = error {
        return wrong_size(pack, size);
    }
    match Damage::of_read(error) {
        Ok(damage) => RepositoryError::damaged(layout::pack(&pack.id), damage),
        Err(other) => other.into(),
    }
}

fn wrong_size(pack: &Pack, found: u64) -> RepositoryError {
    let damage = Damage::Size {
        expected: pack.size,
        found,
    };
    RepositoryError::damaged(layout::pack(&pack.id), damage)
}
