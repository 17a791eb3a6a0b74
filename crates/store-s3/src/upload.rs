//! Writing objects: in one request, or in parts beyond a size. Each upload carries a CRC32C that the
//! store compares before it answers.
//!
//! Parts are invisible until the upload is completed, and that is the request which is conditional.
//! An upload that fails is aborted here. One whose future is dropped, or whose process dies, leaves
//! parts that cost money and nothing else: a lifecycle rule (`AbortIncompleteMultipartUpload`) is
//! what removes them.

use crate::failure::Failure;
use crate::store::S3Store;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_store::{ObjectKey, PutMode};

/// Most parts of one upload that S3 takes.
const MAX_PARTS: usize = 10_000;

/// `If-None-Match: *` for a key that must be free.
fn condition(mode: PutMode) -> Option<String> {
    match mode {
        PutMode::CreateNew => Some("*".to_owned()),
        PutMode::Overwrite => None,
    }
}

/// CRC32C as S3 wants it in a header: four bytes, the highest first, in base64.
fn crc32c(data: &[u8]) -> String {
    aws_smithy_types::base64::encode(::crc32c::crc32c(data).to_be_bytes())
}

impl S3Store {
    pub(crate) async fn upload(
        &self,
        key: &ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> Result<(), Failure> {
        if data.len() > self.options.multipart_threshold {
            self.upload_parts(key, data, mode).await
        } else {
            self.upload_whole(key, data, mode).await
        }
    }

    async fn upload_whole(
        &self,
        key: &ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> Result<(), Failure> {
        let len = data.len() as u64;
        let request = self
            .client
            .put_object()
            .bucket(&self.options.bucket)
            .key(self.name(key))
            .set_if_none_match(condition(mode))
            .checksum_crc32_c(crc32c(&data))
            .body(ByteStream::from(data));
        self.within(len, async { Ok(Box::pin(request.send()).await?) })
            .await
            .map(drop)
    }

    async fn upload_parts(
        &self,
        key: &ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> Result<(), Failure> {
        if data.len().div_ceil(self.options.part_bytes) > MAX_PARTS {
            return Err(Failure::lasting(format!(
                "{} bytes are more than {MAX_PARTS} parts of {}",
                data.len(),
                self.options.part_bytes
            )));
        }
        let id = self.begin(key).await?;
        let uploaded = match self.send_parts(key, &id, data).await {
            Ok(parts) => self.complete(key, &id, parts, mode).await,
            Err(failure) => Err(failure),
        };
        if uploaded.is_err() {
            self.abort(key, &id).await;
        }
        uploaded
    }

    async fn begin(&self, key: &ObjectKey) -> Result<String, Failure> {
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.options.bucket)
            .key(self.name(key))
            .checksum_algorithm(ChecksumAlgorithm::Crc32C);
        let answer = self.within(0, async { Ok(Box::pin(request.send()).await?) });
        let id = answer.await?.upload_id;
        id.ok_or_else(|| Failure::passing("the service began an upload without naming it"))
    }

    async fn send_parts(
        &self,
        key: &ObjectKey,
        id: &str,
        data: Bytes,
    ) -> Result<Vec<CompletedPart>, Failure> {
        let size = self.options.part_bytes;
        let starts = (0..data.len()).step_by(size);
        futures::stream::iter((1..).zip(starts))
            .map(|(number, start)| {
                let part = data.slice(start..data.len().min(start + size));
                Box::pin(self.send_part(key, id, number, part))
            })
            .buffered(self.options.parallel_parts)
            .try_collect()
            .await
    }

    async fn send_part(
        &self,
        key: &ObjectKey,
        id: &str,
        number: i32,
        part: Bytes,
    ) -> Result<CompletedPart, Failure> {
        let (len, sum) = (part.len() as u64, crc32c(&part));
        let request = self
            .client
            .upload_part()
            .bucket(&self.options.bucket)
            .key(self.name(key))
            .upload_id(id)
            .part_number(number)
            .checksum_crc32_c(&sum)
            .body(ByteStream::from(part));
        // Parts beside it share the line, so each may take as long as all of them together.
        let moving = len.saturating_mul(self.options.parallel_parts as u64);
        let answer = self.within(moving, async { Ok(Box::pin(request.send()).await?) });
        let tag = answer.await?.e_tag;
        let tag = tag.ok_or_else(|| Failure::passing("the service took a part without a tag"))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .e_tag(tag)
            .checksum_crc32_c(sum)
            .build())
    }

    async fn complete(
        &self,
        key: &ObjectKey,
        id: &str,
        parts: Vec<CompletedPart>,
        mode: PutMode,
    ) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.options.bucket)
            .key(self.name(key))
            .upload_id(id)
            .set_if_none_match(condition(mode))
            .multipart_upload(parts.build());
        self.within(0, async { Ok(Box::pin(request.send()).await?) })
            .await
            .map(drop)
    }

    /// Frees the parts. Harmless where the upload was completed and only the answer got lost.
    async fn abort(&self, key: &ObjectKey, id: &str) {
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.options.bucket)
            .key(self.name(key))
            .upload_id(id);
        let aborted: Result<_, Failure> = self
            .within(0, async { Ok(Box::pin(request.send()).await?) })
            .await;
        if let Err(failure) = aborted {
            tracing::debug!(%key, reason = %failure.reason, "an unfinished upload could not be aborted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// The check value of CRC-32C (RFC 3720, appendix B.4) is that of nine digits: 0xe3069283.
    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(crc32c(b"123456789"), "4waSgw==");
    }
}
