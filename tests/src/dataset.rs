//! Reproducible collections: the same arguments give the same points.

use crate::qdrant::Qdrant;
use anyhow::Result;
use serde_json::{Value, json};

/// Points in one upsert request.
const BATCH: usize = 500;

/// What a test collection looks like.
#[derive(Clone, Copy, Debug)]
pub struct Dataset<'a> {
    /// The collection's name.
    pub name: &'a str,
    /// Number of points; ids are 0..points.
    pub points: u64,
    /// Length of a vector.
    pub dim: usize,
}

impl Dataset<'_> {
    /// Creates the collection, its payload indexes and two aliases, and loads every point.
    ///
    /// # Errors
    /// If Qdrant refuses anything.
    pub async fn create(&self, qdrant: &Qdrant) -> Result<()> {
        let body = json!({"vectors": {"size": self.dim, "distance": "Cosine"}});
        self.create_as(qdrant, body).await
    }

    /// Like [`Self::create`], with the body of the request that creates the collection.
    ///
    /// # Errors
    /// If Qdrant refuses anything.
    pub async fn create_as(&self, qdrant: &Qdrant, body: Value) -> Result<()> {
        let path = format!("/collections/{}", self.name);
        qdrant.put(&path, body).await?;
        for (field, schema) in [("city", "keyword"), ("rank", "integer")] {
            let body = json!({"field_name": field, "field_schema": schema});
            qdrant.put(&format!("{path}/index?wait=true"), body).await?;
        }
        self.upsert(qdrant, 0..self.points, 0).await?;
        let alias = |suffix: &str| json!({"create_alias": {"collection_name": self.name, "alias_name": format!("{}-{suffix}", self.name)}});
        qdrant
            .post(
                "/collections/aliases",
                json!({"actions": [alias("live"), alias("old")]}),
            )
            .await?;
        Ok(())
    }

    /// Writes the points of `ids` in their `generation`th version.
    ///
    /// # Errors
    /// If Qdrant refuses a batch.
    pub async fn upsert(
        &self,
        qdrant: &Qdrant,
        ids: std::ops::Range<u64>,
        generation: u64,
    ) -> Result<()> {
        let path = format!("/collections/{}/points?wait=true", self.name);
        let all: Vec<u64> = ids.collect();
        for batch in all.chunks(BATCH) {
            let points: Vec<Value> = batch.iter().map(|id| self.point(*id, generation)).collect();
            qdrant.put(&path, json!({"points": points})).await?;
        }
        Ok(())
    }

    /// One point in its `generation`th version, as an upsert has it.
    #[must_use]
    pub fn point(&self, id: u64, generation: u64) -> Value {
        const CITIES: [&str; 5] = ["Berlin", "Kyoto", "Lagos", "Lima", "Oslo"];
        json!({
            "id": id,
            "vector": self.vector(id, generation),
            "payload": {
                "city": CITIES[(id % 5) as usize],
                "rank": id.wrapping_mul(2_654_435_761) % 1000,
                "generation": generation,
                "text": format!("point {id} of {}, version {generation}", self.name),
            },
        })
    }

    /// The vector of one point: a xorshift stream seeded by id and generation, in −1..1.
    #[must_use]
    pub fn vector(&self, id: u64, generation: u64) -> Vec<f32> {
        let mut state = (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (generation << 32) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / 8_388_608.0) - 1.0
        };
        (0..self.dim).map(|_| next()).collect()
    }
}
