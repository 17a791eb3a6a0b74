//! Why a connection was not made, in words for the person at the calling side.

use crate::certificate::CertificateInfo;
use crate::identity::IdentityError;
use holdfast_types::Timestamp;
use rustls::{AlertDescription as Alert, CertificateError as Cert, Error};
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whose certificate is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The server's.
    Server,
    /// This program's.
    Own,
}

/// Why a connection was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address itself is wrong.
    #[error("the endpoint {endpoint:?} is not valid: {reason}")]
    Endpoint {
        /// The endpoint as configured.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody listens there, or the network is down.
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        /// The endpoint as configured.
        endpoint: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// No connection in time.
    #[error("{endpoint} did not answer within {}s", after.as_secs_f32())]
    Timeout {
        /// The endpoint as configured.
        endpoint: String,
        /// The time given.
        after: Duration,
    },
    /// The server does not speak TLS.
    #[error("{endpoint} does not speak TLS")]
    NotTls {
        /// The endpoint as configured.
        endpoint: String,
    },
    /// The server's certificate comes from another authority.
    #[error("the certificate of {endpoint} was issued by another authority than ours")]
    WrongCa {
        /// The endpoint as configured.
        endpoint: String,
    },
    /// The server does not come from the authority that was pinned.
    #[error(
        "the certificate of {endpoint} does not come from the authority with the pinned fingerprint"
    )]
    WrongPin {
        /// The endpoint as configured.
        endpoint: String,
    },
    /// A certificate has expired.
    #[error("{} certificate expired{}", owner(*whose, endpoint), at(*not_after))]
    Expired {
        /// The endpoint as configured.
        endpoint: String,
        /// Whose certificate.
        whose: Whose,
        /// The end of its lifetime, if it is known.
        not_after: Option<Timestamp>,
    },
    /// A certificate is valid by one clock and not by the other.
    #[error("the clocks of this machine and of {endpoint} differ: {detail}")]
    ClockOff {
        /// The endpoint as configured.
        endpoint: String,
        /// How that shows.
        detail: String,
    },
    /// The server's certificate is for another host.
    #[error("the certificate of {endpoint} is for another host: {detail}")]
    WrongName {
        /// The endpoint as configured.
        endpoint: String,
        /// The names it has.
        detail: String,
    },
    /// The server is not what it should be.
    #[error("{endpoint} is not the server that was expected")]
    WrongServer {
        /// The endpoint as configured.
        endpoint: String,
        /// What it is.
        #[source]
        source: IdentityError,
    },
    /// The server refused our certificate.
    #[error("{endpoint} refused our certificate: {reason}")]
    Refused {
        /// The endpoint as configured.
        endpoint: String,
        /// What it told.
        reason: &'static str,
    },
    /// The server closed the connection without a word.
    #[error("{endpoint} closed the connection during the TLS handshake")]
    Closed {
        /// The endpoint as configured.
        endpoint: String,
    },
    /// Any other failure of TLS.
    #[error("no TLS connection to {endpoint}")]
    Tls {
        /// The endpoint as configured.
        endpoint: String,
        /// What TLS said.
        #[source]
        source: Error,
    },
    /// Any other failure of HTTP/2.
    #[error("no gRPC connection to {endpoint}")]
    Transport {
        /// The endpoint as configured.
        endpoint: String,
        /// What the transport said.
        #[source]
        source: Arc<tonic::transport::Error>,
    },
}

impl ConnectError {
    /// What a person should do about it, in one sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Endpoint { .. } => "use a form like https://coordinator.example:6350",
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                "check that the coordinator runs and that address and port are right"
            }
            Self::NotTls { .. } => {
                "check that the port is the coordinator's, not its health port or Qdrant's"
            }
            Self::WrongCa { .. } => {
                "check that the ca file is the coordinator's authority, and that this is the right coordinator"
            }
            Self::WrongPin { .. } => {
                "check the address, and that the token is of this coordinator; if both are right, somebody else answers there"
            }
            Self::Expired {
                whose: Whose::Server,
                ..
            } => "renew the coordinator's certificate, or set this machine's clock",
            Self::Expired {
                whose: Whose::Own, ..
            } => "renew this certificate with `holdfast certs renew`",
            Self::ClockOff { .. } => "set the clocks of both machines, for instance by NTP",
            Self::WrongName { .. } => {
                "use a host name that the certificate has, or issue one for this name"
            }
            Self::WrongServer { .. } => {
                "check the address: the server there has another role or belongs to another cluster"
            }
            Self::Refused { .. } => {
                "issue this certificate by the coordinator's authority, and see the coordinator's log"
            }
            Self::Closed { .. } => "check that the port is the coordinator's, and see its log",
            Self::Tls { .. } | Self::Transport { .. } => "see the coordinator's log",
        }
    }

    /// The failure code of the program's reference.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Endpoint { .. } => "config",
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::NotTls { .. }
            | Self::Transport { .. } => "coordinator-unreachable",
            Self::ClockOff { .. } => "clock-skew",
            Self::WrongCa { .. }
            | Self::WrongPin { .. }
            | Self::Expired { .. }
            | Self::WrongName { .. }
            | Self::WrongServer { .. }
            | Self::Refused { .. }
            | Self::Tls { .. } => "certificate",
        }
    }

    /// Whether it may work later without anyone changing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Closed { .. }
                | Self::Transport { .. }
        )
    }

    /// The reason behind the status of a failed call, if the call failed for want of a connection.
    #[must_use]
    pub fn from_status(status: &tonic::Status) -> Option<Self> {
        find(status)
    }

    pub(super) fn from_transport(endpoint: &str, error: tonic::transport::Error) -> Self {
        find(&error).unwrap_or_else(|| Self::Transport {
            endpoint: endpoint.to_owned(),
            source: Arc::new(error),
        })
    }

    pub(super) fn endpoint(endpoint: &str, reason: &'static str) -> Self {
        Self::Endpoint {
            endpoint: endpoint.to_owned(),
            reason,
        }
    }

    pub(super) fn unreachable(endpoint: &str, error: io::Error) -> Self {
        Self::Unreachable {
            endpoint: endpoint.to_owned(),
            source: Arc::new(error),
        }
    }

    pub(super) fn closed(endpoint: &str) -> Self {
        Self::Closed {
            endpoint: endpoint.to_owned(),
        }
    }

    /// Translates a failed handshake or first read. `own` is the certificate that we showed, if we have one.
    pub(super) fn from_handshake(
        endpoint: &str,
        error: io::Error,
        own: Option<&CertificateInfo>,
    ) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            Some(tls) => Self::from_tls(endpoint, tls, own),
            None => Self::closed(endpoint),
        }
    }

    fn from_tls(endpoint: &str, error: &Error, own: Option<&CertificateInfo>) -> Self {
        if let Error::InvalidMessage(_) = error {
            Self::NotTls {
                endpoint: endpoint.to_owned(),
            }
        } else if let Error::InvalidCertificate(cert) = error {
            Self::from_server_certificate(endpoint, cert)
        } else if let Error::AlertReceived(alert) = error {
            Self::from_alert(endpoint, *alert, own).unwrap_or_else(|| Self::tls(endpoint, error))
        } else {
            Self::tls(endpoint, error)
        }
    }

    fn tls(endpoint: &str, error: &Error) -> Self {
        Self::Tls {
            endpoint: endpoint.to_owned(),
            source: error.clone(),
        }
    }

    fn from_server_certificate(endpoint: &str, error: &Cert) -> Self {
        let endpoint = endpoint.to_owned();
        if let Cert::UnknownIssuer | Cert::BadSignature = error {
            Self::WrongCa { endpoint }
        } else if let Cert::ExpiredContext { not_after, .. } = error {
            let seconds = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
            Self::Expired {
                endpoint,
                whose: Whose::Server,
                not_after: Some(Timestamp::from_micros(seconds.saturating_mul(1_000_000))),
            }
        } else if let Cert::Expired = error {
            Self::Expired {
                endpoint,
                whose: Whose::Server,
                not_after: None,
            }
        } else if let Cert::NotValidYet | Cert::NotValidYetContext { .. } = error {
            Self::ClockOff {
                endpoint,
                detail: "the server's certificate is not valid yet by this machine's clock"
                    .to_owned(),
            }
        } else if let Cert::NotValidForName | Cert::NotValidForNameContext { .. } = error {
            Self::WrongName {
                endpoint,
                detail: error.to_string(),
            }
        } else if let Cert::InvalidPurpose | Cert::InvalidPurposeContext { .. } = error {
            Self::WrongServer {
                endpoint,
                source: IdentityError::NotAServer,
            }
        } else {
            Self::tls(&endpoint, &Error::InvalidCertificate(error.clone()))
        }
    }

    fn from_alert(endpoint: &str, alert: Alert, own: Option<&CertificateInfo>) -> Option<Self> {
        let refused = |reason| Self::Refused {
            endpoint: endpoint.to_owned(),
            reason,
        };
        if let Alert::UnknownCA | Alert::DecryptError = alert {
            Some(refused("it was issued by another authority"))
        } else if let Alert::CertificateExpired = alert {
            own.map(|own| Self::from_expiry(endpoint, own, now()))
        } else if let Alert::CertificateRequired = alert {
            Some(refused("none was shown"))
        } else if let Alert::CertificateUnknown | Alert::AccessDenied = alert {
            Some(refused("its identity is not accepted there"))
        } else if let Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked = alert
        {
            Some(refused("it cannot be used there"))
        } else {
            None
        }
    }

    /// The alert says "not valid now" for expired and for not yet valid: our clock tells which.
    fn from_expiry(endpoint: &str, own: &CertificateInfo, now: Timestamp) -> Self {
        let endpoint = endpoint.to_owned();
        if now > own.not_after {
            return Self::Expired {
                endpoint,
                whose: Whose::Own,
                not_after: Some(own.not_after),
            };
        }
        Self::ClockOff {
            endpoint,
            detail: format!(
                "our certificate is valid from {} to {}, but not now by the server's clock, and it is {now} by ours",
                own.not_before, own.not_after
            ),
        }
    }
}

fn find(error: &(dyn StdError + 'static)) -> Option<ConnectError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<ConnectError>() {
            return Some(found.clone());
        }
        next = error.source();
    }
    None
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::EPOCH.after(since.unwrap_or_default())
}

fn owner(whose: Whose, endpoint: &str) -> String {
    match whose {
        Whose::Server => format!("the server's ({endpoint})"),
        Whose::Own => format!("{endpoint} refused us: our own"),
    }
}

fn at(not_after: Option<Timestamp>) -> String {
    not_after.map_or_else(String::new, |t| format!(" at {t}"))
}
