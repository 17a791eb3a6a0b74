//! The promises, each tried in the way that a repository relies on it.

use super::{Check, Finding, PARALLEL, Probe, chain};
use crate::{ObjectKey, PutMode, StoreError};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};

/// Every check, the simple ones first.
pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "read-after-write",
        why: "a recovery point is only as good as the packs that can be read back",
        run: |probe| Box::pin(read_after_write(probe)),
    },
    Check {
        name: "overwrite",
        why: "a key file that is replaced must not come back in its old form",
        run: |probe| Box::pin(overwrite(probe)),
    },
    Check {
        name: "missing",
        why: "an object that was lost must be noticed, not read as something else",
        run: |probe| Box::pin(missing(probe)),
    },
    Check {
        name: "ranges",
        why: "a restore reads parts of packs; a short answer taken for whole is damage",
        run: |probe| Box::pin(ranges(probe)),
    },
    Check {
        name: "list-after-write",
        why: "garbage collection removes what no listed recovery point uses",
        run: |probe| Box::pin(list_after_write(probe)),
    },
    Check {
        name: "long-listing",
        why: "a listing that loses entries between its pages makes live data look like garbage",
        run: |probe| Box::pin(long_listing(probe)),
    },
    Check {
        name: "conditional-put",
        why: "a finished recovery point must never be replaced",
        run: |probe| Box::pin(conditional_put(probe)),
    },
    Check {
        name: "one-winner",
        why: "two coordinators that claim one epoch would both believe they may delete",
        run: |probe| Box::pin(one_winner(probe)),
    },
    Check {
        name: "large-object",
        why: "packs go in several parts, and the last step must be conditional too",
        run: |probe| Box::pin(large_object(probe)),
    },
    Check {
        name: "delete",
        why: "data that was to be destroyed must be gone",
        run: |probe| Box::pin(delete(probe)),
    },
    Check {
        name: "clock",
        why: "grace times and locks are counted by the store's clock and by ours",
        run: |probe| Box::pin(clock(probe)),
    },
];

/// Bytes that tell `tag` apart from any other, `len` of them.
fn body(tag: &str, len: usize) -> Bytes {
    tag.bytes().cycle().take(len).collect()
}

fn said(error: StoreError) -> String {
    chain(&error)
}

fn expect(kept: bool, broken: impl FnOnce() -> String) -> Finding {
    if kept { Ok(()) } else { Err(broken()) }
}

impl Probe<'_> {
    async fn put(&self, key: &ObjectKey, data: Bytes, mode: PutMode) -> Finding {
        self.store.put(key, data, mode).await.map_err(said)
    }

    /// Reads `key` and compares; says what differs.
    async fn expect_body(&self, key: &ObjectKey, wanted: &Bytes) -> Finding {
        let found = self.store.get(key).await.map_err(said)?;
        expect(found == *wanted, || {
            format!(
                "read {} bytes that are not the {} written",
                found.len(),
                wanted.len()
            )
        })
    }

    /// A conditional put of a taken key must fail in the way that says so.
    async fn expect_taken(&self, key: &ObjectKey, other: Bytes) -> Finding {
        match self.store.put(key, other, PutMode::CreateNew).await {
            Err(StoreError::AlreadyExists { .. }) => Ok(()),
            Ok(()) => Err("a create-only write replaced an object".to_owned()),
            Err(error) => Err(format!("a taken key was answered by: {}", said(error))),
        }
    }

    async fn expect_absent(&self, key: &ObjectKey) -> Finding {
        match self.store.get(key).await {
            Err(StoreError::NotFound { .. }) => {}
            Ok(found) => return Err(format!("{} bytes were read of nothing", found.len())),
            Err(error) => return Err(format!("nothing was answered by: {}", said(error))),
        }
        let head = self.store.head(key).await.map_err(said)?;
        expect(head.is_none(), || "nothing has a size".to_owned())
    }

    async fn listed(&self) -> Result<Vec<(ObjectKey, u64)>, String> {
        let listed = self.store.list(&self.prefix()).await.map_err(said)?;
        Ok(listed
            .into_iter()
            .map(|meta| (meta.key, meta.size))
            .collect())
    }
}

async fn read_after_write(probe: &Probe<'_>) -> Finding {
    for (name, len) in [
        ("read/empty", 0),
        ("read/small", 100),
        ("read/mid", 300_000),
    ] {
        let (key, data) = (probe.key(name)?, body(name, len));
        probe.put(&key, data.clone(), PutMode::CreateNew).await?;
        probe.expect_body(&key, &data).await?;
        let size = probe.store.head(&key).await.map_err(said)?.map(|m| m.size);
        expect(size == Some(len as u64), || {
            format!("an object of {len} bytes has the size {size:?}")
        })?;
    }
    Ok(())
}

async fn overwrite(probe: &Probe<'_>) -> Finding {
    let key = probe.key("overwrite")?;
    for round in 0..5 {
        // Shorter each time: remains of the longer one would show.
        let data = body(&format!("version {round}"), 1000 - round * 100);
        probe.put(&key, data.clone(), PutMode::Overwrite).await?;
        probe.expect_body(&key, &data).await?;
    }
    Ok(())
}

async fn missing(probe: &Probe<'_>) -> Finding {
    let key = probe.key("missing")?;
    probe.expect_absent(&key).await?;
    match probe.store.get_range(&key, 0, 1).await {
        Err(StoreError::NotFound { .. }) => {}
        Ok(_) => return Err("a range was read of nothing".to_owned()),
        Err(error) => return Err(format!("nothing was answered by: {}", said(error))),
    }
    probe.store.delete(&key).await.map_err(said)
}

async fn ranges(probe: &Probe<'_>) -> Finding {
    let (key, data) = (probe.key("ranges")?, body("0123456789abcdef", 100_000));
    probe.put(&key, data.clone(), PutMode::CreateNew).await?;
    for (from, to) in [(0, 1), (0, 100_000), (99_999, 100_000), (777, 70_003)] {
        let (offset, len) = (from as u64, (to - from) as u64);
        let found = probe.store.get_range(&key, offset, len).await;
        expect(found.map_err(said)? == data.slice(from..to), || {
            format!("bytes {from} to {to} are not those written")
        })?;
    }
    for (offset, len) in [(99_999, 2), (100_000, 1), (200_000, 5)] {
        match probe.store.get_range(&key, offset, len).await {
            Err(StoreError::OutOfRange { size: 100_000, .. }) => {}
            Ok(found) => {
                return Err(format!(
                    "{} bytes were read past the end of an object",
                    found.len()
                ));
            }
            Err(error) => {
                return Err(format!(
                    "a range past the end was answered by: {}",
                    said(error)
                ));
            }
        }
    }
    Ok(())
}

async fn list_after_write(probe: &Probe<'_>) -> Finding {
    for name in ["listed/b/2", "listed/a", "listed/b/1"] {
        let key = probe.key(name)?;
        probe.put(&key, body(name, 10), PutMode::CreateNew).await?;
        let listed = probe.listed().await?;
        expect(listed.contains(&(key, 10)), || {
            format!("{name} is not listed right after its write")
        })?;
        expect(listed.is_sorted(), || "a listing is not sorted".to_owned())?;
    }
    Ok(())
}

/// Names whose order by bytes is not their order in a tree of folders: `x-1` < `x/1` < `x1`.
async fn long_listing(probe: &Probe<'_>) -> Finding {
    let middles = ["-", "/", ""];
    let keys: Vec<ObjectKey> = (0..probe.options.listed_objects)
        .map(|n| {
            let middle = middles.get(n % middles.len()).copied().unwrap_or_default();
            probe.key(&format!("long/x{middle}{n:06}"))
        })
        .collect::<Result<_, _>>()?;
    for batch in keys.chunks(PARALLEL) {
        let puts = batch
            .iter()
            .map(|key| probe.put(key, Bytes::new(), PutMode::CreateNew));
        futures::future::try_join_all(puts).await?;
    }
    let listed = probe.listed().await?;
    expect(listed.is_sorted(), || "a listing is not sorted".to_owned())?;
    let absent = keys
        .iter()
        .filter(|key| {
            listed
                .binary_search_by(|(found, _)| found.cmp(key))
                .is_err()
        })
        .count();
    expect(absent == 0, || {
        format!("a listing lacks {absent} of {} objects", keys.len())
    })
}

async fn conditional_put(probe: &Probe<'_>) -> Finding {
    let (key, first) = (probe.key("conditional")?, body("first", 100));
    probe.put(&key, first.clone(), PutMode::CreateNew).await?;
    probe.expect_taken(&key, body("second", 100)).await?;
    probe.expect_body(&key, &first).await?;
    probe.store.delete(&key).await.map_err(said)?;
    probe.put(&key, first, PutMode::CreateNew).await
}

async fn one_winner(probe: &Probe<'_>) -> Finding {
    for round in 0..probe.options.races {
        let key = probe.key(&format!("race/{round}"))?;
        let bodies: Vec<Bytes> = (0..PARALLEL)
            .map(|racer| body(&format!("racer {racer} of round {round}"), 1000))
            .collect();
        let puts: Vec<BoxFuture<'_, _>> = bodies
            .iter()
            .map(|data| probe.store.put(&key, data.clone(), PutMode::CreateNew))
            .collect();
        let mut winners = Vec::new();
        for (outcome, data) in join_all(puts).await.into_iter().zip(&bodies) {
            match outcome {
                Ok(()) => winners.push(data),
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(format!("a race was answered by: {}", said(error))),
            }
        }
        let [winner] = winners.as_slice() else {
            return Err(format!(
                "{} of {PARALLEL} create-only writers of one key were told that they won",
                winners.len()
            ));
        };
        probe.expect_body(&key, winner).await?;
    }
    Ok(())
}

async fn large_object(probe: &Probe<'_>) -> Finding {
    let len = probe.options.large_object_bytes;
    let (key, data) = (probe.key("large")?, body("a large object ", len));
    probe.put(&key, data.clone(), PutMode::CreateNew).await?;
    probe.expect_body(&key, &data).await?;
    let middle = len / 2;
    let part = probe.store.get_range(&key, middle as u64, 1000).await;
    let wanted = data.slice(middle..len.min(middle + 1000));
    expect(part.map_err(said)? == wanted, || {
        "a range from its middle is not what was written".to_owned()
    })?;
    probe.expect_taken(&key, body("another one ", len)).await?;
    probe.expect_body(&key, &data).await
}

async fn delete(probe: &Probe<'_>) -> Finding {
    let key = probe.key("delete/me")?;
    for _ in 0..3 {
        let data = body("to be deleted", 100);
        probe.put(&key, data, PutMode::CreateNew).await?;
        probe.store.delete(&key).await.map_err(said)?;
        probe.expect_absent(&key).await?;
        let listed = probe.listed().await?;
        expect(listed.iter().all(|(found, _)| *found != key), || {
            "a deleted object is still listed".to_owned()
        })?;
    }
    Ok(())
}

async fn clock(probe: &Probe<'_>) -> Finding {
    let key = probe.key("clock")?;
    probe.put(&key, Bytes::new(), PutMode::CreateNew).await?;
    let meta = probe.store.head(&key).await.map_err(said)?;
    let written = meta
        .ok_or("an object is gone right after its write")?
        .modified;
    let now = probe.options.now.after(probe.began.elapsed());
    let apart = written.distance(now);
    expect(apart <= probe.options.max_skew, || {
        format!(
            "the store's clock says {written}, ours {now}: {} s apart, at most {} s are allowed",
            apart.as_secs(),
            probe.options.max_skew.as_secs()
        )
    })
}
