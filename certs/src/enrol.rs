//! Enrolment: how an agent without a certificate gets one, by a token that an operator hands to it.
//!
//! The token is one line of text: a secret that is good for one use, and the fingerprint of the authority from which the
//! coordinator's certificate comes. So the agent trusts nobody whom the operator does not, and no other file need be carried.
//! The key is made where it stays; only the request for its certificate goes out. The coordinator keeps the secret's hash alone.
//!
//! Nothing is written before the certificate is here and proven to be the right one. What would keep it from being
//! written is found before the token is spent ([`Applicant::begin`]).

use crate::ca::placing::{Placement, holds_key};
use crate::ca::{self, CaError};
use crate::certificate::CertificateInfo;
use crate::connect::connect_pinned;
use crate::fingerprint::{Fingerprint, from_hex, sha256, to_hex};
use crate::identity::{IdentityError, Role, authority_domain};
use crate::pem::{PemError, read_certificates, to_pem};
use crate::provider::ring;
use crate::tls::TlsPaths;
use crate::{ConnectError, ConnectOptions};
use holdfast_types::NodeId;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use tonic::transport::Channel;

/// What a token begins with: its format.
const FORMAT: &str = "hfe1";
/// Parts the hash of a secret from every other use of SHA-256.
const HASHED_AS: &[u8] = b"holdfast enrolment token 1\0";

/// A token. Its secret is shown by `Display` alone, which is how it is handed out.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolToken {
    secret: Secret,
    pin: Fingerprint,
}

/// The part of a token that is good for one use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 16]);

/// A text that is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no enrolment token: it has the form {FORMAT}.….…, as `holdfast nodes enrol` prints it, in one piece"
)]
pub struct ParseTokenError;

/// Why an agent could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Files that would be overwritten, or that can't be written.
    #[error(transparent)]
    File(#[from] PemError),
    /// The directory can't be made.
    #[error(transparent)]
    Directory(CaError),
    /// The authority's file holds others than the pinned one.
    #[error("{} holds another authority than the one that the token names: move it away first", path.display())]
    OtherAuthority {
        /// The file.
        path: PathBuf,
    },
    /// No key can be made.
    #[error("cannot make a key and a request for its certificate")]
    Key(#[source] rcgen::Error),
    /// The coordinator's answer is not a certificate for this key and this node.
    #[error("the coordinator's answer can't be used: {0}")]
    Answer(&'static str),
    /// The certificate is not of this agent.
    #[error("the coordinator's answer is not this agent's certificate")]
    Identity(#[source] IdentityError),
    /// The certificate is not valid by this machine's clock, or not of the authorities that came with it.
    #[error("the certificate from the coordinator would not be accepted here and now")]
    NotAccepted(#[source] rustls::Error),
}

impl EnrolToken {
    /// A new token that pins this authority.
    ///
    /// # Errors
    /// A system without random numbers.
    pub fn generate(pin: Fingerprint) -> Result<Self, CaError> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(CaError::Random)?;
        Ok(Self {
            secret: Secret(secret),
            pin,
        })
    }

    /// What is sent to the coordinator.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The authority that the coordinator's certificate must come from.
    #[must_use]
    pub fn pin(&self) -> Fingerprint {
        self.pin
    }
}

impl Secret {
    /// What is kept of it: it can't be brought back from this.
    #[must_use]
    pub fn hash(&self) -> String {
        to_hex(&sha256(&[HASHED_AS, &self.0]))
    }

    /// For the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From the wire.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORMAT}.{}.{}", to_hex(&self.secret.0), self.pin.hex())
    }
}

impl fmt::Debug for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolToken")
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl FromStr for EnrolToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let parsed = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(FORMAT), Some(secret), Some(pin), None) = parsed else {
            return Err(ParseTokenError);
        };
        Ok(Self {
            secret: Secret(from_hex(secret).ok_or(ParseTokenError)?),
            pin: Fingerprint::from_hex(pin).ok_or(ParseTokenError)?,
        })
    }
}

/// An agent that has a key and no certificate for it yet.
pub struct Applicant {
    key: KeyPair,
    csr: Vec<u8>,
    paths: TlsPaths,
}

impl Applicant {
    /// Makes a key for the files of `paths`, and proves that they can be written: neither certificate nor key is there,
    /// the directories are made, and a file in each can be written. Authorities that are there must name `pin`.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub fn begin(node: &NodeId, paths: &TlsPaths, pin: Fingerprint) -> Result<Self, EnrolError> {
        for path in [&paths.cert, &paths.key] {
            if path.exists() {
                return Err(PemError::Exists { path: path.clone() }.into());
            }
        }
        for path in [&paths.cert, &paths.key, &paths.ca] {
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                ca::create_dir(dir).map_err(EnrolError::Directory)?;
            }
        }
        check_authorities(&paths.ca, pin)?;
        placement(paths, ["", ""], Some("")).rehearse()?;
        let key = KeyPair::generate().map_err(EnrolError::Key)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // Read by nobody but people: the coordinator goes by the token.
        let name = format!("{} {node}", Role::Agent);
        params.distinguished_name.push(DnType::CommonName, name);
        let csr = params.serialize_request(&key).map_err(EnrolError::Key)?;
        Ok(Self {
            csr: csr.der().to_vec(),
            key,
            paths: paths.clone(),
        })
    }

    /// The request for the certificate, in DER form.
    #[must_use]
    pub fn csr(&self) -> &[u8] {
        &self.csr
    }

    /// Looks whether what the coordinator at `pinned` answered is a certificate for this key and this node that its
    /// peers accept now, and puts it into place.
    ///
    /// # Errors
    /// [`EnrolError`]; nothing is written then.
    pub fn finish(
        self,
        node: &NodeId,
        pinned: &PinnedServer,
        answer: &Answer,
    ) -> Result<CertificateInfo, EnrolError> {
        let Answer { chain, authorities } = answer;
        let (leaf, others) = chain
            .split_first()
            .ok_or(EnrolError::Answer("it holds no certificate"))?;
        if !holds_key(leaf, &self.key) {
            return Err(EnrolError::Answer("the certificate is for another key"));
        }
        if !authorities.contains(&pinned.authority) {
            return Err(EnrolError::Answer("it lacks the pinned authority"));
        }
        let info = CertificateInfo::from_der(leaf).map_err(EnrolError::Identity)?;
        check_identity(&info, node, pinned)?;
        accepted(leaf, others, authorities).map_err(EnrolError::NotAccepted)?;
        let authorities = merged(&self.paths.ca, authorities)?;
        let pem = |list: &[CertificateDer<'static>]| -> String {
            list.iter().map(|der| to_pem(der)).collect()
        };
        let (cert, key) = (pem(chain), self.key.serialize_pem());
        let ca = authorities.as_deref().map(pem);
        placement(&self.paths, [&cert, &key], ca.as_deref()).place()?;
        Ok(info)
    }
}

impl fmt::Debug for Applicant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applicant")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// What a coordinator answers, parsed.
#[derive(Clone, Debug)]
pub struct Answer {
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Answer {
    /// From certificates in DER form: the agent's own first, with its intermediates; and the authorities of its peers.
    #[must_use]
    pub fn new(chain: Vec<Vec<u8>>, authorities: Vec<Vec<u8>>) -> Self {
        let ders = |list: Vec<Vec<u8>>| list.into_iter().map(CertificateDer::from).collect();
        Self {
            chain: ders(chain),
            authorities: ders(authorities),
        }
    }
}

/// A coordinator that has proven that it comes from the pinned authority.
#[derive(Clone, Debug)]
pub struct PinnedServer {
    /// The connection; nothing but enrolment is served on it.
    pub channel: Channel,
    pub(crate) authority: CertificateDer<'static>,
}

impl PinnedServer {
    /// Connects to `endpoint`, `https://host:port`, where a coordinator enrols.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        endpoint: &str,
        token: &EnrolToken,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let (channel, authority) = connect_pinned(endpoint, token.pin, options).await?;
        Ok(Self { channel, authority })
    }
}

/// Where the three files go.
fn placement<'a>(
    paths: &TlsPaths,
    [cert, key]: [&'a str; 2],
    ca: Option<&'a str>,
) -> Placement<'a> {
    Placement {
        cert: (paths.cert.clone(), cert),
        key: (paths.key.clone(), key),
        beside: ca.map(|ca| (paths.ca.clone(), ca)),
    }
}

fn check_identity(
    info: &CertificateInfo,
    node: &NodeId,
    pinned: &PinnedServer,
) -> Result<(), EnrolError> {
    let identity = info.require_identity().map_err(EnrolError::Identity)?;
    let role = identity.check_role(Role::Agent);
    role.map_err(EnrolError::Identity)?;
    if identity.name() != node.as_str() {
        return Err(EnrolError::Answer("the certificate is of another node"));
    }
    let authority = CertificateInfo::from_der(&pinned.authority).map_err(EnrolError::Identity)?;
    match authority_domain(&authority.uris) {
        Some(domain) => identity.check_domain(&domain).map_err(EnrolError::Identity),
        None => Ok(()),
    }
}

/// Does what a coordinator will do with the certificate.
fn accepted(
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'static>],
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ring())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?
        .verify_client_cert(leaf, others, UnixTime::now())
        .map(|_| ())
}

/// The authorities' file as it will be: what it has, which is never taken away, and what came. `None` if that is there.
fn merged(
    path: &Path,
    came: &[CertificateDer<'static>],
) -> Result<Option<Vec<CertificateDer<'static>>>, EnrolError> {
    if !path.exists() {
        return Ok(Some(came.to_vec()));
    }
    let mut all = read_certificates(path)?;
    let before = all.len();
    for authority in came {
        if !all.contains(authority) {
            all.push(authority.clone());
        }
    }
    Ok((all.len() > before).then_some(all))
}

/// An authorities' file that is there must name the pinned one: else it belongs to something else.
fn check_authorities(path: &Path, pin: Fingerprint) -> Result<(), EnrolError> {
    if !path.exists() {
        return Ok(());
    }
    let there = read_certificates(path)?;
    if there.iter().any(|der| Fingerprint::of(der) == pin) {
        return Ok(());
    }
    Err(EnrolError::OtherAuthority {
        path: path.to_owned(),
    })
}
