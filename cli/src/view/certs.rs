//! Results of the `certs` commands.

use super::text::{list, pairs, short_time};
use crate::output::View;
use holdfast_types::Timestamp;
use serde::Serialize;
use std::path::PathBuf;

/// `certs init`.
#[derive(Debug, Serialize)]
pub(crate) struct CaView {
    pub(crate) domain: String,
    /// Whether it vouches for agents alone.
    pub(crate) agents_only: bool,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) not_after: Timestamp,
}

/// `certs issue`.
#[derive(Debug, Serialize)]
pub(crate) struct IssuedView {
    /// The URI in the certificate.
    pub(crate) identity: String,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
    pub(crate) not_after: Timestamp,
}

/// `certs show`.
#[derive(Debug, Serialize)]
pub(crate) struct CertificatesView {
    pub(crate) certificates: Vec<CertificateView>,
}

/// One certificate.
#[derive(Debug, Serialize)]
pub(crate) struct CertificateView {
    pub(crate) file: PathBuf,
    /// Absent for an authority's certificate.
    pub(crate) identity: Option<String>,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// Hexadecimal.
    pub(crate) serial: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// `valid`, `expired` or `not-yet-valid`, by this machine's clock.
    pub(crate) state: &'static str,
    pub(crate) is_ca: bool,
    /// DNS names and addresses.
    pub(crate) names: Vec<String>,
}

impl View for CaView {
    const KIND: &'static str = "certs-init";

    fn text(&self) -> String {
        format!(
            "{}\n\nWhoever has {} can issue {}",
            pairs([
                (
                    "Authority",
                    format!(
                        "{}, valid until {}",
                        self.domain,
                        short_time(self.not_after)
                    )
                ),
                ("Certificate", self.certificate.display().to_string()),
                ("Key", self.key.display().to_string()),
            ]),
            self.key.display(),
            if self.agents_only {
                "any agent's identity, and no other: only the coordinator that enrols needs it."
            } else {
                "any identity: keep it offline."
            }
        )
    }
}

impl View for IssuedView {
    const KIND: &'static str = "certs-issue";

    fn text(&self) -> String {
        pairs([
            ("Identity", self.identity.clone()),
            ("Valid until", short_time(self.not_after)),
            ("Certificate", self.certificate.display().to_string()),
            ("Key", self.key.display().to_string()),
            ("Authority", self.ca.display().to_string()),
        ])
    }
}

impl View for CertificatesView {
    const KIND: &'static str = "certs-show";

    fn text(&self) -> String {
        let show = |c: &CertificateView| {
            let of_ca = if c.is_ca {
                "certificate authority"
            } else {
                "no identity"
            };
            pairs([
                ("File", c.file.display().to_string()),
                (
                    "Identity",
                    c.identity.clone().unwrap_or_else(|| of_ca.to_owned()),
                ),
                ("Subject", c.subject.clone()),
                ("Issuer", c.issuer.clone()),
                ("Serial", c.serial.clone()),
                (
                    "Valid",
                    format!(
                        "{} to {} ({})",
                        short_time(c.not_before),
                        short_time(c.not_after),
                        c.state.to_uppercase()
                    ),
                ),
                ("Names", list(&c.names, "")),
            ])
        };
        let all: Vec<String> = self.certificates.iter().map(show).collect();
        all.join("\n\n")
    }
}
