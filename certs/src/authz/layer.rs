//! The tower layer in front of every service: refuses a call before its body is read.

use super::{Decision, allowed};
use crate::identity::{Identity, Role};
use crate::incoming::PeerIdentity;
use crate::log_once::LogOnce;
use futures::future::Either;
use http::{Request, Response};
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tonic::Status;
use tower::{Layer, Service};

/// Applies the table to every call of a server whose connections come from [`crate::incoming`].
#[derive(Clone, Debug)]
pub struct AuthzLayer {
    log: Arc<LogOnce<(Option<Identity>, String)>>,
}

/// A service behind the table.
#[derive(Clone, Debug)]
pub struct Authz<S> {
    inner: S,
    log: Arc<LogOnce<(Option<Identity>, String)>>,
}

impl AuthzLayer {
    /// The layer; services made by clones share the memory of what was logged.
    #[must_use]
    pub fn new() -> Self {
        Self {
            log: Arc::new(LogOnce::new()),
        }
    }
}

impl Default for AuthzLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for AuthzLayer {
    type Service = Authz<S>;

    fn layer(&self, inner: S) -> Authz<S> {
        Authz {
            inner,
            log: Arc::clone(&self.log),
        }
    }
}

impl<S> Authz<S> {
    fn check<B>(&self, request: &Request<B>) -> Result<(), Status> {
        let path = request.uri().path();
        let peer = request.extensions().get::<PeerIdentity>();
        let refusal = match peer {
            Some(peer) => match allowed(peer.identity().role(), path) {
                Decision::Allowed => return Ok(()),
                Decision::WrongRole(roles) => Status::permission_denied(format!(
                    "{path} needs the role {}, but {} has the role {}",
                    list(roles),
                    peer.identity(),
                    peer.identity().role(),
                )),
                Decision::UnknownMethod => {
                    Status::permission_denied(format!("there is no method {path} for anyone"))
                }
            },
            // Can't happen behind `incoming`; without it nobody gets in.
            None => Status::unauthenticated("this connection has no verified certificate"),
        };
        let identity = peer.map(|peer| peer.identity().clone());
        if self
            .log
            .should_log((identity, shorten(path)), Instant::now())
        {
            let remote = peer.map(|peer| peer.remote().to_string());
            tracing::warn!(remote, reason = refusal.message(), "refused a call");
        }
        Err(refusal)
    }
}

/// Unknown paths come from outside: they are remembered, but not at any length.
fn shorten(path: &str) -> String {
    const LONGEST: usize = 128;
    path.chars().take(LONGEST).collect()
}

fn list(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    names.join(" or ")
}

impl<S, B, R> Service<Request<B>> for Authz<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.check(&request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}
