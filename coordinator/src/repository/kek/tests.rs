//! Every source of a key, and every way in which it can be none.

use super::{KeyUse, read_kek};
use crate::config::KeySource;
use crate::fault::Fault;
use holdfast_archive::{KeyHint, recovery_code};
use holdfast_service::failure::Code;
use std::path::PathBuf;
use std::time::Duration;

const HEX: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

fn shell(script: &str) -> KeySource {
    KeySource::KeyCommand {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        timeout: Duration::from_secs(60),
    }
}

async fn refusal(source: &KeySource) -> Fault {
    let fault = read_kek(source, KeyUse::Opens).await.unwrap_err();
    assert_eq!(fault.known_code(), Code::Config, "{fault}");
    assert!(fault.message.starts_with("repository."), "{fault}");
    assert!(!fault.message.contains(&HEX[..8]), "{fault}");
    fault
}

#[tokio::test]
async fn every_source_gives_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let code = recovery_code::print(&[0x5a; 32]);
    let bytes = "head -c 32 /dev/zero";
    for (source, hint) in [
        (KeySource::KeyFile(file("key", HEX)), KeyHint::KeyFile),
        (
            KeySource::PassphraseFile(file("words", "correct horse\n")),
            KeyHint::Passphrase,
        ),
        (
            KeySource::PassphraseEnv("PATH".to_owned()),
            KeyHint::Passphrase,
        ),
        (
            KeySource::RecoverySheet(file("sheet", &code)),
            KeyHint::RecoverySheet,
        ),
        (shell(&format!("echo {HEX}")), KeyHint::Command),
        (shell(bytes), KeyHint::Command),
    ] {
        let kek = read_kek(&source, KeyUse::Opens).await.unwrap();
        assert_eq!(kek.hint(), hint);
    }
}

#[tokio::test]
async fn what_is_no_key_is_named_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let half = dir.path().join("half.key");
    std::fs::write(&half, &HEX[..40]).unwrap();
    let fault = refusal(&KeySource::KeyFile(half.clone())).await;
    assert!(fault.message.contains("half.key: a key is 64"), "{fault}");
    let fault = refusal(&KeySource::KeyEnv("PATH".to_owned())).await;
    assert!(
        fault.message.contains("repository.key_env: PATH: a key is"),
        "{fault}"
    );
    let fault = refusal(&KeySource::KeyEnv("NO_SUCH_VARIABLE".to_owned())).await;
    assert!(
        fault.message.contains("NO_SUCH_VARIABLE is not set"),
        "{fault}"
    );
    let absent = dir.path().join("absent");
    for source in [
        KeySource::KeyFile(absent.clone()),
        KeySource::PassphraseFile(absent.clone()),
        KeySource::RecoverySheet(absent),
    ] {
        let fault = refusal(&source).await;
        assert!(fault.message.contains("there is no file"), "{fault}");
        assert!(fault.message.contains("recovery sheet"), "{fault}");
        let new = read_kek(&source, KeyUse::New).await.unwrap_err();
        assert!(new.message.starts_with("--new-"), "{new}");
    }
    let mut typed = recovery_code::print(&[0x5a; 32]).to_string();
    typed.replace_range(
        4..5,
        if typed[4..].starts_with('0') {
            "1"
        } else {
            "0"
        },
    );
    let sheet = dir.path().join("sheet");
    std::fs::write(&sheet, typed).unwrap();
    let fault = refusal(&KeySource::RecoverySheet(sheet)).await;
    assert!(
        fault
            .message
            .contains("line 1 of the recovery code is mistyped"),
        "{fault}"
    );
    let large = dir.path().join("large");
    std::fs::write(&large, vec![b'a'; 100_000]).unwrap();
    let fault = refusal(&KeySource::PassphraseFile(large)).await;
    assert!(fault.message.contains("more than any key"), "{fault}");
}

#[tokio::test]
async fn a_command_that_fails_says_why() {
    let fault = refusal(&shell("echo sealed vault >&2; exit 3")).await;
    assert!(
        fault.message.contains("exit status: 3: sealed vault"),
        "{fault}"
    );
    let fault = refusal(&shell("echo not-a-key")).await;
    assert!(fault.message.contains("a key is 64"), "{fault}");
    let fault = refusal(&shell("head -c 100000 /dev/zero")).await;
    assert!(
        fault.message.contains("printed more than 4096 bytes"),
        "{fault}"
    );
    let fault = refusal(&KeySource::KeyCommand {
        argv: vec!["/nowhere/kms".to_owned()],
        timeout: Duration::from_secs(60),
    })
    .await;
    assert!(fault.message.contains("can't run /nowhere/kms"), "{fault}");
    // Complaints are bounded, on one line, and never hold the command up.
    let fault = refusal(&shell("yes '\x1b[31mno' | head -c 1000000 >&2; exit 1")).await;
    assert!(fault.message.len() < 2000, "{}", fault.message.len());
    assert!(!fault.message.chars().any(char::is_control), "{fault}");
}

/// Nothing that looks like shell is read by one, and nothing comes in by standard input.
#[tokio::test]
async fn arguments_are_arguments() {
    let argv = ["printf", "%s", "$(echo 1); `echo 2`"];
    let source = KeySource::KeyCommand {
        argv: argv.map(str::to_owned).to_vec(),
        timeout: Duration::from_secs(60),
    };
    let fault = refusal(&source).await;
    assert!(fault.message.contains("printf: a key is 64"), "{fault}");
    let fault = refusal(&shell("cat")).await;
    assert!(fault.message.contains("a key is 64"), "{fault}");
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let script = format!(
        "sleep 600 & echo $! > {}; echo waiting >&2; wait",
        pid.display()
    );
    let source = KeySource::KeyCommand {
        argv: vec!["sh".to_owned(), "-c".to_owned(), script],
        timeout: Duration::from_secs(1),
    };
    let fault = refusal(&source).await;
    assert!(
        fault.message.contains("did not end within 1 s: waiting"),
        "{fault}"
    );
    let child = std::fs::read_to_string(pid).unwrap();
    // Gone, or waiting to be reaped by whoever took it over; a killed process takes a moment.
    let stat = format!("/proc/{}/stat", child.trim());
    let lives = || std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z"));
    for _ in 0..1000 {
        if !lives() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {child} still lives");
}
