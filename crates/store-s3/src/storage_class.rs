//! Moving an object to a cheaper storage class, in place: its bytes stay as they are.

use crate::failure::Failure;
use crate::store::S3Store;
use aws_sdk_s3::types::{MetadataDirective, StorageClass};
use holdfast_store::{ColdClass, ObjectKey};

/// Longest time for the service to copy an object within itself, as bytes that are waited for.
const COPY_BYTES: u64 = 128 << 20;

impl S3Store {
    /// Moves an object of at most 5 GiB to `class`, unless it is there, in a cheaper one, or in one that is not ours to
    /// choose. Yields whether it was moved.
    pub(crate) async fn move_now(
        &self,
        key: &ObjectKey,
        class: ColdClass,
    ) -> Result<bool, Failure> {
        let name = self.name(key);
        let request = self.client.head_object();
        let request = request.bucket(&self.options.bucket).key(&name);
        let answer = self.within(0, async { Ok(Box::pin(request.send()).await?) });
        let now = answer.await?.storage_class;
        let from = match class {
            ColdClass::InfrequentAccess => &[StorageClass::Standard][..],
            ColdClass::InstantArchive => &[StorageClass::Standard, StorageClass::StandardIa],
        };
        // The usual class is not named.
        if !from.contains(&now.unwrap_or(StorageClass::Standard)) {
            return Ok(false);
        }
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
        self.within(COPY_BYTES, async { Ok(Box::pin(request.send()).await?) })
            .await
            .map(|_| true)
    }
}
