//! The gRPC interface, by Qdrant's own client.

use crate::server::Server;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateAliasBuilder, CreateCollectionBuilder,
    CreateFieldIndexCollectionBuilder, DeletePointsBuilder, Distance, FieldType, Filter,
    GetPointsBuilder, PointId, PointStruct, QueryPointsBuilder, Range, ScrollPointsBuilder,
    SearchPointsBuilder, SetPayloadPointsBuilder, UpsertPointsBuilder, VectorParamsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use serde_json::json;

fn payload(value: serde_json::Value) -> Payload {
    value.try_into().unwrap()
}

/// A client, and the collection `c` with points 0 to 9 and an index on `n`.
async fn filled(server: &Server) -> Qdrant {
    let client = Qdrant::from_url(&server.grpc_url)
        .skip_compatibility_check()
        .build()
        .unwrap();
    let vectors = VectorParamsBuilder::new(3, Distance::Dot);
    client
        .create_collection(CreateCollectionBuilder::new("c").vectors_config(vectors))
        .await
        .unwrap();
    let points: Vec<_> = (0..10u8)
        .map(|id| {
            let vector = vec![f32::from(id), 0.0, 1.0];
            PointStruct::new(u64::from(id), vector, payload(json!({"n": id, "k": "v"})))
        })
        .collect();
    let result = client
        .upsert_points(UpsertPointsBuilder::new("c", points).wait(true))
        .await
        .unwrap();
    assert_eq!(result.result.unwrap().operation_id, Some(1));
    let index = CreateFieldIndexCollectionBuilder::new("c", "n", FieldType::Integer);
    client.create_field_index(index.wait(true)).await.unwrap();
    client
}

fn upper_half() -> Filter {
    let range = Range {
        gte: Some(5.0),
        ..Range::default()
    };
    Filter::must([Condition::range("n", range)])
}

pub(crate) async fn a_client_manages_collections(server: Server) {
    let client = filled(&server).await;
    assert!(
        client
            .health_check()
            .await
            .unwrap()
            .version
            .starts_with("1.")
    );
    assert!(client.collection_exists("c").await.unwrap());
    let list = client.list_collections().await.unwrap().collections;
    assert_eq!(list.len(), 1);
    let info = client.collection_info("c").await.unwrap().result.unwrap();
    assert_eq!(info.points_count, Some(10));
    assert!(info.payload_schema.contains_key("n"));
    client
        .create_alias(CreateAliasBuilder::new("c", "other"))
        .await
        .unwrap();
    let count = CountPointsBuilder::new("other").exact(true);
    assert_eq!(client.count(count).await.unwrap().result.unwrap().count, 10);
    // both interfaces show the same
    assert_eq!(server.count("other", serde_json::Value::Null).await, 10);
    client.delete_collection("c").await.unwrap();
    assert!(!client.collection_exists("c").await.unwrap());
    assert!(client.collection_info("c").await.is_err());
}

pub(crate) async fn a_client_writes_and_reads_points(server: Server) {
    let client = filled(&server).await;
    let count = CountPointsBuilder::new("c")
        .filter(upper_half())
        .exact(true);
    assert_eq!(client.count(count).await.unwrap().result.unwrap().count, 5);
    let query = QueryPointsBuilder::new("c")
        .query(vec![1.0, 0.0, 0.0])
        .filter(upper_half())
        .limit(2)
        .with_payload(true);
    let found = client.query(query).await.unwrap().result;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].id, Some(PointId::from(9)));
    assert_eq!(found[0].payload["n"].as_integer(), Some(9));
    let search = SearchPointsBuilder::new("c", vec![1.0, 0.0, 0.0], 1);
    let found = client.search_points(search).await.unwrap().result;
    assert_eq!(found[0].id, Some(PointId::from(9)));
    assert!(found[0].payload.is_empty());

    let page = ScrollPointsBuilder::new("c").limit(4).with_vectors(true);
    let page = client.scroll(page).await.unwrap();
    assert_eq!(page.result.len(), 4);
    assert_eq!(page.next_page_offset, Some(PointId::from(4)));
    assert!(page.result[0].vectors.is_some());
    let set = SetPayloadPointsBuilder::new("c", payload(json!({"late": true})));
    let set = set.points_selector(upper_half()).wait(true);
    client.set_payload(set).await.unwrap();
    let get = GetPointsBuilder::new("c", vec![PointId::from(7)]).with_payload(true);
    let got = client.get_points(get).await.unwrap().result;
    assert_eq!(got[0].payload["late"].as_bool(), Some(true));
    let delete = DeletePointsBuilder::new("c").points(upper_half());
    client.delete_points(delete.wait(true)).await.unwrap();
    assert_eq!(server.count("c", serde_json::Value::Null).await, 5);
}
