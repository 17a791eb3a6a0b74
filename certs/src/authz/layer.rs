//! The tower layer in front of every service: refuses a call before its body is read.
//!
//! Beside the table it asks the server's own [`Gate`], which may refuse a peer whatever it calls, as one whose node
//! was removed. So a certificate counts for nothing from the next call on, also on connections that are open.

use super::{Decision, allowed};
use crate::identity::{Identity, Role};
use crate::incoming::PeerIdentity;
use crate::log_once::LogOnce;
use futures::future::Either;
use http::{Request, Response};
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tonic::Status;
use tower::{Layer, Service};

/// Says whether a peer is let in at all, by what only the server knows.
#[derive(Clone)]
pub struct Gate(Arc<Check>);

type Check = dyn Fn(&PeerIdentity) -> Result<(), Status> + Send + Sync;

impl Gate {
    /// A gate that refuses with the status that `check` answers.
    #[must_use]
    pub fn new(
        check: impl Fn(&PeerIdentity) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(check))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// Applies the table to every call of a server whose connections come from [`crate::incoming`].
#[derive(Clone, Debug)]
pub struct AuthzLayer {
    gate: Option<Gate>,
    log: Arc<LogOnce<(Option<Identity>, String)>>,
}

/// A service behind the table.
#[derive(Clone, Debug)]
pub struct Authz<S> {
    inner: S,
    gate: Option<Gate>,
    log: Arc<LogOnce<(Option<Identity>, String)>>,
}

impl AuthzLayer {
    /// The layer; services made by clones share the memory of what was logged.
    #[must_use]
    pub fn new() -> Self {
        Self {
            gate: None,
            log: Arc::new(LogOnce::new()),
        }
    }

    /// The layer that also asks `gate`.
    #[must_use]
    pub fn behind(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
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
            gate: self.gate.clone(),
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
                Decision::Allowed => match self.gate.as_ref().map(|gate| (gate.0)(peer)) {
                    None | Some(Ok(())) => return Ok(()),
                    Some(Err(status)) => status,
                },
                Decision::WrongRole([]) => Status::permission_denied(format!(
                    "{path} is not for callers with a certificate"
                )),
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
