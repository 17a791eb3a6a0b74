//! Copies and the clock: one with a calendar waits for it, in its own time zone, and nothing is removed from one by a clock that may be wrong.

use crate::copies::{Scene, content};
use crate::world::World;
use holdfast_proto::v1;
use holdfast_proto::v1::retention_client::RetentionClient;
use holdfast_service::clock::{Clock as _, FixedClock, SystemClock};
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;

/// Half an hour off the hours of UTC, and never moved.
const ZONE: &str = "Asia/Kolkata";

/// As long as it takes a copy to look three times whether it is due.
const LOOKS: Duration = Duration::from_secs(7);

/// Longer than a copy rests after a run began.
const BETWEEN_RUNS: Duration = Duration::from_secs(10);

/// The copy holds so many points, and goes on holding as many.
async fn stays(scene: &mut Scene, points: u64, lacks: u64) {
    let end = tokio::time::Instant::now() + LOOKS;
    while tokio::time::Instant::now() < end {
        let status = scene.status().await;
        assert_eq!(status.recovery_points, points, "{status:?}");
        assert_eq!(
            status.lag.unwrap().points,
            lacks,
            "it is told what it lacks"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_a_calendar_waits_for_its_hour_in_its_zone() {
    let clock = FixedClock::new(SystemClock.now());
    let began = clock.now();
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let due = jiff::Timestamp::from_microsecond(began.after(minutes(90)).as_micros()).unwrap();
    let due = due.to_zoned(TimeZone::get(ZONE).unwrap());
    let section = format!(
        "[[copy]]\nname = \"b\"\npath = \"ROOT/b\"\ncron = \"{} {} * * *\"\ntime_zone = {ZONE:?}\nmax_lag_hours = 30\n",
        due.minute(),
        due.hour()
    );
    let mut scene = Scene::start_at(World::with(&section), Arc::new(clock.clone())).await;
    scene.backup(&content(1)).await;
    scene.add(true).await;
    // What an operator asks for does not wait.
    let status = scene.up_to_date(1).await;
    let told = format!("cron {} {} * * * ({ZONE})", due.minute(), due.hour());
    assert_eq!(status.schedule, told);

    scene.backup(&content(2)).await;
    clock.set(began.after(minutes(88)));
    stays(&mut scene, 1, 1).await;
    clock.set(began.after(minutes(91)));
    let status = scene.up_to_date(2).await;
    assert_eq!(status.last_run.unwrap().points, 1);

    // And then for that of the next day.
    scene.backup(&content(3)).await;
    clock.set(began.after(minutes(90 + 23 * 60)));
    stays(&mut scene, 2, 1).await;
    clock.set(began.after(minutes(91 + 24 * 60)));
    scene.up_to_date(3).await;
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_from_a_copy_by_a_clock_that_jumped() {
    let rules = "[[copy]]\nname = \"b\"\npath = \"ROOT/b\"\n[copy.retention]\nmin_proven = 1\ngrace_hours = 0\n\
                 garbage_grace_hours = 0\nevery_hours = 0\n[[copy.retention.rules]]\nkeep_last = 1\n";
    let clock = FixedClock::new(SystemClock.now());
    let right = clock.now();
    let mut scene = Scene::start_at(World::with(rules), Arc::new(clock.clone())).await;
    scene.add(true).await;
    let old = scene.backup(&content(1)).await;
    clock.advance(BETWEEN_RUNS);
    scene.up_to_date(1).await;
    scene.backup(&content(2)).await;
    clock.advance(BETWEEN_RUNS);
    scene.up_to_date(2).await;
    for wrong in [
        right.after(Duration::from_hours(200)),
        right.before(Duration::from_hours(1)),
    ] {
        clock.set(wrong);
        let request = v1::PruneCopyRequest {
            name: "b".into(),
            confirm: true,
        };
        let refused = scene.copies.prune_copy(request).await.unwrap_err();
        let code = refused.metadata().get("holdfast-code").unwrap();
        assert_eq!(code, "clock-skew", "{refused}");
        let mut primary = RetentionClient::new(scene.world.channel(&scene.running, "op").await);
        let refused = primary.run_prune(v1::RunPruneRequest {}).await;
        let refused = refused.unwrap_err();
        let code = refused.metadata().get("holdfast-code").unwrap();
        assert_eq!(code, "clock-skew", "{refused}");
        let warnings = scene.operator.status().await.warnings;
        let told = |warning: &String| warning.contains("the clock jumped by");
        assert!(warnings.iter().any(told), "{warnings:?}");
    }
    clock.set(right.after(BETWEEN_RUNS * 2));
    assert_eq!(scene.status().await.recovery_points, 2);
    let marked = scene.prune(true).await;
    let gone: Vec<_> = marked.verdicts.iter().filter(|v| !v.keep).collect();
    assert_eq!(gone.len(), 1, "{marked:?}");
    assert_eq!(gone[0].recovery_point, old);
    assert_eq!(scene.prune(true).await.swept, [old]);
    scene.running.stop().await;
}
