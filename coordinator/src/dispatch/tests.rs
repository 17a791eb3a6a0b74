//! Tests of the dispatcher.

use super::{Answer, Dispatcher, Generation, Grant, News, OUTGOING, Patience};
use crate::fault::Fault;
use crate::ingest::session::IngestSlot;
use holdfast_proto::v1;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, Epoch, NodeId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Inbox = mpsc::Receiver<Result<v1::CoordinatorMessage, tonic::Status>>;

const PATIENCE: Patience = Patience {
    away: Duration::from_secs(60),
    silent: Duration::from_secs(600),
};

fn node() -> NodeId {
    "n1".parse().unwrap()
}

fn id() -> CaptureId {
    "job-1-c0".parse().unwrap()
}

fn connect(dispatcher: &Dispatcher) -> (Generation, Inbox) {
    let (out, inbox) = mpsc::channel(OUTGOING);
    (dispatcher.connect(&node(), out), inbox)
}

fn issue(dispatcher: &Dispatcher) -> super::Ticket {
    let body = v1::command::Command::CaptureShard(v1::CaptureShard::default());
    let grant = Grant::Capture {
        job: "job-1".parse().unwrap(),
        index: 0,
        slot: Arc::new(IngestSlot::default()),
    };
    dispatcher.issue(id(), node(), body, grant).unwrap()
}

/// The ids of the commands in the inbox.
fn received(inbox: &mut Inbox) -> Vec<String> {
    let mut ids = Vec::new();
    while let Ok(message) = inbox.try_recv() {
        match message.unwrap().message.unwrap() {
            v1::coordinator_message::Message::Command(command) => ids.push(command.command_id),
            v1::coordinator_message::Message::Welcome(_) => ids.push("welcome".into()),
            v1::coordinator_message::Message::Observe(_) => ids.push("observe".into()),
        }
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn an_open_command_is_sent_at_every_connect() {
    let dispatcher = Dispatcher::new(Epoch(3));
    let ticket = issue(&dispatcher);
    let (first, mut inbox) = connect(&dispatcher);
    assert_eq!(received(&mut inbox), ["job-1-c0"]);
    let (_, mut second) = connect(&dispatcher);
    assert_eq!(received(&mut second), ["job-1-c0"]);
    // The first connection was told, and its end means nothing any more.
    assert!(inbox.recv().await.unwrap().is_err());
    assert!(inbox.recv().await.is_none());
    assert!(!dispatcher.disconnect(&node(), first));
    drop(ticket);
    assert!(!dispatcher.is_open(&id()));
    let (_, mut third) = connect(&dispatcher);
    assert!(received(&mut third).is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_its_own_node_is_heard_and_granted() {
    let dispatcher = Dispatcher::new(Epoch(3));
    let ticket = issue(&dispatcher);
    let other: NodeId = "n2".parse().unwrap();
    assert!(dispatcher.grant(&id(), &node()).is_some());
    assert!(dispatcher.grant(&id(), &other).is_none());
    dispatcher.answered(&other, &id(), Answer::Captured(v1::CaptureDone::default()));
    let done = v1::CaptureDone {
        logical_bytes: 7,
        ..Default::default()
    };
    let progress = v1::Progress {
        bytes_done: 4,
        ..Default::default()
    };
    dispatcher.progressed(&node(), &id(), progress.clone());
    dispatcher.answered(&node(), &id(), Answer::Captured(done.clone()));
    let mut told = Vec::new();
    let cancel = CancellationToken::new();
    let answer = ticket.wait(PATIENCE, &cancel, |p| told.push(p)).await;
    assert_eq!(answer, Ok(Answer::Captured(done)));
    assert_eq!(told, [News::Progress(progress)]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_goes_and_comes_back_is_told_of() {
    let dispatcher = Dispatcher::new(Epoch(3));
    let (generation, _inbox) = connect(&dispatcher);
    let ticket = issue(&dispatcher);
    let cancel = CancellationToken::new();
    let agent = async {
        // Too short to be told of.
        assert!(dispatcher.disconnect(&node(), generation));
        assert!(dispatcher.is_away(&node()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (generation, _inbox) = connect(&dispatcher);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(dispatcher.disconnect(&node(), generation));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (_, _inbox) = connect(&dispatcher);
        assert!(!dispatcher.is_away(&node()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        dispatcher.answered(&node(), &id(), Answer::Captured(v1::CaptureDone::default()));
    };
    let mut told = Vec::new();
    let waiting = ticket.wait(PATIENCE, &cancel, |news| told.push(news));
    let (answer, ()) = tokio::join!(waiting, agent);
    assert!(answer.is_ok());
    assert_eq!(told, [News::Away(node()), News::Back(node())]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_away_or_silent_fails_the_command() {
    let cancel = CancellationToken::new();
    let dispatcher = Dispatcher::new(Epoch(3));
    let fault = issue(&dispatcher)
        .wait(PATIENCE, &cancel, drop)
        .await
        .unwrap_err();
    assert_eq!(fault.code, "node-not-found");
    assert!(fault.retryable);

    let (generation, mut inbox) = connect(&dispatcher);
    let ticket = issue(&dispatcher);
    let fault = ticket.wait(PATIENCE, &cancel, drop).await.unwrap_err();
    assert_eq!(fault.code, "job-failed");
    // Sent, sent again half-way, and given up.
    assert_eq!(received(&mut inbox), ["job-1-c0", "job-1-c0", "job-1-c0-x"]);

    let ticket = issue(&dispatcher);
    assert!(dispatcher.disconnect(&node(), generation));
    let began = tokio::time::Instant::now();
    let fault = ticket.wait(PATIENCE, &cancel, drop).await.unwrap_err();
    assert_eq!(fault.code, "node-not-found");
    assert!(began.elapsed() < Duration::from_secs(62));
}

#[tokio::test(start_paused = true)]
async fn cancelling_waits_for_the_agent() {
    let dispatcher = Dispatcher::new(Epoch(3));
    let (_, mut inbox) = connect(&dispatcher);
    let ticket = issue(&dispatcher);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let agent = async {
        loop {
            if received(&mut inbox).contains(&"job-1-c0-x".to_owned()) {
                let fault = Fault::new(Code::Cancelled, "stopped");
                dispatcher.answered(&node(), &id(), Answer::Failed(fault));
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (answer, ()) = tokio::join!(ticket.wait(PATIENCE, &cancel, drop), agent);
    assert_eq!(answer.unwrap_err().message, "stopped");

    let ticket = issue(&dispatcher);
    let fault = ticket.wait(PATIENCE, &cancel, drop).await.unwrap_err();
    assert!(fault.message.contains("has not confirmed"), "{fault}");
}
