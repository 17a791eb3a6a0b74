//! A real S3 server for tests: SeaweedFS, its own process, on loopback.
//!
//! It is found in `$HOLDFAST_WEED_BIN`, on `PATH`, or where `cargo xtask test` installs it. A test
//! without it prints a line that begins with `SKIPPED:` and passes.

use anyhow::{Context as _, Result, bail, ensure};
use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for the server to answer.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Longest wait for the server's own shell.
const SHELL_LIMIT: Duration = Duration::from_secs(20);
/// How often a start is tried: another process may take a port between its choice and its use.
const STARTS: usize = 3;
/// Listening sockets of one server: HTTP and gRPC each of master, volume, filer and S3; and HTTPS.
const PORTS: usize = 9;
/// The servers in one process, in the order of their ports.
const SERVERS: [&str; 4] = ["master", "volume", "filer", "s3"];

/// The server's program.
#[derive(Clone, Debug)]
pub struct Weed(PathBuf);

impl Weed {
    /// Looks for the program; prints why the calling test is skipped if there is none.
    ///
    /// # Errors
    /// If `$HOLDFAST_WEED_BIN` names no file.
    pub fn find(test: &str) -> Result<Option<Self>> {
        if let Some(set) = env::var_os("HOLDFAST_WEED_BIN").map(PathBuf::from) {
            ensure!(
                set.is_file(),
                "HOLDFAST_WEED_BIN={} is no file",
                set.display()
            );
            return Ok(Some(Self(set)));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path = env::split_paths(&path).map(|folder| folder.join("weed"));
        let found = on_path.chain(installed()).find(|place| place.is_file());
        if found.is_none() {
            skipped(test);
        }
        Ok(found.map(Self))
    }

    /// Starts a server with two empty buckets, [`S3Server::BUCKET`] and [`S3Server::LOCKING`].
    ///
    /// # Errors
    /// If it does not answer in time; says what it logged.
    pub fn start(&self) -> Result<S3Server> {
        let mut last = None;
        for _ in 0..STARTS {
            match S3Server::start(&self.0) {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no start was tried")?)
    }
}

#[expect(clippy::print_stdout, reason = "how a test says that it is skipped")]
fn skipped(test: &str) {
    println!(
        "SKIPPED: {test}: no SeaweedFS: run `cargo xtask test`, put weed on PATH or set HOLDFAST_WEED_BIN"
    );
}

/// Where `cargo xtask test` installs it: `seaweedfs/bin/weed` in the target folder, which is three
/// levels above a test's executable.
fn installed() -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    Some(executable.ancestors().nth(3)?.join("seaweedfs/bin/weed"))
}

/// A running server; killed when dropped, its data with it.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    /// As [`arguments`] hands them out.
    ports: [u16; PORTS],
    dir: TempDir,
}

impl S3Server {
    /// The bucket that exists from the start.
    pub const BUCKET: &'static str = "holdfast";
    /// The bucket that exists from the start and has object lock.
    pub const LOCKING: &'static str = "holdfast-locking";
    /// The profile in [`Self::credentials`] that may do anything.
    pub const WRITER: &'static str = "writer";
    /// The profile that may only read and list.
    pub const READER: &'static str = "reader";
    /// A profile whose secret is wrong.
    pub const STRANGER: &'static str = "stranger";

    fn start(program: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("weed").tempdir()?;
        fs::create_dir(dir.path().join("data"))?;
        let identity = |name: &str, actions: &[&str]| {
            serde_json::json!({
                "name": name,
                "credentials": [{ "accessKey": name, "secretKey": format!("{name}-secret") }],
                "actions": actions,
            })
        };
        let identities = serde_json::json!({ "identities": [
            identity(Self::WRITER, &["Admin", "Read", "Write", "List", "Tagging"]),
            identity(Self::READER, &["Read", "List"]),
        ]});
        fs::write(dir.path().join("s3.json"), identities.to_string())?;
        let keys = |name: &str, secret: &str| {
            format!("[{name}]\naws_access_key_id = {name}\naws_secret_access_key = {secret}\n")
        };
        let profiles = [
            keys(Self::WRITER, "writer-secret"),
            keys(Self::READER, "reader-secret"),
            keys(Self::STRANGER, "wrong"),
        ];
        fs::write(dir.path().join("credentials"), profiles.concat())?;

        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        fs::write(dir.path().join("tls.crt"), certified.cert.pem())?;
        fs::write(
            dir.path().join("tls.key"),
            certified.signing_key.serialize_pem(),
        )?;

        let ports = free_ports()?;
        let log = File::create(dir.path().join("log"))?;
        let child = Command::new(program)
            .args(arguments(dir.path(), &ports))
            .current_dir(dir.path())
            .env("TMPDIR", dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let mut server = Self { child, ports, dir };
        server.wait_until_ready(program)?;
        Ok(server)
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its address with TLS, without a slash at the end.
    #[must_use]
    pub fn https_endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports[8])
    }

    /// The certificate that it shows, which nobody signed but itself.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("tls.crt")
    }

    /// Its socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[6]).into()
    }

    /// A credentials file with the profiles named here.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    fn wait_until_ready(&mut self, program: &Path) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        let mut made = false;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("weed ended with {status}:\n{}", self.log());
            }
            if !made && self.answers() {
                made = self.make_buckets(program)?;
            }
            if made {
                return Ok(());
            }
            if Instant::now() > end {
                bail!(
                    "weed does not answer after {START_LIMIT:?}:\n{}",
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.take(1024).read_to_end(&mut answer)?;
            Ok(answer.starts_with(b"HTTP/1.") && answer.windows(5).any(|w| w == b" 200 "))
        };
        ask().unwrap_or(false)
    }

    /// The server's own shell makes the buckets, because this crate has no S3 client.
    fn make_buckets(&self, program: &Path) -> Result<bool> {
        let script = format!(
            "s3.bucket.create -name {}\ns3.bucket.create -name {} -withLock\nexit\n",
            Self::BUCKET,
            Self::LOCKING
        );
        let output = self.dir.path().join("shell");
        let mut shell = Command::new(program)
            .args(["-logtostderr=true", "shell"])
            // With its gRPC port, which is otherwise taken to be 10,000 higher.
            .arg(format!(
                "-master=127.0.0.1:{}.{}",
                self.ports[0], self.ports[1]
            ))
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(File::create(&output)?)
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = shell.stdin.take() {
            stdin.write_all(script.as_bytes())?;
        }
        let end = Instant::now() + SHELL_LIMIT;
        while shell.try_wait()?.is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Without effect on one that has ended.
        let _ = shell.kill();
        shell.wait()?;
        let said = fs::read_to_string(output)?;
        Ok(said.matches("created bucket").count() == 2)
    }

    /// What it has logged, for whoever has to say why it failed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Sockets whose place can't be chosen; a killed server leaves them.
        for (name, ports) in SERVERS.iter().zip(self.ports.chunks(2)) {
            if let [_, grpc] = ports {
                let _ = fs::remove_file(format!("/tmp/seaweedfs-{name}-grpc-{grpc}.sock"));
            }
        }
    }
}

/// Everything on loopback, no telemetry, sockets in the server's own folder.
fn arguments(dir: &Path, ports: &[u16; PORTS]) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-logtostderr=true",
        "server",
        "-dir=data",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=0",
        "-volume.preStopSeconds=0",
        // Else nothing can be written once a hundredth of the disk is left, however much that is.
        "-volume.minFreeSpace=256MiB",
        "-filer",
        "-s3",
        "-s3.config=s3.json",
        "-s3.autoCreateBucket=false",
        "-s3.iam=false",
        "-s3.cert.file=tls.crt",
        "-s3.key.file=tls.key",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    .map(str::to_owned)
    .into();
    for (name, port) in SERVERS.iter().zip(ports.chunks(2)) {
        arguments.push(format!("-{name}.port={}", port[0]));
        arguments.push(format!("-{name}.port.grpc={}", port[1]));
    }
    arguments.push(format!("-s3.port.https={}", ports[8]));
    for name in ["filer", "s3"] {
        let socket = dir.join(format!("{name}.sock"));
        arguments.push(format!("-{name}.localSocket={}", socket.display()));
    }
    arguments
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<[u16; PORTS]> {
    let listeners: Vec<TcpListener> = (0..PORTS)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()?;
    let mut ports = [0; PORTS];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
