//! `nodes`, and what is done about them.

use super::{Context, coordinator};
use crate::args::{
    NodeEnrolArgs, NodeReasonArgs, NodeRemoveArgs, NodeReplaceArgs, NodesArgs, NodesCommand,
    RevokeTokenArgs,
};
use crate::client::Coordinator;
use crate::failure::{Failure, Outcome};
use crate::view::{
    DrainView, NewTokenView, NodeRemovalView, NodesView, ShardsView, TokenRevokedView, TokensView,
};
use holdfast_proto::v1;
use holdfast_service::failure::Code;

/// `holdfast nodes …`.
pub(super) async fn run(context: Context, args: NodesArgs) -> Outcome<()> {
    let Some(command) = args.command else {
        let answer = coordinator(&args.connection).await?.nodes().await?;
        if args.shards {
            return context.output.show(&ShardsView::from(&answer));
        }
        return context.output.show(&NodesView::from(&answer));
    };
    if args.shards {
        return Err(Failure::new(
            Code::Usage,
            "--shards only goes with the listing of nodes",
        ));
    }
    let mut coordinator = coordinator(&args.connection).await?;
    match command {
        NodesCommand::Drain(args) => drain(context, &mut coordinator, args).await,
        NodesCommand::Undrain(args) => {
            let request = v1::UndrainNodeRequest {
                node: args.node.clone(),
            };
            let answer = coordinator.undrain_node(request).await?;
            context
                .output
                .show(&DrainView::ended(args.node, answer.was_drained))
        }
        NodesCommand::Enrol(args) => enrol(context, &mut coordinator, args).await,
        NodesCommand::Tokens => {
            let answer = coordinator.list_tokens(v1::ListTokensRequest {}).await?;
            context.output.show(&TokensView::from(&answer))
        }
        NodesCommand::RevokeToken(RevokeTokenArgs { id }) => {
            let answer = coordinator
                .revoke_token(v1::RevokeTokenRequest { id })
                .await?;
            let token = answer.token.unwrap_or_default();
            context.output.show(&TokenRevokedView::from(&token))
        }
        NodesCommand::Remove(args) => remove(context, &mut coordinator, args, None).await,
        NodesCommand::Replace(NodeReplaceArgs {
            remove: args,
            successor,
        }) => remove(context, &mut coordinator, args, Some(successor)).await,
    }
}

async fn drain(
    context: Context,
    coordinator: &mut Coordinator,
    args: NodeReasonArgs,
) -> Outcome<()> {
    let NodeReasonArgs { node, reason } = args;
    let request = v1::DrainNodeRequest {
        node: node.clone(),
        reason,
    };
    let answer = coordinator.drain_node(request).await?;
    context.output.show(&DrainView::begun(node, &answer))
}

async fn remove(
    context: Context,
    coordinator: &mut Coordinator,
    args: NodeRemoveArgs,
    successor: Option<String>,
) -> Outcome<()> {
    let NodeReasonArgs { node, reason } = args.node;
    let request = v1::RemoveNodeRequest {
        node: node.clone(),
        reason,
        successor: successor.clone().unwrap_or_default(),
        confirm: args.confirm,
    };
    let answer = coordinator.remove_node(request).await?;
    context
        .output
        .show(&NodeRemovalView::new(node, successor, answer))
}

async fn enrol(
    context: Context,
    coordinator: &mut Coordinator,
    args: NodeEnrolArgs,
) -> Outcome<()> {
    let request = v1::CreateTokenRequest {
        node: args.node,
        valid_secs: u32::try_from(args.valid_for.as_secs())
            .unwrap_or(u32::MAX)
            // 0 would mean the default.
            .max(1),
    };
    let answer = coordinator.create_token(request).await?;
    let endpoint = coordinator.endpoint().to_owned();
    context.output.show(&NewTokenView::new(&endpoint, answer))
}
