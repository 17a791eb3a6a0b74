//! `backup import`: reads a snapshot file as an agent reads one from its node, and delivers it the same way.

use super::{Context, backup};
use crate::args::BackupImportArgs;
use crate::client::Coordinator;
use crate::failure::{Action, Failure, Outcome, advised, from_status};
use crate::interrupt::Interrupt;
use crate::job::Follower;
use crate::output::Output;
use crate::progress::{Amount, Progress};
use crate::view::BackupResultView;
use fs_err as fs;
use futures::{StreamExt as _, stream};
use holdfast_agent::capture::{IngestSession, Origin, commit_shard, deliver_shard};
use holdfast_agent::failure::Failed;
use holdfast_agent::job::Halt;
use holdfast_agent::link::Link;
use holdfast_agent::progress::Meter;
use holdfast_archive::CollectionEntry;
use holdfast_proto::v1;
use holdfast_qdrant::{
    CollectionContents, SnapshotError, inspect_collection_snapshot, shard_of_collection,
};
use holdfast_service::failure::Code;
use holdfast_types::{CollectionName, Epoch, ServerVersion, ShardId, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Encoders beside each other.
const ENCODE_THREADS: usize = 2;

/// How often progress is shown, and how long to wait for the coordinator to open the next shard.
const SHOW_EVERY: Duration = Duration::from_millis(200);
const OPEN_EVERY: Duration = Duration::from_millis(100);

/// Tries to open a shard's delivery: one minute.
const OPEN_TRIES: u32 = 600;

const RISK: &str = "no new recovery point was committed; earlier ones and the file are untouched";

/// A file that can be imported.
struct Source {
    file: std::path::PathBuf,
    len: u64,
    contents: CollectionContents,
    entry: CollectionEntry,
    version: ServerVersion,
    captured: Timestamp,
}

/// Checks the file, starts the job, delivers each shard, and waits for the commit.
pub(super) async fn run(
    context: Context,
    coordinator: &mut Coordinator,
    args: BackupImportArgs,
) -> Outcome<()> {
    let interrupt = Interrupt::listen()?;
    let mut progress = Progress::stderr(context.quiet);
    progress.say("checking the file");
    let source = tokio::select! {
        source = inspect(&args) => source?,
        () = interrupt.wait() => return Err(interrupted()),
    };
    let epoch = Epoch(coordinator.status().await?.epoch);
    let request = v1::ImportBackupRequest {
        collection: source.entry.name.to_string(),
        shard_ids: source.contents.shards.iter().map(|id| id.0).collect(),
        qdrant_version: source.version.to_string(),
        note: args.note,
    };
    let mut events = coordinator.import(request).await?;
    let first = events.message().await;
    let first = first.map_err(|status| from_status(Action::Backup, &status))?;
    let first = first.ok_or_else(|| Failure::new(Code::Internal, "the job has no beginning"))?;
    let job = first.job_id.clone();
    let link = Link {
        channel: coordinator.channel(),
        epoch,
        generation: 0,
    };
    let events = stream::iter([Ok(first)]).chain(events);
    let done = tokio::select! {
        done = follow(context.output, events, async {
            deliver(&source, &link, &job, &mut progress).await
        }) => done,
        () = interrupt.wait() => Err(interrupted()),
    };
    if done.is_err() {
        // Ended already, if it was the coordinator that failed.
        let _ended = coordinator.cancel(job).await;
    }
    progress.clear();
    let done = done?;
    // It is judged by the age of its data: an old file would be removed by the next prune.
    let pinned = coordinator
        .pin_backup(v1::PinBackupRequest {
            recovery_point: done.backup.recovery_point.clone(),
            reason: "imported from a snapshot file".to_owned(),
        })
        .await;
    if pinned.is_err() {
        let id = &done.backup.recovery_point;
        progress.say(&format!(
            "warning: {id} could not be pinned; retention may remove it: `holdfast backup pin {id} --reason imported`"
        ));
    }
    context.output.show(&done)
}

/// Delivers, and reads the job's events meanwhile: whichever fails first says why.
async fn follow(
    output: Output,
    events: impl futures::Stream<Item = Result<v1::JobEvent, tonic::Status>> + Unpin,
    delivering: impl Future<Output = Outcome<()>>,
) -> Outcome<BackupResultView> {
    // What people see of an import is how far the file has been read.
    let mut quiet = Progress::stderr(true);
    let follower = Follower {
        action: Action::Backup,
        job: String::new(),
        progress: &mut quiet,
        output,
    };
    let following = follower.run(async { Ok(events) }, std::future::pending());
    let (mut following, mut delivering) = (Box::pin(following), Box::pin(delivering));
    let finished = tokio::select! {
        finished = &mut following => finished?,
        delivered = &mut delivering => {
            delivered?;
            following.await?
        }
    };
    backup::result(finished)
}

async fn inspect(args: &BackupImportArgs) -> Outcome<Source> {
    supported(&args.qdrant_version)?;
    let name = args.collection.parse::<CollectionName>();
    let name = name.map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    let unreadable = |error: &std::io::Error| {
        Failure::new(Code::Usage, format!("can't read {}", args.file.display()))
            .caused_by(error)
            .risking(RISK)
            .todo("name a file that Qdrant made of a whole collection: POST /collections/NAME/snapshots, then GET it")
    };
    let meta = fs::metadata(&args.file).map_err(|error| unreadable(&error))?;
    let path = args.file.clone();
    let read = tokio::task::spawn_blocking(move || {
        let file = fs::File::open(&path).map_err(SnapshotError::Read)?;
        inspect_collection_snapshot(file)
    });
    let read = read.await.map_err(|error| {
        Failure::new(Code::Internal, "reading the file ended early").caused_by(&error)
    })?;
    let contents = read.map_err(|error| refused(&args.file, &error))?;
    whole(&args.file, &contents)?;
    let since = meta.modified().ok();
    let since = since.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(Source {
        file: args.file.clone(),
        len: meta.len(),
        entry: CollectionEntry {
            name,
            info: contents.info.clone(),
            aliases: Vec::new(),
            cluster: contents.cluster.clone(),
            shard_count: u32::try_from(contents.shards.len()).unwrap_or(u32::MAX),
            uuid: None,
            shard_keys: Vec::new(),
            points: None,
            shards: Vec::new(),
        },
        contents,
        version: args.qdrant_version.clone(),
        captured: Timestamp::EPOCH.after(since.unwrap_or_default()),
    })
}

/// Requires every shard of the collection.
fn whole(file: &Path, contents: &CollectionContents) -> Outcome<()> {
    if contents.missing.is_empty() && !contents.shards.is_empty() {
        return Ok(());
    }
    let list = |ids: &[ShardId]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.join(", ")
    };
    Err(Failure::new(
        Code::PlanBlocked,
        format!(
            "{} holds shards {}, but the collection has {} more: {}",
            file.display(),
            list(&contents.shards),
            contents.missing.len(),
            list(&contents.missing)
        ),
    )
    .because("a snapshot of a cluster's collection holds the shards of one node")
    .risking(RISK)
    .todo("load it into Qdrant as its documentation says, and back that up"))
}

async fn deliver(source: &Source, link: &Link, job: &str, progress: &mut Progress) -> Outcome<()> {
    let meter = Arc::new(Meter::default());
    let shards = async {
        for (n, shard) in source.contents.shards.iter().enumerate() {
            let session = open(link, &format!("{job}-c{n}")).await?;
            let of = format!("shard {shard} of {}", source.entry.name);
            let file = fs::File::open(&source.file).map_err(|error| unreadable(&error))?;
            let bytes = shard_of_collection(file, &source.contents, *shard);
            let bytes = bytes.map_err(|error| unreadable(&error))?;
            let read = deliver_shard(&meter, ENCODE_THREADS, of, &session, bytes).await?;
            let origin = Origin {
                shard: *shard,
                node: "import"
                    .parse()
                    .map_err(|error| Failed::from_error(Code::Internal, &error))?,
                server_version: source.version.clone(),
                method: holdfast_coordinator::ingest::commit::IMPORTED.to_owned(),
                wal: None,
                reasons: Vec::new(),
                captured: source.captured,
            };
            commit_shard(&session, origin, &source.entry, read).await?;
        }
        Ok::<_, Halt>(())
    };
    let mut shards = Box::pin(shards);
    loop {
        tokio::select! {
            done = &mut shards => return done.map_err(|halt| told(&source.file, halt)),
            () = tokio::time::sleep(SHOW_EVERY) => {
                let amount = Amount {
                    done: meter.done(),
                    total: source.len,
                    sent: Some(meter.sent()),
                    bytes: true,
                };
                progress.update(source.entry.name.as_str(), "sending", amount);
            }
        }
    }
}

/// Opens the delivery of a shard. The job opens one after the other, and may not be so far yet.
async fn open(link: &Link, command: &str) -> Result<IngestSession, Halt> {
    let command = command
        .parse()
        .map_err(|_| Failed::new(Code::Internal, "a job's id makes no command's id"))?;
    let mut tries = 0;
    loop {
        match IngestSession::open(link, &command).await {
            Err(Halt::Broken(_)) if tries < OPEN_TRIES => tries += 1,
            opened => return opened,
        }
        tokio::time::sleep(OPEN_EVERY).await;
    }
}

fn unreadable(error: &std::io::Error) -> Halt {
    Halt::Failed(Failed::from_error(Code::SnapshotTruncated, error))
}

fn told(file: &Path, halt: Halt) -> Failure {
    let failed = match halt {
        Halt::Failed(failed) | Halt::Broken(failed) => failed,
        Halt::Stopped => Failed::new(Code::Internal, "a stage ended without an error"),
    };
    let ours = [Code::SnapshotTruncated, Code::QdrantError].contains(&failed.code);
    let failure = if ours {
        let what = format!("{} is no whole snapshot", file.display());
        Failure::new(failed.code, what)
            .because(failed.message)
            .todo(ANOTHER)
    } else {
        advised(failed.code, failed.message)
    };
    failure.risking(RISK)
}

const OF_A_SHARD: &str = "let Qdrant make a snapshot of the whole collection (`POST /collections/NAME/snapshots`) and \
    import that; or load the file into a shard of an existing collection \
    (`POST /collections/NAME/shards/N/snapshots/upload`), and `holdfast backup create`";

const ANOTHER: &str = "copy the file again, or let Qdrant make another snapshot";

fn refused(file: &Path, error: &SnapshotError) -> Failure {
    let code = error.code().parse().unwrap_or(Code::QdrantError);
    let todo = match error {
        SnapshotError::OfShard => OF_A_SHARD,
        SnapshotError::Truncated(_)
        | SnapshotError::Incomplete(_)
        | SnapshotError::Partial { .. }
        | SnapshotError::Malformed(_)
        | SnapshotError::Read(_) => ANOTHER,
    };
    Failure::new(code, format!("{} can't be imported", file.display()))
        .caused_by(error)
        .risking(RISK)
        .todo(todo)
}

/// Restores depend on the version, so one that nothing could be restored from is refused before a job begins.
fn supported(version: &ServerVersion) -> Outcome<()> {
    if version.is_importable() {
        return Ok(());
    }
    let (from, to) = (
        ServerVersion::oldest_supported(),
        ServerVersion::newest_minor(),
    );
    Err(Failure::new(
        Code::VersionMismatch,
        format!("Qdrant {version} is none that is supported: this release takes snapshots of {from} to {to}.x"),
    )
    .risking(RISK)
    .todo("give the version of the Qdrant that made the file (`GET /` of that server tells it)"))
}

fn interrupted() -> Failure {
    Failure::new(Code::Interrupted, "the import was interrupted")
        .risking(RISK)
        .todo("run it again: what has arrived is not sent twice")
}

#[cfg(test)]
mod tests {
    use super::{refused, supported};
    use holdfast_qdrant::SnapshotError;
    use holdfast_service::failure::Code;
    use std::path::Path;

    #[test]
    fn a_shards_snapshot_is_called_one() {
        let failure = refused(Path::new("/tmp/shard.snapshot"), &SnapshotError::OfShard);
        assert_eq!(failure.exit(), Code::PlanBlocked.exit_code());
        insta::assert_snapshot!(failure.render(), @r"
error: /tmp/shard.snapshot can't be imported
  because  it is the snapshot of one shard, not of a collection: the collection's settings are not in it
  at risk  no new recovery point was committed; earlier ones and the file are untouched
  to do    let Qdrant make a snapshot of the whole collection (`POST /collections/NAME/snapshots`) and import that; or load the file into a shard of an existing collection (`POST /collections/NAME/shards/N/snapshots/upload`), and `holdfast backup create`
");
    }

    #[test]
    fn a_version_of_no_supported_server_is_refused() {
        for good in ["1.18.2", "1.18.3", "1.19.7"] {
            assert_eq!(supported(&good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in ["1.17.9", "1.18.1", "1.20.0", "2.18.3"] {
            assert!(supported(&bad.parse().unwrap()).is_err(), "{bad}");
        }
        let failure = supported(&"9.9.9".parse().unwrap()).unwrap_err();
        assert_eq!(failure.exit(), Code::VersionMismatch.exit_code());
        insta::assert_snapshot!(failure.render(), @r"
error: Qdrant 9.9.9 is none that is supported: this release takes snapshots of 1.18.2 to 1.19.x
  at risk  no new recovery point was committed; earlier ones and the file are untouched
  to do    give the version of the Qdrant that made the file (`GET /` of that server tells it)
");
    }
}
