//! `holdfast certs …`

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Make a certificate authority: ca.pem and ca-key.pem (keep the latter safe and offline).
    #[command(after_help = "Examples:
  holdfast certs init pki --domain production
  holdfast certs init pki --domain demo --days 30
  holdfast certs init pki-agents --domain production --agents-only")]
    Init(CertsInitArgs),
    /// Issue a certificate to an agent, a coordinator, an operator or a viewer.
    #[command(after_help = "Examples:
  holdfast certs issue --ca pki --role coordinator --name c1 --dns holdfast.internal --ip 10.0.0.5 --out tls/c1
  holdfast certs issue --ca pki --role agent --name n1 --out tls/n1
  holdfast certs issue --ca pki --role operator --name alice --out ~/.config/holdfast/tls

The name of an agent is the name of its node.")]
    Issue(CertsIssueArgs),
    /// Replace a certificate by one of the same identity and names; running programs take it over.
    #[command(after_help = "Examples:
  holdfast certs renew tls/n1 --ca pki
  holdfast certs renew tls/n1 --ca pki --days 90")]
    Renew(CertsRenewArgs),
    /// Show identity, validity and issuer of certificates.
    #[command(after_help = "Examples:
  holdfast certs show tls/n1/cert.pem
  holdfast certs show tls/n1 --output json | jq '.certificates[].not_after'")]
    Show(CertsShowArgs),
}

/// Options of `certs init`.
#[derive(Debug, Args)]
pub(crate) struct CertsInitArgs {
    /// The directory to make; nothing in it is ever overwritten.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// The trust domain, part of every identity. By convention the cluster's name.
    #[arg(long, default_value = "default")]
    pub(crate) domain: String,

    /// Make one that vouches for agents alone: for a coordinator that enrols them (docs/reference/nodes.md).
    #[arg(long)]
    pub(crate) agents_only: bool,

    /// Days that the authority is valid.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
}

/// What a certificate's holder may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Runs beside a Qdrant node.
    Agent,
    /// Decides, and holds the repository.
    Coordinator,
    /// May start backups and restores.
    Operator,
    /// May look only.
    Viewer,
}

/// Options of `certs issue`.
#[derive(Debug, Args)]
pub(crate) struct CertsIssueArgs {
    /// The directory made by `certs init`.
    #[arg(long, value_name = "DIR")]
    pub(crate) ca: PathBuf,

    /// What the holder may do.
    #[arg(long, value_enum)]
    pub(crate) role: RoleArg,

    /// The holder's name; an agent's is the name of its node.
    #[arg(long)]
    pub(crate) name: String,

    /// A DNS name under which the holder is reached (coordinators); may be given several times.
    #[arg(long = "dns", value_name = "NAME")]
    pub(crate) dns: Vec<String>,

    /// An IP address under which the holder is reached (coordinators); may be given several times.
    #[arg(long = "ip", value_name = "ADDRESS")]
    pub(crate) ips: Vec<std::net::IpAddr>,

    /// Days that the certificate is valid.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,

    /// The directory to write cert.pem, key.pem and ca.pem to; existing files are never overwritten.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Options of `certs renew`.
#[derive(Debug, Args)]
pub(crate) struct CertsRenewArgs {
    /// The directory with cert.pem, key.pem and ca.pem.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// The directory made by `certs init`.
    #[arg(long, value_name = "DIR")]
    pub(crate) ca: PathBuf,

    /// Days that the new certificate is valid.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

/// Options of `certs show`.
#[derive(Debug, Args)]
pub(crate) struct CertsShowArgs {
    /// A PEM file, or a directory with cert.pem or ca.pem.
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
}
