//! What the bucket shows: names, numbers and sizes of objects. Two known files of one length, whose chunks
//! end at different places, must not be told apart by them.
//!
//! A classifier is trained on captures into fresh repositories and judged on others. That it is able to
//! tell is shown on what the same captures would show without padding.

use crate::place::TestStore;
use crate::support::{kek, noise, options, store_recipe};
use bytes::Bytes;
use holdfast_archive::pack::{read_pack_footer, unpadded_len};
use holdfast_archive::{
    ChunkEvent, ChunkKey, Codec, Extent, FileChunker, FileClass, FileRecipe, KeyFile, Keyring,
    ObjectKind, PackHeader, sealed,
};
use holdfast_repository::Repository;
use holdfast_store::{KeyPrefix, ObjectStore};
use std::collections::BTreeMap;
use std::sync::Arc;

/// More than one pack of the usual 32 MiB.
const FILE_BYTES: usize = 38 << 20;
const TRAINED: usize = 60;
const JUDGED: usize = 60;

/// What one capture shows: named numbers.
type Seen = BTreeMap<String, u64>;

/// A known file, cut.
struct Known {
    chunks: Vec<Bytes>,
}

impl Known {
    fn new(seed: u64) -> Self {
        let content = noise(seed, FILE_BYTES);
        let mut chunks = Vec::new();
        let mut take = |ChunkEvent::Chunk { plain, .. }: ChunkEvent<'_>| {
            chunks.push(Bytes::copy_from_slice(plain));
        };
        let mut chunker = FileChunker::new(FileClass::General, ChunkKey::from_bytes([0; 32]));
        chunker.push(&content, &mut take);
        drop(chunker.finish(&mut take));
        Self { chunks }
    }
}

/// Captures into a fresh repository. Returns what the bucket shows, and what it would without padding.
async fn observe(known: &Known) -> (Seen, Seen) {
    let store = Arc::new(TestStore::without_locks());
    let repository = Repository::init(store.clone(), options()).await.unwrap();
    let epoch = repository.claim_epoch().await.unwrap();
    let key = repository.chunk_key(&repository.namespace());
    let session = repository.begin(epoch).await.unwrap();
    for plain in &known.chunks {
        let len = u32::try_from(plain.len()).unwrap();
        let id = key.id(plain);
        session
            .put(id, Codec::Stored, len, plain.clone())
            .await
            .unwrap();
    }
    let extents = known.chunks.iter().map(|plain| Extent::Chunk {
        id: key.id(plain),
        len: u32::try_from(plain.len()).unwrap(),
    });
    let file = FileRecipe {
        path: "known".to_owned(),
        size: FILE_BYTES as u64,
        class: FileClass::General,
        extents: extents.collect(),
    };
    let manifest = store_recipe(
        &repository.namespace(),
        &repository,
        &session,
        1,
        vec![file],
    )
    .await;
    repository.commit_point(&manifest.unwrap()).await.unwrap();
    (shown(&store).await, bare(&store).await)
}

/// Number, sum and each size of the objects of every kind.
fn describe(sizes: BTreeMap<String, Vec<u64>>) -> Seen {
    let mut seen = Seen::new();
    for (kind, mut sizes) in sizes {
        sizes.sort_unstable();
        seen.insert(format!("{kind} number"), sizes.len() as u64);
        seen.insert(format!("{kind} sum"), sizes.iter().sum());
        for (place, size) in sizes.into_iter().enumerate() {
            seen.insert(format!("{kind} {place}"), size);
        }
    }
    seen
}

async fn shown(store: &TestStore) -> Seen {
    let mut sizes = BTreeMap::<String, Vec<u64>>::new();
    for found in store.list(&KeyPrefix::root()).await.unwrap() {
        let kind = found.key.as_str().split('/').next().unwrap().to_owned();
        sizes.entry(kind).or_default().push(found.size);
    }
    describe(sizes)
}

/// The sizes before padding, as only somebody with the key can know them.
async fn bare(store: &TestStore) -> Seen {
    let ring = ring(store).await;
    let mut sizes = BTreeMap::<String, Vec<u64>>::new();
    for found in store.list(&KeyPrefix::root()).await.unwrap() {
        let bytes = store.get(&found.key).await.unwrap();
        let kind = found.key.as_str().split('/').next().unwrap();
        let size = match kind {
            "packs" => {
                let header = PackHeader::parse(&bytes).unwrap();
                let entries = read_pack_footer(&header, &ring, &bytes, found.size).unwrap();
                let encoded: usize = entries.iter().map(|entry| entry.len as usize - 16).sum();
                unpadded_len(encoded, entries.len())
            }
            "index" => sealed::open(&bytes, ObjectKind::Index, &ring)
                .unwrap()
                .payload
                .len(),
            _ => continue,
        };
        sizes.entry(kind.to_owned()).or_default().push(size as u64);
    }
    describe(sizes)
}

async fn ring(store: &TestStore) -> Keyring {
    let keys: KeyPrefix = "keys".parse().unwrap();
    let found = store.list(&keys).await.unwrap();
    let bytes = store.get(&found[0].key).await.unwrap();
    match KeyFile::from_json(&bytes).unwrap() {
        KeyFile::Wrapped(keys) => keys.unwrap(&kek()).unwrap(),
        KeyFile::Removed(_) => panic!("the key is there"),
    }
}

/// Naive Bayes: how often each number was seen for each file, plus one.
fn bayes(trained: [&[Seen]; 2], seen: &Seen) -> bool {
    let likelihood = |samples: &[Seen]| -> f64 {
        let of = |(name, value): (&String, &u64)| {
            let equal = samples
                .iter()
                .filter(|sample| sample.get(name) == Some(value));
            let share = (equal.count() as f64 + 1.0) / (samples.len() as f64 + 2.0);
            share.ln()
        };
        seen.iter().map(of).sum()
    };
    likelihood(trained[1]) > likelihood(trained[0])
}

/// The nearer mean of one number.
fn nearest(trained: [&[Seen]; 2], seen: &Seen, name: &str) -> bool {
    let value = |seen: &Seen| seen.get(name).copied().unwrap_or_default() as f64;
    let mean = |samples: &[Seen]| samples.iter().map(value).sum::<f64>() / samples.len() as f64;
    let distance = |samples: &[Seen]| (mean(samples) - value(seen)).abs();
    distance(trained[1]) < distance(trained[0])
}

/// The share of the judged captures that each classifier gets right.
fn accuracies(captures: &[Vec<Seen>; 2]) -> BTreeMap<&'static str, f64> {
    let trained = [&captures[0][..TRAINED], &captures[1][..TRAINED]];
    let names = [
        "packs sum",
        "packs number",
        "packs 0",
        "packs 1",
        "index sum",
        "points sum",
    ];
    let mut right = BTreeMap::<&str, usize>::new();
    for (truth, captures) in captures.iter().enumerate() {
        for seen in &captures[TRAINED..] {
            *right.entry("bayes").or_default() += usize::from(bayes(trained, seen) == (truth == 1));
            for name in names {
                let hit = nearest(trained, seen, name) == (truth == 1);
                *right.entry(name).or_default() += usize::from(hit);
            }
        }
    }
    let share = |(name, right)| (name, right as f64 / (2 * JUDGED) as f64);
    right.into_iter().map(share).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_known_files_look_the_same() {
    // Of eight files those with the fewest and the most chunks: the pair that differs most.
    let mut known: Vec<_> = (1..=8).map(Known::new).collect();
    known.sort_by_key(|file| file.chunks.len());
    let pair = [known.remove(0), known.pop().unwrap()];
    assert!(pair[1].chunks.len() > pair[0].chunks.len() + 4);
    let (mut shown, mut bare) = ([vec![], vec![]], [vec![], vec![]]);
    for _ in 0..TRAINED + JUDGED {
        for (n, file) in pair.iter().enumerate() {
            let (padded, unpadded) = observe(file).await;
            shown[n].push(padded);
            bare[n].push(unpadded);
        }
    }
    let (padded, unpadded) = (accuracies(&shown), accuracies(&bare));
    println!("padded {padded:?}\nunpadded {unpadded:?}");
    // The classifiers work: without padding the number of chunks alone tells.
    assert!(
        unpadded["bayes"] > 0.95 && unpadded["index sum"] > 0.95,
        "{unpadded:?}"
    );
    // 120 coins fall right in more than 66 % of all cases once in 4000 times.
    for (name, share) in &padded {
        assert!(*share < 0.66, "{name}: {padded:?}");
    }
    // All full packs have one size.
    let full = shown.iter().flatten().map(|seen| seen["packs 1"]);
    assert!(full.into_iter().all(|size| size == 32 << 20));
}
