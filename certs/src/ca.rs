//! A small certificate authority in a directory: one root, leaf certificates signed by it.
//!
//! It serves one trust domain and needs no server: `ca.pem` and `ca-key.pem` are all. The key belongs
//! off-line, or at least not on a Qdrant node. It doesn't revoke and doesn't keep a list of what it issued.
//! How files come into a directory, and what an interruption leaves, stands in [`placing`].

use crate::certificate::CertificateInfo;
use crate::identity::{Identity, IdentityError, Role, authority_domain, authority_uri};
use crate::pem::{PemError, read, read_certificates};
use crate::scope::{AGENTS_ONLY, Scope};
use holdfast_types::{ClusterName, NodeId, Timestamp};
use placing::{Placement, holds_key};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
    date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) mod placing;

/// File of the authority's certificate, and of its copy beside every issued pair.
pub const CA_FILE: &str = "ca.pem";
/// File of the authority's key.
pub const CA_KEY_FILE: &str = "ca-key.pem";
/// File of an issued certificate.
pub const CERT_FILE: &str = "cert.pem";
/// File of an issued certificate's key.
pub const KEY_FILE: &str = "key.pem";

/// A lifetime begins this much before the moment of issue, so that a clock a little behind accepts it.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// What to issue.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// Whose certificate it is.
    pub identity: Identity,
    /// Host names under which it is reached; needed for coordinators, useless for others.
    pub dns_names: Vec<String>,
    /// Addresses under which it is reached; likewise.
    pub ip_addresses: Vec<IpAddr>,
    /// How long it is valid from now.
    pub validity: Duration,
}

/// Why the authority refused.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] PemError),
    /// A directory can't be made.
    #[error("cannot create the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory holds no authority.
    #[error("{} holds no certificate authority: run `holdfast certs init` first", dir.display())]
    NoAuthority {
        /// The directory.
        dir: PathBuf,
    },
    /// The authority's files are not what `init` wrote.
    #[error("{} is not a certificate authority of this program", path.display())]
    NotAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The identity is of another trust domain.
    #[error("{identity} is not of the authority's trust domain {domain}")]
    OtherDomain {
        /// What was asked for.
        identity: Box<Identity>,
        /// What the authority serves.
        domain: ClusterName,
    },
    /// The authority vouches for agents alone.
    #[error("this authority vouches for agents alone, and {identity} is none")]
    BeyondScope {
        /// What was asked for.
        identity: Box<Identity>,
    },
    /// The certificate would outlive its authority.
    #[error(
        "the certificate would be valid until {wanted}, but its authority only until {authority}"
    )]
    Outlives {
        /// End of the lifetime asked for.
        wanted: Timestamp,
        /// End of the authority's lifetime.
        authority: Timestamp,
    },
    /// A coordinator without a name can't be reached by anyone.
    #[error(
        "a coordinator's certificate needs the host names or addresses under which it is reached"
    )]
    NoNames,
    /// A host name is not one.
    #[error("{0:?} is not a host name")]
    BadName(String),
    /// The certificate to renew has no identity.
    #[error("{} cannot be renewed", path.display())]
    NotRenewable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: IdentityError,
    },
    /// What was to be signed is no signing request, or not of whoever has the key.
    #[error("the signing request is not valid")]
    BadRequest(#[source] rcgen::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// Signing failed.
    #[error("cannot create the certificate")]
    Sign(#[from] rcgen::Error),
}

/// Makes an authority for `domain` in `dir`, which may vouch for those of `scope`: `ca.pem` and `ca-key.pem`. Overwrites nothing.
///
/// # Errors
/// [`CaError`], and [`PemError::Exists`] in it if there is an authority already.
pub fn init(
    dir: &Path,
    domain: &ClusterName,
    scope: Scope,
    validity: Duration,
    now: Timestamp,
) -> Result<CertificateInfo, CaError> {
    create_dir(dir)?;
    placing::discard_interrupted(dir, &[CA_FILE, CA_KEY_FILE])?;
    refuse_existing(dir, &[CA_FILE, CA_KEY_FILE])?;
    let key = KeyPair::generate()?;
    let mut params = lifetime(now, validity, None);
    params.serial_number = Some(random_serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Random, so that two authorities of one domain are told apart by name.
    let mut mark = [0; 4];
    getrandom::fill(&mut mark).map_err(CaError::Random)?;
    let mark = u32::from_be_bytes(mark);
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Holdfast CA {domain} {mark:08x}"),
    );
    params.subject_alt_names = vec![SanType::URI(authority_uri(domain).try_into()?)];
    if scope == Scope::AgentsOnly {
        let mark = SanType::URI(AGENTS_ONLY.try_into()?);
        params.subject_alt_names.push(mark);
    }
    let cert = params.self_signed(&key)?;
    Placement {
        cert: (dir.join(CA_FILE), &cert.pem()),
        key: (dir.join(CA_KEY_FILE), &key.serialize_pem()),
        beside: None,
    }
    .place()?;
    Ok(CertificateInfo::from_der(cert.der()).expect("rcgen writes certificates that parse"))
}

/// Issues a certificate by the authority in `ca_dir` into `out_dir`: `cert.pem`, `key.pem`, `ca.pem`.
/// Overwrites nothing.
///
/// # Errors
/// [`CaError`].
pub fn issue(
    ca_dir: &Path,
    request: &IssueRequest,
    out_dir: &Path,
    now: Timestamp,
) -> Result<CertificateInfo, CaError> {
    create_dir(out_dir)?;
    placing::discard_interrupted(out_dir, &[CERT_FILE, KEY_FILE, CA_FILE])?;
    refuse_existing(out_dir, &[CERT_FILE, KEY_FILE, CA_FILE])?;
    sign_into(ca_dir, request, out_dir, now)
}

/// Replaces the pair in `dir` by a new one of the same identity and names, with a new key. Running
/// processes take it over without a restart. A renewal that was interrupted is finished first.
///
/// # Errors
/// [`CaError`]; the old pair stays then.
pub fn renew(
    ca_dir: &Path,
    dir: &Path,
    validity: Duration,
    now: Timestamp,
) -> Result<CertificateInfo, CaError> {
    placing::finish_interrupted(dir)?;
    let path = dir.join(CERT_FILE);
    let not_renewable = |source| CaError::NotRenewable {
        path: path.clone(),
        source,
    };
    let certs = read_certificates(&path)?;
    let old = CertificateInfo::from_der(&certs[0]).map_err(not_renewable)?;
    let request = IssueRequest {
        identity: old.require_identity().map_err(not_renewable)?,
        dns_names: old.dns_names,
        ip_addresses: old.ip_addresses,
        validity,
    };
    sign_into(ca_dir, &request, dir, now)
}

fn sign_into(
    ca_dir: &Path,
    request: &IssueRequest,
    out_dir: &Path,
    now: Timestamp,
) -> Result<CertificateInfo, CaError> {
    let authority = Authority::load(ca_dir)?;
    let key = KeyPair::generate()?;
    let cert = authority
        .leaf(request, now, None)?
        .signed_by(&key, &authority.issuer)?;
    // Rewriting the same authority would only be one more thing that can be interrupted.
    let has_authority =
        read(&out_dir.join(CA_FILE)).is_ok_and(|there| there == authority.pem.as_bytes());
    let beside = || (out_dir.join(CA_FILE), authority.pem.as_str());
    Placement {
        cert: (out_dir.join(CERT_FILE), &cert.pem()),
        key: (out_dir.join(KEY_FILE), &key.serialize_pem()),
        beside: (!has_authority).then(beside),
    }
    .place()?;
    Ok(CertificateInfo::from_der(cert.der()).expect("rcgen writes certificates that parse"))
}

/// What an agent asks to have signed.
#[derive(Clone, Copy, Debug)]
pub struct SigningRequest<'a> {
    /// The request in DER form. Only its public key is taken from it, and that its maker has the private one.
    pub csr: &'a [u8],
    /// What its holder will be, in the authority's trust domain.
    pub role: Role,
    /// Its name within the role.
    pub name: &'a NodeId,
    /// How long it is valid from now.
    pub validity: Duration,
    /// Its lifetime begins no sooner than this.
    pub not_before: Option<Timestamp>,
}

/// A certificate for a key that its holder keeps.
#[derive(Clone, Debug)]
pub struct Signed {
    /// In DER form.
    pub der: CertificateDer<'static>,
    /// What it says.
    pub info: CertificateInfo,
}

/// Signs a request by the authority of these two files. The key is read for this, and not kept.
///
/// # Errors
/// [`CaError`].
pub fn sign(
    (cert, key): (&Path, &Path),
    request: &SigningRequest<'_>,
    now: Timestamp,
) -> Result<Signed, CaError> {
    let authority = Authority::of_files(cert, key)?;
    let csr = CertificateSigningRequestParams::from_der(&request.csr.into())
        .map_err(CaError::BadRequest)?;
    let domain = authority.domain.clone();
    let identity = Identity::new(domain, request.role, request.name.as_str())
        .expect("a node's name is a name of every role");
    let wanted = IssueRequest {
        identity,
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        validity: request.validity,
    };
    let signed = authority
        .leaf(&wanted, now, request.not_before)?
        .signed_by(&csr.public_key, &authority.issuer)?;
    let der = signed.der().clone();
    let info = CertificateInfo::from_der(&der).expect("rcgen writes certificates that parse");
    Ok(Signed { der, info })
}

/// Looks whether the two files are an authority that can sign.
///
/// # Errors
/// [`CaError`].
pub fn check(cert: &Path, key: &Path) -> Result<CertificateInfo, CaError> {
    Authority::of_files(cert, key).map(|authority| authority.info)
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    info: CertificateInfo,
    domain: ClusterName,
}

impl Authority {
    fn load(dir: &Path) -> Result<Self, CaError> {
        let (cert, key) = (dir.join(CA_FILE), dir.join(CA_KEY_FILE));
        if !cert.exists() && !key.exists() {
            return Err(CaError::NoAuthority {
                dir: dir.to_owned(),
            });
        }
        Self::of_files(&cert, &key)
    }

    fn of_files(cert: &Path, key: &Path) -> Result<Self, CaError> {
        let not_authority = |path: &Path| CaError::NotAuthority {
            path: path.to_owned(),
        };
        let pem = String::from_utf8(read(cert)?).map_err(|_| not_authority(cert))?;
        let certs = read_certificates(cert)?;
        let info = CertificateInfo::from_der(&certs[0]).map_err(|_| not_authority(cert))?;
        let domain = authority_domain(&info.uris).ok_or_else(|| not_authority(cert))?;
        let key_pem = String::from_utf8(read(key)?).map_err(|_| not_authority(key))?;
        let key_pair = KeyPair::from_pem(&key_pem).map_err(|_| not_authority(key))?;
        if !info.is_ca || !holds_key(&certs[0], &key_pair) {
            return Err(not_authority(key));
        }
        let issuer = Issuer::from_ca_cert_der(&certs[0], key_pair)?;
        Ok(Self {
            pem,
            issuer,
            info,
            domain,
        })
    }

    fn leaf(
        &self,
        request: &IssueRequest,
        now: Timestamp,
        not_before: Option<Timestamp>,
    ) -> Result<CertificateParams, CaError> {
        let IssueRequest {
            identity,
            dns_names,
            ip_addresses,
            validity,
        } = request;
        if *identity.trust_domain() != self.domain {
            return Err(CaError::OtherDomain {
                identity: Box::new(identity.clone()),
                domain: self.domain.clone(),
            });
        }
        if !Scope::of(&self.info).covers(identity.role()) {
            return Err(CaError::BeyondScope {
                identity: Box::new(identity.clone()),
            });
        }
        let wanted = now.after(*validity);
        if wanted > self.info.not_after {
            return Err(CaError::Outlives {
                wanted,
                authority: self.info.not_after,
            });
        }
        let serves = identity.role() == Role::Coordinator;
        if serves && dns_names.is_empty() && ip_addresses.is_empty() {
            return Err(CaError::NoNames);
        }
        let mut params = lifetime(now, *validity, not_before);
        params.serial_number = Some(random_serial()?);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if serves {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let name = format!("{} {}", identity.role(), identity.name());
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        for name in dns_names {
            let bad = || CaError::BadName(name.clone());
            rustls_pki_types::DnsName::try_from(name.as_str()).map_err(|_| bad())?;
            let san = name.as_str().try_into().map_err(|_| bad())?;
            params.subject_alt_names.push(SanType::DnsName(san));
        }
        let addresses = ip_addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        Ok(params)
    }
}

fn lifetime(
    now: Timestamp,
    validity: Duration,
    not_before: Option<Timestamp>,
) -> CertificateParams {
    // X.509 ends with the year 9999 and knows no fractions of a second.
    const YEAR_9999: u64 = 253_370_764_800;
    let instant = |since_epoch: Duration| {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(since_epoch.as_secs().min(YEAR_9999))
    };
    let backdated = now.since(Timestamp::EPOCH).saturating_sub(BACKDATE);
    let earliest = not_before.map_or(Duration::ZERO, |at| at.since(Timestamp::EPOCH));
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = instant(backdated.max(earliest));
    params.not_after = instant(now.after(validity).since(Timestamp::EPOCH));
    params
}

fn random_serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(CaError::Random)?;
    // Positive and without leading zeros, as DER wants it.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

pub(crate) fn create_dir(path: &Path) -> Result<(), CaError> {
    std::fs::create_dir_all(path).map_err(|source| CaError::Directory {
        path: path.to_owned(),
        source,
    })
}

fn refuse_existing(dir: &Path, names: &[&str]) -> Result<(), CaError> {
    let mut paths = names.iter().map(|name| dir.join(name));
    match paths.find(|path| path.exists()) {
        Some(path) => Err(PemError::Exists { path }.into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
