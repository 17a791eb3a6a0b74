//! The store itself: names, limits, and the trait.

use crate::client::{self, OpenError};
use crate::failure::Failure;
use crate::options::S3Options;
use aws_sdk_s3::Client;
use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_store::{
    KeyPrefix, ObjectKeeper, ObjectKey, ObjectMeta, ObjectStore, PutMode, StoreError,
};
use std::fmt;
use std::time::Duration;

/// A bucket, or a folder in one. Clones share their connections. It has no writer lock: epochs keep
/// stale writers out.
#[derive(Clone)]
pub struct S3Store {
    pub(crate) client: Client,
    pub(crate) options: S3Options,
    /// The folder with a slash at its end; empty for the whole bucket.
    pub(crate) folder: String,
}

impl S3Store {
    /// Finds credentials and prepares connections. The bucket itself is not asked anything yet: the
    /// first operation says if it does not exist or may not be touched.
    pub async fn open(options: S3Options) -> Result<Self, OpenError> {
        let client = Box::pin(client::connect(&options)).await?;
        let folder = match options.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            client,
            options,
            folder,
        })
    }

    /// The object's name in the bucket.
    pub(crate) fn name(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.folder)
    }

    /// Longest wait for a request that moves `bytes`.
    pub(crate) fn patience(&self, bytes: u64) -> Duration {
        let moving = Duration::from_secs(bytes / self.options.slowest_bytes_per_second);
        self.options.request_timeout.saturating_add(moving)
    }

    /// Runs a request that moves `bytes`, to its end or to the end of patience.
    pub(crate) async fn within<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, Failure> {
        let limit = self.patience(bytes);
        match tokio::time::timeout(limit, request).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::passing(format!("no answer within {limit:?}"))),
        }
    }

    pub(crate) fn error(&self, failure: Failure, key: Option<&ObjectKey>) -> StoreError {
        failure.into_error(&self.describe(), key)
    }

    async fn delete_now(&self, key: &ObjectKey) -> Result<(), Failure> {
        let request = self.client.delete_object();
        let request = request.bucket(&self.options.bucket).key(self.name(key));
        self.within(0, async { Ok(Box::pin(request.send()).await?) })
            .await
            .map(drop)
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store({})", self.describe())
    }
}

impl ObjectStore for S3Store {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            StoreError::check_size(key, data.len() as u64)?;
            let put = self.upload(key, data, mode).await;
            put.map_err(|failure| self.error(failure, Some(key)))
        })
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let read = self.read_whole(key).await;
            read.map_err(|failure| self.error(failure, Some(key)))
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let read = self.read_range(key, offset, len).await;
            let read = read.map_err(|failure| self.error(failure, Some(key)))?;
            read.map_err(|size| StoreError::OutOfRange {
                key: key.clone(),
                offset,
                len,
                size,
            })
        })
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        Box::pin(async move {
            let found = self.look(key).await;
            found.map_err(|failure| self.error(failure, Some(key)))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        Box::pin(async move {
            let listed = self.list_all(prefix).await;
            listed.map_err(|failure| self.error(failure, None))
        })
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let empty = self.has_nothing().await;
            empty.map_err(|failure| self.error(failure, None))
        })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match self
                .delete_now(key)
                .await
                .map_err(|f| self.error(f, Some(key)))
            {
                // S3 says success where nothing was; some other vendors say 404.
                Err(StoreError::NotFound { .. }) => Ok(()),
                other => other,
            }
        })
    }

    fn keeper(&self) -> Option<&dyn ObjectKeeper> {
        Some(self)
    }

    fn describe(&self) -> String {
        let S3Options { bucket, prefix, .. } = &self.options;
        let slash = if prefix.is_empty() { "" } else { "/" };
        match &self.options.endpoint {
            Some(endpoint) => format!("s3://{bucket}{slash}{prefix} at {endpoint}"),
            None => format!("s3://{bucket}{slash}{prefix}"),
        }
    }
}
