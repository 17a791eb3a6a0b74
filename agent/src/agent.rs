//! The running agent: its parts, how they start, how they drain.

use crate::config::AgentConfig;
use crate::control::{self, Control};
use crate::dial::TlsDial;
use crate::executor;
use crate::failure::chain;
use crate::job::Site;
use crate::journal::{Found, Journal, JournalError};
use crate::link::{self, Dial};
use crate::observer;
use crate::running::Running;
use crate::tail::{Board, Following};
use crate::watch::{self, Watching};
use holdfast_certs::{ClientTls, Role, TlsError};
use holdfast_qdrant::{QdrantClient, QdrantConfig, QdrantError, SecretString, Timeouts};
use holdfast_service::clock::{Clock, SystemClock};
use holdfast_service::exit::ExitCode;
use holdfast_service::failure::Code;
use holdfast_service::health::{HealthError, HealthServer, HealthState};
use holdfast_service::shutdown::{DrainTimeout, Shutdown};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running command and its leftovers get this long after a stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(45);
/// Renewed certificate files are looked for this often.
const RELOAD_EVERY: Duration = Duration::from_secs(5);

/// Why the agent can't start or did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The identity can't be used.
    #[error("the agent's certificate can't be used")]
    Tls(#[from] TlsError),
    /// The certificate is not this node's.
    #[error(
        "the certificate is of {found}, but this agent is configured as node {node}: issue one with the role agent and this name"
    )]
    OtherIdentity {
        /// Identity in the certificate.
        found: String,
        /// Name in the configuration.
        node: String,
    },
    /// The API key can't be read.
    #[error("can't read qdrant.api_key_file {}", path.display())]
    ApiKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client can't be set up.
    #[error("can't set up the client of Qdrant")]
    Qdrant(#[from] QdrantError),
    /// The state directory can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The health endpoint can't be served.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// Something did not stop.
    #[error(transparent)]
    Drain(#[from] DrainTimeout),
}

impl AgentError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tls(_) | Self::OtherIdentity { .. } => ExitCode::Certificate,
            Self::ApiKey { .. } | Self::Health(_) => ExitCode::Config,
            Self::Qdrant(_) => ExitCode::Qdrant,
            Self::Journal(error) => match error {
                // A disk that is full is the one trouble there that the configuration can't mend.
                JournalError::Io { .. } if error.code() != Code::Internal => {
                    error.code().exit_code()
                }
                JournalError::Io { .. } | JournalError::Locked(_) | JournalError::Newer { .. } => {
                    ExitCode::Config
                }
                JournalError::Stopped => ExitCode::Internal,
            },
            Self::Drain(_) => ExitCode::Internal,
        }
    }
}

/// Everything an agent is made of, before it runs.
pub struct Agent {
    config: Arc<AgentConfig>,
    journal: Journal,
    qdrant: QdrantClient,
    dial: Arc<dyn Dial>,
    tls: Option<ClientTls>,
    health: HealthState,
    health_server: Option<HealthServer>,
}

impl Agent {
    /// Reads the identity, opens the journal and takes the health port.
    ///
    /// # Errors
    /// [`AgentError`]; a Qdrant or coordinator that can't be reached is none: the agent waits for them.
    pub async fn prepare(config: AgentConfig) -> Result<Self, AgentError> {
        let tls = ClientTls::load(config.tls.clone())?;
        let identity = tls.identity();
        if identity.role() != Role::Agent || identity.name() != config.node.as_str() {
            return Err(AgentError::OtherIdentity {
                found: identity.to_string(),
                node: config.node.to_string(),
            });
        }
        let dial = Arc::new(TlsDial::new(&config.coordinator, tls.clone()));
        let mut agent = Self::with_dial(config, dial)?;
        agent.tls = Some(tls);
        if let Some(addr) = agent.config.health_listen {
            agent.health_server = Some(HealthServer::bind(addr, agent.health.clone()).await?);
        }
        Ok(agent)
    }

    /// An agent that reaches its coordinator some other way, as tests do. Serves no health endpoint.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn with_dial(config: AgentConfig, dial: Arc<dyn Dial>) -> Result<Self, AgentError> {
        let qdrant = qdrant_client(&config)?;
        let (journal, found) = Journal::open(&config.state_dir)?;
        tell_found(&found);
        Ok(Self {
            config: Arc::new(config),
            journal,
            qdrant,
            dial,
            tls: None,
            health: HealthState::new(&[control::HEALTH_PART, observer::HEALTH_PART]),
            health_server: None,
        })
    }

    /// Readiness, as the health endpoint reports it.
    #[must_use]
    pub fn health(&self) -> HealthState {
        self.health.clone()
    }

    /// Runs until `shutdown` is requested, then drains: a running capture is ended and cleaned up after, its
    /// outcome reported, then the session closed. A running restore goes on at the next start.
    ///
    /// # Errors
    /// [`AgentError::Drain`] if something did not stop in time.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), AgentError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let running = Running::default();
        let (link_slot, link_watch) = link::slot();
        let (observed, observation) = observer::channel();
        let (looked, storage) = watch::channel();
        let others = Arc::new(Notify::new());
        if let Some(root) = self.config.qdrant.storage_dir.clone() {
            let watching = Watching {
                root,
                every: self.config.watch.every,
                observation: observation.clone(),
                others: Arc::clone(&others),
                out: looked,
                clock: Arc::clone(&clock),
            };
            shutdown.spawn(watching.run(shutdown.token()));
        }
        // Stopped last, so that the outcome of an interrupted command still gets out.
        let session_stop = CancellationToken::new();
        let control = Control {
            node: self.config.node.clone(),
            cluster: self.config.cluster.clone(),
            dial: self.dial,
            journal: self.journal.clone(),
            running: running.clone(),
            observation: observation.clone(),
            storage,
            link: link_slot,
            health: self.health.clone(),
            clock: Arc::clone(&clock),
        };
        let following = Following {
            config: Arc::clone(&self.config),
            link: link_watch.clone(),
            observation,
            others,
            board: Board::default(),
            clock: Arc::clone(&clock),
        };
        let site = Site {
            config: Arc::clone(&self.config),
            journal: self.journal,
            link: link_watch,
            qdrant: self.qdrant.clone(),
            board: following.board.clone(),
            clock,
        };
        shutdown.spawn(following.run(shutdown.token()));
        shutdown.spawn(observer::run(
            self.qdrant,
            self.config,
            observed,
            self.health,
            shutdown.token(),
        ));
        shutdown.spawn(control.run(session_stop.clone()));
        if let Some(server) = self.health_server {
            shutdown.spawn(tell_health(server, session_stop.clone()));
        }
        if let Some(tls) = self.tls {
            let stop = shutdown.token();
            shutdown.spawn(tls.watch(RELOAD_EVERY, async move { stop.cancelled().await }));
        }
        let executing = shutdown.spawn(executor::run(site, running, shutdown.token()));
        drain(&shutdown, executing, &session_stop).await
    }
}

/// Waits for a stop, then for the command that runs, then for everything else.
async fn drain(
    shutdown: &Shutdown,
    executing: JoinHandle<()>,
    session_stop: &CancellationToken,
) -> Result<(), AgentError> {
    shutdown.requested().await;
    let drained = tokio::time::timeout(DRAIN_WITHIN, executing).await;
    session_stop.cancel();
    if drained.is_err() {
        tracing::warn!(
            "the running command did not stop in time; the journal knows how far it was"
        );
    }
    shutdown.drain(DRAIN_WITHIN).await?;
    Ok(())
}

async fn tell_health(server: HealthServer, stop: CancellationToken) {
    if let Err(error) = server.run(stop).await {
        tracing::error!(reason = %chain(&error), "the health endpoint failed");
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn qdrant_client(config: &AgentConfig) -> Result<QdrantClient, AgentError> {
    let section = &config.qdrant;
    let api_key = match &section.api_key_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| AgentError::ApiKey {
                path: path.clone(),
                source,
            })?;
            Some(SecretString::from(text.trim().to_owned()))
        }
        None => None,
    };
    let bulk = config.limits.qdrant_bulk_timeout;
    Ok(QdrantClient::new(QdrantConfig {
        url: section.url.clone(),
        api_key,
        timeouts: Timeouts {
            snapshot: bulk,
            upload: bulk,
            ..Timeouts::default()
        },
    })?)
}

fn tell_found(found: &Found) {
    match found {
        Found::Nothing => tracing::info!("a new journal"),
        Found::Intact => {}
        Found::Damaged {
            set_aside,
            recovered: true,
        } => tracing::error!(
            file = %set_aside.display(),
            "the journal was damaged and is set aside; going on with the one before"
        ),
        Found::Damaged {
            set_aside,
            recovered: false,
        } => tracing::error!(
            file = %set_aside.display(),
            "the journal was damaged and is set aside; starting empty: look for snapshots on Qdrant that nobody deletes, and for partly restored collections"
        ),
    }
}

#[cfg(test)]
pub(crate) mod tests;
