//! Who is calling.

use holdfast_certs::PeerIdentity;
use holdfast_types::NodeId;
use tonic::{Request, Status};

/// The node whose agent calls.
///
/// # Errors
/// PERMISSION_DENIED for every other role, UNAUTHENTICATED without a verified certificate. The
/// authorisation table has decided before; this is for the name.
pub(super) fn node<T>(request: &Request<T>) -> Result<NodeId, Status> {
    let peer = PeerIdentity::of(request)
        .ok_or_else(|| Status::unauthenticated("this connection has no verified certificate"))?;
    let identity = peer.identity();
    identity
        .node()
        .cloned()
        .ok_or_else(|| Status::permission_denied(format!("{identity} is not an agent")))
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
