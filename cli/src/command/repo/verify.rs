//! `repo verify`: the check of the repository, with progress, and a way to go on after Ctrl-C.

use super::state::StateFile;
use crate::args::VerifyArgs;
use crate::command::{Context, coordinator, direct, jobs};
use crate::failure::{Action, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::job::Follower;
use crate::progress::{Amount, Progress};
use crate::view::{Resumption, VerifyView};
use holdfast_coordinator::config::CoordinatorConfig;
use holdfast_repository::{
    Repository, Sample, VerifyCheckpoint, VerifyLevel, VerifyObserver, VerifyOptions,
    VerifyProgress,
};
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::failure::Code;
use holdfast_store::StoreLimits;
use std::io;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is kept how far a check is.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// `holdfast repo verify`.
pub(super) async fn run(context: Context, args: VerifyArgs) -> Outcome<()> {
    if args.as_job {
        return as_job(context, &args).await;
    }
    let config = direct::load(&args.direct)?;
    let repository = direct::open(&config).await?;
    let path = args.state.clone();
    let path = path.unwrap_or_else(|| config.state_dir.join("verify.json"));
    let state = StateFile::read(path, &repository.description().id);
    let options = options(&args, &config, &state)?;
    let watcher = Watcher::new(context, state);
    let began = Instant::now();
    let interrupt = Interrupt::listen()?;
    let checked = tokio::select! {
        checked = repository.verify_with(&options, &watcher) => checked,
        () = interrupt.wait() => return Err(watcher.interrupted(&repository)),
    };
    let kept = watcher.ended(options.level);
    let report = checked.map_err(|error| direct::failed(&error))?;
    let resumption = Resumption {
        resumed: options.resume.is_some(),
        unkept: kept.err().map(|error| error.to_string()),
    };
    let view = VerifyView::new(repository.place(), &report, resumption, began.elapsed());
    context.output.show(&view)?;
    verdict(&view)
}

/// Has the coordinator do it.
async fn as_job(context: Context, args: &VerifyArgs) -> Outcome<()> {
    let interrupt = Interrupt::listen()?;
    let mut coordinator = coordinator(&args.connection).await?;
    let percent = match (args.sample, args.full) {
        (Some(percent), _) => u32::from(percent),
        (None, true) => 100,
        (None, false) => 0,
    };
    let mut progress = Progress::stderr(context.quiet);
    let follower = Follower {
        action: Action::Verify,
        job: String::new(),
        progress: &mut progress,
        output: context.output,
    };
    let finished = follower
        .run(coordinator.verify(percent), interrupt.wait())
        .await?;
    context.output.show(&jobs::upkeep(finished))
}

fn options(
    args: &VerifyArgs,
    config: &CoordinatorConfig,
    state: &StateFile,
) -> Outcome<VerifyOptions> {
    let level = match (args.sample, args.full) {
        (Some(percent), _) => VerifyLevel::Sample(sample(args, percent, state)?),
        (None, true) => VerifyLevel::Full,
        (None, false) => VerifyLevel::Quick,
    };
    let resume = args.resume.then(|| state.interrupted(level)).flatten();
    let rate = args
        .max_mib_per_sec
        .and_then(|mib| NonZeroU64::new(u64::from(mib) << 20));
    Ok(VerifyOptions {
        // A sample goes on with the packs that it began with.
        level: resume.as_ref().map_or(level, |found| found.level),
        now: SystemClock.now(),
        namespaces: vec![config.namespace.clone()],
        record: !args.read_only,
        resume,
        limits: StoreLimits {
            bytes_per_second: rate,
            ..StoreLimits::default()
        },
    })
}

fn sample(args: &VerifyArgs, percent: u8, state: &StateFile) -> Outcome<Sample> {
    let sample = match (args.seed, args.from_slot) {
        (Some(seed), Some(from)) => Sample::new(percent, seed, from).ok(),
        (_, _) => state.next_sample(percent),
    };
    sample.ok_or_else(|| {
        let path = state.path().display();
        Failure::new(Code::Usage, format!("{path} names no sample"))
            .risking("nothing: nothing was done")
            .todo("remove the file")
    })
}

/// Draws progress, and keeps how far the check is.
struct Watcher(Mutex<Watching>);

struct Watching {
    progress: Progress,
    state: StateFile,
    last: Option<(VerifyProgress, VerifyCheckpoint)>,
    kept: Instant,
}

impl VerifyObserver for Watcher {
    fn progressed(&self, progress: VerifyProgress, checkpoint: &VerifyCheckpoint) {
        let mut watching = self.watching();
        let amount = Amount {
            done: progress.bytes_done,
            total: progress.bytes_total,
            sent: None,
            bytes: true,
        };
        watching.progress.update("packs", "reading", amount);
        watching.last = Some((progress, checkpoint.clone()));
        if watching.kept.elapsed() >= KEEP_EVERY {
            // Whether that works is told at the end.
            let _ = watching.keep();
        }
    }
}

impl Watching {
    fn keep(&mut self) -> io::Result<()> {
        self.kept = Instant::now();
        match &self.last {
            Some((_, checkpoint)) => self.state.interrupt(checkpoint.clone()),
            None => Ok(()),
        }
    }
}

impl Watcher {
    fn new(context: Context, state: StateFile) -> Self {
        Self(Mutex::new(Watching {
            progress: Progress::stderr(context.quiet),
            state,
            last: None,
            kept: Instant::now(),
        }))
    }

    fn watching(&self) -> MutexGuard<'_, Watching> {
        // Every statement leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, level: VerifyLevel) -> io::Result<()> {
        let mut watching = self.watching();
        watching.progress.clear();
        watching.state.end(level)
    }

    fn interrupted(&self, repository: &Repository) -> Failure {
        let mut watching = self.watching();
        watching.progress.clear();
        let kept = watching.keep();
        let done = watching.last.as_ref().map_or(0, |last| last.0.packs_done);
        let what = format!(
            "the check of {} was interrupted after {done} packs",
            repository.place()
        );
        let failure =
            Failure::new(Code::Interrupted, what).risking("nothing: no object was changed");
        match kept {
            Ok(()) => failure.todo("go on with the same command and --resume"),
            Err(error) => failure
                .caused_by(&error)
                .todo("name a writable --state FILE, so that it can go on from where it was"),
        }
    }
}

fn verdict(view: &VerifyView) -> Outcome<()> {
    if !view.needs_attention {
        return Ok(());
    }
    let failure = Failure::new(Code::RepositoryDamaged, view.headline());
    let failure = match view.affected.as_slice() {
        [] => failure.risking("no recovery point yet: each can still be restored in full"),
        _ => failure.risking(
            "what these points lost; their other collections and all other points restore",
        ),
    };
    Err(failure
        .todo(
            "back up now, which stores anew what Qdrant still has; then follow docs/runbooks, \
             `repository-damaged`",
        )
        .already_shown())
}
