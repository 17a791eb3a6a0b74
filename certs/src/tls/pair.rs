//! One verified pair: certificate, key and the authorities they go with.

use super::{TlsError, TlsPaths};
use crate::certificate::CertificateInfo;
use crate::identity::{Identity, Role};
use crate::pem::{is_exposed, read_certificates, read_key, waiting};
use crate::provider::ring;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError as Cert, Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;

/// What a pair is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Usage {
    /// To be reached, by a peer that expects this role.
    Server(Role),
    /// To call.
    Client,
}

/// A pair that would be accepted by a peer of the same authority now.
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) identity: Identity,
    pub(super) info: CertificateInfo,
    /// Every certificate of the `ca` file.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// That of them from which the own certificate comes.
    pub(super) authority: CertificateDer<'static>,
    /// Everything public that was read, to tell whether files changed.
    pub(super) ders: Vec<CertificateDer<'static>>,
}

impl Pair {
    /// Reads and verifies the files. Where a renewal was interrupted after the key was in place, its
    /// certificate still waits under another name, and is the one to use ([`crate::ca`]).
    pub(super) fn load(paths: &TlsPaths, usage: Usage, now: UnixTime) -> Result<Self, TlsError> {
        let loaded = Self::load_files(paths, usage, now);
        if matches!(loaded, Err(TlsError::KeyMismatch { .. })) {
            let renewed = TlsPaths {
                cert: waiting(&paths.cert),
                ..paths.clone()
            };
            if let Ok(pair) = Self::load_files(&renewed, usage, now) {
                return Ok(pair);
            }
        }
        loaded
    }

    fn load_files(paths: &TlsPaths, usage: Usage, now: UnixTime) -> Result<Self, TlsError> {
        let TlsPaths { cert, key, ca } = paths;
        let chain = read_certificates(cert)?;
        let private = read_key(key)?;
        let authorities = read_certificates(ca)?;
        warn_if_exposed(key);

        let mut ders = chain.clone();
        ders.extend(authorities.iter().cloned());
        let identity_error = |source| TlsError::Identity {
            cert: cert.clone(),
            source,
        };
        let info = CertificateInfo::from_der(&chain[0]).map_err(identity_error)?;
        let identity = info.require_identity().map_err(identity_error)?;
        if let Usage::Server(role) = usage {
            identity.check_role(role).map_err(identity_error)?;
        }
        let certified = CertifiedKey::from_der(chain, private, &ring()).map_err(|source| {
            if let Error::InconsistentKeys(InconsistentKeys::KeyMismatch) = source {
                TlsError::KeyMismatch {
                    cert: cert.clone(),
                    key: key.clone(),
                }
            } else {
                TlsError::Unsuitable {
                    cert: key.clone(),
                    source,
                }
            }
        })?;
        let roots = root_store(authorities.clone(), ca)?;
        let mut pair = Self {
            key: Arc::new(certified),
            roots,
            identity,
            info,
            authority: authorities[0].clone(),
            authorities,
            ders,
        };
        pair.verify(&pair.roots, paths, usage, now)?;
        if let Some(of) = pair.find_authority(paths, usage, now) {
            pair.authority = of;
        }
        Ok(pair)
    }

    /// The authority that vouches for the certificate without the others.
    fn find_authority(
        &self,
        paths: &TlsPaths,
        usage: Usage,
        now: UnixTime,
    ) -> Option<CertificateDer<'static>> {
        let vouches = |one: &&CertificateDer<'static>| {
            root_store(vec![(*one).clone()], &paths.ca)
                .is_ok_and(|root| self.verify(&root, paths, usage, now).is_ok())
        };
        self.authorities.iter().find(vouches).cloned()
    }

    /// Does to the pair what a peer would do.
    fn verify(
        &self,
        roots: &Arc<RootCertStore>,
        paths: &TlsPaths,
        usage: Usage,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let setup = |error: rustls::server::VerifierBuilderError| {
            TlsError::Setup(Error::General(error.to_string()))
        };
        let (leaf, intermediates) = self
            .key
            .cert
            .split_first()
            .expect("a PEM file without certificate was refused");
        let roots = Arc::clone(roots);
        let verified = match usage {
            Usage::Client => WebPkiClientVerifier::builder_with_provider(roots, ring())
                .build()
                .map_err(setup)?
                .verify_client_cert(leaf, intermediates, now)
                .map(|_| ()),
            Usage::Server(_) => {
                let name = self.server_name(&paths.cert)?;
                WebPkiServerVerifier::builder_with_provider(roots, ring())
                    .build()
                    .map_err(setup)?
                    .verify_server_cert(leaf, intermediates, &name, &[], now)
                    .map(|_| ())
            }
        };
        verified.map_err(|error| self.translate(error, paths))
    }

    fn server_name(&self, cert: &Path) -> Result<ServerName<'static>, TlsError> {
        let dns = self.info.dns_names.iter().find_map(|name| {
            // A wildcard is no name to ask for.
            ServerName::try_from(name.replace('*', "any")).ok()
        });
        let address = self.info.ip_addresses.first();
        dns.or_else(|| address.map(|ip| ServerName::from(*ip)))
            .ok_or_else(|| TlsError::NoServerName {
                cert: cert.to_owned(),
            })
    }

    fn translate(&self, error: Error, paths: &TlsPaths) -> TlsError {
        let cert = paths.cert.clone();
        let Error::InvalidCertificate(reason) = &error else {
            return TlsError::Unsuitable {
                cert,
                source: error,
            };
        };
        if let Cert::UnknownIssuer | Cert::BadSignature = reason {
            TlsError::NotFromAuthority {
                cert,
                ca: paths.ca.clone(),
            }
        } else if let Cert::Expired | Cert::ExpiredContext { .. } = reason {
            TlsError::Expired {
                cert,
                not_after: self.info.not_after,
            }
        } else if let Cert::NotValidYet | Cert::NotValidYetContext { .. } = reason {
            TlsError::NotYetValid {
                cert,
                not_before: self.info.not_before,
            }
        } else {
            TlsError::Unsuitable {
                cert,
                source: error,
            }
        }
    }
}

fn root_store(
    authorities: Vec<CertificateDer<'static>>,
    ca: &Path,
) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for der in authorities {
        roots
            .add(der)
            .map_err(|_| TlsError::BadAuthority { ca: ca.to_owned() })?;
    }
    Ok(Arc::new(roots))
}

fn warn_if_exposed(key: &Path) {
    if is_exposed(key) {
        tracing::warn!(key = %key.display(), "the private key is readable by others than its owner: chmod 600 it");
    }
}
