//! Sorts what S3 or the network answered by what a caller would do about it.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use holdfast_store::{ObjectKey, StoreError};
use std::error::Error;
use std::io;
use std::sync::Arc;

/// Longest text of a foreign error that is passed on, in characters.
const MAX_REASON_CHARS: usize = 400;

/// What a failed request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// There is no such object.
    Missing,
    /// There is no such bucket.
    NoBucket,
    /// The object, or the bucket, has no lock.
    NoLock,
    /// A conditional request found the key taken.
    Taken,
    /// The range lies outside the object.
    Range,
    /// So many bytes are more than one read takes into memory.
    TooLarge(u64),
    /// The access keys are wrong or don't allow it.
    Denied,
    /// A quota or the disk behind the service is used up.
    Full,
    /// It may work a moment later; it may have taken effect.
    Unavailable,
    /// Anything else: it will fail again.
    Refused,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) reason: String,
}

impl Failure {
    /// A failure that we noticed ourselves and that another try may heal.
    pub(crate) fn passing(reason: impl Into<String>) -> Self {
        Self {
            class: Class::Unavailable,
            reason: reason.into(),
        }
    }

    /// A failure that we noticed ourselves and that stays.
    pub(crate) fn lasting(reason: impl Into<String>) -> Self {
        Self {
            class: Class::Refused,
            reason: reason.into(),
        }
    }

    /// The error of a store at `place`. Without a key, what would be about one is unexpected.
    pub(crate) fn into_error(self, place: &str, key: Option<&ObjectKey>) -> StoreError {
        let at = || match key {
            Some(key) => format!("{place}: {key}"),
            None => place.to_owned(),
        };
        let system = |kind| Arc::new(io::Error::new(kind, self.reason.clone()));
        match (self.class, key) {
            (Class::Missing, Some(key)) => StoreError::NotFound { key: key.clone() },
            (Class::Taken, Some(key)) => StoreError::AlreadyExists { key: key.clone() },
            (Class::TooLarge(size), Some(key)) => StoreError::TooLarge {
                key: key.clone(),
                size,
            },
            (Class::NoBucket, _) => StoreError::NoSuchStore {
                place: place.to_owned(),
            },
            (Class::Denied, _) => StoreError::Permission {
                place: at(),
                source: system(io::ErrorKind::PermissionDenied),
            },
            (Class::Full, _) => StoreError::NoSpace {
                place: at(),
                source: system(io::ErrorKind::QuotaExceeded),
            },
            (Class::Unavailable, _) => StoreError::Unavailable {
                store: at(),
                reason: self.reason,
            },
            (Class::Missing | Class::Taken | Class::TooLarge(_), None)
            | (Class::Range | Class::NoLock | Class::Refused, _) => StoreError::Io {
                place: at(),
                source: system(io::ErrorKind::Other),
            },
        }
    }
}

impl<E> From<SdkError<E>> for Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let status = error.raw_response().map(|raw| raw.status().as_u16());
        let class = if error.as_service_error().is_some() {
            classify(error.code(), status.unwrap_or_default())
        } else {
            // Not sent, not answered, or answered by something that is no S3: the network's side.
            Class::Unavailable
        };
        Self {
            class,
            reason: reason(&error, status),
        }
    }
}

/// The class of an S3 error code; of the HTTP status where the code says nothing. A body with an
/// error may come under status 200 when a multipart upload is completed.
fn classify(code: Option<&str>, status: u16) -> Class {
    match code.unwrap_or_default() {
        "NoSuchKey" => Class::Missing,
        "NoSuchBucket" => Class::NoBucket,
        "NoSuchObjectLockConfiguration" | "ObjectLockConfigurationNotFoundError" => Class::NoLock,
        "PreconditionFailed" => Class::Taken,
        "InvalidRange" => Class::Range,
        "AccessDenied"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch" => Class::Denied,
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" => Class::Full,
        // The body was damaged on its way, or the upload vanished: a new try starts afresh.
        "BadDigest"
        | "ConditionalRequestConflict"
        | "IncompleteBody"
        | "InternalError"
        | "NoSuchUpload"
        | "OperationAborted"
        | "RequestTimeout"
        | "ServiceUnavailable"
        | "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "XAmzContentChecksumMismatch"
        | "XAmzContentSHA256Mismatch" => Class::Unavailable,
        _ => match status {
            404 => Class::Missing,
            412 => Class::Taken,
            416 => Class::Range,
            401 | 403 => Class::Denied,
            507 => Class::Full,
            200 | 408 | 409 | 425 | 429 | 500 | 502..=504 => Class::Unavailable,
            _ => Class::Refused,
        },
    }
}

fn reason<E>(error: &SdkError<E>, status: Option<u16>) -> String
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let mut text = match (error, status) {
        (SdkError::ServiceError(_), Some(status)) => {
            let code = error.code().unwrap_or("no code");
            let message = error.message().unwrap_or("no message");
            format!("HTTP {status}, {code}: {message}")
        }
        _ => chain(error),
    };
    if let Some(id) = error.request_id() {
        text.push_str(&format!(" (request {id})"));
    }
    shortened(&text)
}

/// An error and its causes, parted by colons.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Several layers of the SDK repeat the text of the one below.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    shortened(&text)
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::{Class, Failure, classify};
    use holdfast_store::StoreError;

    #[test]
    fn codes_win_over_statuses() {
        for (code, status, class) in [
            ("NoSuchKey", 404, Class::Missing),
            ("NoSuchBucket", 404, Class::NoBucket),
            ("NoSuchUpload", 404, Class::Unavailable),
            ("PreconditionFailed", 412, Class::Taken),
            ("ConditionalRequestConflict", 409, Class::Unavailable),
            ("SlowDown", 503, Class::Unavailable),
            ("RequestTimeout", 400, Class::Unavailable),
            ("BadDigest", 400, Class::Unavailable),
            ("InternalError", 200, Class::Unavailable),
            ("AccessDenied", 403, Class::Denied),
            ("ExpiredToken", 400, Class::Denied),
            ("QuotaExceeded", 403, Class::Full),
            ("InvalidObjectState", 403, Class::Denied),
            ("NotImplemented", 501, Class::Refused),
            ("PermanentRedirect", 301, Class::Refused),
        ] {
            assert_eq!(classify(Some(code), status), class, "{code} {status}");
        }
    }

    #[test]
    fn a_bare_status_is_understood() {
        for (status, class) in [
            (404, Class::Missing),
            (412, Class::Taken),
            (416, Class::Range),
            (403, Class::Denied),
            (429, Class::Unavailable),
            (502, Class::Unavailable),
            (507, Class::Full),
            (400, Class::Refused),
        ] {
            assert_eq!(classify(None, status), class, "{status}");
        }
    }

    #[test]
    fn only_what_may_pass_is_retried() {
        let key = "a/b".parse().unwrap();
        for class in [
            Class::Missing,
            Class::NoBucket,
            Class::Taken,
            Class::Range,
            Class::Denied,
            Class::Full,
            Class::Unavailable,
            Class::Refused,
        ] {
            let failure = Failure {
                class,
                reason: "because".to_owned(),
            };
            for key in [None, Some(&key)] {
                let error = failure.clone().into_error("s3://b", key);
                assert_eq!(error.is_retryable(), class == Class::Unavailable, "{error}");
            }
        }
        let denied = Failure {
            class: Class::Denied,
            reason: "HTTP 403".to_owned(),
        };
        let error = denied.into_error("s3://b", Some(&key));
        assert!(matches!(error, StoreError::Permission { .. }));
        assert_eq!(error.to_string(), "permission denied at s3://b: a/b");
    }
}
