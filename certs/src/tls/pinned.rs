//! Trust by a fingerprint alone, for a program that has no files yet: the server sends its authority along, and that must be
//! the pinned one. Everything else is checked as ever: the chain, the lifetime, the host's name, the server's role.

use super::ALPN_H2;
use crate::fingerprint::Fingerprint;
use crate::provider::ring;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, Mutex, PoisonError};

/// The calling side without a certificate of its own.
#[derive(Clone, Debug)]
pub(crate) struct PinnedTls {
    config: Arc<ClientConfig>,
    verifier: Arc<PinVerifier>,
}

#[derive(Debug)]
struct PinVerifier {
    pin: Fingerprint,
    /// The pinned authority, once a server has shown it.
    authority: Mutex<Option<CertificateDer<'static>>>,
}

impl PinnedTls {
    pub(crate) fn new(pin: Fingerprint) -> Result<Self, Error> {
        let verifier = Arc::new(PinVerifier {
            pin,
            authority: Mutex::default(),
        });
        let mut config = ClientConfig::builder_with_provider(ring())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            verifier,
        })
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The pinned authority; `None` before a server has proven that it comes from it.
    pub(crate) fn authority(&self) -> Option<CertificateDer<'static>> {
        let authority = self.verifier.authority.lock();
        authority.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = |der: &&CertificateDer<'_>| Fingerprint::of(der) == self.pin;
        let authority = intermediates.iter().find(pinned);
        let authority = authority.ok_or(CertificateError::UnknownIssuer)?;
        let authority = authority.clone().into_owned();
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let verified = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), ring())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let mut known = self
            .authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = Some(authority);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &ring().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &ring().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring().signature_verification_algorithms.supported_schemes()
    }
}
