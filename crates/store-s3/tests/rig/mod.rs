//! Options for a store on the test server.

#![allow(dead_code, reason = "no test needs all of it")]

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::types::{ObjectLockLegalHold, ObjectLockLegalHoldStatus};
use holdfast_store::{ObjectKey, RetryPolicy, RetryStore};
use holdfast_store_s3::{Credentials, S3Options, S3Store};
use holdfast_store_suite::S3Server;
use std::pin::Pin;
use std::time::Duration;

/// The SDK itself, for what the store has no words for.
pub(crate) fn raw(server: &S3Server) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let keys = aws_sdk_s3::config::Credentials::new("writer", "writer-secret", None, None, "test");
    let config = aws_sdk_s3::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(server.endpoint())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(keys)
        .force_path_style(true);
    Client::from_conf(config.build())
}

/// The server's bucket, seen by its writer, in a folder.
pub(crate) fn options(server: &S3Server, folder: &str) -> S3Options {
    S3Options {
        prefix: folder.to_owned(),
        endpoint: Some(server.endpoint().parse().unwrap()),
        path_style: true,
        credentials: Credentials::Profile {
            name: S3Server::WRITER.to_owned(),
            file: Some(server.credentials()),
        },
        ..S3Options::new(S3Server::BUCKET)
    }
}

/// The store as it is used: with as many tries as in production for what may pass, but shorter pauses.
pub(crate) async fn retried(options: S3Options) -> RetryStore<S3Store> {
    let policy = RetryPolicy {
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(200),
        ..RetryPolicy::default()
    };
    RetryStore::new(S3Store::open(options).await.unwrap(), policy)
}

/// The same with the smallest parts that S3 takes, for everything that is larger than one.
pub(crate) fn small_parts(server: &S3Server, folder: &str) -> S3Options {
    S3Options {
        part_bytes: 5 << 20,
        multipart_threshold: 5 << 20,
        ..options(server, folder)
    }
}

/// Places legal holds of the bucket's own in a folder of the locking bucket, or lifts them, past the store.
pub(crate) fn holder(
    server: &S3Server,
    folder: &str,
) -> impl Fn(ObjectKey, bool) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync {
    let (client, folder) = (raw(server), folder.to_owned());
    move |key, on| {
        let status = if on {
            ObjectLockLegalHoldStatus::On
        } else {
            ObjectLockLegalHoldStatus::Off
        };
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let request = client
            .put_object_legal_hold()
            .bucket(S3Server::LOCKING)
            .key(format!("{folder}/{key}"))
            .legal_hold(hold);
        Box::pin(async move {
            request.send().await.unwrap();
        })
    }
}

/// A folder of the bucket that has locks.
pub(crate) fn locking(options: S3Options) -> S3Options {
    S3Options {
        bucket: S3Server::LOCKING.to_owned(),
        ..options
    }
}
