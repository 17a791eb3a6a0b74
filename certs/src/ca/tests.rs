//! Tests of the certificate authority.

use super::{CaError, IssueRequest, init, issue, renew};
use crate::{Identity, Role, Scope, describe};
use holdfast_types::Timestamp;
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn request(identity: &str, names: &[&str]) -> IssueRequest {
    IssueRequest {
        identity: identity.parse().unwrap(),
        dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ip_addresses: Vec::new(),
        validity: DAY,
    }
}

fn authority(dir: &Path) {
    init(
        dir,
        &"demo".parse().unwrap(),
        Scope::Everybody,
        10 * DAY,
        noon(),
    )
    .unwrap();
}

#[test]
fn an_authority_issues_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, out) = (dir.path().join("ca"), dir.path().join("c1"));
    authority(&ca);
    let mut wanted = request("spiffe://demo/coordinator/c1", &["localhost"]);
    wanted.ip_addresses = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let info = issue(&ca, &wanted, &out, noon()).unwrap();
    assert_eq!(describe(&out.join("cert.pem")).unwrap()[0], info);
    assert_eq!(info.identity, Some(wanted.identity));
    assert_eq!(info.dns_names, ["localhost"]);
    assert_eq!(info.ip_addresses, wanted.ip_addresses);
    assert_eq!(info.not_after, noon().after(DAY));
    assert_eq!(info.not_before.to_string(), "2026-11-21T11:55:00Z");
    assert!(!info.is_ca);
    assert_eq!(info.serial.len(), 32);

    let root = describe(&out.join("ca.pem")).unwrap().remove(0);
    assert!(root.is_ca);
    assert_eq!(root.subject, info.issuer);
    assert_eq!(root.identity, None);
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path());
    let before = std::fs::read(dir.path().join("ca-key.pem")).unwrap();
    let again = init(
        dir.path(),
        &"demo".parse().unwrap(),
        Scope::Everybody,
        DAY,
        noon(),
    )
    .unwrap_err();
    assert!(again.to_string().contains("is not overwritten"), "{again}");
    assert_eq!(
        std::fs::read(dir.path().join("ca-key.pem")).unwrap(),
        before
    );

    let out = dir.path().join("n1");
    let wanted = request("spiffe://demo/agent/n1", &[]);
    issue(dir.path(), &wanted, &out, noon()).unwrap();
    let again = issue(dir.path(), &wanted, &out, noon()).unwrap_err();
    assert!(again.to_string().contains("is not overwritten"), "{again}");
}

#[test]
fn renewal_keeps_identity_and_names() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path());
    let out = dir.path().join("c1");
    let wanted = request("spiffe://demo/coordinator/c1", &["c1.example"]);
    let old = issue(dir.path(), &wanted, &out, noon()).unwrap();
    let new = renew(dir.path(), &out, 2 * DAY, noon().after(DAY)).unwrap();
    assert_eq!(new.identity, old.identity);
    assert_eq!(new.dns_names, old.dns_names);
    assert_ne!(new.serial, old.serial);
    assert_eq!(new.not_after, noon().after(3 * DAY));
    assert_eq!(describe(&out.join("cert.pem")).unwrap(), [new]);
}

#[test]
fn what_would_not_work_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |request: &IssueRequest| {
        let out = dir.path().join("out");
        let error = issue(dir.path(), request, &out, noon()).unwrap_err();
        assert!(!out.join("key.pem").exists());
        error
    };
    let agent = request("spiffe://demo/agent/n1", &[]);
    assert!(matches!(refused(&agent), CaError::NoAuthority { .. }));
    authority(dir.path());

    let foreign = request("spiffe://other/agent/n1", &[]);
    assert!(matches!(refused(&foreign), CaError::OtherDomain { .. }));
    let nameless = request("spiffe://demo/coordinator/c1", &[]);
    assert!(matches!(refused(&nameless), CaError::NoNames));
    for name in ["a b", "", "ä.example"] {
        let odd = request("spiffe://demo/coordinator/c1", &[name]);
        assert!(matches!(refused(&odd), CaError::BadName(_)), "{name}");
    }
    let mut long = request("spiffe://demo/agent/n1", &[]);
    long.validity = 11 * DAY;
    assert!(matches!(refused(&long), CaError::Outlives { .. }));

    // The key of another authority.
    let other = tempfile::tempdir().unwrap();
    authority(other.path());
    let key = "ca-key.pem";
    std::fs::copy(other.path().join(key), dir.path().join(key)).unwrap();
    assert!(matches!(refused(&agent), CaError::NotAuthority { .. }));
}

#[test]
fn a_certificate_without_identity_is_not_renewed() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path());
    let out = dir.path().join("x");
    std::fs::create_dir(&out).unwrap();
    std::fs::copy(dir.path().join("ca.pem"), out.join("cert.pem")).unwrap();
    let error = renew(dir.path(), &out, DAY, noon()).unwrap_err();
    assert!(matches!(error, CaError::NotRenewable { .. }), "{error}");
    let identity = Identity::new("demo".parse().unwrap(), Role::Agent, "N1");
    assert!(identity.is_err());
}
