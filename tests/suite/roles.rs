//! Every RPC of `holdfast.v1` × every role, against a running coordinator.
//!
//! Who may do what is written down here once more, from the design and not from the product's table:
//! a change of the table that nobody meant fails this test.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf, BufMut};
use holdfast_certs::{ClientTls, ConnectOptions, TlsPaths, connect};
use holdfast_tests::site::Site;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

/// Methods of other packages that a coordinator serves.
const FOREIGN: [&str; 5] = [
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.health.v1.Health/List",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Who may call a method. A new method fails the test until it is decided here.
fn expected(method: &str) -> Result<&'static [&'static str]> {
    Ok(match method {
        "holdfast.v1.AgentControl/Connect"
        | "holdfast.v1.LogArchive/Follow"
        | "holdfast.v1.Restore/FetchLog"
        | "holdfast.v1.Restore/RedeemTicket" => &["agent"],
        "holdfast.v1.Ingest/OpenSession"
        | "holdfast.v1.Ingest/HaveChunks"
        | "holdfast.v1.Ingest/PutChunks"
        | "holdfast.v1.Ingest/CommitCapture"
        | "holdfast.v1.Restore/FetchRecipe"
        | "holdfast.v1.Restore/FetchChunks"
        | "holdfast.v1.Restore/CloseTicket" => &["agent", "operator"],
        "holdfast.v1.Admin/CreateBackup"
        | "holdfast.v1.Admin/ImportBackup"
        | "holdfast.v1.Admin/RunRestore"
        | "holdfast.v1.Admin/OpenExport"
        | "holdfast.v1.Admin/CreateTicket"
        | "holdfast.v1.Admin/CancelJob"
        | "holdfast.v1.Admin/Diff"
        | "holdfast.v1.Jobs/VerifyRepository"
        | "holdfast.v1.Nodes/DrainNode"
        | "holdfast.v1.Nodes/UndrainNode"
        | "holdfast.v1.Nodes/RemoveNode"
        | "holdfast.v1.Nodes/CreateToken"
        | "holdfast.v1.Nodes/RevokeToken"
        | "holdfast.v1.Copies/AddCopy"
        | "holdfast.v1.Copies/SyncCopy"
        | "holdfast.v1.Copies/VerifyCopy"
        | "holdfast.v1.Copies/RemoveCopy"
        | "holdfast.v1.Copies/PruneCopy"
        | "holdfast.v1.Retention/RunPrune"
        | "holdfast.v1.Retention/DeleteBackup"
        | "holdfast.v1.Retention/UndeleteBackup"
        | "holdfast.v1.Retention/PinBackup"
        | "holdfast.v1.Retention/UnpinBackup"
        | "holdfast.v1.Retention/PlaceHold"
        | "holdfast.v1.Retention/ReleaseHold" => &["operator"],
        "holdfast.v1.Admin/Status"
        | "holdfast.v1.Admin/ListNodes"
        | "holdfast.v1.Admin/ListCollections"
        | "holdfast.v1.Admin/ListBackups"
        | "holdfast.v1.Admin/ShowBackup"
        | "holdfast.v1.Admin/PlanBackup"
        | "holdfast.v1.Admin/PlanRestore"
        | "holdfast.v1.Admin/RestoreWindow"
        | "holdfast.v1.Copies/ListCopies"
        | "holdfast.v1.Nodes/ListTokens"
        | "holdfast.v1.Jobs/ShowJob"
        | "holdfast.v1.Jobs/WatchJob"
        | "holdfast.v1.Retention/PlanPrune"
        | "holdfast.v1.Schedules/GetPolicy"
        | "holdfast.v1.Schedules/ListSchedules"
        | "holdfast.v1.Retention/ListHolds"
        | "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        | "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => {
            &["operator", "viewer"]
        }
        "grpc.health.v1.Health/Check"
        | "grpc.health.v1.Health/Watch"
        | "grpc.health.v1.Health/List" => &["agent", "coordinator", "operator", "viewer"],
        // Only at the address for callers without a certificate.
        "holdfast.v1.Enrolment/Enrol" => &[],
        unknown => bail!("{unknown} is new: decide here, too, who may call it"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_open_to_its_roles_only() -> Result<()> {
    let site = Site::start().await?;
    let methods = methods()?;
    ensure!(
        methods.len() >= 21,
        "only {} methods were found",
        methods.len()
    );
    for role in ["agent", "coordinator", "operator", "viewer"] {
        let paths = TlsPaths::in_dir(&site.dir().join("certs").join(role));
        let tls = ClientTls::load(paths)?;
        for method in &methods {
            let path = format!("/{method}");
            let channel = connect(&site.endpoint, &tls, &ConnectOptions::default()).await?;
            let code = call(channel, &path).await?;
            let refused = code == Code::PermissionDenied;
            let open = expected(method)?.contains(&role);
            // An agent's empty request can be refused for its content, but never for the agent's role.
            ensure!(refused != open, "{role} calling {path}: {code:?}");
            // tonic-health 0.14 answers this one so by itself, after the role was checked.
            let served = code != Code::Unimplemented || method == "grpc.health.v1.Health/List";
            ensure!(served, "{path} is not served");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_names_the_role_that_is_needed() -> Result<()> {
    let site = Site::start().await?;
    let output = site.cli_as("viewer", &["backup", "create"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(13),
        "{:?}: {stderr}",
        output.status
    );
    ensure!(stderr.contains("operator"), "{stderr}");
    ensure!(site.cli_as("viewer", &["status"])?.status.success());
    Ok(())
}

fn methods() -> Result<Vec<String>> {
    let set = FileDescriptorSet::decode(holdfast_proto::FILE_DESCRIPTOR_SET)?;
    let services = set
        .file
        .iter()
        .filter(|f| f.package() == "holdfast.v1")
        .flat_map(|f| &f.service);
    let ours = services.flat_map(|s| {
        let methods = s.method.iter();
        methods.map(|m| format!("holdfast.v1.{}/{}", s.name(), m.name()))
    });
    Ok(ours.chain(FOREIGN.map(str::to_owned)).collect())
}

/// Calls a method with one empty message; the answer's code, `Ok` if it began a stream.
async fn call(channel: tonic::transport::Channel, path: &str) -> Result<Code> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.context("the channel is closed")?;
    let path = path.parse::<http::uri::PathAndQuery>()?;
    let answer = client.server_streaming(Request::new(()), path, Empty).await;
    Ok(match answer {
        Err(status) => status.code(),
        Ok(answer) => {
            let first = std::time::Duration::from_secs(5);
            match tokio::time::timeout(first, answer.into_inner().message()).await {
                Ok(Err(status)) => status.code(),
                Ok(Ok(_)) | Err(_) => Code::Ok,
            }
        }
    })
}

/// Sends an empty message, reads anything.
#[derive(Clone, Copy, Default)]
struct Empty;

impl Codec for Empty {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Empty {
    type Item = ();
    type Error = Status;
    fn encode(&mut self, (): (), to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&[]);
        Ok(())
    }
}

impl Decoder for Empty {
    type Item = ();
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}
