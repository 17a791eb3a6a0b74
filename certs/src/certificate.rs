//! What a certificate says, in the terms of this program, for `certs show` and for checks.
//!
//! It verifies nothing: signatures, chains and lifetimes are TLS's business.

use crate::identity::{Identity, IdentityError};
use crate::pem::{PemError, read_certificates};
use holdfast_types::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

/// The readable content of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateInfo {
    /// The identity, if there is a valid one.
    pub identity: Option<Identity>,
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number in lowercase hexadecimal.
    pub serial: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Host names it may serve.
    pub dns_names: Vec<String>,
    /// Addresses it may serve.
    pub ip_addresses: Vec<IpAddr>,
    /// URIs, the identity among them.
    pub uris: Vec<String>,
    /// Whether it may issue certificates.
    pub is_ca: bool,
}

/// Why a certificate can't be described.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file can't be read, or holds no certificate.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate in the file can't be parsed.
    #[error("{} holds a certificate that cannot be parsed", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
}

/// Describes every certificate of a PEM file, in its order.
///
/// # Errors
/// [`CertificateError`].
pub fn describe(path: &Path) -> Result<Vec<CertificateInfo>, CertificateError> {
    let unreadable = |_| CertificateError::Unreadable {
        path: path.to_owned(),
    };
    read_certificates(path)?
        .iter()
        .map(|der| CertificateInfo::from_der(der).map_err(unreadable))
        .collect()
}

impl CertificateInfo {
    /// Reads one certificate.
    ///
    /// # Errors
    /// [`IdentityError::Unreadable`].
    pub(crate) fn from_der(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (rest, cert) = X509Certificate::from_der(der).map_err(|_| IdentityError::Unreadable)?;
        if !rest.is_empty() {
            return Err(IdentityError::Unreadable);
        }
        let mut info = Self {
            identity: None,
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            serial: hex(cert.raw_serial()),
            not_before: instant(cert.validity().not_before),
            not_after: instant(cert.validity().not_after),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            uris: Vec::new(),
            is_ca: cert.is_ca(),
        };
        let names = cert
            .subject_alternative_name()
            .map_err(|_| IdentityError::Unreadable)?;
        for name in names.iter().flat_map(|ext| &ext.value.general_names) {
            info.add_name(name);
        }
        info.identity = info.require_identity().ok();
        Ok(info)
    }

    /// The identity, or why there is none.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn require_identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_uris(&self.uris)
    }

    /// Whether `now` is within the lifetime.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    fn add_name(&mut self, name: &GeneralName<'_>) {
        if let GeneralName::DNSName(name) = name {
            self.dns_names.push((*name).to_owned());
        } else if let GeneralName::URI(uri) = name {
            self.uris.push((*uri).to_owned());
        } else if let GeneralName::IPAddress(bytes) = name {
            if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                self.ip_addresses.push(v4.into());
            } else if let Ok(v6) = <[u8; 16]>::try_from(*bytes) {
                self.ip_addresses.push(v6.into());
            }
        }
    }
}

fn instant(time: ASN1Time) -> Timestamp {
    Timestamp::from_micros(time.timestamp().saturating_mul(1_000_000))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
