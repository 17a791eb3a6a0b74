//! Snapshots of how failures are shown.

use super::{Action, Failure, from_failure, from_job_failure, from_status};
use holdfast_proto::v1;
use holdfast_service::exit::ExitCode;
use holdfast_service::failure::Code;
use prost::Message;

#[test]
fn a_full_message_says_what_why_risk_and_remedy() {
    let source = std::io::Error::other("connection refused");
    let failure = Failure::new(
        Code::CoordinatorUnreachable,
        "can't reach the coordinator at https://127.0.0.1:6350",
    )
    .caused_by(&source)
    .risking("nothing: this command only reads")
    .todo("check that it runs\nand listens there");
    insta::assert_snapshot!(failure.render(), @r"
error: can't reach the coordinator at https://127.0.0.1:6350
  because  connection refused
  at risk  nothing: this command only reads
  to do    check that it runs
           and listens there
");
}

#[test]
fn a_cause_that_was_said_already_is_not_repeated() {
    let failure = Failure::new(Code::Internal, "disk gone: no such device")
        .because("no such device")
        .because("it was unplugged")
        .because("unplugged");
    insta::assert_snapshot!(failure.render(), @r"
error: disk gone: no such device
  because  it was unplugged
");
}

#[test]
fn a_coordinators_failure_keeps_its_words_and_gets_advice() {
    let wire = v1::Failure {
        code: "target-exists".into(),
        message: "collection products exists on n1".into(),
        retryable: false,
    };
    let failure = from_failure(Action::Restore, &wire);
    assert_eq!(failure.exit(), ExitCode::Refused);
    insta::assert_snapshot!(failure.render(), @r"
error: collection products exists on n1
  at risk  nothing: it was refused before anything was done
  to do    restore under another name (--as NAME), or replace it with --overwrite (it is captured first)
");
}

/// A node that goes away in the middle of a restore has the code of one that never was there.
#[test]
fn a_job_that_began_is_never_said_to_have_been_refused() {
    for code in Code::ALL {
        let wire = v1::Failure {
            code: code.as_str().into(),
            message: "gone".into(),
            retryable: false,
        };
        let told = from_job_failure(Action::Restore, Some(&wire)).render();
        assert!(!told.contains("refused before"), "{told}");
        assert!(told.contains("check the target"), "{told}");
    }
}

/// What a store is to blame for is no defect of Holdfast, and what a clock is to blame for is no missing right.
#[test]
fn stores_and_clocks_have_exit_codes_and_advice_of_their_own() {
    for (code, exit, todo) in [
        ("store-unreachable", 8, "`holdfast repo probe` asks it"),
        (
            "store-failed",
            8,
            "look at the disk, or at the bucket's settings",
        ),
        ("read-only", 8, "make the file system writable"),
        (
            "read-only",
            8,
            "grant its access key the right to write to the bucket",
        ),
        ("clock-skew", 4, "set the clocks of both machines by NTP"),
    ] {
        let wire = v1::Failure {
            code: code.into(),
            message: "why".into(),
            retryable: false,
        };
        let failure = from_failure(Action::Remove, &wire);
        assert_eq!(failure.exit().code(), exit, "{code}");
        let told = failure.render();
        assert!(told.contains(todo), "{code}: {told}");
        assert!(!told.contains("please report"), "{code}: {told}");
    }
}

#[test]
fn no_answer_and_too_large_an_answer_are_no_fault_of_the_user() {
    for code in [tonic::Code::Cancelled, tonic::Code::DeadlineExceeded] {
        let failure = from_status(Action::Read, &tonic::Status::new(code, "Timeout expired"));
        assert_eq!(failure.exit(), ExitCode::Coordinator);
        assert!(failure.render().contains("did not answer in time"));
    }
    let large = tonic::Status::out_of_range("decoded message length too large");
    assert_eq!(from_status(Action::Read, &large).exit(), ExitCode::Internal);
}

#[test]
fn an_unknown_code_of_a_newer_coordinator_is_kept() {
    let wire = v1::Failure {
        code: "moon-phase".into(),
        message: "the moon is full".into(),
        retryable: true,
    };
    let failure = from_failure(Action::Backup, &wire);
    assert_eq!(failure.exit(), ExitCode::JobFailed);
    insta::assert_json_snapshot!(failure.view(), @r#"
{
  "kind": "error",
  "format": 1,
  "code": "moon-phase",
  "exit_code": 11,
  "message": "the moon is full",
  "causes": [],
  "at_risk": "no new recovery point was committed; earlier ones and the data in Qdrant are untouched",
  "to_do": "look into the coordinator's and the agent's log"
}
"#);
}

#[test]
fn the_failure_inside_a_status_wins_over_its_grpc_code() {
    let wire = v1::Failure {
        code: "wrong-key".into(),
        message: "the key does not open the repository".into(),
        retryable: false,
    };
    let details = wire.encode_to_vec().into();
    let status = tonic::Status::with_details(tonic::Code::Internal, "x", details);
    assert_eq!(
        from_status(Action::Read, &status).exit(),
        ExitCode::Repository
    );
}

#[test]
fn a_bare_status_is_understood_by_its_grpc_code() {
    let status =
        tonic::Status::permission_denied("role viewer may not call CreateBackup: needs operator");
    let failure = from_status(Action::Backup, &status);
    assert_eq!(failure.exit(), ExitCode::PermissionDenied);
    insta::assert_snapshot!(failure.render(), @r"
error: role viewer may not call CreateBackup: needs operator
  at risk  nothing: it was refused before anything was done
  to do    use a certificate whose role may do this (`holdfast certs issue --role operator`)
");
}

#[test]
fn every_code_leads_to_advice_or_is_on_the_list() {
    let silent: Vec<&str> = Code::ALL
        .iter()
        .filter(|code| super::advice::todo(**code).is_none())
        .map(|code| code.as_str())
        .collect();
    assert_eq!(silent, ["internal", "usage", "config"]);
}
