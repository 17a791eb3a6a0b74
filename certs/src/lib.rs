//! Who may talk to whom: certificate authority, identities, mutual TLS for gRPC, and the table of
//! what each role may call.
//!
//! Every connection is TLS 1.3 with certificates on both sides; the identity is a URI in the
//! certificate and nothing else. This crate knows no message of the wire: the authorisation table
//! speaks of method paths, and limits of HTTP/2 come from the caller. It doesn't revoke: open
//! connections and stolen keys end with the certificate's lifetime, so keep lifetimes short.

pub mod authz;
pub mod ca;
mod certificate;
mod connect;
mod error_chain;
mod identity;
mod incoming;
mod log_once;
mod pem;
mod provider;
mod socket;
pub mod tls;

pub use certificate::{CertificateError, CertificateInfo, describe};
pub use connect::{ConnectError, ConnectOptions, Whose, connect, connect_lazy};
pub use identity::{Identity, IdentityError, ParseRoleError, Role};
pub use incoming::{Incoming, PeerIdentity, PeerStream, Refusal, incoming};
pub use log_once::LogOnce;
pub use provider::install_crypto_provider;
pub use tls::{ClientTls, Reload, ServerTls, TlsError, TlsPaths};

#[cfg(test)]
mod tests;
