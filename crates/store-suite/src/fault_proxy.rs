//! A proxy on loopback that breaks HTTP by a plan and a seed.
//!
//! Faults are drawn per request, so one seed breaks the same share of them each time, though racing
//! requests may change places; storms refuse whole stretches of them. It speaks HTTP/1.1 with one request per connection and expects
//! bodies with a `Content-Length`, which is what S3 clients send.

mod plan;

use plan::{Fault, Weather, address};
pub use plan::{FaultTally, ProxyPlan};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longest head of a request or answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Longest body that is passed on, in bytes.
const MAX_BODY_BYTES: usize = 256 << 20;
/// Longest time that a connection is held open without an answer.
const HANG: Duration = Duration::from_secs(60);
/// Pieces of a slow body, and the pause between two.
const SLOW_PIECES: usize = 10;
const SLOW_PAUSE: Duration = Duration::from_millis(10);

const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: 102\r\n\r\n<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code><Message>planned</Message></Error>\r\n";

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    plan: ProxyPlan,
    weather: Mutex<Weather>,
}

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port of loopback, in front of `upstream`.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(upstream: SocketAddr, plan: ProxyPlan) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            plan,
            weather: Mutex::default(),
        });
        let accept = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let shared = shared.clone();
                    // Ends with its connection; an error on one is what this proxy is for.
                    tokio::spawn(async move { drop(serve(client, &shared).await) });
                }
            }
        });
        Ok(Self {
            address,
            shared,
            accept,
        })
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> FaultTally {
        self.shared.weather().tally()
    }

    /// Refuses the next requests with 503, whatever they ask for. 0 ends a storm.
    pub fn storm(&self, requests: u64) {
        self.shared.weather().storm(requests);
    }
}

impl Shared {
    fn weather(&self) -> MutexGuard<'_, Weather> {
        // Counters: a poisoned one is still good.
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// One request and its answer, or what the plan makes of them.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut request = Request::read_head(&mut client).await?;
    let (target, has_body) = (address(&request.head), request.length > 1);
    let fault = shared.weather().next(&shared.plan, &target, has_body);
    if fault == Some(Fault::CutUpload) {
        return cut_upload(client, shared.upstream, request).await;
    }
    request.read_body(&mut client, request.length).await?;
    match fault {
        Some(Fault::ResetBefore) => return reset(client),
        Some(Fault::SlowDown | Fault::Storm) => {
            return client.write_all(SLOW_DOWN.as_bytes()).await;
        }
        Some(
            Fault::ResetAfter
            | Fault::HangAfter
            | Fault::Truncate
            | Fault::Stall
            | Fault::SlowBody
            | Fault::CutUpload
            | Fault::SlowUpload,
        )
        | None => {}
    }
    let answer = ask(shared.upstream, &request, fault == Some(Fault::SlowUpload)).await?;
    // The middle of the body, or of the head where there is no body.
    let middle = match position(&answer, b"\r\n\r\n").map(|at| at + 4) {
        Some(start) if start < answer.len() => start + (answer.len() - start) / 2,
        Some(_) | None => answer.len() / 2,
    };
    match fault {
        Some(Fault::ResetAfter) => reset(client),
        Some(Fault::HangAfter) => hang(&mut client).await,
        Some(Fault::Truncate) => client.write_all(&answer[..middle]).await,
        Some(Fault::Stall) => {
            client.write_all(&answer[..middle]).await?;
            hang(&mut client).await
        }
        Some(Fault::SlowBody) => dribble(&mut client, &answer).await,
        Some(
            Fault::ResetBefore
            | Fault::SlowDown
            | Fault::Storm
            | Fault::CutUpload
            | Fault::SlowUpload,
        )
        | None => client.write_all(&answer).await,
    }
}

/// Sends all of it, in pieces with pauses between.
async fn dribble(to: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(bytes.len().div_ceil(SLOW_PIECES).max(1)) {
        to.write_all(piece).await?;
        tokio::time::sleep(SLOW_PAUSE).await;
    }
    Ok(())
}

/// A request, as far as it was read.
struct Request {
    /// With its empty line, and with `Connection: close`.
    head: String,
    /// Of the body, in bytes.
    length: usize,
    body: Vec<u8>,
}

impl Request {
    async fn read_head(client: &mut TcpStream) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = position(&bytes, b"\r\n\r\n") {
                break at + 4;
            }
            if bytes.len() > MAX_HEAD_BYTES || client.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let body = bytes.split_off(end);
        bytes.truncate(end - 2);
        let mut head = String::from_utf8_lossy(&bytes).into_owned();
        let length: usize = header(&head, "content-length")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        if length > MAX_BODY_BYTES || header(&head, "transfer-encoding").is_some() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if header(&head, "expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        head.push_str("Connection: close\r\n\r\n");
        Ok(Self { head, length, body })
    }

    /// Reads on until so much of the body is there.
    async fn read_body(&mut self, client: &mut TcpStream, length: usize) -> io::Result<()> {
        while self.body.len() < length {
            if client.read_buf(&mut self.body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// The server gets half of the body, the client no answer.
async fn cut_upload(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut request: Request,
) -> io::Result<()> {
    let half = request.length / 2;
    request.read_body(&mut client, half).await?;
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(request.head.as_bytes()).await?;
    server.write_all(&request.body[..half]).await?;
    server.flush().await?;
    // For it to have begun with what it has.
    tokio::time::sleep(SLOW_PAUSE).await;
    reset(server)?;
    reset(client)
}

/// The server's whole answer, interim ones left out.
async fn ask(upstream: SocketAddr, request: &Request, slowly: bool) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(request.head.as_bytes()).await?;
    if slowly {
        dribble(&mut server, &request.body).await?;
    } else {
        server.write_all(&request.body).await?;
    }
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    while answer.starts_with(b"HTTP/1.1 100") {
        let end = position(&answer, b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        answer.drain(..end);
    }
    Ok(answer)
}

/// Ends a connection with RST instead of FIN.
fn reset(client: TcpStream) -> io::Result<()> {
    client.set_zero_linger()?;
    drop(client);
    Ok(())
}

/// Keeps a connection open, until the client gives up.
async fn hang(client: &mut TcpStream) -> io::Result<()> {
    let mut scratch = [0; 1024];
    while let Ok(Ok(1..)) = tokio::time::timeout(HANG, client.read(&mut scratch)).await {}
    Ok(())
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::SLOW_DOWN;

    #[test]
    fn the_planned_answer_has_the_length_that_it_says() {
        let (_, body) = SLOW_DOWN.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), 102);
    }
}
