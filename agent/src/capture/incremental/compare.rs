//! What the incremental ways believe, against a capture in which Qdrant sent everything.

use super::base::Base;
use super::claims::never_changes;
use holdfast_archive::ShardRecipe;
use holdfast_qdrant::ShardManifest;
use std::collections::BTreeSet;

/// Paths of files that the next incremental capture would have taken from `base` although they are different now, by
/// a full capture with this manifest (perhaps only of segments whose version is certain) and recipe. Sorted.
pub(super) fn differences(
    base: &Base,
    manifest: &ShardManifest,
    sealed: &BTreeSet<String>,
    recipe: &ShardRecipe,
) -> Vec<String> {
    let mut different = Vec::new();
    for file in &recipe.files {
        let below = file.path.strip_prefix("segments/");
        let Some((id, name)) = below.and_then(|below| below.split_once('/')) else {
            continue;
        };
        let then = base.manifest.segments.get(id);
        let unmoved = then.is_some_and(|then| {
            let listed = then.file_versions.contains_key(name);
            listed && then.segment_version > 0 && manifest.segments.get(id) == Some(then)
        });
        let constant = sealed.contains(id) && base.sealed.contains(id) && never_changes(name);
        if (unmoved || constant) && base.file(&file.path).is_some_and(|known| known != file) {
            different.push(file.path.clone());
        }
    }
    different
}

#[cfg(test)]
mod tests {
    use super::differences;
    use crate::capture::incremental::fixture::{self, GROWING, SEALED};

    #[test]
    fn only_what_would_have_been_reused_must_be_equal() {
        let base = fixture::base();
        let found = |manifest, recipe| differences(&base, manifest, &base.sealed, recipe);
        assert_eq!(found(&base.manifest, &base.recipe), [""; 0]);
        let other = fixture::recipe(9);
        let all: Vec<_> = other.files.iter().map(|file| file.path.clone()).collect();
        assert_eq!(found(&base.manifest, &other), all);
        // After an operation, only what never changes.
        let mut later = base.manifest.clone();
        for id in [SEALED, GROWING] {
            later.segments.get_mut(id).unwrap().segment_version += 1;
        }
        let graph = format!("segments/{SEALED}/vector_index/graph.bin");
        let chunk = format!("segments/{SEALED}/vector_storage/vectors/chunk_0.mmap");
        assert_eq!(found(&later, &other), [graph, chunk]);
    }
}
