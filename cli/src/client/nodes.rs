//! The calls about which nodes take part.

use super::{Coordinator, unary};
use crate::failure::{Action, Outcome, from_status};
use holdfast_proto::v1;

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $answer:ident, $action:ident;)*) => {
        impl Coordinator {
            $($(#[$doc])*
            pub(crate) async fn $name(&mut self, request: v1::$request) -> Outcome<v1::$answer> {
                let answer = self.members.$name(unary(request)).await;
                answer
                    .map(tonic::Response::into_inner)
                    .map_err(|status| from_status(Action::$action, &status))
            })*
        }
    };
}

calls! {
    /// `Nodes.DrainNode`.
    drain_node(DrainNodeRequest) -> DrainNodeResponse, Member;
    /// `Nodes.UndrainNode`.
    undrain_node(UndrainNodeRequest) -> UndrainNodeResponse, Member;
    /// `Nodes.CreateToken`.
    create_token(CreateTokenRequest) -> CreateTokenResponse, Member;
    /// `Nodes.ListTokens`.
    list_tokens(ListTokensRequest) -> ListTokensResponse, Read;
    /// `Nodes.RevokeToken`.
    revoke_token(RevokeTokenRequest) -> RevokeTokenResponse, Member;
    /// `Nodes.RemoveNode`.
    remove_node(RemoveNodeRequest) -> RemoveNodeResponse, Member;
}
