//! Listing a folder of the bucket, page by page.
//!
//! Names are asked for in URL encoding, because a foreign object's name may hold characters that an
//! XML answer can't. The order is ours: not every vendor lists by bytes.

use crate::failure::Failure;
use crate::read::{announced, timestamp};
use crate::store::S3Store;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object};
use holdfast_store::{KeyPrefix, ObjectKey, ObjectMeta};
use percent_encoding::percent_decode_str;

/// Most pages of one listing: a hundred million objects at the usual thousand a page.
const MAX_PAGES: usize = 100_000;

impl S3Store {
    pub(crate) async fn list_all(&self, prefix: &KeyPrefix) -> Result<Vec<ObjectMeta>, Failure> {
        let folder = match prefix.as_str() {
            "" => self.folder.clone(),
            inner => format!("{}{inner}/", self.folder),
        };
        let mut objects = Vec::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let page = self.page(&folder, token.as_deref(), None).await?;
            for object in page.contents() {
                if let Some(key) = self.key(object) {
                    objects.push(ObjectMeta {
                        key,
                        size: announced(object.size)?,
                        modified: timestamp(object.last_modified)?,
                    });
                }
            }
            if page.is_truncated != Some(true) {
                objects.sort_by(|a, b| a.key.cmp(&b.key));
                return Ok(objects);
            }
            let next = page.next_continuation_token;
            if next.is_none() || next == token {
                return Err(Failure::passing("a listing does not say how it goes on"));
            }
            token = next;
        }
        Err(Failure::lasting(format!(
            "a listing has more than {MAX_PAGES} pages"
        )))
    }

    pub(crate) async fn has_nothing(&self) -> Result<bool, Failure> {
        let page = self.page(&self.folder, None, Some(1)).await?;
        Ok(page.contents().is_empty())
    }

    async fn page(
        &self,
        folder: &str,
        token: Option<&str>,
        most: Option<i32>,
    ) -> Result<ListObjectsV2Output, Failure> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.options.bucket)
            .set_prefix((!folder.is_empty()).then(|| folder.to_owned()))
            .set_continuation_token(token.map(str::to_owned))
            .set_max_keys(most)
            .encoding_type(EncodingType::Url);
        self.within(0, async { Ok(Box::pin(request.send()).await?) })
            .await
    }

    /// The key of a listed object; `None` if it is no object of ours.
    fn key(&self, object: &Object) -> Option<ObjectKey> {
        let name = percent_decode_str(object.key()?).decode_utf8().ok()?;
        name.strip_prefix(&self.folder)?.parse().ok()
    }
}
