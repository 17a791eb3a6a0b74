//! The repository as its users see it.

use crate::core_state::CoreState;
use crate::key_slot::Repair;
use crate::packer::{Packer, Tuning};
use crate::reader::{Reader, StoredChunk};
use crate::sessions::{SessionGuard, Sessions, Start};
use crate::sync::Expected;
use crate::unlock::{OwnKey, Unlocked};
use crate::{
    AffectedShard, OpenReport, PointListing, RepositoryError, RepositoryStats, VerifyLevel,
    VerifyObserver, VerifyOptions, VerifyReport, WriteSession, create, epochs, gc, layout, load,
    points, quarantine, unlock, verify,
};
use futures::{Stream, stream};
use holdfast_archive::{
    ChunkKey, CollectionEntry, Kek, Manifest, RepositoryFile, ShardEntry, ShardRecipe, StoredRecipe,
};
use holdfast_store::{LockAttempt, ObjectMeta, ObjectStore, StoreLock};
use holdfast_types::{ChunkId, ClusterName, Epoch, Namespace, RecoveryPointId, Timestamp};
use std::sync::Arc;
use tokio::sync::Mutex;

mod absence;
mod keys;
mod removal;
mod standing;
mod sync;
mod upkeep;
mod wal;

pub use absence::Absence;
pub use sync::PROMOTION_JUMP;

/// What a new repository is made of.
#[derive(Clone, Debug)]
pub struct RepositoryOptions {
    /// The deployment whose recovery points it will hold.
    pub cluster: ClusterName,
    /// What will unlock it.
    pub kek: Kek,
    /// Now.
    pub created: Timestamp,
    /// Program and version that make it, such as `holdfast-coordinator 0.1.0`.
    pub program: String,
}

/// An open repository. Clone it freely: clones share everything.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<CoreState>,
    packer: Arc<Packer>,
    reader: Arc<Reader>,
    sessions: Arc<Sessions>,
    description: RepositoryFile,
    own: OwnKey,
    report: OpenReport,
    writer: Mutex<Writer>,
    /// What is recorded of damage.
    heeded: Mutex<Heeded>,
    /// Held while what is said of points changes.
    removing: Mutex<()>,
    /// Held while what restores have shown changes.
    proving: Mutex<()>,
    /// Held while garbage is collected, or packs and indexes are put in order otherwise.
    collecting: Mutex<()>,
}

/// What was last read of recorded damage.
#[derive(Default)]
struct Heeded {
    /// The records, as they were listed.
    listed: Vec<ObjectMeta>,
    damaged: Vec<String>,
}

/// As long as it lives, garbage collection deletes nothing that was there when it was made.
pub struct Protection(SessionGuard);

/// What only a writer does or holds.
struct Writer {
    lock: Option<StoreLock>,
    /// Damaged objects of which the right content is known.
    repairs: Vec<Repair>,
}

impl Repository {
    /// Makes a repository in an empty store, and opens it.
    ///
    /// # Errors
    /// [`RepositoryError::AlreadyExists`], [`RepositoryError::Foreign`], or a failure of the store.
    pub async fn init(
        store: Arc<dyn ObjectStore>,
        options: RepositoryOptions,
    ) -> Result<Self, RepositoryError> {
        let kek = options.kek.clone();
        create::create(store.as_ref(), options).await?;
        Self::open(store, kek).await
    }

    /// Opens a repository. Writes nothing, so a read-only store will do.
    ///
    /// # Errors
    /// [`RepositoryError::NotFound`], [`RepositoryError::Foreign`], [`RepositoryError::NewerFormat`],
    /// [`RepositoryError::WrongKey`]; [`RepositoryError::Damaged`] only where nothing at all can be
    /// read, other damage is in [`report`](Self::report).
    pub async fn open(store: Arc<dyn ObjectStore>, kek: Kek) -> Result<Self, RepositoryError> {
        Self::open_with(store, kek, Tuning::default()).await
    }

    /// [`open`](Self::open) with other sizes than the usual ones.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        store: Arc<dyn ObjectStore>,
        kek: Kek,
        tuning: Tuning,
    ) -> Result<Self, RepositoryError> {
        let unlocked = unlock::unlock(store.as_ref(), &kek).await?;
        Self::assemble(store, unlocked, tuning).await
    }

    async fn assemble(
        store: Arc<dyn ObjectStore>,
        unlocked: Unlocked,
        tuning: Tuning,
    ) -> Result<Self, RepositoryError> {
        let Unlocked {
            description,
            ring,
            own,
            mut damaged,
            repairs,
        } = unlocked;
        let mut loaded = load::load(&store, &ring).await?;
        damaged.extend(loaded.damaged);
        let quarantine = quarantine::load(&store, &ring).await?;
        quarantine.apply(&mut loaded.catalog);
        let heeded = Heeded {
            listed: Vec::new(),
            damaged: quarantine.damaged_objects(),
        };
        damaged.extend(quarantine.damaged);
        let core = CoreState::new(store, ring, loaded.epoch, loaded.catalog);
        let core = Arc::new(core);
        let gone = gc::heed(&core).await?;
        let is_gone = |object: &str| gone.iter().any(|id| layout::pack(id).as_str() == object);
        damaged.retain(|found| !is_gone(&found.object));
        loaded.unindexed.retain(|pack| !gone.contains(&pack.id));
        let report = OpenReport {
            damaged,
            adopted_packs: loaded.unindexed.len(),
            packs: core.catalog().packs().count(),
            chunks: core.catalog().chunk_count(),
            quarantine: quarantine.records.into_values().collect(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                packer: Arc::new(Packer::new(core.clone(), tuning, loaded.unindexed)),
                reader: Arc::new(Reader::new(core.clone())),
                sessions: Arc::default(),
                core,
                description,
                own,
                report,
                writer: Mutex::new(Writer {
                    lock: None,
                    repairs,
                }),
                heeded: Mutex::new(heeded),
                removing: Mutex::default(),
                proving: Mutex::default(),
                collecting: Mutex::default(),
            }),
        })
    }

    /// What opening found: damage, and packs adopted after a crash.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.inner.report
    }

    /// The repository's identity, deployment and origin.
    #[must_use]
    pub fn description(&self) -> &RepositoryFile {
        &self.inner.description
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.inner.core.store.describe()
    }

    /// The boundary of deduplication of the repository's own deployment.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        let cluster = self.inner.description.cluster.as_str();
        cluster
            .parse()
            .expect("cluster names and namespaces follow one rule")
    }

    /// The key of a namespace's chunk ids. It decrypts nothing.
    #[must_use]
    pub fn chunk_key(&self, namespace: &Namespace) -> ChunkKey {
        self.inner.core.master.chunk_key(namespace)
    }

    /// Becomes the writer: takes the store's lock where it has one, writes damaged descriptions anew, and
    /// claims the epoch after the newest. From then on older epochs are refused everywhere. Packs that
    /// another writer has written since the opening are known afterwards; list the points again, too.
    ///
    /// # Errors
    /// [`RepositoryError::Locked`] while another process of this machine is the writer;
    /// [`RepositoryError::Role`] if the store is a copy, or was replaced by one.
    pub async fn claim_epoch(&self) -> Result<Epoch, RepositoryError> {
        self.claim_epoch_above(Epoch(0)).await
    }

    /// As [`claim_epoch`](Self::claim_epoch), with an epoch that is also newer than `floor`: the newest of a copy, whose
    /// promotion was begun and given up.
    ///
    /// # Errors
    /// As there.
    pub async fn claim_epoch_above(&self, floor: Epoch) -> Result<Epoch, RepositoryError> {
        self.become_writer(Expected::Primary).await?;
        let epoch = epochs::claim_above(&self.inner.core, floor, 1).await?;
        self.catch_up().await?;
        Ok(epoch)
    }

    /// Takes the store's lock, and writes damaged descriptions anew.
    async fn become_writer(&self, expected: Expected<'_>) -> Result<(), RepositoryError> {
        let core = &self.inner.core;
        expected.check(core).await?;
        let mut writer = self.inner.writer.lock().await;
        if writer.lock.is_none() {
            let ours = format!("process {}", std::process::id());
            writer.lock = match core.store.try_lock(&ours).await? {
                LockAttempt::Held(lock) => Some(lock),
                LockAttempt::Unsupported => None,
                LockAttempt::Busy { holder } => {
                    let place = self.place();
                    return Err(RepositoryError::Locked { place, holder });
                }
            };
        }
        while let Some(repair) = writer.repairs.last() {
            repair.carry_out(core.store.as_ref()).await?;
            writer.repairs.pop();
        }
        Ok(())
    }

    /// Takes note of what another writer has written since the opening.
    async fn catch_up(&self) -> Result<(), RepositoryError> {
        let core = &self.inner.core;
        // An older writer may have gone on between our opening and our claim.
        let mut adopted = load::adopt_new(core).await?;
        let gone = gc::heed(core).await?;
        adopted.retain(|pack| !gone.contains(&pack.id));
        self.inner.packer.adopt(adopted);
        Ok(())
    }

    /// The newest epoch that anybody claimed.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn newest_epoch(&self) -> Result<Epoch, RepositoryError> {
        epochs::newest(&self.inner.core).await
    }

    /// Begins to write for one capture.
    ///
    /// # Errors
    /// [`RepositoryError::StaleEpoch`].
    pub async fn begin(&self, epoch: Epoch) -> Result<WriteSession, RepositoryError> {
        epochs::check(&self.inner.core, epoch).await?;
        let Protection(guard) = self.protect();
        Ok(WriteSession::new(self.inner.packer.clone(), guard, epoch))
    }

    /// Keeps everything that is there now, and whatever is written from now on, from being deleted as
    /// garbage, until the answer is dropped. Hold it from the first capture of a point until its commit, and while
    /// a point is restored.
    #[must_use]
    pub fn protect(&self) -> Protection {
        let start = {
            let catalog = self.inner.core.catalog();
            Start {
                dooms: catalog.dooms(),
                next_pack: catalog.next_number(),
            }
        };
        Protection(self.inner.sessions.begin(start))
    }

    /// Commits a recovery point: once it returns, the point is listed and restorable for good.
    /// Flush the sessions that wrote its chunks before.
    ///
    /// # Errors
    /// [`RepositoryError::Incomplete`] if a chunk is not durable, [`RepositoryError::StaleEpoch`],
    /// [`RepositoryError::PointExists`], [`RepositoryError::Invalid`]. On any error of the store itself
    /// the point may or may not be there; reading it tells.
    pub async fn commit_point(&self, manifest: &Manifest) -> Result<(), RepositoryError> {
        let Inner {
            core,
            packer,
            reader,
            ..
        } = &*self.inner;
        points::commit(core, packer, reader, manifest).await
    }

    /// Every recovery point, by name. A damaged one is listed with its error.
    ///
    /// # Errors
    /// A failure to list.
    pub async fn list_points(&self) -> Result<Vec<PointListing>, RepositoryError> {
        points::list(&self.inner.core).await
    }

    /// The names of all recovery points, without reading any.
    ///
    /// # Errors
    /// A failure to list.
    pub async fn list_point_ids(&self) -> Result<Vec<RecoveryPointId>, RepositoryError> {
        points::list_ids(&self.inner.core).await
    }

    /// The manifest of a recovery point.
    ///
    /// # Errors
    /// [`RepositoryError::PointNotFound`], [`RepositoryError::Damaged`].
    pub async fn read_point(&self, id: &RecoveryPointId) -> Result<Manifest, RepositoryError> {
        points::read(&self.inner.core, id).await
    }

    /// The encoded recipe that these chunks make up, not verified against anything but the chunks'
    /// seals.
    ///
    /// # Errors
    /// As [`read_chunk`](Self::read_chunk).
    pub async fn read_recipe(&self, chunks: &[ChunkId]) -> Result<Vec<u8>, RepositoryError> {
        points::read_recipe(&self.inner.reader, chunks).await
    }

    /// The recipe of a captured shard, verified against its manifest.
    ///
    /// # Errors
    /// As [`read_chunk`](Self::read_chunk), or [`RepositoryError::Damaged`].
    pub async fn read_shard_recipe(
        &self,
        shard: &ShardEntry,
    ) -> Result<ShardRecipe, RepositoryError> {
        let owner = format!("shard {}", shard.shard_id);
        self.read_stored_recipe(&owner, shard.stored_recipe()).await
    }

    /// A recipe that a manifest names, verified against it. `owner` is what it is of, in words.
    ///
    /// # Errors
    /// As [`read_shard_recipe`](Self::read_shard_recipe).
    pub async fn read_stored_recipe(
        &self,
        owner: &str,
        stored: StoredRecipe<'_>,
    ) -> Result<ShardRecipe, RepositoryError> {
        points::read_stored_recipe(&self.inner.reader, owner, stored).await
    }

    /// Whether a chunk is durable here, as far as is known without reading it.
    #[must_use]
    pub fn has_chunk(&self, id: &ChunkId) -> bool {
        self.inner.core.catalog().has(id)
    }

    /// Reads one chunk, authenticated. Neighbouring reads are served from a cache of 64 MiB.
    ///
    /// # Errors
    /// [`RepositoryError::ChunkMissing`], [`RepositoryError::Damaged`], a failure of the store.
    pub async fn read_chunk(&self, id: &ChunkId) -> Result<StoredChunk, RepositoryError> {
        self.inner.reader.read(id).await
    }

    /// Reads chunks in the order in which `ids` yields them, up to `ahead` of them at once. An error
    /// concerns its chunk alone: the stream goes on.
    pub fn read_chunk_stream(
        &self,
        ids: impl Stream<Item = ChunkId> + Send + 'static,
        ahead: usize,
    ) -> impl Stream<Item = Result<StoredChunk, RepositoryError>> + Send + 'static {
        self.inner.reader.clone().read_many(ids, ahead)
    }

    /// [`read_chunk_stream`](Self::read_chunk_stream) of a list.
    pub fn read_chunks(
        &self,
        ids: Vec<ChunkId>,
        ahead: usize,
    ) -> impl Stream<Item = Result<StoredChunk, RepositoryError>> + Send + 'static {
        self.read_chunk_stream(stream::iter(ids), ahead)
    }

    /// Which shards of a collection can't be restored in full, by a fresh listing of the packs, their
    /// recipes and what is known of their chunks. No other chunk is read. Empty if all is well.
    ///
    /// # Errors
    /// Only what keeps it from checking.
    pub async fn check_collection(
        &self,
        collection: &CollectionEntry,
    ) -> Result<Vec<AffectedShard>, RepositoryError> {
        let Inner { core, reader, .. } = &*self.inner;
        verify::points::check_collection(core, reader, collection).await
    }

    /// Whether everything that a recipe stands for is there, looked at as in [`check_collection`](Self::check_collection).
    ///
    /// # Errors
    /// Only what keeps it from checking.
    pub async fn is_whole(
        &self,
        owner: &str,
        stored: StoredRecipe<'_>,
    ) -> Result<bool, RepositoryError> {
        let Inner { core, reader, .. } = &*self.inner;
        verify::points::is_whole(core, reader, owner, stored).await
    }

    /// Which shards of a collection can't be restored in full, by reading: every distinct chunk that
    /// their recipes name is authenticated, decoded and hashed, one shard after the other. Takes as
    /// long as a restore reads. What it finds unreadable no longer counts as present. Empty if all is well.
    /// `namespace` is that of the manifest.
    ///
    /// # Errors
    /// Only what keeps it from checking.
    pub async fn authenticate_collection(
        &self,
        namespace: &Namespace,
        collection: &CollectionEntry,
    ) -> Result<Vec<AffectedShard>, RepositoryError> {
        let key = self.chunk_key(namespace);
        verify::contents::authenticate_collection(&self.inner.core, &key, collection).await
    }

    /// The size of the repository, as known now.
    #[must_use]
    pub fn stats(&self) -> RepositoryStats {
        self.inner.core.catalog().stats()
    }

    /// Checks everything that is stored, and which recovery points damage concerns. What it finds
    /// damaged no longer counts as present, so the next capture stores it anew. Writes nothing.
    ///
    /// # Errors
    /// Only what keeps it from checking; damage is in the report.
    pub async fn verify(&self, level: VerifyLevel) -> Result<VerifyReport, RepositoryError> {
        let options = VerifyOptions::read_only(level, Timestamp::EPOCH);
        self.verify_with(&options, &()).await
    }

    /// [`verify`](Self::verify) with everything that can be chosen; `observer` is told after every pack. It
    /// may be dropped at any moment, and go on from the last checkpoint that the observer saw.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_with(
        &self,
        options: &VerifyOptions,
        observer: &dyn VerifyObserver,
    ) -> Result<VerifyReport, RepositoryError> {
        let Inner {
            core, description, ..
        } = &*self.inner;
        verify::verify(core, description, options, observer).await
    }
}
