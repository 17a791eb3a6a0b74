//! Moving an object to a cheaper storage class, in place: its bytes stay as they are.

use crate::failure::Failure;
use crate::store::S3Store;
use aws_sdk_s3::types::{MetadataDirective, StorageClass};
use holdfast_store::{ObjectKey, StoreError};

/// Longest time for the service to copy an object within itself, as bytes that are waited for.
const COPY_BYTES: u64 = 128 << 20;

/// Storage classes that can be read at once. Archives that must be thawed first are left out: garbage
/// collection, verification and restores read objects without warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdClass {
    /// Cheaper to keep, dearer to read (`STANDARD_IA`).
    InfrequentAccess,
    /// The cheapest that is read at once (`GLACIER_IR`).
    InstantArchive,
}

impl S3Store {
    /// Moves an object of at most 5 GiB to `class`. A bucket that keeps versions keeps the former one,
    /// and a lock stays with that one: lock the object again afterwards.
    pub async fn set_storage_class(
        &self,
        key: &ObjectKey,
        class: ColdClass,
    ) -> Result<(), StoreError> {
        let name = self.name(key);
        let request = self
            .client
            .copy_object()
            .bucket(&self.options.bucket)
            .key(&name)
            // Names are made of characters that need no escape.
            .copy_source(format!("{}/{name}", self.options.bucket))
            // Our objects have no metadata to lose, and some vendors refuse to copy an object onto
            // itself that keeps them, although its class changes.
            .metadata_directive(MetadataDirective::Replace)
            .storage_class(match class {
                ColdClass::InfrequentAccess => StorageClass::StandardIa,
                ColdClass::InstantArchive => StorageClass::GlacierIr,
            });
        let copied: Result<_, Failure> = self
            .within(COPY_BYTES, async { Ok(Box::pin(request.send()).await?) })
            .await;
        copied
            .map(drop)
            .map_err(|failure| self.error(failure, Some(key)))
    }
}
