//! TLS configurations for both sides, made from files and renewed from them without a restart.
//!
//! A pair of certificate and key is verified before it is used: it parses, the key belongs to the
//! certificate, the certificate comes from the authority in `ca`, is valid now, and on a reload has the
//! identity it had. A pair that fails is refused and the old one stays. Only TLS 1.3, always with
//! certificates on both sides, and no session is ever resumed: a resumed session would skip the check
//! of the client's certificate. Open connections keep the certificate they began with.

mod pair;
mod pinned;
mod reloading;
mod verifier;
mod watching;

use crate::certificate::CertificateInfo;
use crate::fingerprint::Fingerprint;
use crate::identity::{Identity, IdentityError, Role};
use crate::pem::{PemError, read_certificates};
use crate::provider::ring;
use crate::scope::Limits;
use holdfast_types::Timestamp;
use pair::{Pair, Usage};
pub(crate) use pinned::PinnedTls;
use reloading::Reloading;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use verifier::IdentityVerifier;

const ALPN_H2: &[u8] = b"h2";

/// The `[tls]` section of every configuration file: three PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPaths {
    /// This program's certificate, and intermediates if there are any.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities that peers' certificates must come from.
    pub ca: PathBuf,
}

/// The serving side; clones share it.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<Reloading<ServerConfig>>);

/// The calling side; clones share it.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<Reloading<ClientConfig>>);

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The files hold what is in use.
    Unchanged,
    /// New connections use the new files.
    Swapped,
}

/// Why a pair was refused.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or holds something else.
    #[error(transparent)]
    File(#[from] PemError),
    /// The key is not the certificate's.
    #[error("the key {} does not belong to the certificate {}: renew the pair, or put the right two files there", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate does not come from the authority.
    #[error("the certificate {} was not issued by the authority in {}", cert.display(), ca.display())]
    NotFromAuthority {
        /// The certificate's file.
        cert: PathBuf,
        /// The authority's file.
        ca: PathBuf,
    },
    /// The lifetime is over.
    #[error("the certificate {} expired at {not_after}: renew it", cert.display())]
    Expired {
        /// The certificate's file.
        cert: PathBuf,
        /// The end of its lifetime.
        not_after: Timestamp,
    },
    /// The lifetime has not begun.
    #[error("the certificate {} is valid only from {not_before}: is this machine's clock right?", cert.display())]
    NotYetValid {
        /// The certificate's file.
        cert: PathBuf,
        /// The beginning of its lifetime.
        not_before: Timestamp,
    },
    /// The certificate has no valid identity.
    #[error("the certificate {} has no usable identity", cert.display())]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// What is wrong with it.
        #[source]
        source: IdentityError,
    },
    /// The new certificate is somebody else's.
    #[error("the certificate {} is of {new}, but this process runs as {old}", cert.display())]
    OtherIdentity {
        /// The certificate's file.
        cert: PathBuf,
        /// The identity in use.
        old: Box<Identity>,
        /// The identity of the file.
        new: Box<Identity>,
    },
    /// A server's certificate names no host.
    #[error("the certificate {} names no host or address to be reached under", cert.display())]
    NoServerName {
        /// The certificate's file.
        cert: PathBuf,
    },
    /// The certificate can't be used for this.
    #[error("the certificate {} cannot be used here", cert.display())]
    Unsuitable {
        /// The certificate's file.
        cert: PathBuf,
        /// What TLS said.
        #[source]
        source: rustls::Error,
    },
    /// The authority's file can't be used.
    #[error("{} holds no usable authority", ca.display())]
    BadAuthority {
        /// The authority's file.
        ca: PathBuf,
    },
    /// TLS refuses the configuration.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

impl TlsPaths {
    /// `cert.pem`, `key.pem` and `ca.pem` in `dir`, as `certs issue` writes them.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            cert: dir.join(crate::ca::CERT_FILE),
            key: dir.join(crate::ca::KEY_FILE),
            ca: dir.join(crate::ca::CA_FILE),
        }
    }
}

impl ServerTls {
    /// Reads and verifies the files. The certificate must be a coordinator's.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(paths: TlsPaths) -> Result<Self, TlsError> {
        Self::load_at(paths, UnixTime::now())
    }

    /// Takes over renewed files, if there are any. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`TlsError`]; the old pair stays then.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        self.0.reload()
    }

    /// Looks at the files every `every` and takes over renewed ones, until `stop` completes. A pair that
    /// is refused is logged once, and tried again until it is accepted or replaced.
    pub async fn watch(self, every: Duration, stop: impl Future<Output = ()> + Send) {
        watching::watch(self.0, every, stop).await;
    }

    /// The identity that peers see.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.0.current().identity.clone()
    }

    /// The certificate in use.
    #[must_use]
    pub fn certificate(&self) -> CertificateInfo {
        self.0.current().info.clone()
    }

    /// Counts the pairs taken over so far; a receiver learns of the next one.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.changes()
    }

    /// As `load`, with the lifetime checked at `now`.
    pub(crate) fn load_at(paths: TlsPaths, now: UnixTime) -> Result<Self, TlsError> {
        let usage = Usage::Server(Role::Coordinator);
        Reloading::load(paths, usage, server_config, now).map(|inner| Self(Arc::new(inner)))
    }

    /// The authority that this server's certificate comes from: what a client without any files pins.
    #[must_use]
    pub fn authority(&self) -> Fingerprint {
        Fingerprint::of(&self.0.current().authority)
    }

    /// Whether the first certificate of this file is an authority of peers.
    #[must_use]
    pub fn trusts(&self, cert: &Path) -> bool {
        let certs = read_certificates(cert).unwrap_or_default();
        let authorities = &self.0.current().authorities;
        certs
            .first()
            .is_some_and(|first| authorities.contains(first))
    }

    /// Every authority that peers' certificates may come from, in DER form.
    #[must_use]
    pub fn authorities(&self) -> Vec<Vec<u8>> {
        let current = self.0.current();
        current.authorities.iter().map(|der| der.to_vec()).collect()
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current().config)
    }

    /// For clients that have no certificate yet. The authority is sent along, so that they can find what they pin.
    pub(crate) fn config_for_strangers(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let current = self.0.current();
        let mut chain = current.key.cert.clone();
        chain.push(current.authority.clone());
        let key = CertifiedKey::new(chain, Arc::clone(&current.key.key));
        let mut config = ServerConfig::builder_with_provider(ring())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::new(key))));
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

impl ClientTls {
    /// Reads and verifies the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(paths: TlsPaths) -> Result<Self, TlsError> {
        Self::load_at(paths, UnixTime::now())
    }

    /// Takes over renewed files, if there are any. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`TlsError`]; the old pair stays then.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        self.0.reload()
    }

    /// Looks at the files every `every` and takes over renewed ones, until `stop` completes. A pair that
    /// is refused is logged once, and tried again until it is accepted or replaced.
    pub async fn watch(self, every: Duration, stop: impl Future<Output = ()> + Send) {
        watching::watch(self.0, every, stop).await;
    }

    /// The identity that peers see.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.0.current().identity.clone()
    }

    /// The certificate in use.
    #[must_use]
    pub fn certificate(&self) -> CertificateInfo {
        self.0.current().info.clone()
    }

    /// Counts the pairs taken over so far; a receiver learns of the next one.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.changes()
    }

    /// As `load`, with the lifetime checked at `now`.
    pub(crate) fn load_at(paths: TlsPaths, now: UnixTime) -> Result<Self, TlsError> {
        let usage = Usage::Client;
        Reloading::load(paths, usage, client_config, now).map(|inner| Self(Arc::new(inner)))
    }

    /// A client that shows no certificate.
    #[cfg(test)]
    pub(crate) fn load_anonymous(paths: TlsPaths) -> Result<Self, TlsError> {
        let build = |pair: &Pair| {
            let mut config = ClientConfig::builder_with_provider(ring())
                .with_protocol_versions(&[&TLS13])
                .map_err(TlsError::Setup)?
                .with_root_certificates(Arc::clone(&pair.roots))
                .with_no_client_auth();
            config.alpn_protocols = vec![ALPN_H2.to_vec()];
            Ok(config)
        };
        Reloading::load(paths, Usage::Client, build, UnixTime::now())
            .map(|inner| Self(Arc::new(inner)))
    }

    /// For whom the authorities may vouch that servers may come from.
    pub(crate) fn limits(&self) -> Limits {
        Limits::of(&self.0.current().authorities)
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.current().config)
    }
}

fn server_config(pair: &Pair) -> Result<ServerConfig, TlsError> {
    let (domain, limits) = (
        pair.identity.trust_domain().clone(),
        Limits::of(&pair.authorities),
    );
    let verifier = IdentityVerifier::new(&pair.roots, domain, limits).map_err(TlsError::Setup)?;
    let mut config = ServerConfig::builder_with_provider(ring())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&pair.key))));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn client_config(pair: &Pair) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(ring())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .with_root_certificates(Arc::clone(&pair.roots))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&pair.key))));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
