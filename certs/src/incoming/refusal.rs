//! Why a client was not let in, in words for the server's log.

use crate::identity::IdentityError;
use rustls::{AlertDescription as Alert, CertificateError as Cert, Error};
use std::io;

/// Why a handshake failed, as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client does not speak TLS.
    #[error("the client speaks plain text, not TLS: it must use https:// and a certificate")]
    PlainText,
    /// The client showed no certificate.
    #[error("the client showed no certificate")]
    NoCertificate,
    /// The client's certificate comes from another authority.
    #[error("the client's certificate was issued by another authority")]
    OtherAuthority,
    /// The client's certificate has expired.
    #[error("the client's certificate has expired")]
    Expired,
    /// The client's certificate is valid only in the future.
    #[error("the client's certificate is not valid yet: is this machine's clock right?")]
    NotYetValid,
    /// The client's certificate has no identity that may come in.
    #[error("the client's identity is refused: {0}")]
    Identity(IdentityError),
    /// The client refused the server's certificate.
    #[error("the client refused this server's certificate: {0}")]
    ByClient(&'static str),
    /// The client's TLS is too old or too different.
    #[error("the client has no TLS 1.3 in common with this server")]
    Incompatible,
    /// The client did not finish in time.
    #[error("the client did not finish the TLS handshake in time")]
    Timeout,
    /// The client went away in the middle.
    #[error("the client went away during the TLS handshake")]
    WentAway,
    /// The client said nothing, as port scanners and TCP health checks do.
    #[error("the client said nothing")]
    Silent,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    pub(super) fn from_handshake(error: &io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            Some(tls) => Self::from_tls(tls),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Silent,
            None => Self::WentAway,
        }
    }

    fn from_tls(error: &Error) -> Self {
        if let Error::InvalidMessage(_) = error {
            Self::PlainText
        } else if let Error::NoCertificatesPresented = error {
            Self::NoCertificate
        } else if let Error::InvalidCertificate(cert) = error {
            Self::from_certificate(cert)
        } else if let Error::AlertReceived(alert) = error {
            Self::ByClient(alert_reason(*alert))
        } else if let Error::PeerIncompatible(_) | Error::NoApplicationProtocol = error {
            Self::Incompatible
        } else {
            Self::Other(error.to_string())
        }
    }

    fn from_certificate(error: &Cert) -> Self {
        if let Cert::UnknownIssuer | Cert::BadSignature = error {
            Self::OtherAuthority
        } else if let Cert::Expired | Cert::ExpiredContext { .. } = error {
            Self::Expired
        } else if let Cert::NotValidYet | Cert::NotValidYetContext { .. } = error {
            Self::NotYetValid
        } else if let Cert::Other(other) = error
            && let Some(identity) = other.0.downcast_ref::<IdentityError>()
        {
            Self::Identity(identity.clone())
        } else {
            Self::Other(format!("the client's certificate is refused: {error}"))
        }
    }
}

fn alert_reason(alert: Alert) -> &'static str {
    if let Alert::UnknownCA | Alert::DecryptError = alert {
        "it trusts another authority"
    } else if let Alert::CertificateExpired = alert {
        "expired or not yet valid by the client's clock"
    } else if let Alert::BadCertificate = alert {
        "it does not name the host that the client asked for"
    } else {
        "for a reason that it does not tell"
    }
}
