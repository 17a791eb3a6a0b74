//! Tests of interrupted and failing placements.

use super::super::{IssueRequest, init, issue, renew};
use super::waiting;
use crate::tls::TlsPaths;
use crate::{ClientTls, Scope};
use holdfast_types::Timestamp;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(86_400);

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let domain = "demo".parse().unwrap();
        init(
            &dir.path().join("ca"),
            &domain,
            Scope::Everybody,
            10 * DAY,
            now(),
        )
        .unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn issue(&self, name: &str) -> Result<PathBuf, super::super::CaError> {
        let request = IssueRequest {
            identity: "spiffe://demo/agent/n1".parse().unwrap(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            validity: DAY,
        };
        let out = self.path(name);
        issue(&self.path("ca"), &request, &out, now()).map(|_| out)
    }

    fn renew(&self, dir: &Path) -> Result<(), super::super::CaError> {
        renew(&self.path("ca"), dir, DAY, now()).map(drop)
    }
}

fn now() -> Timestamp {
    Timestamp::EPOCH.after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}

fn serial(dir: &Path) -> String {
    let tls = ClientTls::load(TlsPaths::in_dir(dir)).unwrap();
    tls.certificate().serial
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const WHOLE: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

#[test]
fn a_renewal_interrupted_between_key_and_certificate_starts_up_and_is_finished() {
    let world = World::new();
    let (dir, new) = (world.issue("n1").unwrap(), world.issue("new").unwrap());
    // the state after the key's rename: the new pair counts already
    std::fs::copy(new.join("key.pem"), dir.join("key.pem")).unwrap();
    std::fs::copy(new.join("cert.pem"), waiting(&dir.join("cert.pem"))).unwrap();
    assert_eq!(serial(&dir), serial(&new));

    super::finish_interrupted(&dir).unwrap();
    assert_eq!(names(&dir), WHOLE);
    assert_eq!(serial(&dir), serial(&new));
    world.renew(&dir).unwrap();
    assert_ne!(serial(&dir), serial(&new));
}

#[test]
fn a_renewal_interrupted_before_the_key_has_changed_nothing() {
    let world = World::new();
    let dir = world.issue("n1").unwrap();
    let old = serial(&dir);
    for name in ["cert.pem", "key.pem"] {
        std::fs::write(waiting(&dir.join(name)), "half a fi").unwrap();
    }
    assert_eq!(serial(&dir), old);
    world.renew(&dir).unwrap();
    assert_ne!(serial(&dir), old);
    assert_eq!(names(&dir), WHOLE);
}

#[test]
fn a_renewal_that_fails_leaves_the_old_pair_and_nothing_of_its_own() {
    let world = World::new();
    let dir = world.issue("n1").unwrap();
    let old = serial(&dir);
    for blocked in ["cert.pem", "key.pem"] {
        // what can't be replaced by a file stands where the new one is to be written
        let block = waiting(&dir.join(blocked));
        std::fs::create_dir(&block).unwrap();
        let error = world.renew(&dir).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert!(cause.is_some(), "{error}");
        assert!(error.to_string().contains(blocked), "{error}");
        std::fs::remove_dir(&block).unwrap();
        assert_eq!(serial(&dir), old);
        assert_eq!(names(&dir), WHOLE);
    }
}

#[test]
fn an_interrupted_issue_can_be_repeated() {
    let world = World::new();
    let made = world.issue("made").unwrap();
    let copy = |from: &str, to: PathBuf| {
        std::fs::copy(made.join(from), to).unwrap();
    };
    for done in 0..4 {
        let dir = world.path(&format!("n{done}"));
        std::fs::create_dir(&dir).unwrap();
        copy("cert.pem", waiting(&dir.join("cert.pem")));
        for (step, name) in ["key.pem", "ca.pem"].into_iter().enumerate() {
            let path = dir.join(name);
            // 0: nothing more was written; 1: both wait; 2: the key is in place; 3: so is the authority
            match done {
                0 => {}
                done if done >= step + 2 => copy(name, path),
                _ => copy(name, waiting(&path)),
            }
        }
        world.issue(&format!("n{done}")).unwrap();
        assert_eq!(names(&dir), WHOLE, "interrupted after step {done}");
        assert_ne!(serial(&dir), serial(&made));
    }
}

#[test]
fn a_key_of_another_origin_is_not_taken_for_a_leftover() {
    let world = World::new();
    let (made, other) = (world.issue("made").unwrap(), world.issue("other").unwrap());
    let dir = world.path("n1");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(made.join("cert.pem"), waiting(&dir.join("cert.pem"))).unwrap();
    std::fs::copy(other.join("key.pem"), dir.join("key.pem")).unwrap();
    let error = world.issue("n1").unwrap_err();
    assert!(error.to_string().contains("is not overwritten"), "{error}");
    let kept = std::fs::read(dir.join("key.pem")).unwrap();
    assert_eq!(kept, std::fs::read(other.join("key.pem")).unwrap());
}

#[test]
fn an_issue_that_fails_leaves_nothing() {
    let world = World::new();
    let dir = world.path("n1");
    std::fs::create_dir(&dir).unwrap();
    std::fs::create_dir(waiting(&dir.join("ca.pem"))).unwrap();
    world.issue("n1").unwrap_err();
    assert_eq!(names(&dir), ["ca.pem.new"], "which was there before");
    std::fs::remove_dir(waiting(&dir.join("ca.pem"))).unwrap();
    world.issue("n1").unwrap();
}

#[test]
fn an_interrupted_init_can_be_repeated() {
    let world = World::new();
    let dir = world.path("again");
    std::fs::create_dir(&dir).unwrap();
    let from = world.path("ca");
    std::fs::copy(from.join("ca-key.pem"), dir.join("ca-key.pem")).unwrap();
    std::fs::copy(from.join("ca.pem"), waiting(&dir.join("ca.pem"))).unwrap();
    init(&dir, &"demo".parse().unwrap(), Scope::Everybody, DAY, now()).unwrap();
    assert_eq!(names(&dir), ["ca-key.pem", "ca.pem"]);
}

#[test]
fn keys_are_private_and_certificates_public() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let dir = world.issue("n1").unwrap();
    for (path, mode) in [
        (dir.join("key.pem"), 0o600),
        (dir.join("cert.pem"), 0o644),
        (world.path("ca").join("ca-key.pem"), 0o600),
    ] {
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{path:?}");
    }
}
