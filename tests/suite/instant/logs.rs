//! The logs of a node's shards: read as an agent does, and put into the repository as a coordinator does.

use anyhow::{Context as _, Result, ensure};
use holdfast_agent::tail::LogFolder;
use holdfast_archive::{Kek, Manifest, WalFrame, WalLook, WalMark, WalObject, WalOrigin};
use holdfast_repository::Repository;
use holdfast_store::DiskStore;
use holdfast_tests::site::{NODE, Site};
use holdfast_tests::wait::now;
use holdfast_types::{
    CollectionName, Epoch, IncarnationId, Namespace, RecoveryPointId, ShardId, TimelineId,
    Timestamp,
};
use holdfast_wal::{Event, Frame, Tail};
use std::path::Path;
use std::sync::Arc;

/// Looks in one part of the archive.
const LOOKS: usize = 5;

/// All logs.
pub(crate) struct Logs(Vec<Log>);

/// One shard's log.
struct Log {
    collection: CollectionName,
    shard: ShardId,
    timeline: TimelineId,
    folder: LogFolder,
    tail: Tail,
    /// When the last poll that came to the end began.
    begun: Timestamp,
    first: Option<u64>,
    next: u64,
    crc: Option<u32>,
    looks: Vec<WalLook>,
}

impl Logs {
    pub(crate) fn open(storage: &Path, collections: &[(&str, u32)]) -> Result<Self> {
        let mut logs = Vec::new();
        for (name, shards) in collections {
            for shard in 0..*shards {
                let wal = storage.join(format!("collections/{name}/{shard}/wal"));
                logs.push(Log {
                    collection: name.parse()?,
                    shard: ShardId(shard),
                    timeline: TimelineId::from_bytes([u8::try_from(logs.len())? + 1; 16]),
                    folder: LogFolder::open(wal)?,
                    tail: Tail::new(),
                    begun: Timestamp::EPOCH,
                    first: None,
                    next: 0,
                    crc: None,
                    looks: Vec::new(),
                });
            }
        }
        Ok(Self(logs))
    }

    /// Reads what is new in every log.
    pub(crate) fn poll(&mut self) -> Result<()> {
        self.0.iter_mut().try_for_each(Log::poll)
    }

    /// The operation that comes next in a shard.
    pub(crate) fn next(&self, collection: &str, shard: u32) -> Option<u64> {
        self.find(&collection.parse().ok()?, ShardId(shard))
            .map(|log| log.next)
    }

    fn find(&self, collection: &CollectionName, shard: ShardId) -> Option<&Log> {
        let mut logs = self.0.iter();
        logs.find(|log| log.collection == *collection && log.shard == shard)
    }

    /// Archives everything, and commits each recovery point once more, marked with the timelines. The coordinator must be stopped.
    pub(crate) async fn archive(
        &self,
        site: &Site,
        points: &[RecoveryPointId],
    ) -> Result<Vec<RecoveryPointId>> {
        let store = Arc::new(DiskStore::open(site.repository())?);
        let key = std::fs::read_to_string(site.dir().join("repository.key"))?;
        let repository = Repository::open(store, Kek::from_hex(key.trim())?).await?;
        let epoch = repository.claim_epoch().await?;
        let mut marked = Vec::new();
        for (point, entropy) in points.iter().zip(1..) {
            let mut manifest = repository.read_point(point).await?;
            self.mark(&mut manifest, epoch, entropy)?;
            repository.commit_point(&manifest).await?;
            marked.push(manifest.id.clone());
            if entropy == 1 {
                for log in &self.0 {
                    log.archive(&repository, epoch, &manifest.namespace).await?;
                }
            }
        }
        Ok(marked)
    }

    fn mark(&self, manifest: &mut Manifest, epoch: Epoch, entropy: u32) -> Result<()> {
        (manifest.id, manifest.epoch) = (RecoveryPointId::new(manifest.begun, entropy), epoch);
        for collection in &mut manifest.collections {
            for shard in &mut collection.shards {
                let log = self.find(&collection.name, shard.shard_id);
                let log = log.context("a shard without a log")?;
                let next = shard.next_operation.context("no next operation")?;
                let certain = shard.wal.map_or(next, |mark| mark.certain);
                shard.wal = Some(WalMark {
                    certain,
                    timeline: Some(log.timeline),
                });
            }
        }
        Ok(())
    }
}

impl Log {
    fn poll(&mut self) -> Result<()> {
        let begun = now();
        self.tail.wake();
        self.folder.begin();
        let mut frames = Vec::new();
        while self.folder.serve(&mut self.tail)? {
            let events: Vec<Event> = self.tail.events().collect();
            for event in events {
                match event {
                    Event::Frame(frame) => frames.push(self.frame(frame)?),
                    Event::Began { timeline: 0, .. } => {}
                    other @ (Event::Began { .. }
                    | Event::Resumed { .. }
                    | Event::Obstructed { .. }
                    | Event::Ended { .. }) => anyhow::bail!("{other:?}"),
                }
            }
        }
        ensure!(self.tail.caught_up().is_some(), "not at the end");
        if !frames.is_empty() {
            self.looks.push(WalLook {
                after: self.begun,
                by: now(),
                frames,
            });
        }
        self.begun = begun;
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<WalFrame> {
        let first = *self.first.get_or_insert(frame.index);
        ensure!(first == frame.index || self.next == frame.index);
        self.next = frame.index + 1;
        let seed = (self.crc != Some(frame.before)).then_some(frame.before);
        self.crc = Some(frame.crc);
        Ok(WalFrame {
            seed,
            crc: frame.crc,
            data: frame.data,
        })
    }

    async fn archive(
        &self,
        repository: &Repository,
        epoch: Epoch,
        namespace: &Namespace,
    ) -> Result<()> {
        let mut first = self.first.context("nothing was read")?;
        let mut before = None;
        for looks in self.looks.chunks(LOOKS) {
            let origin = WalOrigin {
                namespace: namespace.clone(),
                node: NODE.parse()?,
                server_version: "1.18.3".parse()?,
                collection: self.collection.clone(),
                incarnation: IncarnationId::from_bytes([7; 16]),
                shard: self.shard,
                timeline: self.timeline,
                because: before.is_none().then(|| "first seen".to_owned()),
            };
            let part = WalObject::new(origin, first, before, looks.to_vec())?;
            let run = repository.append_wal(epoch, part).await?.run;
            (first, before) = (run.next, Some(run.end));
        }
        Ok(())
    }
}
