//! Sizes and times that agent, coordinator and CLI must agree on, chosen for bulk streaming.

use std::time::Duration;

/// Largest message either side accepts. A 1 MiB chunk with its header fits twice; tonic's default of
/// 4 MiB would do, but an explicit limit can't change under us.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Largest answer of the admin service: a list of all recovery points, or one manifest as JSON, which carries the whole
/// description of every collection.
pub const MAX_ADMIN_MESSAGE_BYTES: usize = 256 << 20;

/// Bytes of chunk data that an agent may have unacknowledged: enough to fill 1 Gbit/s at 100 ms.
pub const PUT_WINDOW_BYTES: u64 = 16 << 20;

/// Most ids in one `HaveChunks` request: 256 KiB of ids.
pub const MAX_HAVE_IDS: u32 = 8192;

/// Most ids in one `FetchChunks` request.
pub const MAX_FETCH_IDS: usize = 1024;

/// Longest encoded recipe of one shard: some 3 million chunks, or a shard of about 1 TB.
pub const MAX_RECIPE_BYTES: usize = 128 << 20;

/// HTTP/2 window of one stream.
pub const STREAM_WINDOW_BYTES: u32 = 8 << 20;

/// HTTP/2 window of one connection: several streams may fill theirs.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// Largest HTTP/2 frame that either side takes. HTTP/2's own 16 KiB and a header make two TLS records, the second of 9
/// bytes, and a chunk of 64 KiB makes eight of them.
pub const FRAME_BYTES: u32 = 256 << 10;

/// A ping is sent after this much silence, so that a dead peer is noticed behind a NAT.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A connection whose ping stays unanswered this long is closed.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Time to establish a connection, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Deadline of a unary call that does no bulk work.
pub const UNARY_DEADLINE: Duration = Duration::from_secs(30);

/// Deadline of planning a restore, which reads the recipe of every shard and lists the packs.
pub const PLAN_DEADLINE: Duration = Duration::from_secs(900);
