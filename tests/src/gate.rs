//! A gate before a server on loopback: open it passes every byte on, shut it refuses connections, busy it answers 503.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// They reach the server.
    Open,
    /// They are reset, those that were open, too.
    Shut,
    /// Every request is answered with 503.
    Busy,
}

/// A running gate; it ends when dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    pass: watch::Sender<Pass>,
    accept: JoinHandle<()>,
}

impl Gate {
    /// Listens on a free port of loopback, open.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (pass, seen) = watch::channel(Pass::Open);
        let accept = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let seen = seen.clone();
                // Ends with its connection; an error on one is what this gate is for.
                tokio::spawn(async move { drop(serve(client, server, seen).await) });
            }
        });
        Ok(Self {
            address,
            pass,
            accept,
        })
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn set(&self, pass: Pass) {
        self.pass.send_replace(pass);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    mut seen: watch::Receiver<Pass>,
) -> io::Result<()> {
    let pass = *seen.borrow_and_update();
    match pass {
        Pass::Open => {
            let mut server = TcpStream::connect(server).await?;
            tokio::select! {
                done = copy_bidirectional(&mut client, &mut server) => return done.map(drop),
                _ = seen.changed() => {}
            }
            client.set_zero_linger()
        }
        Pass::Shut => client.set_zero_linger(),
        Pass::Busy => {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if head.len() > MAX_HEAD_BYTES || client.read_buf(&mut head).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            client.write_all(BUSY).await?;
            // A body that nobody reads would reset the answer.
            tokio::io::copy(&mut client, &mut tokio::io::sink())
                .await
                .map(drop)
        }
    }
}
