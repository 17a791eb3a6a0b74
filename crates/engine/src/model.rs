//! The engine's own request and answer types, re-exported so that no other crate has to link the engine.
//!
//! Most of them implement serde in the shape of Qdrant's REST API and of its write-ahead log.

pub use qdrant_edge::external::ordered_float::OrderedFloat;
pub use qdrant_edge::external::uuid::Uuid;
pub use qdrant_edge::internal::SnapshotManifest;
pub use qdrant_edge::{
    Condition, ContextPair, ContextQuery, CountRequest, CreateIndex, DEFAULT_VECTOR_NAME,
    DeletePayloadOp, DiscoverQuery, Distance, EdgeConfig, EdgeOptimizersConfig,
    EdgeSparseVectorParams, EdgeVectorParams, FacetRequest, FacetValue, FieldIndexOperations,
    Filter, Fusion, HasIdCondition, HnswIndexConfig, JsonPath, Mmr, Modifier, MultiVectorConfig,
    NamedQuery, OperationError, OrderBy, OrderByInterface, OrderValue, Payload, PayloadFieldSchema,
    PayloadOps, PayloadSchemaParams, PayloadSchemaType, PointId, PointIdsList,
    PointInsertOperations, PointOperations, PointStructPersisted, PointVectorsPersisted, Prefetch,
    QuantizationConfig, QueryEnum, QueryRequest, RecommendQuery, Record, Sample, ScoredPoint,
    ScoringQuery, ScrollRequest, SearchParams, SetPayloadOp, ShardInfo, SparseVector, UpdateMode,
    UpdateOperation, UpdateVectorsOp, Vector, VectorInternal, VectorOperations, VectorPersisted,
    VectorStorageDatatype, VectorStructInternal, VectorStructPersisted, WalOptions,
    WithPayloadInterface, WithVector,
};
