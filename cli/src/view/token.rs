//! Enrolment tokens.

use super::some;
use super::text::{short_time, table};
use crate::output::View;
use holdfast_proto::v1;
use holdfast_types::Timestamp;
use serde::Serialize;

/// `nodes enrol`. The only place where a token is told.
#[derive(Debug, Serialize)]
pub(crate) struct NewTokenView {
    token: String,
    id: String,
    node: String,
    expires: Timestamp,
    /// Where the agent is to present it, as far as this machine can tell.
    endpoint: String,
}

/// `nodes tokens`.
#[derive(Debug, Serialize)]
pub(crate) struct TokensView {
    tokens: Vec<TokenView>,
}

/// `nodes revoke-token`.
#[derive(Debug, Serialize)]
pub(crate) struct TokenRevokedView {
    #[serde(flatten)]
    token: TokenView,
}

/// A token, without its secret.
#[derive(Debug, Serialize)]
struct TokenView {
    id: String,
    node: String,
    made: Timestamp,
    made_by: String,
    expires: Timestamp,
    state: String,
    ended: Option<Timestamp>,
    /// The address that used it, or who revoked it.
    ended_by: Option<String>,
    serial: Option<String>,
}

impl NewTokenView {
    /// `asked` is the coordinator's address as this program reached it.
    pub(crate) fn new(asked: &str, wire: v1::CreateTokenResponse) -> Self {
        let about = wire.about.unwrap_or_default();
        Self {
            token: wire.token,
            id: about.id,
            node: about.node,
            expires: Timestamp::from_micros(about.expires_us),
            endpoint: beside(asked, &wire.listen),
        }
    }
}

/// The host of one address with the port of another.
fn beside(asked: &str, listen: &str) -> String {
    let host = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
    let port = listen.rsplit_once(':').map_or("", |(_, port)| port);
    format!("{host}:{port}")
}

impl View for NewTokenView {
    const KIND: &'static str = "node-enrol";

    fn text(&self) -> String {
        format!(
            "Token {} for the agent of node {}, good once, until {}.\n\nOn that node, as the agent's user:\n  \
             holdfast-agent --config /etc/holdfast/agent.toml enrol --coordinator {} \\\n    --token {}\n\n\
             It is shown this once. `holdfast nodes revoke-token {}` ends it.",
            self.id,
            self.node,
            short_time(self.expires),
            self.endpoint,
            self.token,
            self.id
        )
    }
}

impl From<&v1::ListTokensResponse> for TokensView {
    fn from(wire: &v1::ListTokensResponse) -> Self {
        Self {
            tokens: wire.tokens.iter().map(TokenView::from).collect(),
        }
    }
}

impl From<&v1::EnrolmentToken> for TokenRevokedView {
    fn from(wire: &v1::EnrolmentToken) -> Self {
        Self {
            token: TokenView::from(wire),
        }
    }
}

impl From<&v1::EnrolmentToken> for TokenView {
    fn from(wire: &v1::EnrolmentToken) -> Self {
        let made = wire.made.clone().unwrap_or_default();
        let ended = (wire.ended_us != 0).then_some(wire.ended_us);
        Self {
            id: wire.id.clone(),
            node: wire.node.clone(),
            made: Timestamp::from_micros(made.since_us),
            made_by: made.by,
            expires: Timestamp::from_micros(wire.expires_us),
            state: wire.state.clone(),
            ended: ended.map(Timestamp::from_micros),
            ended_by: some(&wire.ended_by),
            serial: some(&wire.serial),
        }
    }
}

impl TokenView {
    fn row(&self) -> Vec<String> {
        let ended = match (&self.ended, &self.ended_by) {
            (Some(at), Some(by)) => format!("{} by {by}", short_time(*at)),
            (Some(at), None) => short_time(*at),
            (None, _) => String::new(),
        };
        vec![
            self.id.clone(),
            self.node.clone(),
            self.state.clone(),
            short_time(self.expires),
            self.made_by.clone(),
            ended,
        ]
    }
}

impl View for TokensView {
    const KIND: &'static str = "node-tokens";

    fn text(&self) -> String {
        if self.tokens.is_empty() {
            return "No token was made: `holdfast nodes enrol NODE` makes one.".to_owned();
        }
        table(
            &["ID", "NODE", "STATE", "EXPIRES", "MADE BY", "ENDED"],
            self.tokens.iter().map(TokenView::row),
        )
    }
}

impl View for TokenRevokedView {
    const KIND: &'static str = "token-revoked";

    fn text(&self) -> String {
        let TokenView { id, node, .. } = &self.token;
        format!("Token {id} for node {node} is revoked.")
    }
}

#[cfg(test)]
mod tests {
    use super::{NewTokenView, TokenRevokedView, TokensView};
    use crate::output::{View, render_json};
    use holdfast_proto::v1;

    fn about() -> v1::EnrolmentToken {
        v1::EnrolmentToken {
            id: "3f9a1c20b7de".into(),
            node: "n4".into(),
            made: Some(v1::NodeMark {
                since_us: 1_795_000_000_000_000,
                by: "alice".into(),
                reason: String::new(),
            }),
            expires_us: 1_795_003_600_000_000,
            state: "used".into(),
            ended_us: 1_795_000_060_000_000,
            ended_by: "10.0.0.7:40000".into(),
            serial: "5a".into(),
        }
    }

    #[test]
    fn a_token_is_shown_with_what_to_type() {
        let wire = v1::CreateTokenResponse {
            token: "hfe1.secret.pin".into(),
            about: Some(about()),
            listen: "0.0.0.0:6352".into(),
        };
        let view = NewTokenView::new("https://holdfast.internal:6350", wire);
        insta::assert_snapshot!(view.text(), @r"
Token 3f9a1c20b7de for the agent of node n4, good once, until 2026-11-18 12:06:40Z.

On that node, as the agent's user:
  holdfast-agent --config /etc/holdfast/agent.toml enrol --coordinator https://holdfast.internal:6352 \
    --token hfe1.secret.pin

It is shown this once. `holdfast nodes revoke-token 3f9a1c20b7de` ends it.
");
    }

    #[test]
    fn tokens_are_listed_and_every_field_is_in_the_reference() {
        let listed = v1::ListTokensResponse {
            tokens: vec![about()],
        };
        let view = TokensView::from(&listed);
        insta::assert_snapshot!(view.text(), @r"
ID            NODE  STATE  EXPIRES               MADE BY  ENDED
3f9a1c20b7de  n4    used   2026-11-18 12:06:40Z  alice    2026-11-18 11:07:40Z by 10.0.0.7:40000
");
        let empty = TokensView::from(&v1::ListTokensResponse::default()).text();
        assert!(empty.contains("nodes enrol NODE"), "{empty}");
        let revoked = TokenRevokedView::from(&about());
        assert_eq!(revoked.text(), "Token 3f9a1c20b7de for node n4 is revoked.");
        let reference = include_str!("../../../docs/reference/json-output.md");
        let new = NewTokenView::new("https://h:1", v1::CreateTokenResponse::default());
        for json in [
            render_json(&view, false),
            render_json(&revoked, false),
            render_json(&new, false),
        ] {
            let document: serde_json::Value = serde_json::from_str(&json).unwrap();
            let kind = document["kind"].as_str().unwrap();
            assert!(reference.contains(&format!("`{kind}`")), "{kind}");
            let inner = document["tokens"][0].as_object().into_iter().flatten();
            for (name, _) in document.as_object().unwrap().into_iter().chain(inner) {
                assert!(reference.contains(&format!("`{name}`")), "{name}");
            }
        }
    }
}
