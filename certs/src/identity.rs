//! The identity in a certificate: `spiffe://<trust domain>/<role>/<name>` as its only SPIFFE URI.
//!
//! The parser is strict: what it accepts, it prints back letter for letter.

use crate::scope::AGENTS_ONLY;
use holdfast_types::{ClusterName, NodeId, ParseNameError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "spiffe://";

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The agent beside one Qdrant node; its name is the node's.
    Agent,
    /// A coordinator.
    Coordinator,
    /// A person or program that may change things.
    Operator,
    /// A person or program that may only look.
    Viewer,
}

/// A text that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("role {0:?} is not valid: use agent, coordinator, operator or viewer")]
pub struct ParseRoleError(String);

/// Who a peer is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    trust_domain: ClusterName,
    role: Role,
    // By the rule of node names, whatever the role.
    name: NodeId,
}

/// Why a certificate or text has no valid identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text is not of the form.
    #[error("identity {0:?} is not of the form spiffe://<trust domain>/<role>/<name>")]
    Form(String),
    /// The role is not known.
    #[error(transparent)]
    Role(#[from] ParseRoleError),
    /// The trust domain or the name breaks its rule.
    #[error(transparent)]
    Name(#[from] ParseNameError),
    /// The certificate has no SPIFFE URI.
    #[error("the certificate has no identity (no spiffe:// URI)")]
    Missing,
    /// The certificate has several SPIFFE URIs.
    #[error("the certificate has {0} identities; it must have one")]
    Several(usize),
    /// The certificate can't be parsed.
    #[error("the certificate cannot be parsed")]
    Unreadable,
    /// The certificate is not made for serving.
    #[error("the certificate is not a server's")]
    NotAServer,
    /// The peer belongs to another trust domain.
    #[error("{peer} is of another trust domain than {expected}")]
    OtherDomain {
        /// The peer.
        peer: Box<Identity>,
        /// The domain it should be of.
        expected: ClusterName,
    },
    /// The authority that the peer comes from may not vouch for it.
    #[error("{peer} comes from the authority {authority:?}, which vouches for agents alone")]
    BeyondAuthority {
        /// The peer.
        peer: Box<Identity>,
        /// The authority's name.
        authority: String,
    },
    /// The peer has another role than this connection needs.
    #[error("{peer} has the role {}, but this needs {expected}", peer.role())]
    OtherRole {
        /// The peer.
        peer: Box<Identity>,
        /// The role it should have.
        expected: Role,
    },
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Coordinator, Self::Operator, Self::Viewer];

    /// The lowercase name, as in the URI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Coordinator => "coordinator",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

impl Identity {
    /// An identity. `name` follows the rule of node names.
    ///
    /// # Errors
    /// If the name breaks the rule.
    pub fn new(trust_domain: ClusterName, role: Role, name: &str) -> Result<Self, IdentityError> {
        Ok(Self {
            trust_domain,
            role,
            name: name.parse()?,
        })
    }

    /// What the peer is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The peer's name within its role.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The domain whose authority vouches for the peer: by convention the cluster's name.
    #[must_use]
    pub const fn trust_domain(&self) -> &ClusterName {
        &self.trust_domain
    }

    /// The node that an agent speaks for; `None` for every other role.
    #[must_use]
    pub fn node(&self) -> Option<&NodeId> {
        (self.role == Role::Agent).then_some(&self.name)
    }

    /// Checks that the peer is of this trust domain.
    pub(crate) fn check_domain(&self, expected: &ClusterName) -> Result<(), IdentityError> {
        if self.trust_domain == *expected {
            return Ok(());
        }
        Err(IdentityError::OtherDomain {
            peer: Box::new(self.clone()),
            expected: expected.clone(),
        })
    }

    /// Checks that the peer has this role.
    pub(crate) fn check_role(&self, expected: Role) -> Result<(), IdentityError> {
        if self.role == expected {
            return Ok(());
        }
        Err(IdentityError::OtherRole {
            peer: Box::new(self.clone()),
            expected,
        })
    }

    /// The identity among the URIs of a certificate's subject alternative names.
    pub(crate) fn from_uris(uris: &[String]) -> Result<Self, IdentityError> {
        let mut spiffe = uris.iter().filter(|uri| uri.starts_with(SCHEME));
        match (spiffe.next(), spiffe.count()) {
            (Some(uri), 0) => uri.parse(),
            (Some(_), more) => Err(IdentityError::Several(more + 1)),
            (None, _) => Err(IdentityError::Missing),
        }
    }
}

/// The URI that a certificate authority of this trust domain carries.
pub(crate) fn authority_uri(domain: &ClusterName) -> String {
    format!("{SCHEME}{domain}")
}

/// The trust domain of a certificate authority, from its URIs.
pub(crate) fn authority_domain(uris: &[String]) -> Option<ClusterName> {
    let mut domains = uris.iter().filter(|uri| *uri != AGENTS_ONLY);
    match (domains.next(), domains.next()) {
        (Some(uri), None) => uri.strip_prefix(SCHEME)?.parse().ok(),
        (None | Some(_), _) => None,
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || IdentityError::Form(text.to_owned());
        let mut parts = text.strip_prefix(SCHEME).ok_or_else(form)?.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(domain), Some(role), Some(name), None) => {
                Self::new(domain.parse()?, role.parse()?, name)
            }
            _ => Err(form()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trust_domain,
            role,
            name,
        } = self;
        write!(f, "{SCHEME}{trust_domain}/{role}/{name}")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| ParseRoleError(text.to_owned()))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, IdentityError, Role, authority_domain};

    fn uris(list: &[&str]) -> Vec<String> {
        list.iter().map(|uri| (*uri).to_owned()).collect()
    }

    #[test]
    fn identities_round_trip() {
        for role in Role::ALL {
            let text = format!("spiffe://demo/{role}/qdrant-0.zone_b");
            let identity = text.parse::<Identity>().unwrap();
            assert_eq!(identity.role(), role);
            assert_eq!(identity.name(), "qdrant-0.zone_b");
            assert_eq!(identity.trust_domain().as_str(), "demo");
            assert_eq!(identity.to_string(), text);
            assert_eq!(identity.node().is_some(), role == Role::Agent);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "spiffe://",
            "spiffe://demo",
            "spiffe://demo/agent",
            "spiffe://demo/agent/",
            "spiffe:///agent/n1",
            "spiffe://demo/agent/n1/",
            "spiffe://demo/agent/n1/x",
            "spiffe://demo//n1",
            "spiffe://demo/Agent/n1",
            "spiffe://demo/admin/n1",
            "spiffe://demo/agent/..",
            "spiffe://demo/agent/n 1",
            "spiffe://demo/agent/n%31",
            "spiffe://demo/agent/n1?x",
            "spiffe://demo/agent/n1#x",
            "spiffe://demo:80/agent/n1",
            "SPIFFE://demo/agent/n1",
            " spiffe://demo/agent/n1",
            "https://demo/agent/n1",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_certificate_has_exactly_one() {
        let one = uris(&["https://example.com", "spiffe://demo/viewer/eve"]);
        assert_eq!(Identity::from_uris(&one).unwrap().name(), "eve");
        assert_eq!(Identity::from_uris(&[]), Err(IdentityError::Missing));
        let two = uris(&["spiffe://demo/viewer/eve", "spiffe://demo/operator/eve"]);
        assert_eq!(Identity::from_uris(&two), Err(IdentityError::Several(2)));
    }

    #[test]
    fn an_authority_has_only_a_domain() {
        let domain = authority_domain(&uris(&["spiffe://demo"])).unwrap();
        assert_eq!(domain.as_str(), "demo");
        assert_eq!(authority_domain(&uris(&["spiffe://demo/agent/n1"])), None);
        assert_eq!(authority_domain(&[]), None);
    }
}
