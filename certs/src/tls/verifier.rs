//! Verifies a client's certificate and its identity within the handshake, so that a stranger never
//! reaches HTTP. What the identity may do is decided later, call by call.

use crate::certificate::CertificateInfo;
use crate::identity::IdentityError;
use crate::provider::ring;
use crate::scope::Limits;
use holdfast_types::ClusterName;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct IdentityVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    domain: ClusterName,
    limits: Limits,
}

impl IdentityVerifier {
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        domain: ClusterName,
        limits: Limits,
    ) -> Result<Self, Error> {
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), ring())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            chain,
            domain,
            limits,
        })
    }

    fn check(&self, cert: &CertificateDer<'_>, between: bool) -> Result<(), IdentityError> {
        let info = CertificateInfo::from_der(cert)?;
        info.require_identity()?.check_domain(&self.domain)?;
        self.limits.check(&info, between)
    }
}

impl ClientCertVerifier for IdentityVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // None: a client whose only certificate comes from another authority should send it all the
        // same, so that the refusal can say what is wrong with it.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        self.check(end_entity, !intermediates.is_empty())
            .map_err(|error| {
                Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
            })?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
