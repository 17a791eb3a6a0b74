//! Who may talk to whom: certificate authority, identities, mutual TLS for gRPC, and the table of
//! what each role may call.
//!
//! Every connection is TLS 1.3 with certificates on both sides; the identity is a URI in the
//! certificate and nothing else. This crate knows no message of the wire: the authorisation table
//! speaks of method paths, and limits of HTTP/2 come from the caller. It keeps no list of revoked
//! certificates: a server refuses peers through its [`authz::Gate`], and lifetimes should be short.

pub mod authz;
pub mod ca;
mod certificate;
mod connect;
pub mod enrol;
mod error_chain;
mod fingerprint;
mod identity;
mod incoming;
mod log_once;
mod pem;
mod provider;
mod scope;
mod socket;
pub mod tls;

pub use certificate::{CertificateError, CertificateInfo, describe};
pub use connect::{ConnectError, ConnectOptions, Whose, connect, connect_lazy};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use identity::{Identity, IdentityError, ParseRoleError, Role};
pub use incoming::{
    Guest, Incoming, PeerIdentity, PeerStream, Refusal, Stranger, incoming, incoming_strangers,
};
pub use log_once::LogOnce;
pub use provider::install_crypto_provider;
pub use scope::Scope;
pub use tls::{ClientTls, Reload, ServerTls, TlsError, TlsPaths};

#[cfg(test)]
mod tests;
