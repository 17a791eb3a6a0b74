//! The gRPC service for points: what an ordinary client uses. Groups, matrices and the older recommend and discover
//! calls are refused.

use super::filter_json::{ids, optional_filter, selector, with_payload, with_vectors};
use super::{Service, config_json, points_in, query_json, to_proto};
use crate::NodeError;
use crate::answer::PointAnswer;
use crate::collection::Collection;
use crate::request::query::QueryBody;
use crate::request::update::{
    DeleteVectorsBody, IndexBody, PayloadBody, PayloadCall, SelectorBody, parse,
};
use holdfast_engine::model::{
    CountRequest, JsonPath, ScrollRequest, WithPayloadInterface, WithVector,
};
use qdrant_client::qdrant::points_server::Points;
use qdrant_client::qdrant::{
    BatchResult, ClearPayloadPoints, CountPoints, CountResponse, CountResult,
    CreateFieldIndexCollection, CreateVectorNameRequest, DeleteFieldIndexCollection,
    DeletePayloadPoints, DeletePointVectors, DeletePoints, DeleteVectorNameRequest,
    DiscoverBatchPoints, DiscoverBatchResponse, DiscoverPoints, DiscoverResponse, FacetCounts,
    FacetResponse, GetPoints, GetResponse, PointsOperationResponse, QueryBatchPoints,
    QueryBatchResponse, QueryGroupsResponse, QueryPointGroups, QueryPoints, QueryResponse,
    RecommendBatchPoints, RecommendBatchResponse, RecommendGroupsResponse, RecommendPointGroups,
    RecommendPoints, RecommendResponse, ScrollPoints, ScrollResponse, SearchBatchPoints,
    SearchBatchResponse, SearchGroupsResponse, SearchMatrixOffsetsResponse,
    SearchMatrixPairsResponse, SearchMatrixPoints, SearchPointGroups, SearchPoints, SearchResponse,
    SetPayloadPoints, UpdateBatchPoints, UpdateBatchResponse, UpdatePointVectors, UpdateResult,
    UpdateStatus, UpsertPoints,
};
use serde_json::{Value, json};
use std::time::Instant;
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

impl Service {
    async fn update(
        &self,
        name: String,
        wait: Option<bool>,
        action: impl FnOnce(&Collection) -> Result<u64, NodeError> + Send + 'static,
    ) -> Reply<PointsOperationResponse> {
        let begun = Instant::now();
        let operation = self
            .blocking(move |node| action(&*node.collection(&name)?))
            .await?;
        let status = if wait.unwrap_or(false) {
            UpdateStatus::Completed
        } else {
            UpdateStatus::Acknowledged
        };
        Ok(Response::new(PointsOperationResponse {
            result: Some(UpdateResult {
                operation_id: Some(operation),
                status: status.into(),
            }),
            time: begun.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn payload(
        &self,
        name: String,
        wait: Option<bool>,
        body: Result<Value, NodeError>,
        call: PayloadCall,
    ) -> Reply<PointsOperationResponse> {
        self.update(name, wait, move |collection| {
            parse::<PayloadBody>(body?)?.run(collection, call)
        })
        .await
    }

    async fn queries(
        &self,
        name: String,
        bodies: Vec<Result<Value, NodeError>>,
    ) -> Result<Vec<Vec<qdrant_client::qdrant::ScoredPoint>>, Status> {
        self.blocking(move |node| {
            let collection = node.collection(&name)?;
            let run = |body: Result<Value, NodeError>| -> Result<Vec<_>, NodeError> {
                let points = parse::<QueryBody>(body?)?.run(&collection)?;
                Ok(points.into_iter().map(to_proto::scored).collect())
            };
            bodies.into_iter().map(run).collect()
        })
        .await
    }

    async fn one_query(
        &self,
        name: String,
        body: Result<Value, NodeError>,
    ) -> Result<Vec<qdrant_client::qdrant::ScoredPoint>, Status> {
        let results = self.queries(name, vec![body]).await?;
        Ok(results.into_iter().next().unwrap_or_default())
    }
}

#[tonic::async_trait]
impl Points for Service {
    async fn upsert(&self, request: Request<UpsertPoints>) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        let wait = request.wait;
        let (name, upsert) = points_in::upsert_of(request).map_err(super::status)?;
        self.update(name, wait, |collection| collection.upsert(upsert))
            .await
    }

    async fn delete(&self, request: Request<DeletePoints>) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        self.update(request.collection_name, request.wait, |collection| {
            parse::<SelectorBody>(selector(request.points)?)?.run_delete(collection)
        })
        .await
    }

    async fn get(&self, request: Request<GetPoints>) -> Reply<GetResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        let points = self
            .blocking(move |node| {
                let wanted: Vec<_> = parse(ids(request.ids)?)?;
                let payload = with_payload(request.with_payload);
                let payload = parse::<Option<_>>(payload)?;
                let payload = payload.unwrap_or(WithPayloadInterface::Bool(true));
                let vectors: WithVector = parse(with_vectors(request.with_vectors))?;
                node.collection(&request.collection_name)?
                    .with_shard(|shard| shard.retrieve(&wanted, payload, vectors))
            })
            .await?;
        let points = points.into_iter().map(PointAnswer::from);
        Ok(Response::new(GetResponse {
            result: points.map(to_proto::retrieved).collect(),
            time: begun.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn update_vectors(
        &self,
        request: Request<UpdatePointVectors>,
    ) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        self.update(request.collection_name, request.wait, |collection| {
            let points = request.points.into_iter();
            let points: Result<_, _> = points.map(points_in::point_vectors).collect();
            collection.update_vectors(points?)
        })
        .await
    }

    async fn delete_vectors(
        &self,
        request: Request<DeletePointVectors>,
    ) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        self.update(request.collection_name, request.wait, |collection| {
            let mut body = selector(request.points_selector)?;
            body["vector"] = json!(request.vectors.unwrap_or_default().names);
            parse::<DeleteVectorsBody>(body)?.run(collection)
        })
        .await
    }

    async fn set_payload(
        &self,
        request: Request<SetPayloadPoints>,
    ) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        let (name, wait) = (request.collection_name.clone(), request.wait);
        self.payload(
            name,
            wait,
            points_in::set_payload_body(request),
            PayloadCall::Set,
        )
        .await
    }

    async fn overwrite_payload(
        &self,
        request: Request<SetPayloadPoints>,
    ) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        let (name, wait) = (request.collection_name.clone(), request.wait);
        let body = points_in::set_payload_body(request);
        self.payload(name, wait, body, PayloadCall::Overwrite).await
    }

    async fn delete_payload(
        &self,
        request: Request<DeletePayloadPoints>,
    ) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        let body = selector(request.points_selector).map(|mut body| {
            body["keys"] = json!(request.keys);
            body
        });
        self.payload(
            request.collection_name,
            request.wait,
            body,
            PayloadCall::Delete,
        )
        .await
    }

    async fn clear_payload(
        &self,
        request: Request<ClearPayloadPoints>,
    ) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        let body = selector(request.points);
        self.payload(
            request.collection_name,
            request.wait,
            body,
            PayloadCall::Clear,
        )
        .await
    }

    async fn create_field_index(
        &self,
        request: Request<CreateFieldIndexCollection>,
    ) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        let body = config_json::index(&request);
        self.update(request.collection_name, request.wait, |collection| {
            parse::<IndexBody>(body?)?.run(collection)
        })
        .await
    }

    async fn delete_field_index(
        &self,
        request: Request<DeleteFieldIndexCollection>,
    ) -> Reply<PointsOperationResponse> {
        let request = request.into_inner();
        self.update(request.collection_name, request.wait, move |collection| {
            let field: JsonPath = parse(json!(request.field_name))?;
            collection.delete_index(field)
        })
        .await
    }

    async fn search(&self, request: Request<SearchPoints>) -> Reply<SearchResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        let name = request.collection_name.clone();
        let result = self
            .one_query(name, query_json::search_points(request))
            .await?;
        Ok(Response::new(SearchResponse {
            result,
            time: begun.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn search_batch(
        &self,
        request: Request<SearchBatchPoints>,
    ) -> Reply<SearchBatchResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        let searches = request.search_points.into_iter();
        let bodies = searches.map(query_json::search_points).collect();
        let results = self.queries(request.collection_name, bodies).await?;
        let results = results.into_iter();
        Ok(Response::new(SearchBatchResponse {
            result: results.map(|result| BatchResult { result }).collect(),
            time: begun.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn query(&self, request: Request<QueryPoints>) -> Reply<QueryResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        let name = request.collection_name.clone();
        let result = self
            .one_query(name, query_json::query_points(request))
            .await?;
        Ok(Response::new(QueryResponse {
            result,
            time: begun.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn query_batch(&self, request: Request<QueryBatchPoints>) -> Reply<QueryBatchResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        let queries = request.query_points.into_iter();
        let bodies = queries.map(query_json::query_points).collect();
        let results = self.queries(request.collection_name, bodies).await?;
        let results = results.into_iter();
        Ok(Response::new(QueryBatchResponse {
            result: results.map(|result| BatchResult { result }).collect(),
            time: begun.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn scroll(&self, request: Request<ScrollPoints>) -> Reply<ScrollResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        let (records, next) = self
            .blocking(move |node| {
                let collection = node.collection(&request.collection_name)?;
                let request: ScrollRequest = parse(points_in::scroll_body(request)?)?;
                collection.with_shard(|shard| shard.scroll(request))
            })
            .await?;
        let points = records.into_iter().map(PointAnswer::from);
        Ok(Response::new(ScrollResponse {
            next_page_offset: next.as_ref().map(to_proto::id),
            result: points.map(to_proto::retrieved).collect(),
            time: begun.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn count(&self, request: Request<CountPoints>) -> Reply<CountResponse> {
        let begun = Instant::now();
        let request = request.into_inner();
        let count = self
            .blocking(move |node| {
                let collection = node.collection(&request.collection_name)?;
                let filter = parse(optional_filter(request.filter)?)?;
                let exact = request.exact.unwrap_or(true);
                collection.with_shard(|shard| shard.count(CountRequest { filter, exact }))
            })
            .await?;
        Ok(Response::new(CountResponse {
            result: Some(CountResult {
                count: count as u64,
            }),
            time: begun.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn create_vector_name(
        &self,
        _: Request<CreateVectorNameRequest>,
    ) -> Reply<PointsOperationResponse> {
        Err(missing("create_vector_name"))
    }

    async fn delete_vector_name(
        &self,
        _: Request<DeleteVectorNameRequest>,
    ) -> Reply<PointsOperationResponse> {
        Err(missing("delete_vector_name"))
    }

    async fn search_groups(&self, _: Request<SearchPointGroups>) -> Reply<SearchGroupsResponse> {
        Err(missing("search_groups"))
    }

    async fn recommend(&self, _: Request<RecommendPoints>) -> Reply<RecommendResponse> {
        Err(missing("recommend"))
    }

    async fn recommend_batch(
        &self,
        _: Request<RecommendBatchPoints>,
    ) -> Reply<RecommendBatchResponse> {
        Err(missing("recommend_batch"))
    }

    async fn recommend_groups(
        &self,
        _: Request<RecommendPointGroups>,
    ) -> Reply<RecommendGroupsResponse> {
        Err(missing("recommend_groups"))
    }

    async fn discover(&self, _: Request<DiscoverPoints>) -> Reply<DiscoverResponse> {
        Err(missing("discover"))
    }

    async fn discover_batch(
        &self,
        _: Request<DiscoverBatchPoints>,
    ) -> Reply<DiscoverBatchResponse> {
        Err(missing("discover_batch"))
    }

    async fn update_batch(&self, _: Request<UpdateBatchPoints>) -> Reply<UpdateBatchResponse> {
        Err(missing("update_batch"))
    }

    async fn query_groups(&self, _: Request<QueryPointGroups>) -> Reply<QueryGroupsResponse> {
        Err(missing("query_groups"))
    }

    async fn facet(&self, _: Request<FacetCounts>) -> Reply<FacetResponse> {
        Err(missing("facet"))
    }

    async fn search_matrix_pairs(
        &self,
        _: Request<SearchMatrixPoints>,
    ) -> Reply<SearchMatrixPairsResponse> {
        Err(missing("search_matrix_pairs"))
    }

    async fn search_matrix_offsets(
        &self,
        _: Request<SearchMatrixPoints>,
    ) -> Reply<SearchMatrixOffsetsResponse> {
        Err(missing("search_matrix_offsets"))
    }
}

fn missing(call: &str) -> Status {
    Status::unimplemented(format!("holdfast-devnode has no {call} over gRPC"))
}
