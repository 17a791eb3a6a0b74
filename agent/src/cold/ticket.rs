//! What the coordinator lets this node read, by a ticket.

use crate::dial::TlsDial;
use crate::failure::Failed;
use crate::grpc;
use crate::link::Dial as _;
use crate::order::CommandId;
use holdfast_archive::{CollectionEntry, Manifest, ShardEntry};
use holdfast_proto::limits::{MAX_ADMIN_MESSAGE_BYTES, UNARY_DEADLINE};
use holdfast_proto::v1;
use holdfast_proto::v1::restore_client::RestoreClient;
use holdfast_service::failure::Code;
use holdfast_types::Epoch;
use tonic::Request;

/// A redeemed ticket.
#[derive(Debug)]
pub(super) struct Leave {
    /// The recovery point, with the ticket's collections only.
    pub(super) manifest: Manifest,
    /// What stands in the place of a command's id, for each collection.
    pub(super) commands: Vec<CommandId>,
    pub(super) epoch: Epoch,
}

impl Leave {
    pub(super) fn shards(&self) -> impl Iterator<Item = (&CollectionEntry, &ShardEntry)> {
        self.manifest.shards()
    }
}

/// Presents a ticket.
pub(super) async fn redeem(dial: &TlsDial, ticket: &str) -> Result<Leave, Failed> {
    let channel = dial.dial().await?;
    let mut client = RestoreClient::new(channel).max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES);
    let mut request = Request::new(v1::RedeemTicketRequest {
        ticket: ticket.to_owned(),
    });
    request.set_timeout(UNARY_DEADLINE);
    let answer = client.redeem_ticket(request).await;
    let answer = answer.map_err(|status| grpc::failed(&status))?.into_inner();
    let manifest = Manifest::from_json(answer.manifest_json.as_bytes())
        .map_err(|error| Failed::from_error(Code::RepositoryDamaged, &error))?;
    let commands = answer.command_ids.iter().map(|id| id.parse());
    let commands = commands.collect::<Result<Vec<CommandId>, _>>();
    let commands = commands
        .ok()
        .filter(|ids| ids.len() == manifest.collections.len());
    let broken = || {
        Failed::new(
            Code::Internal,
            "the coordinator broke the protocol of tickets",
        )
    };
    Ok(Leave {
        commands: commands.ok_or_else(broken)?,
        epoch: Epoch(answer.epoch),
        manifest,
    })
}

/// Ends a ticket. One that stays open ends by itself, so a failure is no matter.
pub(super) async fn close(dial: &TlsDial, ticket: &str) {
    let Ok(channel) = dial.dial().await else {
        return;
    };
    let mut request = Request::new(v1::CloseTicketRequest {
        ticket: ticket.to_owned(),
        failure: None,
    });
    request.set_timeout(UNARY_DEADLINE);
    if let Err(status) = RestoreClient::new(channel).close_ticket(request).await {
        tracing::info!(reason = %status, "the ticket could not be closed; it ends by itself");
    }
}
