//! The connection to the coordinator that is open now, as running commands see it.
//!
//! The control stream puts it here after the coordinator's welcome and takes it away when the session
//! ends. Commands never dial: they wait for a link, use its channel, and wait for the next one when it
//! breaks.

use crate::failure::Failed;
use futures::future::BoxFuture;
use holdfast_types::Epoch;
use std::time::Duration;
use tokio::sync::watch;
use tonic::transport::Channel;

/// Opens a connection to the coordinator and proves who it is.
pub trait Dial: Send + Sync {
    /// One attempt.
    fn dial(&self) -> BoxFuture<'_, Result<Channel, Failed>>;
}

/// A connection on which the coordinator has said welcome.
#[derive(Clone, Debug)]
pub struct Link {
    /// The connection; calls of several services may share it.
    pub channel: Channel,
    /// The coordinator's epoch.
    pub epoch: Epoch,
    /// Counts the links of this process.
    pub generation: u64,
}

/// Where the control stream puts the link.
#[derive(Clone, Debug)]
pub struct LinkSlot {
    sender: watch::Sender<(u64, Option<Link>)>,
}

/// Where commands find it.
#[derive(Clone, Debug)]
pub struct LinkWatch {
    receiver: watch::Receiver<(u64, Option<Link>)>,
}

/// A slot without a link, and its watch.
#[must_use]
pub fn slot() -> (LinkSlot, LinkWatch) {
    let (sender, receiver) = watch::channel((0, None));
    (LinkSlot { sender }, LinkWatch { receiver })
}

impl LinkSlot {
    /// Offers a new link.
    pub fn set(&self, channel: Channel, epoch: Epoch) {
        self.sender.send_modify(|(generation, link)| {
            *generation += 1;
            *link = Some(Link {
                channel,
                epoch,
                generation: *generation,
            });
        });
    }

    /// Takes the link away. True if there was one.
    pub fn clear(&self) -> bool {
        self.sender
            .send_if_modified(|(_, link)| link.take().is_some())
    }
}

impl LinkWatch {
    /// Number of the link that is open now.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        let current = self.receiver.borrow();
        current.1.as_ref().map(|link| link.generation)
    }

    /// Waits for a link, at most `limit`.
    pub async fn get(&self, limit: Duration) -> Option<Link> {
        let mut receiver = self.receiver.clone();
        let found =
            tokio::time::timeout(limit, receiver.wait_for(|(_, link)| link.is_some())).await;
        found.ok()?.ok()?.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::slot;
    use holdfast_types::Epoch;
    use std::time::Duration;
    use tonic::transport::Endpoint;

    #[tokio::test]
    async fn a_waiting_command_gets_the_next_link() {
        let (slot, watch) = slot();
        assert!(watch.get(Duration::from_millis(1)).await.is_none());
        let waiting = tokio::spawn(async move { watch.get(Duration::from_secs(60)).await });
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        slot.set(channel.clone(), Epoch(4));
        let link = waiting.await.unwrap().unwrap();
        assert_eq!((link.epoch, link.generation), (Epoch(4), 1));
        slot.clear();
        slot.set(channel, Epoch(5));
        assert_eq!(slot.sender.borrow().0, 2);
    }
}
