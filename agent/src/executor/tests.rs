//! Tests of what the executor says.

use super::command_span;
use crate::agent::tests::world::World;
use crate::commands::OpenCommand;
use crate::commands::phase::Phase;
use crate::job::Site;
use crate::journal::Journal;
use crate::order::{CaptureOrder, Method, Work};
use holdfast_qdrant::{QdrantClient, QdrantConfig};
use holdfast_service::clock::SystemClock;
use holdfast_types::{Epoch, ShardId};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Remembers the fields of every new span, as `name=value`.
#[derive(Clone, Default)]
struct Fields(Arc<Mutex<Vec<String>>>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.lock().unwrap().push(format!("{field}={value:?}"));
    }
}

impl Subscriber for Fields {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn events_of_a_command_say_where_and_for_whom() {
    let world = World::new().await;
    let journal = Journal::open(&world.config.state_dir).unwrap().0;
    journal
        .update(|table| table.note_epoch(Epoch(6)))
        .await
        .unwrap();
    let site = Site {
        journal,
        link: crate::link::slot().1,
        qdrant: QdrantClient::new(QdrantConfig::new(world.config.qdrant.url.clone())).unwrap(),
        board: crate::tail::Board::default(),
        clock: Arc::new(SystemClock),
        config: Arc::new(world.config.clone()),
    };
    let open = OpenCommand {
        id: "a".parse().unwrap(),
        work: Work::Capture(CaptureOrder {
            collection: "docs".parse().unwrap(),
            shard: ShardId(2),
            method: Method::Auto,
            bytes_per_second: None,
            courtesy: None,
        }),
        phase: Phase::Accepted,
    };
    let fields = Fields::default();
    tracing::subscriber::with_default(fields.clone(), || drop(command_span(&site, &open)));
    let told = fields.0.lock().unwrap().join(" ");
    assert_eq!(told, "id=a node=n1 collection=docs shard=2 epoch=6");
}
