//! Followers, the log, and who is woken.

use super::{Cursor, JobFeed, ProgressKey};
use crate::job::log::Level;
use crate::job::pace::Rate;
use crate::job::upkeep::Extent;
use holdfast_proto::v1;
use holdfast_types::{ShardId, Timestamp};
use std::time::Duration;

const NOW: Timestamp = Timestamp::EPOCH;

fn words(events: &[v1::JobEvent]) -> Vec<String> {
    let word = |event: &v1::JobEvent| match event.event.as_ref().unwrap() {
        v1::job_event::Event::Started(_) => "started".into(),
        v1::job_event::Event::Progress(p) => {
            format!("progress {}", p.progress.as_ref().unwrap().bytes_done)
        }
        v1::job_event::Event::Note(text) => text.clone(),
        v1::job_event::Event::Ended(_) => "ended".into(),
    };
    events.iter().map(word).collect()
}

fn bytes(done: u64) -> v1::Progress {
    v1::Progress {
        bytes_done: done,
        ..Default::default()
    }
}

#[test]
fn followers_see_every_line_and_the_newest_figures() {
    let feed = JobFeed::new("job-1".parse().unwrap());
    let key = ProgressKey {
        node: "n1".parse().unwrap(),
        collection: "docs".parse().unwrap(),
        shard: ShardId(0),
    };
    feed.started(NOW, "backup", vec![]);
    feed.progress(NOW, &key, bytes(1));
    feed.progress(NOW, &key, bytes(2));
    feed.note(NOW, "done");
    let mut cursor = Cursor::default();
    let (events, ended) = feed.since(&mut cursor);
    assert_eq!(words(&events), ["started", "progress 2", "done"]);
    assert!(!ended);
    assert_eq!(feed.since(&mut cursor).0, []);
    feed.ended(NOW, v1::JobEnded::default());
    feed.note(NOW, "too late");
    let (events, ended) = feed.since(&mut cursor);
    assert_eq!(words(&events), ["ended"]);
    assert!(ended);
    let (all, _) = feed.since(&mut Cursor::default());
    assert_eq!(words(&all), ["started", "progress 2", "done", "ended"]);
}

#[test]
fn the_log_goes_on_after_a_restart_and_followers_see_it() {
    let feed = JobFeed::new("job-1".parse().unwrap());
    feed.started(NOW, "backup", vec![]);
    feed.note(NOW, "captured");
    feed.log(NOW, Level::Info, "a detail");
    feed.warn(NOW, "failed once");
    let change = feed.log_change();
    feed.log_written(&change);
    assert!(feed.log_change().is_empty());
    assert_eq!(
        words(&feed.since(&mut Cursor::default()).0),
        ["started", "captured", "failed once"]
    );

    let feed = JobFeed::resumed("job-1".parse().unwrap(), change.add);
    feed.started(NOW, "backup", vec![]);
    feed.note(NOW, "goes on");
    let told = ["captured", "a detail", "failed once", "goes on"];
    assert_eq!(
        words(&feed.since(&mut Cursor::default()).0),
        [&["started"], &told[..]].concat()
    );
    let rows = feed.log_rows();
    let texts: Vec<&str> = rows.values().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, told);
    assert_eq!(rows[&2].level, Level::Warning);
    let fresh: Vec<u64> = feed.log_change().add.into_keys().collect();
    assert_eq!(fresh, [3]);
}

#[tokio::test]
async fn a_follower_is_woken() {
    let feed = JobFeed::new("job-1".parse().unwrap());
    let mut watch = feed.watch();
    feed.note(NOW, "x");
    watch.changed().await.unwrap();
}

#[test]
fn upkeep_has_figures_of_its_own() {
    let feed = JobFeed::new("verify-1".parse().unwrap());
    feed.started(NOW, "verify", vec![]);
    let extent = |bytes| Extent {
        bytes,
        bytes_total: Some(9000),
        ..Extent::default()
    };
    assert_eq!(feed.whole(NOW), None);
    feed.progress_of_whole(NOW, "reading", extent(1000));
    let later = NOW.after(Duration::from_secs(2));
    feed.progress_of_whole(later, "reading", extent(3000));
    let mut cursor = Cursor::default();
    let (events, _) = feed.since(&mut cursor);
    assert_eq!(words(&events), ["started", "progress 3000"]);
    assert_eq!(feed.since(&mut cursor).0, []);
    let told = ("reading".to_owned(), extent(3000), Some(Rate(1000)));
    assert_eq!(feed.whole(later), Some(told));
    assert!(feed.figures(later).is_empty());
}

#[test]
fn that_it_is_slowed_down_is_said_once() {
    let feed = JobFeed::new("job-1".parse().unwrap());
    let key = ProgressKey {
        node: "n1".parse().unwrap(),
        collection: "docs".parse().unwrap(),
        shard: ShardId(0),
    };
    let slow = "searches take 120 ms, limit 50 ms";
    for slowed in ["", slow, "searches take 130 ms, limit 50 ms", "", "", slow] {
        let progress = v1::Progress {
            slowed: slowed.into(),
            ..bytes(1)
        };
        feed.progress(Timestamp::EPOCH, &key, progress);
    }
    let rows = feed.log_rows();
    let said: Vec<&str> = rows.values().map(|line| line.text.as_str()).collect();
    let begins = format!("docs/0 on n1: slowed down: {slow}");
    let ends = "docs/0 on n1: slowed down no longer";
    assert_eq!(said, [begins.as_str(), ends, begins.as_str()]);
}
