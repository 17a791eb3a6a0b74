//! Reading objects: whole, in part, or only what is known of them.
//!
//! A connection that closes early looks like the end of a body to some servers and proxies, so every
//! body is counted against the length that was announced before it.

use crate::failure::{Class, Failure};
use crate::store::S3Store;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ChecksumMode;
use bytes::{Bytes, BytesMut};
use holdfast_store::{MAX_OBJECT_BYTES, ObjectKey, ObjectMeta};
use holdfast_types::Timestamp;

impl S3Store {
    /// The whole object, checked against the checksum that it was stored with.
    pub(crate) async fn read_whole(&self, key: &ObjectKey) -> Result<Bytes, Failure> {
        let request = self
            .client
            .get_object()
            .bucket(&self.options.bucket)
            .key(self.name(key))
            .checksum_mode(ChecksumMode::Enabled);
        let answer = self.within(0, async { Ok(Box::pin(request.send()).await?) });
        let answer = answer.await?;
        let len = announced(answer.content_length)?;
        self.within(len, read_body(answer.body, len)).await
    }

    /// Exactly `len` bytes from `offset`; the inner error is the object's size if it is too short.
    pub(crate) async fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        len: u64,
    ) -> Result<Result<Bytes, u64>, Failure> {
        // HTTP can't ask for no bytes, nor for bytes past 2⁶⁴.
        let Some(last) = offset.checked_add(len).filter(|_| len > 0) else {
            let size = self.size(key).await?;
            let inside = len == 0 && offset <= size;
            return Ok(if inside { Ok(Bytes::new()) } else { Err(size) });
        };
        let request = self
            .client
            .get_object()
            .bucket(&self.options.bucket)
            .key(self.name(key))
            .range(format!("bytes={offset}-{}", last - 1));
        let answer = self
            .within(0, async { Ok(Box::pin(request.send()).await?) })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) if failure.class == Class::Range => {
                let size = self.size(key).await?;
                return if last > size {
                    Ok(Err(size))
                } else {
                    Err(Failure::passing("the object grew while it was read"))
                };
            }
            Err(failure) => return Err(failure),
        };
        let range = answer.content_range.as_deref().and_then(parse_range);
        let Some((first, end, size)) = range else {
            return Err(Failure::lasting(
                "the service ignored the range of a request",
            ));
        };
        if last > size {
            return Ok(Err(size));
        }
        let announced = announced(answer.content_length)?;
        if (first, end, announced) != (offset, last, len) {
            return Err(Failure::passing(format!(
                "asked for bytes {offset} to {last}, got {first} to {end}"
            )));
        }
        self.within(len, read_body(answer.body, len)).await.map(Ok)
    }

    /// Size and time of an object; `None` if there is none. A missing bucket looks the same: an
    /// answer to HEAD has no body that could say so.
    pub(crate) async fn look(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, Failure> {
        let request = self.client.head_object();
        let request = request.bucket(&self.options.bucket).key(self.name(key));
        let answer = self.within(0, async { Ok(Box::pin(request.send()).await?) });
        match answer.await {
            Ok(found) => Ok(Some(ObjectMeta {
                key: key.clone(),
                size: announced(found.content_length)?,
                modified: timestamp(found.last_modified)?,
            })),
            Err(failure) if failure.class == Class::Missing => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, Failure> {
        match self.look(key).await? {
            Some(found) => Ok(found.size),
            None => Err(Failure {
                class: Class::Missing,
                reason: "no such object".to_owned(),
            }),
        }
    }
}

async fn read_body(mut body: ByteStream, len: u64) -> Result<Bytes, Failure> {
    if len > MAX_OBJECT_BYTES {
        return Err(Failure {
            class: Class::TooLarge(len),
            reason: format!("{len} bytes are more than one read takes"),
        });
    }
    let capacity = usize::try_from(len)
        .map_err(|_| Failure::lasting("more bytes than this machine counts"))?;
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| Failure::passing(crate::failure::chain(&error)))?;
        if whole.is_empty() {
            if piece.len() == capacity {
                // Usual for small objects: nothing to join. The stream's end still checks the sum.
                whole = BytesMut::from(piece);
                continue;
            }
            whole.reserve(capacity);
        }
        if piece.len() > capacity - whole.len() {
            return Err(Failure::passing("the body is longer than announced"));
        }
        whole.extend_from_slice(&piece);
    }
    if whole.len() == capacity {
        Ok(whole.freeze())
    } else {
        Err(Failure::passing(format!(
            "the body ended after {} of {len} bytes",
            whole.len()
        )))
    }
}

/// The length that an answer announces. One that announces none can't be told from a broken one.
pub(crate) fn announced(length: Option<i64>) -> Result<u64, Failure> {
    length
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| Failure::passing("the answer does not say how long it is"))
}

/// A time that the service gives, to the microsecond.
pub(crate) fn timestamp(time: Option<DateTime>) -> Result<Timestamp, Failure> {
    let time = time.ok_or_else(|| Failure::lasting("the service gives no time of writing"))?;
    Ok(Timestamp::from_micros(
        time.secs()
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(time.subsec_nanos() / 1000)),
    ))
}

/// `bytes 3-6/10` as first byte, end and size: (3, 7, 10).
fn parse_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((
        first.parse().ok()?,
        last.parse::<u64>().ok()?.checked_add(1)?,
        size.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::{parse_range, read_body, timestamp};
    use crate::failure::Class;
    use aws_sdk_s3::primitives::{ByteStream, DateTime};

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(parse_range("bytes 3-6/10"), Some((3, 7, 10)));
        for odd in ["", "3-6/10", "bytes 3-6/*", "bytes */10", "bytes -6/10"] {
            assert_eq!(parse_range(odd), None, "{odd}");
        }
    }

    #[tokio::test]
    async fn a_body_of_another_length_is_an_error() {
        let body = || ByteStream::from_static(b"0123456789");
        assert_eq!(read_body(body(), 10).await.unwrap(), "0123456789");
        for len in [0, 9, 11] {
            let failure = read_body(body(), len).await.unwrap_err();
            assert_eq!(failure.class, Class::Unavailable, "{len}");
        }
        let failure = read_body(body(), 1 << 40).await.unwrap_err();
        assert_eq!(failure.class, Class::TooLarge(1 << 40));
    }

    #[test]
    fn times_keep_their_microseconds() {
        let time = DateTime::from_secs_and_nanos(7, 123_456_789);
        assert_eq!(timestamp(Some(time)).unwrap().as_micros(), 7_123_456);
        assert!(timestamp(None).is_err());
    }
}
