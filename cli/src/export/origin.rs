//! Where an export reads: a running coordinator, or the repository itself when none is left.

use crate::client::{Coordinator, LATEST, none_yet};
use crate::command::direct;
use crate::failure::{Failure, Outcome};
use futures::StreamExt as _;
use holdfast_agent::failure::Failed;
use holdfast_agent::fetch;
use holdfast_agent::job::Halt;
use holdfast_agent::link::Link;
use holdfast_agent::order::CommandId;
use holdfast_archive::{
    ChunkKey, CollectionEntry, Manifest, ShardEntry, ShardRecipe, StoredRecipe,
};
use holdfast_coordinator::ingest::commit::IMPORTED;
use holdfast_coordinator::repository::fault_of;
use holdfast_proto::v1;
use holdfast_repository::{Repository, RepositoryError};
use holdfast_service::failure::Code;
use holdfast_types::{ChunkId, CollectionName, Epoch, ExtraName, NodeId, RecoveryPointId, ShardId};
use std::path::Path;
use tokio::sync::mpsc;

/// Chunks read from the repository at once.
const READ_AHEAD: usize = 8;

/// Where recovery points come from.
pub(crate) enum Origin {
    /// Asked over mutual TLS.
    Coordinator(Box<Coordinator>),
    /// Opened for reading.
    Repository(Repository),
}

/// One collection of a recovery point, open for reading.
pub(crate) enum Reader {
    /// By a ticket of the coordinator.
    Remote {
        link: Link,
        command: CommandId,
        ticket: String,
    },
    /// Out of the repository.
    Direct {
        repository: Repository,
        key: ChunkKey,
    },
}

impl Origin {
    /// The repository that a coordinator's configuration names. Nothing is written, locked or claimed.
    /// With `copy`, the copy of that name in it.
    pub(crate) async fn repository(config: &Path, copy: Option<&str>) -> Outcome<Self> {
        let config = direct::load_file(config)?;
        let repository = match copy {
            None => direct::open(&config).await?,
            Some(name) => direct::open_copy(&config, name).await?,
        };
        Ok(Self::Repository(repository))
    }

    /// The recovery point that `id` means (see [`Coordinator::resolve`]).
    pub(crate) async fn manifest(&mut self, id: &str, collections: &[String]) -> Outcome<Manifest> {
        match self {
            Self::Coordinator(coordinator) => {
                let id = coordinator.resolve(id, collections).await?;
                let answer = coordinator.backup(id).await?;
                Manifest::from_json(answer.manifest_json.as_bytes()).map_err(|error| {
                    Failure::new(Code::Internal, "the coordinator's manifest can't be read")
                        .caused_by(&error)
                        .todo("use a `holdfast` of the coordinator's release")
                })
            }
            Self::Repository(repository) if id == LATEST => newest(repository, collections).await,
            Self::Repository(repository) => {
                let id = id.parse::<RecoveryPointId>();
                let id = id.map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
                let manifest = repository.read_point(&id).await;
                manifest.map_err(|error| refused(&error))
            }
        }
    }

    /// Opens a collection for reading.
    pub(crate) async fn open(
        &mut self,
        manifest: &Manifest,
        collection: &CollectionName,
    ) -> Outcome<Reader> {
        match self {
            Self::Repository(repository) => Ok(Reader::Direct {
                key: repository.chunk_key(&manifest.namespace),
                repository: repository.clone(),
            }),
            Self::Coordinator(coordinator) => {
                let (id, name) = (manifest.id.to_string(), collection.to_string());
                let answer = coordinator.open_export(id, name).await?;
                Reader::remote(coordinator, answer)
            }
        }
    }

    /// Opens an extra for reading.
    pub(crate) async fn open_extra(
        &mut self,
        manifest: &Manifest,
        node: &NodeId,
        name: &ExtraName,
    ) -> Outcome<Reader> {
        match self {
            Self::Repository(repository) => Ok(Reader::Direct {
                key: repository.chunk_key(&manifest.namespace),
                repository: repository.clone(),
            }),
            Self::Coordinator(coordinator) => {
                let id = manifest.id.to_string();
                let answer = coordinator.open_extra(id, node, name).await?;
                Reader::remote(coordinator, answer)
            }
        }
    }

    /// Says that a collection has been exported, or why not. Best effort: what is left open ends by itself.
    pub(crate) async fn close(&mut self, reader: Reader, failure: Option<&Failure>) {
        if let (Self::Coordinator(coordinator), Reader::Remote { ticket, .. }) = (self, reader) {
            let failure = failure.map(Failure::to_wire);
            coordinator.close_ticket(ticket, failure).await;
        }
    }
}

impl Reader {
    fn remote(coordinator: &Coordinator, answer: v1::OpenExportResponse) -> Outcome<Self> {
        let command = answer
            .command_id
            .parse()
            .map_err(|_| Failure::new(Code::Internal, "the coordinator sent an id that is none"))?;
        Ok(Self::Remote {
            link: Link {
                channel: coordinator.channel(),
                epoch: Epoch(answer.epoch),
                generation: 0,
            },
            command,
            ticket: answer.ticket,
        })
    }

    /// The recipe of an extra, verified against the manifest, and the key of chunk ids.
    pub(crate) async fn extra_recipe(
        &self,
        owner: &str,
        stored: StoredRecipe<'_>,
    ) -> Result<(ShardRecipe, ChunkKey), Halt> {
        match self {
            Self::Remote { link, command, .. } => {
                fetch::stored_recipe(link, command, ShardId(0), owner, stored).await
            }
            Self::Direct { repository, key } => {
                let recipe = repository.read_stored_recipe(owner, stored).await;
                Ok((recipe.map_err(|error| halted(&error))?, key.clone()))
            }
        }
    }

    /// The recipe of a shard, verified against the manifest, and the key of chunk ids.
    pub(crate) async fn recipe(&self, shard: &ShardEntry) -> Result<(ShardRecipe, ChunkKey), Halt> {
        match self {
            Self::Remote { link, command, .. } => fetch::recipe(link, command, shard).await,
            Self::Direct { repository, key } => {
                let recipe = repository.read_shard_recipe(shard).await;
                Ok((recipe.map_err(|error| halted(&error))?, key.clone()))
            }
        }
    }

    /// Sends the chunks in this order.
    pub(crate) async fn chunks(
        &self,
        wanted: Vec<(ChunkId, u32)>,
        out: mpsc::Sender<v1::FetchedChunk>,
    ) -> Result<(), Halt> {
        match self {
            Self::Remote { link, command, .. } => fetch::chunks(link, command, wanted, out).await,
            Self::Direct { repository, .. } => {
                let ids = wanted.into_iter().map(|(id, _)| id).collect();
                let mut chunks = repository.read_chunks(ids, READ_AHEAD).boxed();
                while let Some(chunk) = chunks.next().await {
                    let chunk = chunk.map_err(|error| halted(&error))?;
                    let message = v1::FetchedChunk {
                        chunk_id: chunk.id.as_bytes().to_vec().into(),
                        codec: chunk.codec.number().into(),
                        plain_len: chunk.plain_len,
                        data: chunk.data,
                    };
                    out.send(message).await.map_err(|_| Halt::Stopped)?;
                }
                Ok(())
            }
        }
    }
}

/// The newest recovery point with all these collections that is no safety capture and not imported.
async fn newest(repository: &Repository, collections: &[String]) -> Outcome<Manifest> {
    let listed = repository.list_points().await;
    let mut points = listed.map_err(|error| refused(&error))?;
    points.sort_by(|a, b| b.id.cmp(&a.id));
    let any = !points.is_empty();
    let has = |entries: &[CollectionEntry], name: &String| {
        entries.iter().any(|entry| entry.name.as_str() == name)
    };
    let fits = |manifest: &Manifest| {
        let wanted = &mut collections.iter();
        let captured = manifest.shards().all(|(_, shard)| shard.method != IMPORTED);
        captured
            && manifest.safety_for.is_none()
            && wanted.all(|name| has(&manifest.collections, name))
    };
    let readable = points.into_iter().filter_map(|point| point.manifest.ok());
    let newest = readable.filter(fits).max_by_key(|m| m.committed);
    newest.ok_or_else(|| none_yet(collections, any))
}

fn halted(error: &RepositoryError) -> Halt {
    let fault = fault_of(error);
    Halt::Failed(Failed::new(fault.known_code(), fault.message))
}

fn refused(error: &RepositoryError) -> Failure {
    direct::failed(error).risking("nothing: this command only reads")
}
