//! A job's events, a line each.

use super::failure;
use crate::output::render_json;
use crate::view::EventView;
use holdfast_proto::v1;
use holdfast_proto::v1::job_event::Event;

#[test]
fn events() {
    let line = |event| {
        let event = v1::JobEvent {
            job_id: "backup-7".into(),
            at_us: 1_795_000_000_000_000,
            event: Some(event),
        };
        render_json(&EventView::from(&event), false)
    };
    let progress = v1::Progress {
        stage: "reading".into(),
        bytes_done: 10,
        bytes_total: 0,
        bytes_sent: 5,
        slowed: String::new(),
    };
    let lines = [
        line(Event::Started(v1::JobStarted {
            kind: "backup".into(),
            plan: vec!["capture".into()],
        })),
        line(Event::Progress(v1::JobProgress {
            node: "n1".into(),
            collection: "products".into(),
            shard_id: 0,
            progress: Some(progress),
        })),
        line(Event::Note("captured products/0".into())),
        line(Event::Ended(v1::JobEnded {
            state: v1::JobState::Failed.into(),
            failure: Some(failure()),
            ..Default::default()
        })),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
{"kind":"event","format":1,"job":"backup-7","at":"2026-11-18T11:06:40Z","event":"started","action":"backup","plan":["capture"]}
{"kind":"event","format":1,"job":"backup-7","at":"2026-11-18T11:06:40Z","event":"progress","node":"n1","collection":"products","shard":0,"stage":"reading","bytes_done":10,"bytes_total":null,"bytes_sent":5}
{"kind":"event","format":1,"job":"backup-7","at":"2026-11-18T11:06:40Z","event":"note","text":"captured products/0"}
{"kind":"event","format":1,"job":"backup-7","at":"2026-11-18T11:06:40Z","event":"ended","state":"failed","failure":{"code":"qdrant-unreachable","message":"Qdrant at http://127.0.0.1:6333 does not answer","retryable":true},"backup":null,"restore":null,"upkeep":null}
"#);
}
