//! Objects in an S3 bucket: of AWS, or of any vendor that keeps the promises which
//! `holdfast_store::probe` checks.
//!
//! This crate is apart from `holdfast-store` because it alone links the AWS SDK; the agent never
//! does. It makes each request once: retries, limits and counts are the decorators of
//! `holdfast-store`, stacked as `RetryStore(LimitStore(S3Store))`, and the SDK's own retries are off.
//!
//! | promise | how |
//! |---|---|
//! | create-only | `If-None-Match: *` on `PutObject` and on `CompleteMultipartUpload` |
//! | whole or not at all | S3's own promise; an upload that fails is aborted |
//! | undamaged | CRC32C with every upload, checked by the store and again by a full read |
//! | not truncated | every body is counted against its announced length |
//! | an end to waiting | each request has a time limit that grows with its bytes |
//!
//! What it cannot promise: a request that timed out may still take effect, seconds later. A
//! create-only put is safe from that. Replacing or deleting one key from two places at a time is not,
//! and Holdfast does neither.

mod client;
mod failure;
mod keeper;
mod listing;
mod lock;
mod options;
mod read;
mod storage_class;
mod store;
mod upload;

pub use client::OpenError;
pub use options::{Credentials, OptionsError, S3Options};
pub use store::S3Store;
