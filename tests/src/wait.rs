//! Waiting for a condition, with a bound and a name, never for a fixed time.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

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
