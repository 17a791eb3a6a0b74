//! For whom an authority may vouch: for everybody, or for agents alone.
//!
//! An authority whose key lies on a coordinator should be worth no more than that key is used for. So it can be marked, in its
//! certificate, as one for agents; and whoever verifies a peer by several authorities asks here whether the one that it
//! comes from may vouch for its role. A peer's certificate names its authority by the name that the path to it was found by;
//! a path by way of further authorities is refused for every other role.

use crate::certificate::CertificateInfo;
use crate::identity::{IdentityError, Role};
use rustls_pki_types::CertificateDer;

/// The URI, beside its trust domain, that an authority for agents alone carries.
pub(crate) const AGENTS_ONLY: &str = "urn:holdfast:agents-only";

/// For whom an authority may vouch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For every role.
    Everybody,
    /// For agents.
    AgentsOnly,
}

/// What is known of the limits of some authorities.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// Names of those that vouch for agents alone.
    for_agents: Vec<String>,
}

impl Scope {
    /// Of an authority.
    pub(crate) fn of(authority: &CertificateInfo) -> Self {
        if authority.uris.iter().any(|uri| uri == AGENTS_ONLY) {
            Self::AgentsOnly
        } else {
            Self::Everybody
        }
    }

    /// Whether it may vouch for this role.
    #[must_use]
    pub fn covers(self, role: Role) -> bool {
        match self {
            Self::Everybody => true,
            Self::AgentsOnly => role == Role::Agent,
        }
    }
}

impl Limits {
    pub(crate) fn of(authorities: &[CertificateDer<'_>]) -> Self {
        let infos = authorities
            .iter()
            .filter_map(|der| CertificateInfo::from_der(der).ok());
        let limited = infos.filter(|info| Scope::of(info) == Scope::AgentsOnly);
        Self {
            for_agents: limited.map(|info| info.subject).collect(),
        }
    }

    /// Whether the authority that a verified peer comes from may vouch for its role. `between` says whether the peer has shown authorities
    /// between its own certificate and a trusted one: an authority for agents alone could have made one of any name, so nobody but an
    /// agent may come by such a path where there is one. Holdfast's own authorities sign peers themselves.
    pub(crate) fn check(&self, peer: &CertificateInfo, between: bool) -> Result<(), IdentityError> {
        let by_detour = between && !self.for_agents.is_empty();
        if !by_detour && !self.for_agents.contains(&peer.issuer) {
            return Ok(());
        }
        let identity = peer.require_identity()?;
        if Scope::AgentsOnly.covers(identity.role()) {
            return Ok(());
        }
        Err(IdentityError::BeyondAuthority {
            peer: Box::new(identity),
            authority: peer.issuer.clone(),
        })
    }
}
