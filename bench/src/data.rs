//! The points of a collection: embeddings of real sentences, or random unit vectors.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use holdfast_tests::dataset::Dataset;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// Length of a vector: that of wordllama's smallest model.
pub(crate) const DIM: usize = 256;

const VECTOR_BYTES: usize = DIM * size_of::<f32>();

/// Where points come from.
pub(crate) enum Source {
    /// What `bench/embed.py` wrote: rows of little-endian f32 unit vectors, and the payload of each.
    Real {
        /// All rows.
        vectors: Vec<u8>,
        /// JSON objects.
        payloads: Vec<String>,
    },
    /// The generator of the tests.
    Random(Dataset<'static>),
}

impl Source {
    /// Reads the folder that `bench/embed.py` wrote. Memory: all of it.
    pub(crate) fn real(folder: &Path) -> Result<Self> {
        let vectors = fs::read(folder.join("vectors.f32"))?;
        let lines = BufReader::new(fs::File::open(folder.join("texts.jsonl"))?).lines();
        let payloads = lines.collect::<Result<Vec<_>, _>>()?;
        ensure!(
            !payloads.is_empty() && vectors.len() == payloads.len() * VECTOR_BYTES,
            "{} holds {} bytes of vectors for {} texts: make it again with bench/embed.py",
            folder.display(),
            vectors.len(),
            payloads.len()
        );
        Ok(Self::Real { vectors, payloads })
    }

    /// Random unit vectors (Qdrant normalises them).
    pub(crate) const fn random() -> Self {
        Self::Random(Dataset {
            name: "random",
            points: u64::MAX,
            dim: DIM,
        })
    }

    /// A short name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Real { .. } => "real",
            Self::Random(_) => "random",
        }
    }

    /// How many points it can give.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Real { payloads, .. } => payloads.len() as u64,
            Self::Random(_) => u64::MAX,
        }
    }

    /// The point with this id in its `version`: of another version everything but the id is another's.
    pub(crate) fn point(&self, id: u64, version: u64) -> Result<Value> {
        match self {
            Self::Random(dataset) => Ok(dataset.point(id, version)),
            Self::Real { vectors, payloads } => {
                let row = usize::try_from((id + version * 7919) % payloads.len() as u64)?;
                let bytes = &vectors[row * VECTOR_BYTES..][..VECTOR_BYTES];
                let (numbers, _) = bytes.as_chunks::<4>();
                let vector: Vec<f32> = numbers
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect();
                let mut payload: Value = serde_json::from_str(&payloads[row])
                    .with_context(|| format!("line {} of texts.jsonl", row + 1))?;
                payload["version"] = json!(version);
                Ok(json!({"id": id, "vector": vector, "payload": payload}))
            }
        }
    }
}
