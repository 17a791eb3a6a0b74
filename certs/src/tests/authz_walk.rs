//! Every RPC of every service against every role: in the table, and over real connections.

use super::support::{Log, World, call, now};
use crate::Role;
use crate::authz::{AuthzLayer, Decision, Gate, RULES, allowed};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::{Code, Status};

/// Agents carry data, operators act, viewers and operators look. Written apart from the table on purpose.
const MATRIX: &str = "\
/grpc.health.v1.Health/Check: agent coordinator operator viewer
/grpc.health.v1.Health/List: agent coordinator operator viewer
/grpc.health.v1.Health/Watch: agent coordinator operator viewer
/grpc.reflection.v1.ServerReflection/ServerReflectionInfo: operator viewer
/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo: operator viewer
/holdfast.v1.Admin/CancelJob: operator
/holdfast.v1.Admin/CreateBackup: operator
/holdfast.v1.Admin/CreateTicket: operator
/holdfast.v1.Admin/Diff: operator
/holdfast.v1.Admin/ImportBackup: operator
/holdfast.v1.Admin/ListBackups: operator viewer
/holdfast.v1.Admin/ListCollections: operator viewer
/holdfast.v1.Admin/ListNodes: operator viewer
/holdfast.v1.Admin/OpenExport: operator
/holdfast.v1.Admin/PlanBackup: operator viewer
/holdfast.v1.Admin/PlanRestore: operator viewer
/holdfast.v1.Admin/RestoreWindow: operator viewer
/holdfast.v1.Admin/RunRestore: operator
/holdfast.v1.Admin/ShowBackup: operator viewer
/holdfast.v1.Admin/Status: operator viewer
/holdfast.v1.AgentControl/Connect: agent
/holdfast.v1.Copies/AddCopy: operator
/holdfast.v1.Copies/ListCopies: operator viewer
/holdfast.v1.Copies/PruneCopy: operator
/holdfast.v1.Copies/RemoveCopy: operator
/holdfast.v1.Copies/SyncCopy: operator
/holdfast.v1.Copies/VerifyCopy: operator
/holdfast.v1.Ingest/CommitCapture: agent operator
/holdfast.v1.Ingest/HaveChunks: agent operator
/holdfast.v1.Ingest/OpenSession: agent operator
/holdfast.v1.Ingest/PutChunks: agent operator
/holdfast.v1.Jobs/ShowJob: operator viewer
/holdfast.v1.Jobs/VerifyRepository: operator
/holdfast.v1.Jobs/WatchJob: operator viewer
/holdfast.v1.LogArchive/Follow: agent
/holdfast.v1.Nodes/CreateToken: operator
/holdfast.v1.Nodes/DrainNode: operator
/holdfast.v1.Nodes/ListTokens: operator viewer
/holdfast.v1.Nodes/RemoveNode: operator
/holdfast.v1.Nodes/RevokeToken: operator
/holdfast.v1.Nodes/UndrainNode: operator
/holdfast.v1.Restore/CloseTicket: agent operator
/holdfast.v1.Restore/FetchChunks: agent operator
/holdfast.v1.Restore/FetchLog: agent
/holdfast.v1.Restore/FetchRecipe: agent operator
/holdfast.v1.Restore/RedeemTicket: agent
/holdfast.v1.Retention/DeleteBackup: operator
/holdfast.v1.Retention/ListHolds: operator viewer
/holdfast.v1.Retention/PinBackup: operator
/holdfast.v1.Retention/PlaceHold: operator
/holdfast.v1.Retention/PlanPrune: operator viewer
/holdfast.v1.Retention/ReleaseHold: operator
/holdfast.v1.Retention/RunPrune: operator
/holdfast.v1.Retention/UndeleteBackup: operator
/holdfast.v1.Retention/UnpinBackup: operator
/holdfast.v1.Schedules/GetPolicy: operator viewer
/holdfast.v1.Schedules/ListSchedules: operator viewer
";

/// The paths of every RPC in the .proto files.
fn rpcs() -> BTreeSet<String> {
    let files =
        prost_types::FileDescriptorSet::decode(holdfast_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut paths = BTreeSet::new();
    for file in files.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                paths.insert(format!("/{package}.{service}/{}", method.name()));
            }
        }
    }
    paths
}

#[test]
fn every_rpc_has_a_row_and_every_row_an_rpc() {
    let rpcs = rpcs();
    assert!(rpcs.len() >= 16, "{rpcs:?}");
    let rows: BTreeSet<&str> = RULES.iter().map(|rule| rule.path).collect();
    assert_eq!(rows.len(), RULES.len(), "a path stands twice");
    for rpc in &rpcs {
        assert!(rows.contains(rpc.as_str()), "{rpc} has no row in the table");
    }
    for row in rows {
        let ours = row.starts_with("/holdfast.");
        assert!(!ours || rpcs.contains(row), "{row} is no RPC any more");
    }
}

#[test]
fn the_table_is_what_was_decided() {
    let mut matrix: BTreeMap<&str, String> = BTreeMap::new();
    for rule in RULES {
        for role in Role::ALL {
            if allowed(role, rule.path) == Decision::Allowed {
                let roles = matrix.entry(rule.path).or_default();
                roles.push(' ');
                roles.push_str(role.as_str());
            }
        }
    }
    let lines = matrix
        .iter()
        .map(|(path, roles)| format!("{path}:{roles}\n"));
    assert_eq!(lines.collect::<String>(), MATRIX);
}

#[test]
fn what_is_not_in_the_table_is_refused() {
    for path in [
        "",
        "/",
        "/holdfast.v1.Admin",
        "/holdfast.v1.Admin/",
        "/holdfast.v1.Admin/status",
        "/holdfast.v1.Admin/Status/",
        "//holdfast.v1.Admin/Status",
        "/holdfast.v1.Admin/Statu%73",
        "/holdfast.v2.Admin/Status",
    ] {
        for role in Role::ALL {
            assert_eq!(allowed(role, path), Decision::UnknownMethod, "{path}");
        }
    }
}

#[tokio::test]
async fn every_rpc_as_every_role_over_real_connections() {
    let _log = Log::start();
    let world = World::new();
    let server = world.server().await;
    for role in Role::ALL {
        let tls = world.client(role.as_str(), "x1");
        let channel = server.connect(&tls).await.unwrap();
        for line in MATRIX.lines() {
            let (path, roles) = line.split_once(": ").unwrap();
            let may = roles.split(' ').any(|name| name == role.as_str());
            let status = call(&channel, path).await;
            // The test server implements nothing: this code means that the call came through.
            let want = if may {
                Code::Unimplemented
            } else {
                Code::PermissionDenied
            };
            assert_eq!(status.code(), want, "{role} {path}: {status}");
        }
        // Enrolment is for those who have no certificate.
        let status = call(&channel, "/holdfast.v1.Enrolment/Enrol").await;
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        let status = call(&channel, "/holdfast.v1.Admin/Invented").await;
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
}

#[tokio::test]
async fn a_wrong_role_is_told_which_one_it_needs_and_logged_once() {
    let log = Log::start();
    let world = World::new();
    let server = world.server().await;
    let tls = world.client("viewer", "eve");
    for _ in 0..3 {
        let channel = server.connect(&tls).await.unwrap();
        let status = call(&channel, "/holdfast.v1.Admin/RunRestore").await;
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(
            status.message(),
            "/holdfast.v1.Admin/RunRestore needs the role operator, but spiffe://demo/viewer/eve has the role viewer"
        );
    }
    log.expect_one("needs the role operator").await;
}

#[tokio::test]
async fn without_a_certificate_nothing_is_allowed() {
    use tower::{Layer as _, Service as _};
    let _log = Log::start();
    let inner = tower::service_fn(|_request: http::Request<()>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(()))
    });
    let mut service = crate::authz::AuthzLayer::new().layer(inner);
    let request = http::Request::get("/holdfast.v1.Admin/Status").body(());
    let answer = service.call(request.unwrap()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "16");
}

#[tokio::test]
async fn a_gate_refuses_a_peer_on_an_open_connection() {
    let _log = Log::start();
    let world = World::new();
    let shut = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&shut);
    let gate = Gate::new(move |peer| {
        assert!(peer.valid_from() < now());
        let refused = asked.load(Ordering::SeqCst) && peer.identity().role() == Role::Agent;
        if refused {
            return Err(Status::failed_precondition("this node was removed"));
        }
        Ok(())
    });
    let server = world.server_with(AuthzLayer::new().behind(gate)).await;
    let (agent, viewer) = (world.client("agent", "x1"), world.client("viewer", "x1"));
    let agent = server.connect(&agent).await.unwrap();
    let viewer = server.connect(&viewer).await.unwrap();
    let follow = "/holdfast.v1.LogArchive/Follow";
    assert_eq!(call(&agent, follow).await.code(), Code::Unimplemented);
    shut.store(true, Ordering::SeqCst);
    let refused = call(&agent, follow).await;
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(refused.message(), "this node was removed");
    let other = call(&viewer, "/holdfast.v1.Admin/Status").await;
    assert_eq!(other.code(), Code::Unimplemented, "{other}");
    // The table comes first: what nobody may call is not told of by the gate.
    let never = call(&agent, "/holdfast.v1.Admin/Status").await;
    assert_eq!(never.code(), Code::PermissionDenied, "{never}");
}
