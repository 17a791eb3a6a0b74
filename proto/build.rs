//! Compiles the .proto files in pure Rust (protox): no protoc is needed on the build machine.

use prost::Message as _;
use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 12] = [
    "holdfast/v1/admin.proto",
    "holdfast/v1/control.proto",
    "holdfast/v1/copies.proto",
    "holdfast/v1/diff.proto",
    "holdfast/v1/enrolment.proto",
    "holdfast/v1/follow.proto",
    "holdfast/v1/ingest.proto",
    "holdfast/v1/jobs.proto",
    "holdfast/v1/nodes.proto",
    "holdfast/v1/restore.proto",
    "holdfast/v1/retention.proto",
    "holdfast/v1/schedule.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("holdfast.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // its constructor `connect` would collide with the RPC of that name; channels are built by holdfast-certs anyway
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
