//! Who is calling.

use holdfast_certs::{Identity, PeerIdentity};
use holdfast_types::NodeId;
use tonic::{Request, Status};

/// The caller's identity.
///
/// # Errors
/// UNAUTHENTICATED without a verified certificate.
pub(super) fn identity<T>(request: &Request<T>) -> Result<&Identity, Status> {
    let peer = PeerIdentity::of(request)
        .ok_or_else(|| Status::unauthenticated("this connection has no verified certificate"))?;
    Ok(peer.identity())
}

/// The caller, with what its certificate says.
///
/// # Errors
/// UNAUTHENTICATED without a verified certificate.
pub(super) fn certified<T>(request: &Request<T>) -> Result<&PeerIdentity, Status> {
    PeerIdentity::of(request)
        .ok_or_else(|| Status::unauthenticated("this connection has no verified certificate"))
}

/// The node whose agent calls.
///
/// # Errors
/// PERMISSION_DENIED for every other role, UNAUTHENTICATED without a verified certificate. The
/// authorisation table has decided before; this is for the name.
pub(super) fn node<T>(request: &Request<T>) -> Result<NodeId, Status> {
    let identity = identity(request)?;
    identity
        .node()
        .cloned()
        .ok_or_else(|| Status::permission_denied(format!("{identity} is not an agent")))
}

/// Who calls, in words.
///
/// # Errors
/// UNAUTHENTICATED without a verified certificate.
pub(super) fn in_words<T>(request: &Request<T>) -> Result<String, Status> {
    let identity = identity(request)?;
    Ok(format!("{} {}", identity.role(), identity.name()))
}

/// The operator who calls.
///
/// # Errors
/// UNAUTHENTICATED without a verified certificate.
pub(super) fn name<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = PeerIdentity::of(request)
        .ok_or_else(|| Status::unauthenticated("this connection has no verified certificate"))?;
    Ok(peer.identity().name().to_string())
}
