//! Which bucket, how to reach it, and the limits of one request.

use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Longest prefix in bytes: S3 allows names of 1,024, of which an object key takes up to 200.
const MAX_PREFIX_BYTES: usize = 512;
/// Smallest part of a multipart upload that S3 accepts, in bytes (the last one apart).
const MIN_PART_BYTES: usize = 5 << 20;
/// Largest part of a multipart upload that S3 accepts, in bytes.
const MAX_PART_BYTES: usize = 5 << 30;
/// Largest object that S3 takes in one request, in bytes.
const MAX_SINGLE_PUT_BYTES: usize = 5 << 30;
/// Most parts of one upload that are sent at a time.
const MAX_PARALLEL_PARTS: usize = 64;

/// Where the access keys come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The SDK's own chain: environment, profile, web identity, container, instance.
    #[default]
    Chain,
    /// One profile and nothing else, so that no variable left in the environment wins over it.
    Profile {
        /// Its name.
        name: String,
        /// The file that has it; the SDK's usual files if absent.
        file: Option<PathBuf>,
    },
}

/// A bucket and how to talk to it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket's name.
    pub bucket: String,
    /// The folder in it that holds the store, without slashes at its ends; empty for all of it.
    pub prefix: String,
    /// The region; asked of the SDK's chain if absent, and `us-east-1` where an endpoint is given.
    pub region: Option<String>,
    /// The address of another vendor's service; AWS's own if absent.
    pub endpoint: Option<Url>,
    /// Certificates in PEM that are trusted besides the system's: for a service with a private CA.
    pub ca_file: Option<PathBuf>,
    /// Whether the bucket goes into the path instead of the host name, as many other vendors want.
    pub path_style: bool,
    /// Where the access keys come from.
    pub credentials: Credentials,
    /// Objects of more bytes than this are uploaded in parts, be it only one.
    pub multipart_threshold: usize,
    /// Bytes in each part but the last.
    pub part_bytes: usize,
    /// Parts of one object that are sent at a time.
    pub parallel_parts: usize,
    /// Longest wait for the answer to a request, the time for its bytes not counted.
    pub request_timeout: Duration,
    /// The slowest transfer that is waited for, in bytes per second: what a body adds to the limit.
    pub slowest_bytes_per_second: u64,
}

/// An option that cannot work; says which and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("S3 option {option} is not valid: {reason}")]
pub struct OptionsError {
    /// The field of [`S3Options`].
    pub option: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl S3Options {
    /// A bucket at AWS with the SDK's credentials. Packs of up to 64 MiB go in one request, because
    /// a part that fails costs the whole object another try.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            ca_file: None,
            path_style: false,
            credentials: Credentials::Chain,
            multipart_threshold: 64 << 20,
            part_bytes: 16 << 20,
            parallel_parts: 4,
            request_timeout: Duration::from_secs(30),
            slowest_bytes_per_second: 256 << 10,
        }
    }

    /// Checks everything that can be checked without a network.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let wrong = |option, reason: &str| {
            Err(OptionsError {
                option,
                reason: reason.to_owned(),
            })
        };
        if !is_bucket(&self.bucket) {
            return wrong(
                "bucket",
                "expected 3 to 63 characters of a-z, 0-9, '-' and '.', the outer ones letters or digits",
            );
        }
        if !is_prefix(&self.prefix) {
            return wrong(
                "prefix",
                "expected segments of A-Z, a-z, 0-9, '-', '_' and '.', parted by single '/', at most 512 bytes",
            );
        }
        if let Some(Err(reason)) = self.endpoint.as_ref().map(check_endpoint) {
            return wrong("endpoint", reason);
        }
        if !(MIN_PART_BYTES..=MAX_PART_BYTES).contains(&self.part_bytes) {
            return wrong("part_bytes", "S3 takes parts of 5 MiB to 5 GiB");
        }
        if !(1..=MAX_SINGLE_PUT_BYTES).contains(&self.multipart_threshold) {
            return wrong(
                "multipart_threshold",
                "expected at least one byte and at most 5 GiB, the most that S3 takes in one request",
            );
        }
        if !(1..=MAX_PARALLEL_PARTS).contains(&self.parallel_parts) {
            return wrong("parallel_parts", "expected 1 to 64");
        }
        if self.request_timeout.is_zero() || self.slowest_bytes_per_second == 0 {
            return wrong("request_timeout", "a limit of zero lets nothing through");
        }
        Ok(())
    }
}

fn is_bucket(name: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|&b| alphanumeric(b) || b == b'-' || b == b'.')
        && [bytes.first(), bytes.last()]
            .into_iter()
            .flatten()
            .all(|&b| alphanumeric(b))
}

fn is_prefix(prefix: &str) -> bool {
    let segment = |s: &str| {
        !s.is_empty()
            && s != "."
            && s != ".."
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    prefix.is_empty() || (prefix.len() <= MAX_PREFIX_BYTES && prefix.split('/').all(segment))
}

fn check_endpoint(url: &Url) -> Result<(), &'static str> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        Err("expected an http:// or https:// address")
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("access keys don't belong into the address")
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("an address has no query and no fragment")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::S3Options;

    fn faulty(change: impl FnOnce(&mut S3Options)) -> &'static str {
        let mut options = S3Options::new("backups");
        change(&mut options);
        options.validate().unwrap_err().option
    }

    #[test]
    fn the_defaults_need_only_a_bucket() {
        S3Options::new("backups").validate().unwrap();
        let mut options = S3Options::new("my.backups-1");
        options.prefix = "Team_A/holdfast.v1".to_owned();
        options.endpoint = Some("https://s3.example.org:9000/base".parse().unwrap());
        options.validate().unwrap();
    }

    #[test]
    fn what_cannot_work_is_named() {
        for bucket in ["", "ab", "Backups", "a/b", "-ab", "ab.", &"a".repeat(64)] {
            assert_eq!(faulty(|o| o.bucket = bucket.to_owned()), "bucket");
        }
        for prefix in ["/", "a/", "/a", "a//b", "..", "a/../b", "a b", "ä"] {
            assert_eq!(faulty(|o| o.prefix = prefix.to_owned()), "prefix");
        }
        for endpoint in [
            "ftp://x",
            "https://key:secret@x",
            "https://x/?a=b",
            "https://x/#a",
        ] {
            let url = endpoint.parse().unwrap();
            assert_eq!(faulty(|o| o.endpoint = Some(url)), "endpoint");
        }
        assert_eq!(faulty(|o| o.part_bytes = 1 << 20), "part_bytes");
        assert_eq!(faulty(|o| o.multipart_threshold = 0), "multipart_threshold");
        assert_eq!(faulty(|o| o.parallel_parts = 0), "parallel_parts");
        assert_eq!(
            faulty(|o| o.slowest_bytes_per_second = 0),
            "request_timeout"
        );
    }
}
