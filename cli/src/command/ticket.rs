//! `restore ticket`.

use super::Context;
use crate::args::RestoreTicketArgs;
use crate::client::Coordinator;
use crate::failure::Outcome;
use crate::view::TicketView;
use holdfast_proto::v1;
use holdfast_types::Timestamp;

/// Makes a ticket and says how it is used.
pub(super) async fn run(
    context: Context,
    coordinator: &mut Coordinator,
    args: RestoreTicketArgs,
) -> Outcome<()> {
    let recovery_point = coordinator.resolve(&args.id, &args.collections).await?;
    let request = v1::CreateTicketRequest {
        recovery_point: recovery_point.clone(),
        collections: args.collections,
        node: args.node.clone(),
        valid_seconds: args.valid_hours * 3600,
        from_copy: coordinator.copy(),
    };
    let made = coordinator.create_ticket(request).await?;
    context.output.show(&TicketView {
        recovery_point,
        node: args.node,
        collections: made.collections,
        logical_bytes: made.logical_bytes,
        ends: Timestamp::from_micros(made.ends_us),
        ticket: made.ticket,
    })
}
