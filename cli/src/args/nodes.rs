//! `holdfast nodes …`

use super::ConnectionArgs;
use clap::{Args, Subcommand};
use holdfast_decide::policy::parse_duration;
use std::time::Duration;

/// Options of `nodes`.
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// Show the shards whose storage the agents watch: what they take, and what has changed since the agents' starts.
    #[arg(long)]
    pub(crate) shards: bool,

    #[command(subcommand)]
    pub(crate) command: Option<NodesCommand>,
}

/// What to do about nodes; without any, they are listed.
#[derive(Debug, Subcommand)]
pub(crate) enum NodesCommand {
    /// Place no captures on a node any more, as far as other nodes have the replicas.
    #[command(after_help = "Examples:
  holdfast nodes drain n1 --reason 'new disk'
  holdfast nodes drain n1 --output json | jq .only_here

Captures that run end. What only this node has goes on being captured on it, and is named. Logs are still archived from it.")]
    Drain(NodeReasonArgs),
    /// Let captures be placed on a node again.
    #[command(after_help = "Examples:
  holdfast nodes undrain n1")]
    Undrain(NodeArgs),
    /// Make a token by which the agent of a new node gets its certificate. It is shown once.
    #[command(after_help = "Examples:
  holdfast nodes enrol n4
  holdfast nodes enrol n4 --valid-for 15m --output json | jq -r .token

On that node: holdfast-agent enrol. A token is good for one use and for this name only; the coordinator keeps its hash. Needs
[enrolment] in the coordinator's configuration; without it, `holdfast certs issue --role agent` makes the certificate.")]
    Enrol(NodeEnrolArgs),
    /// List the enrolment tokens of the last month and what became of them.
    #[command(after_help = "Examples:
  holdfast nodes tokens
  holdfast nodes tokens --output json | jq '.tokens[] | select(.state == \"open\")'")]
    Tokens,
    /// End a token that was not used.
    #[command(after_help = "Examples:
  holdfast nodes revoke-token 3f9a1c20b7de")]
    RevokeToken(RevokeTokenArgs),
    /// Forget a node for good: nobody waits for it, and its certificates are refused. Shows what that costs until --confirm.
    #[command(after_help = "Examples:
  holdfast nodes remove n1
  holdfast nodes remove n1 --reason 'scrapped' --confirm

Recovery points and archived logs that came from it stay. It can come back by a certificate that is issued later.")]
    Remove(NodeRemoveArgs),
    /// Remove a node, and let another take its place: it takes over what was captured from it. Shows what that costs until --confirm.
    #[command(after_help = "Examples:
  holdfast nodes replace n1 --with n4
  holdfast nodes replace n1 --with n4 --reason 'new machine' --confirm

The agent of the new node must be connected. As soon as it has replicas of what was captured from the old one, bases of them are captured.")]
    Replace(NodeReplaceArgs),
}

/// A node.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's name.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
}

/// A node, and why.
#[derive(Debug, Args)]
pub(crate) struct NodeReasonArgs {
    /// The node's name.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,

    /// Why; shown in `holdfast nodes`.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
}

/// Options of `nodes enrol`.
#[derive(Debug, Args)]
pub(crate) struct NodeEnrolArgs {
    /// The node's name, as in its agent's configuration.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,

    /// How long the token can be used: from 1m to 7d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub(crate) valid_for: Duration,
}

/// Options of `nodes revoke-token`.
#[derive(Debug, Args)]
pub(crate) struct RevokeTokenArgs {
    /// The token's id as `nodes tokens` shows it, or its beginning.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Options of `nodes remove`.
#[derive(Debug, Args)]
pub(crate) struct NodeRemoveArgs {
    #[command(flatten)]
    pub(crate) node: NodeReasonArgs,

    /// Carry it out. Without this, only show what it would cost.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// Options of `nodes replace`.
#[derive(Debug, Args)]
pub(crate) struct NodeReplaceArgs {
    #[command(flatten)]
    pub(crate) remove: NodeRemoveArgs,

    /// The node that takes its place.
    #[arg(long = "with", value_name = "NODE")]
    pub(crate) successor: String,
}
