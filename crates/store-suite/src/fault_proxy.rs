//! A proxy on loopback that breaks HTTP by a plan and a seed.
//!
//! Faults are drawn per request, so one seed breaks the same share of them each time, though racing
//! requests may change places. It speaks HTTP/1.1 with one request per connection and expects bodies
//! with a `Content-Length`, which is what S3 clients send.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Requests of a thousand that suffer each fault. The default plan breaks nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyPlan {
    /// Chooses which requests.
    pub seed: u64,
    /// The connection is reset, and the server never sees the request.
    pub reset_before: u16,
    /// The server does what was asked, and the connection is reset before its answer.
    pub reset_after: u16,
    /// The server does what was asked, and its answer never comes.
    pub hang_after: u16,
    /// The answer is 503, and the server never sees the request.
    pub slow_down: u16,
    /// The connection ends in the middle of the answer.
    pub truncate: u16,
    /// The answer stops in its middle, and the connection stays open.
    pub stall: u16,
    /// The answer dribbles in, but whole.
    pub slow_body: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ResetBefore,
    ResetAfter,
    HangAfter,
    SlowDown,
    Truncate,
    Stall,
    SlowBody,
}

impl ProxyPlan {
    /// The fault of the `n`-th request, by `SplitMix64` (Steele, Lea, Flood 2014) of seed and number.
    fn draw(&self, n: u64) -> Option<Fault> {
        let mut z = self
            .seed
            .wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut left = (z ^ (z >> 31)) % 1000;
        let shares = [
            (Fault::ResetBefore, self.reset_before),
            (Fault::ResetAfter, self.reset_after),
            (Fault::HangAfter, self.hang_after),
            (Fault::SlowDown, self.slow_down),
            (Fault::Truncate, self.truncate),
            (Fault::Stall, self.stall),
            (Fault::SlowBody, self.slow_body),
        ];
        for (fault, share) in shares {
            match left.checked_sub(u64::from(share)) {
                Some(rest) => left = rest,
                None => return Some(fault),
            }
        }
        None
    }
}

/// How many requests came and how many were broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultTally {
    /// All requests.
    pub requests: u64,
    /// Those with a fault.
    pub faults: u64,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    plan: ProxyPlan,
    requests: AtomicU64,
    faults: AtomicU64,
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
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
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
        FaultTally {
            requests: self.shared.requests.load(Ordering::SeqCst),
            faults: self.shared.faults.load(Ordering::SeqCst),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// One request and its answer, or what the plan makes of them.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let n = shared.requests.fetch_add(1, Ordering::SeqCst) + 1;
    let fault = shared.plan.draw(n);
    shared
        .faults
        .fetch_add(u64::from(fault.is_some()), Ordering::SeqCst);
    match fault {
        Some(Fault::ResetBefore) => return reset(client),
        Some(Fault::SlowDown) => return client.write_all(SLOW_DOWN.as_bytes()).await,
        Some(
            Fault::ResetAfter | Fault::HangAfter | Fault::Truncate | Fault::Stall | Fault::SlowBody,
        )
        | None => {}
    }
    let answer = ask(shared.upstream, &head, &body).await?;
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
        Some(Fault::SlowBody) => {
            for piece in answer.chunks(answer.len().div_ceil(SLOW_PIECES).max(1)) {
                client.write_all(piece).await?;
                tokio::time::sleep(SLOW_PAUSE).await;
            }
            Ok(())
        }
        Some(Fault::ResetBefore | Fault::SlowDown) | None => client.write_all(&answer).await,
    }
}

/// Head and body of a request, with `Connection: close` added to the head.
async fn read_request(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = position(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if bytes.len() > MAX_HEAD_BYTES || client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length: usize = header(&head, "content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    if length > MAX_BODY_BYTES || header(&head, "transfer-encoding").is_some() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if header(&head, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    bytes.truncate(end - 2);
    bytes.extend_from_slice(b"Connection: close\r\n\r\n");
    Ok((bytes, body))
}

/// The server's whole answer, interim ones left out.
async fn ask(upstream: SocketAddr, head: &[u8], body: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(head).await?;
    server.write_all(body).await?;
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
    use super::{Fault, ProxyPlan, SLOW_DOWN};

    #[test]
    fn the_plan_is_kept_and_repeats() {
        let plan = ProxyPlan {
            seed: 7,
            truncate: 100,
            slow_down: 200,
            ..ProxyPlan::default()
        };
        let drawn: Vec<_> = (0..10_000).map(|n| plan.draw(n)).collect();
        let share = |wanted| drawn.iter().filter(|fault| **fault == Some(wanted)).count();
        assert!((800..1200).contains(&share(Fault::Truncate)));
        assert!((1800..2200).contains(&share(Fault::SlowDown)));
        assert_eq!(share(Fault::Stall), 0);
        assert!((0..10_000).all(|n| plan.draw(n) == drawn[usize::try_from(n).unwrap()]));
        assert!((0..1000).all(|n| ProxyPlan::default().draw(n).is_none()));
    }

    #[test]
    fn the_planned_answer_has_the_length_that_it_says() {
        let (_, body) = SLOW_DOWN.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), 102);
    }
}
