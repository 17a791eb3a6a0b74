//! Waiting for a condition, with a bound and a name, never for a fixed time.

use anyhow::{Result, bail};
use holdfast_types::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const POLL: Duration = Duration::from_millis(50);

/// Polls `ready` until it yields a value; fails with `what` after `limit`.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut ready: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready().await {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("gave up after {limit:?} waiting for {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The present instant, by the machine's clock.
///
/// # Panics
/// Before 1970.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since.expect("a clock after 1970").as_micros();
    Timestamp::from_micros(i64::try_from(micros).expect("a clock of this age"))
}
