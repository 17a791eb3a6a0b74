//! Capturing one extra: hook → files → have-checks → encoders → put stream → commit → the other hook.
//!
//! The hook runs once for a command, however often the connection breaks; a crash of the agent runs it again, with the
//! command. From the moment it is begun, the one afterwards runs in any case: after success, failure, cancel and crash. Whether
//! the files are of one instant is the hook's business; here it is only made sure that no single file changed while it was read.

use super::session::IngestSession;
use super::{Conditions, deliver_with, millis};
use crate::attempts::Attempts;
use crate::commands::phase::Phase;
use crate::config::{ExtraSection, Hook};
use crate::failure::{Failed, chain};
use crate::job::{Halt, Job};
use crate::order::ExtraOrder;
use crate::outcome::{ExtraReport, Outcome};
use futures::TryFutureExt as _;
use holdfast_archive::{CapturedExtra, ShardRecipe};
use holdfast_service::failure::Code;
use read::ReadExtra;
use std::sync::Arc;
use tokio::time::Instant;

mod hook;
mod read;
mod walk;

/// Captures the extra and commits it. The hook afterwards is [`conclude`]'s.
///
/// # Errors
/// Why it failed.
pub async fn run(job: &Job, order: &ExtraOrder) -> Result<ExtraReport, Failed> {
    let began = Instant::now();
    let section = configured(job, order).ok_or_else(|| {
        let what = format!(
            "this agent has no [[extra]] called {}: its configuration has changed",
            order.name
        );
        Failed::new(Code::ExtraFailed, what)
    })?;
    if section.before.is_some() || section.after.is_some() {
        job.advance(Phase::Hooked).await?;
    }
    if let Some(program) = &section.before {
        job.meter.stage("running the hook before");
        run_hook(job, order, section, program, "before", "").await?;
    }
    let mut attempts = Attempts::new(job.site.config.limits.retry_for);
    loop {
        let link = attempts.link(job).await?;
        let tried = IngestSession::open(&link, &job.id)
            .and_then(|session| {
                attempts.accepted();
                attempt(job, section, session)
            })
            .await;
        match tried {
            Ok(logical_bytes) => {
                return Ok(ExtraReport {
                    logical_bytes,
                    sent_bytes: job.meter.sent(),
                    elapsed_ms: millis(began.elapsed()),
                    warnings: Vec::new(),
                });
            }
            Err(Halt::Broken(failed)) => {
                attempts.arrived(job.meter.arrived());
                attempts.pause(failed).await?;
            }
            Err(Halt::Failed(failed)) => return Err(failed),
            Err(Halt::Stopped) => {
                let what = "a stage ended without an error";
                return Err(Failed::new(Code::Internal, what));
            }
        }
    }
}

/// Runs the hook afterwards, if the command has come so far that it must, whatever came of it. A failure of this hook
/// is told, and changes nothing else.
///
/// # Errors
/// The failure that it was given.
pub async fn conclude(
    job: &Job,
    order: &ExtraOrder,
    result: Result<Outcome, Failed>,
) -> Result<Outcome, Failed> {
    let hooked = matches!(job.phase(), Phase::Hooked);
    let section = configured(job, order).filter(|_| hooked);
    let Some((section, program)) = section.and_then(|s| Some((s, s.after.as_ref()?))) else {
        return result;
    };
    job.meter.stage("running the hook after");
    let outcome = if result.is_ok() { "captured" } else { "failed" };
    let began = Instant::now();
    let ended = run_hook(job, order, section, program, "after", outcome).await;
    let told = ended.err().map(|failed| failed.message);
    if let Some(told) = &told {
        tracing::warn!(reason = told, "a hook failed");
    }
    match result {
        Ok(Outcome::ExtraCaptured(mut report)) => {
            report.elapsed_ms += millis(began.elapsed());
            report.warnings.extend(told);
            Ok(Outcome::ExtraCaptured(report))
        }
        Ok(other) => Ok(other),
        Err(failed) => Err(match told {
            Some(told) => failed.and(&told),
            None => failed,
        }),
    }
}

fn configured<'a>(job: &'a Job, order: &ExtraOrder) -> Option<&'a ExtraSection> {
    let mut extras = job.site.config.extras.iter();
    extras.find(|section| section.name == order.name)
}

async fn run_hook(
    job: &Job,
    order: &ExtraOrder,
    section: &ExtraSection,
    program: &Hook,
    which: &'static str,
    outcome: &str,
) -> Result<(), Failed> {
    let environment = [
        ("HOLDFAST_HOOK", which.to_owned()),
        ("HOLDFAST_OUTCOME", outcome.to_owned()),
        ("HOLDFAST_EXTRA", order.name.to_string()),
        ("HOLDFAST_RECOVERY_POINT", order.point.to_string()),
        ("HOLDFAST_JOB", order.job.to_string()),
        ("HOLDFAST_NODE", job.site.config.node.to_string()),
        ("HOLDFAST_CLUSTER", job.site.config.cluster.to_string()),
    ];
    let ended = hook::run(program, section.timeout, &environment).await;
    ended.map_err(|error| {
        let what = format!(
            "the hook {which} of extra {}: {}",
            order.name,
            chain(&error)
        );
        Failed::new(Code::ExtraFailed, what)
    })
}

/// Returns the bytes of all files.
async fn attempt(job: &Job, section: &ExtraSection, session: IngestSession) -> Result<u64, Halt> {
    let captured_at = job.site.clock.now();
    let under = Conditions {
        meter: Arc::clone(&job.meter),
        pace: Arc::clone(&job.pace),
        encode_threads: job.site.config.limits.encode_threads,
        shard: format!("extra {}", section.name),
    };
    let extra = section.clone();
    job.meter.restart(0);
    job.meter.stage("reading files");
    let read = deliver_with(under, &session, move |stage| read::read(&extra, &stage));
    let ReadExtra {
        recipe,
        files,
        bytes,
        warnings,
    } = read.await?;
    job.meter.stage("committing");
    let encoded = recipe.encode().map_err(|error| {
        let what = format!("extra {}: {}", section.name, chain(&error));
        Failed::new(Code::ExtraFailed, what)
    })?;
    let hash = ShardRecipe::hash(&encoded);
    let told = CapturedExtra {
        captured_at,
        // The coordinator stores the recipe and names its chunks.
        recipe: Vec::new(),
        recipe_len: encoded.len() as u64,
        recipe_hash: super::hex(&hash),
        files,
        bytes,
        warnings,
    };
    session.commit_extra(&told, encoded, hash).await?;
    Ok(bytes)
}
