//! Captures beside optimizers: they wait once, try again if one began meanwhile, and else say what is known.

use super::living::{GROWING, LivingShard, SEALED};
use super::shop::{Shop, one_says};
use holdfast_proto::v1::CaptureMethod::{self, Auto, Direct, Partial, Stored, Stream};
use std::time::Duration;

const WAYS: [CaptureMethod; 3] = [Partial, Stream, Stored];

async fn shop() -> Shop {
    let shop = Shop::with(|config| {
        config.capture.full_every = 24;
        config.capture.optimizer_wait = Duration::from_millis(300);
    })
    .await;
    shop.right(Partial, "stream").await;
    shop
}

/// Captures once, whatever the shard is at that instant; the reasons.
async fn reasons(shop: &Shop, method: CaptureMethod) -> Vec<String> {
    let commit = shop.take(method).await;
    shop.world.until_clean().await;
    commit.shard.reasons
}

/// Has this happen at each of the next snapshots.
fn at_snapshots(shop: &Shop, count: usize, act: fn(&mut LivingShard)) {
    shop.shard(|s| {
        s.meanwhile.clear();
        s.at_whole.clear();
        for _ in 0..count {
            s.meanwhile.push_back(Box::new(act));
            s.at_whole.push_back(Box::new(act));
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optimizer_is_waited_for() {
    let shop = shop().await;
    for method in WAYS {
        shop.shard(|s| {
            s.begin_optimizing(SEALED);
            (s.looks, s.ends_after) = (0, Some(2));
        });
        let commit = shop.take(method).await;
        shop.world.until_clean().await;
        let reasons = commit.shard.reasons;
        assert!(
            reasons.iter().all(|r| !r.contains("optimizer")),
            "{reasons:?}"
        );
        assert!(shop.shard(|s| s.looks) >= 3);
        assert_eq!(commit.collection.points, Some(77));
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_does_not_end_is_recorded_and_nothing_is_tried_again() {
    let shop = shop().await;
    shop.shard(|s| s.begin_optimizing(SEALED));
    let asked = shop.shard(|s| s.asked);
    for method in WAYS {
        let commit = shop.take(method).await;
        shop.world.until_clean().await;
        one_says(&commit.shard.reasons, "an optimizer was at work");
        // as many as there are now need not be in it
        assert_eq!(commit.collection.points, None);
    }
    assert_eq!(shop.shard(|s| s.asked), asked + 1);
    assert_eq!(shop.world.qdrant.lock().snapshots_made, 2, "one before");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_begins_before_the_snapshot_leads_to_a_retry() {
    let shop = shop().await;
    for method in WAYS {
        at_snapshots(&shop, 1, |s| {
            s.begin_optimizing(SEALED);
            s.ends_after = Some(2);
        });
        let before = shop.shard(|s| s.asked);
        let made = shop.world.qdrant.lock().snapshots_made;
        let found = reasons(&shop, method).await;
        let noted = found.iter().filter(|r| r.contains("may be in it"));
        assert_eq!(noted.count(), 0, "{found:?}");
        let asked = shop.shard(|s| s.asked) - before;
        let made = shop.world.qdrant.lock().snapshots_made - made;
        let tries = match method {
            Partial => asked,
            Stored => made,
            CaptureMethod::Unspecified | Auto | Stream | Direct => {
                let begun = shop.shard(|s| s.at_whole.is_empty() && s.running.is_empty());
                1 + u32::from(begun)
            }
        };
        assert_eq!(tries, 2, "{method:?}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_has_ended_again_is_seen_too() {
    let shop = shop().await;
    at_snapshots(&shop, 9, |s| {
        s.begin_optimizing(SEALED);
        s.ended.append(&mut s.running);
    });
    for method in WAYS {
        let reasons = reasons(&shop, method).await;
        one_says(
            &reasons,
            "an optimizer began when Qdrant made the snapshot: if",
        );
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_shard_does_disturbs_nobody() {
    let shop = shop().await;
    shop.shard(|s| {
        s.others = 1;
        s.begin_optimizing("elsewhere");
    });
    at_snapshots(&shop, 9, |s| s.begin_optimizing("elsewhere, too"));
    for method in WAYS {
        let reasons = reasons(&shop, method).await;
        assert!(
            reasons.iter().all(|r| !r.contains("optimizer")),
            "{reasons:?}"
        );
    }
    at_snapshots(&shop, 9, |s| s.begin_optimizing(GROWING));
    for method in WAYS {
        one_says(&reasons(&shop, method).await, "an optimizer");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yellow_alone_means_little() {
    let shop = shop().await;
    shop.shard(|s| s.status = "yellow");
    for method in WAYS {
        let reasons = reasons(&shop, method).await;
        assert!(
            reasons.iter().all(|r| !r.contains("optimizer")),
            "{reasons:?}"
        );
    }
    // but where Qdrant does not tell more, it says so
    shop.shard(|s| s.unlisted = true);
    for method in WAYS {
        one_says(
            &reasons(&shop, method).await,
            "does not list its optimizations",
        );
    }
    shop.shard(|s| s.status = "green");
    for method in WAYS {
        let reasons = reasons(&shop, method).await;
        assert!(
            reasons.iter().all(|r| !r.contains("optimiz")),
            "{reasons:?}"
        );
    }
    shop.close().await;
}
