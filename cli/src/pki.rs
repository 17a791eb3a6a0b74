//! The certificate authority as the commands and the demo use it.

use crate::failure::{Failure, Outcome};
use crate::view::{CaView, CertificateView, IssuedView};
use holdfast_certs::ca::{self, CA_FILE, CA_KEY_FILE, CERT_FILE, CaError, IssueRequest, KEY_FILE};
use holdfast_certs::{CertificateInfo, Identity, Role, Scope, describe};
use holdfast_service::clock::{Clock, SystemClock};
use holdfast_service::failure::Code;
use holdfast_types::{ClusterName, Timestamp};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

const NOTHING_LOST: &str = "nothing: existing certificates and keys are never overwritten";

/// What to issue, as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) role: Role,
    pub(crate) name: &'a str,
    pub(crate) dns: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) days: u32,
}

/// Makes an authority.
pub(crate) fn init(dir: &Path, domain: &str, scope: Scope, days: u32) -> Outcome<CaView> {
    let name: ClusterName = domain
        .parse()
        .map_err(|error: holdfast_types::ParseNameError| {
            Failure::new(Code::Usage, "the trust domain is not valid").caused_by(&error)
        })?;
    let info =
        ca::init(dir, &name, scope, lifetime(days), now()).map_err(|error| refused(&error))?;
    Ok(CaView {
        domain: name.to_string(),
        agents_only: scope == Scope::AgentsOnly,
        certificate: dir.join(CA_FILE),
        key: dir.join(CA_KEY_FILE),
        not_after: info.not_after,
    })
}

/// Issues a certificate of the authority in `ca_dir` into `out`.
pub(crate) fn issue(ca_dir: &Path, wish: &Wish<'_>, out: &Path) -> Outcome<IssuedView> {
    let identity = Identity::new(domain_of(ca_dir)?, wish.role, wish.name)
        .map_err(|error| Failure::new(Code::Usage, "the name is not valid").caused_by(&error))?;
    let request = IssueRequest {
        identity,
        dns_names: wish.dns.clone(),
        ip_addresses: wish.ips.clone(),
        validity: lifetime(wish.days),
    };
    let info = ca::issue(ca_dir, &request, out, now()).map_err(|error| refused(&error))?;
    Ok(issued(&info, out))
}

/// Replaces the pair in `dir` by one of the same identity and names.
pub(crate) fn renew(ca_dir: &Path, dir: &Path, days: u32) -> Outcome<IssuedView> {
    let info = ca::renew(ca_dir, dir, lifetime(days), now()).map_err(|error| refused(&error))?;
    Ok(issued(&info, dir))
}

/// Describes the certificates of a PEM file, or of `cert.pem` and `ca.pem` of a directory.
pub(crate) fn show(path: &Path) -> Outcome<Vec<CertificateView>> {
    let files = if path.is_dir() {
        let both = [path.join(CERT_FILE), path.join(CA_FILE)];
        both.into_iter().filter(|file| file.exists()).collect()
    } else {
        vec![path.to_owned()]
    };
    let mut views = Vec::new();
    for file in files {
        let infos = describe(&file).map_err(|error| {
            Failure::new(Code::Certificate, format!("can't show {}", file.display()))
                .caused_by(&error)
                .risking("nothing: this command only reads")
        })?;
        views.extend(infos.iter().map(|info| view(&file, info, now())));
    }
    if views.is_empty() {
        return Err(Failure::new(
            Code::Certificate,
            format!("{} has no certificate", path.display()),
        )
        .todo(format!(
            "name a PEM file, or a directory with {CERT_FILE} or {CA_FILE}"
        )));
    }
    Ok(views)
}

fn issued(info: &CertificateInfo, dir: &Path) -> IssuedView {
    IssuedView {
        identity: info
            .identity
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        certificate: dir.join(CERT_FILE),
        key: dir.join(KEY_FILE),
        ca: dir.join(CA_FILE),
        not_after: info.not_after,
    }
}

fn view(file: &Path, info: &CertificateInfo, now: Timestamp) -> CertificateView {
    let addresses = info.ip_addresses.iter().map(ToString::to_string);
    let state = if info.is_valid_at(now) {
        "valid"
    } else if now < info.not_before {
        "not-yet-valid"
    } else {
        "expired"
    };
    CertificateView {
        file: file.to_owned(),
        identity: info.identity.as_ref().map(ToString::to_string),
        subject: info.subject.clone(),
        issuer: info.issuer.clone(),
        serial: info.serial.clone(),
        not_before: info.not_before,
        not_after: info.not_after,
        state,
        is_ca: info.is_ca,
        names: info.dns_names.iter().cloned().chain(addresses).collect(),
    }
}

/// The trust domain that an authority serves: the host of its own URI.
fn domain_of(ca_dir: &Path) -> Outcome<ClusterName> {
    let file = ca_dir.join(CA_FILE);
    if !file.exists() {
        let missing = CaError::NoAuthority {
            dir: ca_dir.to_owned(),
        };
        return Err(refused(&missing));
    }
    let infos = describe(&file).map_err(|error| {
        Failure::new(Code::Certificate, "can't read the authority's certificate").caused_by(&error)
    })?;
    let uris = infos.iter().flat_map(|info| &info.uris);
    let mut domains = uris.filter_map(|uri| uri.strip_prefix("spiffe://")?.parse().ok());
    domains.next().ok_or_else(|| {
        Failure::new(
            Code::Certificate,
            format!(
                "{} is not a certificate authority of this program",
                file.display()
            ),
        )
        .risking(NOTHING_LOST)
        .todo("name the directory that `holdfast certs init` made")
    })
}

fn refused(error: &CaError) -> Failure {
    let what = match error {
        CaError::File(_) | CaError::Directory { .. } => "the certificate files can't be used",
        CaError::NoAuthority { .. }
        | CaError::NotAuthority { .. }
        | CaError::OtherDomain { .. }
        | CaError::BeyondScope { .. }
        | CaError::Outlives { .. }
        | CaError::NoNames
        | CaError::BadName(_)
        | CaError::NotRenewable { .. }
        | CaError::BadRequest(_)
        | CaError::Random(_)
        | CaError::Sign(_) => "the certificate authority refused",
    };
    let failure = Failure::new(Code::Certificate, what)
        .caused_by(error)
        .risking(NOTHING_LOST);
    match error {
        CaError::NoNames => failure.todo("add --dns NAME or --ip ADDRESS"),
        CaError::Outlives { .. } => failure.todo("ask for fewer --days, or make a new authority"),
        CaError::File(_) => failure.todo("name another directory, or move the existing files away"),
        CaError::Directory { .. }
        | CaError::NoAuthority { .. }
        | CaError::NotAuthority { .. }
        | CaError::OtherDomain { .. }
        | CaError::BeyondScope { .. }
        | CaError::BadName(_)
        | CaError::NotRenewable { .. }
        | CaError::BadRequest(_)
        | CaError::Random(_)
        | CaError::Sign(_) => failure,
    }
}

fn lifetime(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

fn now() -> Timestamp {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::{Wish, init, issue, renew, show};
    use holdfast_certs::{Role, Scope};
    use holdfast_service::exit::ExitCode;

    fn wish(role: Role) -> Wish<'static> {
        let (dns, ips) = (Vec::new(), Vec::new());
        Wish {
            role,
            name: "n1",
            dns,
            ips,
            days: 10,
        }
    }

    #[test]
    fn an_authority_issues_shows_and_renews() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ca, out) = (dir.path().join("pki"), dir.path().join("n1"));
        init(&ca, "demo", Scope::Everybody, 20).expect("made");
        let first = issue(&ca, &wish(Role::Agent), &out).expect("issued");
        assert_eq!(first.identity, "spiffe://demo/agent/n1");
        let shown = show(&out).expect("shown");
        assert_eq!(shown.len(), 2, "the certificate and its authority");
        assert_eq!(shown[0].identity.as_deref(), Some("spiffe://demo/agent/n1"));
        assert_eq!(shown[0].state, "valid");
        assert!(shown[1].is_ca);
        renew(&ca, &out, 5).expect("renewed");
        assert_ne!(show(&out).expect("shown")[0].serial, shown[0].serial);
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        init(dir.path(), "demo", Scope::Everybody, 20).expect("made");
        let failure = init(dir.path(), "demo", Scope::Everybody, 20).expect_err("exists");
        assert_eq!(failure.exit(), ExitCode::Certificate);
        let text = failure.render();
        assert!(text.contains("never overwritten"), "{text}");
    }

    #[test]
    fn what_can_not_work_is_said_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ca, out) = (dir.path().join("pki"), dir.path().join("c1"));
        let failure = issue(&ca, &wish(Role::Agent), &out).expect_err("no authority");
        assert!(
            failure.render().contains("holdfast certs init"),
            "{}",
            failure.render()
        );
        init(&ca, "demo", Scope::Everybody, 20).expect("made");
        let failure = issue(&ca, &wish(Role::Coordinator), &out).expect_err("no names");
        insta::assert_snapshot!(failure.render(), @r"
error: the certificate authority refused
  because  a coordinator's certificate needs the host names or addresses under which it is reached
  at risk  nothing: existing certificates and keys are never overwritten
  to do    add --dns NAME or --ip ADDRESS
");
    }
}
