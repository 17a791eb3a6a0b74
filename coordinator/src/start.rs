//! From a configuration to a running coordinator, and its orderly end.
//!
//! Whatever can be refused is refused before the epoch is claimed: a mistaken start must not fence off
//! the coordinator that runs.

use crate::catalog::rebuild::survey;
use crate::catalog::{Catalog, CatalogError};
use crate::config::CoordinatorConfig;
use crate::copies::{self, Copies, CopyMemory};
use crate::core::{Core, CoreParts};
use crate::enrolment::{self, Enrolments};
use crate::fault::{Fault, chain, storage_code};
use crate::job::book::JobBook;
use crate::keeping::{self, Keeping, Place};
use crate::logs;
use crate::members::{self, Members};
use crate::missed;
use crate::repository::{Creation, fault_of, open};
use crate::retention::{self, Guard};
use crate::rpc::metrics;
use crate::schedule::{self, ScheduleBook};
use crate::verify::{VerifyBook, VerifyMemory};
use crate::{execute, serve, verify};
use holdfast_certs::{ServerTls, TlsPaths};
use holdfast_repository::{Marks, Repository, RepositoryError};
use holdfast_service::clock::{Clock, SystemClock};
use holdfast_service::exit::ExitCode;
use holdfast_service::failure::Code;
use holdfast_service::health::{HealthServer, HealthState, Scrape};
use holdfast_service::shutdown::{Shutdown, StopReason};
use holdfast_types::{CopyName, Epoch, Timestamp};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

mod absent;

use absent::Absent;
pub use absent::COUNTS_AS_AWAY;

/// The name of the repository in the health report.
const HEALTH_PART: &str = "coordinator";

/// How often certificates are looked at.
const TLS_WATCH: Duration = Duration::from_secs(5);

/// How long tasks may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs until a signal, or until a newer coordinator takes over.
///
/// # Errors
/// One clear failure for each reason not to start.
pub async fn run(config: CoordinatorConfig) -> Result<ExitCode, Fault> {
    let shutdown = Shutdown::new();
    shutdown
        .listen_for_signals()
        .map_err(|error| Fault::from_error(Code::Internal, &error))?;
    let tls = load_tls(&config)?;
    let listener = bind("listen", config.listen).await?;
    let enrolling = bind_enrolment(&config, &tls).await?;
    let health = HealthState::new(&[HEALTH_PART]);
    serve_health(&config, &health, &shutdown).await?;

    let core = open_core(&config, shutdown.clone(), Arc::new(SystemClock)).await?;
    tracing::info!(
        cluster = %core.cluster,
        epoch = core.epoch.0,
        listen = %config.listen,
        repository = core.repository.place(),
        "the coordinator runs"
    );
    let stop = shutdown.token();
    drop(shutdown.spawn(tls.clone().watch(TLS_WATCH, stop.cancelled_owned())));
    execute::resume(&core).await;
    drop(shutdown.spawn(retention::run_schedule(Arc::clone(&core))));
    drop(shutdown.spawn(keeping::run(Arc::clone(&core))));
    drop(shutdown.spawn(verify::run(Arc::clone(&core), core.verify)));
    drop(shutdown.spawn(schedule::run(Arc::clone(&core))));
    drop(shutdown.spawn(logs::prompt_bases(Arc::clone(&core))));
    drop(shutdown.spawn(members::rebase(Arc::clone(&core))));
    drop(shutdown.spawn(logs::compact_logs(Arc::clone(&core))));
    for copy in core.copies.iter() {
        drop(shutdown.spawn(copies::run(Arc::clone(&core), Arc::clone(copy))));
    }
    if let Some(listener) = enrolling {
        let serving = serve::serve_enrolment(Arc::clone(&core), listener, tls.clone());
        drop(shutdown.spawn(serving));
    }
    health.measured_by(scrape(&core));
    health.ready(HEALTH_PART);
    let served = serve::serve(Arc::clone(&core), listener, tls).await;
    health.not_ready(HEALTH_PART, "stopping");
    shutdown.stop();
    if let Err(late) = shutdown.drain(DRAIN).await {
        tracing::warn!(%late, "ending all the same");
    }
    served?;
    if core.is_superseded() {
        return Err(Fault::new(
            Code::StaleEpoch,
            "another coordinator has taken over this repository; this one has stopped",
        ));
    }
    let reason = shutdown.reason().unwrap_or(StopReason::Requested);
    tracing::info!("stopped; jobs that were running go on at the next start");
    Ok(reason.exit_code())
}

/// Opens repository and catalogue, claims the epoch and reads the jobs.
///
/// # Errors
/// One clear failure for each way they can be unusable.
pub async fn open_core(
    config: &CoordinatorConfig,
    shutdown: Shutdown,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Core>, Fault> {
    let repository = open_repository(config, clock.now()).await?;
    for damage in &repository.report().damaged {
        tracing::error!(
            object = damage.object,
            reason = chain(&damage.damage),
            "damage in the repository"
        );
    }
    let found = survey(&repository).await?;
    let catalog = open_catalog(
        &config.catalog_path(),
        &repository,
        found.points.len() + found.damaged.len(),
    )?;
    let unusable = |error: CatalogError| catalog_fault(&error);
    let copies = catalog.copies().await.map_err(unusable)?;
    let keeping = keeping(config, &repository).await?;
    let settings = config.retention.clone();
    let absent = Absent::look(&repository, settings.grace, clock.now()).await?;
    // Before the claim, which is a write: a start that ends behind it must not make the absence look short to the next.
    let rest = absent.rest_of_logs(&catalog, settings.grace, clock.now());
    let logs_rest_until = rest.await.map_err(unusable)?;
    let epoch = claim(&repository, &copies, config).await?;
    let claimed = repository
        .claimed_at(epoch)
        .await
        .map_err(|e| fault_of(&e))?;
    let store_skew = claimed.map_or(Duration::ZERO, |at| clock.now().distance(at));
    absent
        .postpone_removals(&repository, epoch, clock.now())
        .await?;
    // Points committed just before a crash are listed now, whatever the catalogue says; and those that an
    // outgoing coordinator committed until the claim.
    let found = survey(&repository).await?;
    let marks = marks(&repository).await?;
    let settled = missed::settle(&catalog, &found, &marks, epoch, clock.now());
    settled.await.map_err(unusable)?;
    let book = JobBook::load(catalog.clone(), config.limits.kept_jobs, clock.now())
        .await
        .map_err(unusable)?;
    let schedules = catalog.schedules().await.map_err(unusable)?;
    let said = Members::new(catalog.members().await.map_err(unusable)?);
    let tokens = catalog.tokens().await.map_err(unusable)?;
    let verified = match catalog.verify_memory().await.map_err(unusable)? {
        Some(memory) => memory,
        None => VerifyMemory::new(seed()?, clock.now()),
    };
    Ok(Core::new(CoreParts {
        cluster: config.cluster.clone(),
        namespace: config.namespace.clone(),
        limits: config.limits,
        epoch,
        clock: Arc::clone(&clock),
        store_skew,
        damaged_points: found.damaged,
        copies: Copies::new(&config.copies, copies, clock.now(), seed()?),
        retention: Guard::new(settings, marks, logs_rest_until),
        keeping,
        wal: config.wal,
        bases: found.bases,
        repository,
        catalog,
        book,
        verified: VerifyBook::new(verified),
        verify: config.verify,
        policy: config.policy.clone(),
        schedules: ScheduleBook::new(schedules),
        members: said,
        enrolments: Enrolments::new(config.enrolment.clone(), tokens),
        shutdown,
    }))
}

async fn keeping(config: &CoordinatorConfig, repository: &Repository) -> Result<Keeping, Fault> {
    let keeping = Keeping::new(&config.repository.place);
    let place = Place {
        repository,
        failed: &fault_of,
    };
    let has_locks = keeping.ask(&place).await?;
    keeping.check(has_locks, &repository.place())?;
    Ok(keeping)
}

/// Takes the next term. Where a promotion of a copy was begun and given up, one above what that has claimed: else the copy
/// would refuse this coordinator for ever.
async fn claim(
    repository: &Repository,
    copies: &BTreeMap<CopyName, CopyMemory>,
    config: &CoordinatorConfig,
) -> Result<Epoch, Fault> {
    let configured = config.copies.iter();
    let newer = configured.filter_map(|section| copies.get(&section.name)?.newer_term);
    let floor = newer.max().unwrap_or(Epoch(0));
    let claimed = repository.claim_epoch_above(floor).await;
    claimed.map_err(|error| fault_of(&error))
}

/// What is said of recovery points. A hold that can't be read forbids every removal, but not to restore.
async fn marks(repository: &Repository) -> Result<Marks, Fault> {
    match repository.read_marks().await {
        Ok(marks) => Ok(marks),
        Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::NewerFormat { .. })) => {
            tracing::error!(
                reason = chain(&error),
                "nothing is removed before this is mended"
            );
            Ok(Marks::default())
        }
        Err(error) => Err(fault_of(&error)),
    }
}

/// Small enough for every reader of JSON.
fn seed() -> Result<u64, Fault> {
    let seed = getrandom::u32();
    let seed =
        seed.map_err(|error| Fault::new(Code::Internal, format!("no random numbers: {error}")));
    seed.map(u64::from)
}

/// Opens the repository, or creates it if that is configured. A catalogue says that there was one: then
/// an empty place means a missing volume or a wrong path, and a new repository would hide that.
async fn open_repository(config: &CoordinatorConfig, now: Timestamp) -> Result<Repository, Fault> {
    let known = config.catalog_path().exists();
    let creation = if config.repository.init && !known {
        Creation::IfNothing
    } else if known {
        Creation::Known
    } else {
        Creation::Never
    };
    open(config, creation, now).await
}

/// Opens the catalogue. Where none is, one is created only if there is nothing it could have listed:
/// otherwise it was lost, and with it perhaps the record of a running job.
fn open_catalog(path: &Path, repository: &Repository, points: usize) -> Result<Catalog, Fault> {
    let id = &repository.description().id;
    let opened = match Catalog::open(path, id) {
        Err(CatalogError::Missing { .. }) if points == 0 => Catalog::create(path, id),
        opened => opened,
    };
    opened.map_err(|error| catalog_fault(&error))
}

fn catalog_fault(error: &CatalogError) -> Fault {
    const REBUILD: &str =
        "make it anew from the repository with `holdfast-coordinator --config FILE rebuild`";
    let (code, advice) = match error {
        CatalogError::Missing { .. } => (
            Code::RepositoryDamaged,
            format!("the repository has recovery points, so it was lost: {REBUILD}"),
        ),
        CatalogError::Damaged { .. } => (Code::RepositoryDamaged, REBUILD.to_owned()),
        CatalogError::Foreign { .. } => (
            Code::RepositoryForeign,
            format!("check state_dir and repository.path; if both are right, {REBUILD}"),
        ),
        CatalogError::Newer { .. } => (
            Code::RepositoryNewer,
            format!("upgrade this program, or {REBUILD}"),
        ),
        CatalogError::InUse { .. } => (
            Code::RepositoryLocked,
            "stop it first, or choose another state_dir".to_owned(),
        ),
        CatalogError::Io { source, .. } => match storage_code(source.kind()) {
            Some(code) => (code, "free space, or mount it writable".to_owned()),
            None => (
                Code::Config,
                "check state_dir and who may read and write it".to_owned(),
            ),
        },
    };
    Fault::new(code, format!("{}: {advice}", chain(error)))
}

fn load_tls(config: &CoordinatorConfig) -> Result<ServerTls, Fault> {
    let paths = TlsPaths {
        cert: config.tls.cert.clone(),
        key: config.tls.key.clone(),
        ca: config.tls.ca.clone(),
    };
    let tls =
        ServerTls::load(paths).map_err(|error| Fault::from_error(Code::Certificate, &error))?;
    let identity = tls.identity();
    if identity.name() != config.name {
        tracing::warn!(
            certificate = identity.name(),
            configured = config.name,
            "the certificate names another coordinator"
        );
    }
    Ok(tls)
}

async fn bind(key: &str, addr: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| bind_fault(key, &addr.to_string(), &error))
}

/// Where callers without a certificate are served, if they are.
async fn bind_enrolment(
    config: &CoordinatorConfig,
    tls: &ServerTls,
) -> Result<Option<TcpListener>, Fault> {
    let Some(section) = &config.enrolment else {
        return Ok(None);
    };
    enrolment::check(section, tls)?;
    bind("enrolment.listen", section.listen).await.map(Some)
}

fn bind_fault(key: &str, addr: &str, error: &std::io::Error) -> Fault {
    let kind = error.kind();
    let advice = if kind == std::io::ErrorKind::AddrInUse {
        "another process has this port: stop it, or choose another one"
    } else if kind == std::io::ErrorKind::PermissionDenied {
        "choose a port above 1023"
    } else {
        "choose an address of this machine"
    };
    Fault::new(
        Code::Config,
        format!("{key}: can't listen on {addr} ({error}): {advice}"),
    )
}

/// What `/metrics` answers.
fn scrape(core: &Arc<Core>) -> Scrape {
    let core = Arc::downgrade(core);
    Box::new(move || {
        let core = core.clone();
        Box::pin(async move {
            let core = core.upgrade().ok_or("the coordinator is stopping")?;
            let text = metrics::text(&core).await;
            text.map_err(|fault| fault.message)
        })
    })
}

async fn serve_health(
    config: &CoordinatorConfig,
    health: &HealthState,
    shutdown: &Shutdown,
) -> Result<(), Fault> {
    let Some(addr) = config.health_listen else {
        return Ok(());
    };
    let server = HealthServer::bind(addr, health.clone()).await;
    let server =
        server.map_err(|error| Fault::from_error(Code::Config, &error).within("health_listen"))?;
    let stop = shutdown.token();
    drop(shutdown.spawn(async move {
        if let Err(error) = server.run(stop).await {
            tracing::error!(reason = chain(&error), "the health endpoint ended");
        }
    }));
    Ok(())
}

#[cfg(test)]
mod tests;
