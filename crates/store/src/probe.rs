//! Proves, or disproves, that a store does what a repository needs of it.
//!
//! For stores that others wrote: an S3 of some vendor, a network file system. It uses nothing but the
//! trait, writes below [`PROBE_FOLDER`] under a random name, and removes what it wrote. It shows the
//! presence of defects, not their absence: a race that is lost once in a million may pass.

mod checks;
mod report;

use crate::{KeyPrefix, ObjectKey, ObjectStore, StoreError};
use checks::CHECKS;
use futures::future::BoxFuture;
use holdfast_types::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

pub use report::{ProbeCheck, ProbeRefusal, ProbeReport};

/// The folder that probes write to; each adds a random name.
pub const PROBE_FOLDER: &str = "probe";
/// Most requests of a probe at a time.
const PARALLEL: usize = 20;

/// How thoroughly to probe. The defaults write about 10 MB and 1,300 objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// The time by our own clock.
    pub now: Timestamp,
    /// Most that the store's clock may differ from ours.
    pub max_skew: Duration,
    /// Bytes in the large object; more than the store's multipart threshold, where it has one.
    pub large_object_bytes: usize,
    /// Objects in the long listing; more than a page of the store's, which is 1,000 on S3.
    pub listed_objects: usize,
    /// Races for a key, each of twenty writers.
    pub races: u32,
}

impl ProbeOptions {
    /// The usual thoroughness.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self {
            now,
            // Half of what S3 itself takes in signatures: leases and grace times have to rely on it.
            max_skew: Duration::from_mins(5),
            large_object_bytes: (9 << 20) + 1,
            listed_objects: 1_100,
            races: 3,
        }
    }
}

/// What a check found wrong, in a sentence.
type Finding = Result<(), String>;

/// One promise and how to try it.
struct Check {
    name: &'static str,
    why: &'static str,
    run: for<'a> fn(&'a Probe<'a>) -> BoxFuture<'a, Finding>,
}

/// The store, and the folder that this probe has for itself.
struct Probe<'a> {
    store: &'a dyn ObjectStore,
    folder: String,
    options: ProbeOptions,
    began: Instant,
}

/// Runs every check, one after another, and removes what they wrote. Errors only if the store can't be
/// asked at all, by the first listing.
pub async fn probe(
    store: &dyn ObjectStore,
    options: ProbeOptions,
) -> Result<ProbeReport, StoreError> {
    let mut nonce = [0; 8];
    // Not a secret, but without it two probes at one time would see each other's objects.
    getrandom::fill(&mut nonce).map_err(|error| StoreError::Unavailable {
        store: store.describe(),
        reason: format!("this machine gives no random numbers: {error}"),
    })?;
    let probe = Probe {
        store,
        folder: format!("{PROBE_FOLDER}/{}", hex::encode(nonce)),
        options,
        began: Instant::now(),
    };
    store.list(&probe.prefix()).await?;
    let mut checks = Vec::with_capacity(CHECKS.len() + 1);
    for check in CHECKS {
        checks.push(timed(check.name, check.why, (check.run)(&probe)).await);
    }
    checks.push(
        timed(
            "clean-up",
            "what a probe or a pruned backup leaves behind is paid for",
            Box::pin(probe.clean_up()),
        )
        .await,
    );
    let object_lock = match store.keeper() {
        Some(keeper) => keeper.can_lock().await.map_err(|error| chain(&error)),
        None => Ok(false),
    };
    Ok(ProbeReport {
        store: store.describe(),
        checks,
        object_lock,
    })
}

async fn timed(name: &'static str, why: &'static str, run: BoxFuture<'_, Finding>) -> ProbeCheck {
    let began = Instant::now();
    let found = run.await;
    ProbeCheck {
        name,
        why,
        elapsed: began.elapsed(),
        failure: found.err(),
    }
}

impl Probe<'_> {
    fn key(&self, name: &str) -> Result<ObjectKey, String> {
        let key = format!("{}/{name}", self.folder);
        key.parse().map_err(|error| format!("{error}"))
    }

    /// Everything that this probe wrote.
    fn prefix(&self) -> KeyPrefix {
        // The folder is made of letters and digits; the root would only be listed, never emptied.
        self.folder.parse().unwrap_or(KeyPrefix::root())
    }

    async fn clean_up(&self) -> Finding {
        let said = |error: StoreError| chain(&error);
        let left = self.store.list(&self.prefix()).await.map_err(said)?;
        let ours = left.iter().filter(|meta| self.prefix().contains(&meta.key));
        for batch in ours.collect::<Vec<_>>().chunks(PARALLEL) {
            let deletes = batch.iter().map(|meta| self.store.delete(&meta.key));
            futures::future::try_join_all(deletes).await.map_err(said)?;
        }
        match self.store.list(&self.prefix()).await.map_err(said)?.len() {
            0 => self.store.clear_folders(&self.prefix()).await.map_err(said),
            n => Err(format!("{n} objects are still listed after their removal")),
        }
    }
}

/// An error and its causes, parted by colons.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
