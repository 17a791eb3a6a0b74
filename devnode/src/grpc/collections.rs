//! The gRPC service for collections and aliases.

use super::{Service, config_json, to_proto};
use crate::node::AliasAction;
use qdrant_client::qdrant::alias_operations::Action;
use qdrant_client::qdrant::collections_server::Collections;
use qdrant_client::qdrant::{
    AliasDescription, ChangeAliases, CollectionClusterInfoRequest, CollectionClusterInfoResponse,
    CollectionDescription, CollectionExists, CollectionExistsRequest, CollectionExistsResponse,
    CollectionOperationResponse, CreateCollection, CreateShardKeyRequest, CreateShardKeyResponse,
    DeleteCollection, DeleteShardKeyRequest, DeleteShardKeyResponse, GetCollectionInfoRequest,
    GetCollectionInfoResponse, ListAliasesRequest, ListAliasesResponse,
    ListCollectionAliasesRequest, ListCollectionsRequest, ListCollectionsResponse,
    ListShardKeysRequest, ListShardKeysResponse, LocalShardInfo, UpdateCollection,
    UpdateCollectionClusterSetupRequest, UpdateCollectionClusterSetupResponse,
};
use std::time::Instant;
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Collections for Service {
    async fn get(
        &self,
        request: Request<GetCollectionInfoRequest>,
    ) -> Reply<GetCollectionInfoResponse> {
        let begun = Instant::now();
        let name = request.into_inner().collection_name;
        let info = self
            .blocking(move |node| to_proto::collection_info(&node.collection(&name)?.info()?))
            .await?;
        Ok(Response::new(GetCollectionInfoResponse {
            result: Some(info),
            time: begun.elapsed().as_secs_f64(),
        }))
    }

    async fn list(
        &self,
        _request: Request<ListCollectionsRequest>,
    ) -> Reply<ListCollectionsResponse> {
        let begun = Instant::now();
        let names = self.blocking(|node| Ok(node.collection_names())).await?;
        let names = names.into_iter();
        Ok(Response::new(ListCollectionsResponse {
            collections: names.map(|name| CollectionDescription { name }).collect(),
            time: begun.elapsed().as_secs_f64(),
        }))
    }

    async fn create(
        &self,
        request: Request<CreateCollection>,
    ) -> Reply<CollectionOperationResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        self.blocking(move |node| {
            let name = request.collection_name.clone();
            node.create_collection(&name, &config_json::create(request)?)
        })
        .await?;
        done(true, begun)
    }

    async fn update(
        &self,
        request: Request<UpdateCollection>,
    ) -> Reply<CollectionOperationResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        self.blocking(move |node| {
            let collection = node.collection(&request.collection_name)?;
            collection.update_config(&config_json::update(request))
        })
        .await?;
        done(true, begun)
    }

    async fn delete(
        &self,
        request: Request<DeleteCollection>,
    ) -> Reply<CollectionOperationResponse> {
        let begun = Instant::now();
        let name = request.into_inner().collection_name;
        let existed = self
            .blocking(move |node| node.delete_collection(&name))
            .await?;
        done(existed, begun)
    }

    async fn update_aliases(
        &self,
        request: Request<ChangeAliases>,
    ) -> Reply<CollectionOperationResponse> {
        let begun = Instant::now();
        let operations = request.into_inner().actions.into_iter();
        let actions = operations
            .filter_map(|operation| operation.action)
            .map(alias_action)
            .collect();
        self.blocking(move |node| node.change_aliases(actions))
            .await?;
        done(true, begun)
    }

    async fn list_collection_aliases(
        &self,
        request: Request<ListCollectionAliasesRequest>,
    ) -> Reply<ListAliasesResponse> {
        let name = request.into_inner().collection_name;
        self.aliases(Some(name)).await
    }

    async fn list_aliases(
        &self,
        _request: Request<ListAliasesRequest>,
    ) -> Reply<ListAliasesResponse> {
        self.aliases(None).await
    }

    async fn collection_cluster_info(
        &self,
        request: Request<CollectionClusterInfoRequest>,
    ) -> Reply<CollectionClusterInfoResponse> {
        let begun = Instant::now();
        let name = request.into_inner().collection_name;
        let (peer_id, points) = self
            .blocking(move |node| {
                let points = node.collection(&name)?.shard()?.info().points_count;
                Ok((node.peer_id(), points as u64))
            })
            .await?;
        Ok(Response::new(CollectionClusterInfoResponse {
            peer_id,
            shard_count: 1,
            local_shards: vec![LocalShardInfo {
                points_count: points,
                ..LocalShardInfo::default()
            }],
            time: begun.elapsed().as_secs_f64(),
            ..CollectionClusterInfoResponse::default()
        }))
    }

    async fn collection_exists(
        &self,
        request: Request<CollectionExistsRequest>,
    ) -> Reply<CollectionExistsResponse> {
        let begun = Instant::now();
        let name = request.into_inner().collection_name;
        let exists = self
            .blocking(move |node| Ok(node.collection(&name).is_ok()))
            .await?;
        Ok(Response::new(CollectionExistsResponse {
            result: Some(CollectionExists { exists }),
            time: begun.elapsed().as_secs_f64(),
        }))
    }

    async fn update_collection_cluster_setup(
        &self,
        _request: Request<UpdateCollectionClusterSetupRequest>,
    ) -> Reply<UpdateCollectionClusterSetupResponse> {
        Err(no_cluster())
    }

    async fn create_shard_key(
        &self,
        _request: Request<CreateShardKeyRequest>,
    ) -> Reply<CreateShardKeyResponse> {
        Err(no_cluster())
    }

    async fn delete_shard_key(
        &self,
        _request: Request<DeleteShardKeyRequest>,
    ) -> Reply<DeleteShardKeyResponse> {
        Err(no_cluster())
    }

    async fn list_shard_keys(
        &self,
        _request: Request<ListShardKeysRequest>,
    ) -> Reply<ListShardKeysResponse> {
        Err(no_cluster())
    }
}

impl Service {
    async fn aliases(&self, collection: Option<String>) -> Reply<ListAliasesResponse> {
        let begun = Instant::now();
        let pairs = self
            .blocking(move |node| node.alias_pairs(collection.as_deref()))
            .await?;
        let aliases = pairs
            .into_iter()
            .map(|(alias_name, collection_name)| AliasDescription {
                alias_name,
                collection_name,
            })
            .collect();
        Ok(Response::new(ListAliasesResponse {
            aliases,
            time: begun.elapsed().as_secs_f64(),
        }))
    }
}

fn alias_action(action: Action) -> AliasAction {
    match action {
        Action::CreateAlias(create) => AliasAction::CreateAlias {
            collection_name: create.collection_name,
            alias_name: create.alias_name,
        },
        Action::RenameAlias(rename) => AliasAction::RenameAlias {
            old_alias_name: rename.old_alias_name,
            new_alias_name: rename.new_alias_name,
        },
        Action::DeleteAlias(delete) => AliasAction::DeleteAlias {
            alias_name: delete.alias_name,
        },
    }
}

fn done(result: bool, begun: Instant) -> Reply<CollectionOperationResponse> {
    Ok(Response::new(CollectionOperationResponse {
        result,
        time: begun.elapsed().as_secs_f64(),
    }))
}

fn no_cluster() -> Status {
    Status::unimplemented("holdfast-devnode is a single node with one shard a collection")
}
