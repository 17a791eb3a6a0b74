//! What a client may rely on, checked in the same way on holdfast-devnode and on a real Qdrant server.
//!
//! The real server is the program in `HOLDFAST_QDRANT_BIN`, or `qdrant` on the PATH. Without one its tests say so and
//! pass. Each test starts its own server on free ports, in empty directories.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, and helpers are test code too"
)]

mod client;
mod collections;
mod durability;
mod exchange;
mod grpc;
mod own;
mod points;
mod queries;
mod server;
mod snapshots;

macro_rules! conformance {
    ($($module:ident::$check:ident,)*) => {
        mod devnode {
            $(#[tokio::test]
            async fn $check() {
                let server = crate::server::Server::start(crate::server::Program::devnode()).await;
                crate::$module::$check(server).await;
            })*
        }
        mod real_server {
            $(#[tokio::test]
            async fn $check() {
                let Some(program) = crate::server::Program::real() else {
                    println!("SKIPPED: {} on a real server: set HOLDFAST_QDRANT_BIN", stringify!($check));
                    return;
                };
                let server = crate::server::Server::start(program).await;
                crate::$module::$check(server).await;
            })*
        }
    };
}

conformance! {
    collections::says_what_it_is,
    collections::a_collection_lives_and_dies,
    collections::settings_come_back,
    collections::aliases_are_second_names,
    collections::the_key_is_required,
    points::points_are_written_read_and_deleted,
    points::batches_and_uuids,
    points::named_sparse_and_multi_vectors,
    points::payload_calls,
    points::indexes_are_created_used_and_dropped,
    points::conditional_writes,
    points::wrong_requests_are_refused,
    queries::nearest_filter_and_offset,
    queries::queries_by_id_and_examples,
    queries::fusion_and_order,
    queries::search_calls,
    snapshots::a_stored_snapshot_is_listed_downloaded_and_deleted,
    snapshots::a_stored_snapshot_brings_everything_back,
    snapshots::a_stream_brings_everything_back,
    snapshots::both_layouts_hold_the_same_files,
    snapshots::a_bad_upload_changes_nothing,
    snapshots::recovery_by_name_and_url,
    durability::a_restart_keeps_everything,
    durability::a_kill_loses_no_acknowledged_write,
    durability::the_log_has_the_known_layout,
    durability::a_log_inside_a_snapshot_is_replayed,
    grpc::a_client_manages_collections,
    grpc::a_client_writes_and_reads_points,
}
