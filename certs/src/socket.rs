//! The socket below TLS, on both sides.

use tokio::io::BufReader;
use tokio::net::TcpStream;

/// What is read from the kernel at once. rustls itself asks for 4 KiB at a time, a quarter of one of its records.
const READ_BYTES: usize = 128 << 10;

/// A socket that is read in large pieces; writes pass through.
pub(crate) type Socket = BufReader<TcpStream>;

/// Readies a connected socket for TLS.
pub(crate) fn prepare(socket: TcpStream) -> Socket {
    // Only latency is lost without it.
    let _ok = socket.set_nodelay(true);
    BufReader::with_capacity(READ_BYTES, socket)
}
