//! What a collection holds, in a form that can be compared.

use crate::qdrant::Qdrant;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Points in one scroll page.
const PAGE: u64 = 1000;

/// Everything that a restore must bring back.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// Exact number of points.
    pub points: u64,
    /// BLAKE3 over every point's id, vector and payload, in id order.
    pub digest: String,
    /// Aliases, sorted.
    pub aliases: Vec<String>,
    /// `payload_schema` without its point counters.
    pub indexes: Value,
    /// `config.params`.
    pub params: Value,
}

/// Reads all of `collection`.
///
/// # Errors
/// If Qdrant refuses a request or its answer has another form.
pub async fn contents(qdrant: &Qdrant, collection: &str) -> Result<Contents> {
    let path = format!("/collections/{collection}");
    let info = qdrant.get(&path).await?;
    let count = qdrant
        .post(&format!("{path}/points/count"), json!({"exact": true}))
        .await?;
    let aliases = qdrant.get(&format!("{path}/aliases")).await?;
    let mut aliases: Vec<String> = aliases["aliases"]
        .as_array()
        .context("no aliases in the answer")?
        .iter()
        .filter_map(|a| a["alias_name"].as_str().map(str::to_owned))
        .collect();
    aliases.sort();
    let mut indexes = info["payload_schema"].clone();
    for index in indexes
        .as_object_mut()
        .into_iter()
        .flat_map(|map| map.values_mut())
    {
        index.as_object_mut().map(|fields| fields.remove("points"));
    }
    Ok(Contents {
        points: count["count"].as_u64().context("no count in the answer")?,
        digest: digest(qdrant, &path, "").await?,
        aliases,
        indexes,
        params: info["config"]["params"].clone(),
    })
}

/// The digest of what all replicas of a collection in a Qdrant cluster have in common: a point that one of them lacks, or has otherwise, is not in it.
///
/// # Errors
/// As [`contents`].
pub async fn common_digest(qdrant: &Qdrant, collection: &str) -> Result<String> {
    let path = format!("/collections/{collection}");
    digest(qdrant, &path, "?consistency=all").await
}

async fn digest(qdrant: &Qdrant, path: &str, query: &str) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut offset = Value::Null;
    loop {
        let mut request = json!({"limit": PAGE, "with_payload": true, "with_vector": true});
        if !offset.is_null() {
            request["offset"] = offset;
        }
        let page = qdrant
            .post(&format!("{path}/points/scroll{query}"), request)
            .await?;
        for point in page["points"]
            .as_array()
            .context("no points in the answer")?
        {
            hasher.update(canonical(point).to_string().as_bytes());
        }
        offset = page["next_page_offset"].clone();
        if offset.is_null() {
            return Ok(hasher.finalize().to_hex().to_string());
        }
    }
}

/// The compared fields with sorted payload keys.
fn canonical(point: &Value) -> Value {
    let mut payload: Vec<(String, Value)> = point["payload"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    payload.sort_by(|a, b| a.0.cmp(&b.0));
    json!([point["id"], point["vector"], payload])
}
