//! Commits one extra: like a shard's capture, with what its listing and paths must be.

use super::commit::{Delivery, Received, invalid, receive};
use crate::core::Core;
use crate::job::{CommittedExtra, ExtraState};
use futures::Stream;
use holdfast_archive::extra_listing::{FILES_PREFIX, LISTING_PATH};
use holdfast_archive::{CapturedExtra, ShardRecipe};
use holdfast_proto::v1;
use holdfast_repository::WriteSession;
use tonic::Status;

/// Most warnings of one extra, and characters of each: they stand in the manifest.
const MAX_WARNINGS: usize = 16;
const MAX_WARNING: usize = 2000;

/// Takes the rest of a commit stream, after its header, and commits. Returns the bytes that the extra added to the
/// repository.
///
/// # Errors
/// As [`super::commit::commit`].
pub async fn commit_extra(
    core: &Core,
    delivery: Delivery<'_>,
    writer: &WriteSession,
    header: v1::CommitHeader,
    parts: impl Stream<Item = Result<v1::CommitPart, Status>> + Send + Unpin,
) -> Result<u64, Status> {
    let _alone = delivery.slot.committing.lock().await;
    let record = core.book.get(delivery.job).await;
    let backup = record.as_ref().and_then(|record| record.backup());
    let backup = backup.ok_or_else(|| Status::not_found("the job is over"))?;
    if backup.plan.extras.get(delivery.index).is_none() {
        return Err(Status::internal("the extra is not in the plan"));
    }
    if let Some(ExtraState::Captured(first)) = backup.extras.get(&delivery.index) {
        return Ok(first.stored_bytes);
    }
    let told: CapturedExtra =
        serde_json::from_str(&header.extra_json).map_err(|error| invalid(&error))?;
    let Received {
        recipe,
        chunks,
        len,
        hash,
    } = receive(core, writer, &header.recipe_hash, parts, check).await?;
    let warnings = told.warnings.into_iter().take(MAX_WARNINGS);
    let (files, bytes) = sum(&recipe);
    let figures = delivery.slot.figures();
    let committed = CommittedExtra {
        extra: CapturedExtra {
            captured_at: told.captured_at,
            recipe: chunks,
            recipe_len: len,
            recipe_hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            files,
            bytes,
            warnings: warnings
                .map(|warning| warning.chars().take(MAX_WARNING).collect())
                .collect(),
        },
        sent_bytes: figures.sent_bytes,
        stored_bytes: figures.stored_bytes,
    };
    let mut taken = false;
    core.book
        .change(delivery.job, |record| {
            let backup = record.backup_mut();
            let open = backup.filter(|backup| !backup.extras.contains_key(&delivery.index));
            if let Some(backup) = open {
                let state = ExtraState::Captured(Box::new(committed));
                backup.extras.insert(delivery.index, state);
                taken = true;
            }
        })
        .await?;
    if taken {
        return Ok(figures.stored_bytes);
    }
    Err(Status::not_found("the extra is not waited for any more"))
}

/// A listing, and contents.
fn check(recipe: &ShardRecipe) -> Result<(), Status> {
    let listed = recipe.files.iter().any(|file| file.path == LISTING_PATH);
    let known = |path: &str| path == LISTING_PATH || path.starts_with(FILES_PREFIX);
    if listed && recipe.files.iter().all(|file| known(&file.path)) {
        return Ok(());
    }
    Err(Status::invalid_argument(
        "the recipe of an extra must have a listing, and files below files/",
    ))
}

fn sum(recipe: &ShardRecipe) -> (u32, u64) {
    let files = recipe.files.iter().filter(|file| file.path != LISTING_PATH);
    let bytes = files.clone().map(|file| file.size).sum();
    (u32::try_from(files.count()).unwrap_or(u32::MAX), bytes)
}

#[cfg(test)]
mod tests {
    use super::{check, sum};
    use holdfast_archive::{FileClass, FileRecipe, ShardRecipe};

    fn recipe(paths: &[&str]) -> ShardRecipe {
        let file = |path: &&str| FileRecipe {
            path: (*path).to_owned(),
            size: 7,
            class: FileClass::General,
            extents: vec![],
        };
        ShardRecipe::new(paths.iter().map(file).collect())
    }

    #[test]
    fn an_extra_is_a_listing_and_files() {
        let good = recipe(&["listing.json", "files/a", "files/b"]);
        assert!(check(&good).is_ok());
        assert_eq!(sum(&good), (2, 14));
        for bad in [&["files/a"][..], &["listing.json", "a"], &[]] {
            assert!(check(&recipe(bad)).is_err(), "{bad:?}");
        }
    }
}
