//! `backup export`.

use super::{Context, coordinator};
use crate::args::{BackupExportArgs, ConnectionArgs};
use crate::export::{Origin, Piece, Target, load_command, write};
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::view::{ExportView, ExportedView};
use holdfast_archive::{CollectionEntry, Manifest};
use holdfast_qdrant::has_shard_keys;
use holdfast_service::failure::Code;
use holdfast_types::ShardId;

/// Writes one file after the other; those that are finished stay if a later one fails.
pub(super) async fn run(
    context: Context,
    connection: &ConnectionArgs,
    args: BackupExportArgs,
) -> Outcome<()> {
    let interrupt = Interrupt::listen()?;
    let mut origin = match &args.coordinator_config {
        Some(file) => Origin::repository(file, args.from_copy.as_deref()).await?,
        None => {
            let coordinator = coordinator(connection).await?;
            Origin::Coordinator(Box::new(coordinator.reading(args.from_copy.as_deref())))
        }
    };
    let manifest = origin.manifest(&args.id, &args.collections).await?;
    let shard = args.shard.map(ShardId);
    let mut planned = Vec::new();
    for collection in chosen(&manifest, &args)? {
        let name = file_name(&manifest, collection, shard);
        let target = Target::new(&args.out, &name, args.force)?;
        planned.push((collection, target));
    }
    let mut progress = Progress::stderr(context.quiet);
    let mut files = Vec::new();
    for (collection, target) in &planned {
        let piece = Piece {
            manifest: &manifest,
            collection,
            shard,
        };
        let written = write(&mut origin, piece, target, &mut progress, &interrupt).await;
        progress.clear();
        let written = written?;
        let path = std::path::absolute(target.path());
        let path = path.unwrap_or_else(|_| target.path().to_owned());
        files.push(ExportedView {
            collection: collection.name.to_string(),
            shard: args.shard,
            load: load_command(&collection.name, shard, &path, &written.sha256),
            path: path.display().to_string(),
            bytes: written.bytes,
            sha256: written.sha256,
            points: collection.points.filter(|_| shard.is_none()),
            qdrant_version: versions(collection, shard),
            hints: hints(collection, shard),
        });
    }
    context.output.show(&ExportView {
        recovery_point: manifest.id.to_string(),
        files,
    })
}

/// The collections to export. Several need a directory.
fn chosen<'a>(
    manifest: &'a Manifest,
    args: &BackupExportArgs,
) -> Outcome<Vec<&'a CollectionEntry>> {
    let mut chosen = Vec::new();
    for entry in &manifest.collections {
        let name = entry.name.as_str();
        if args.collections.is_empty() || args.collections.iter().any(|n| n == name) {
            chosen.push(entry);
        }
    }
    let missing = args.collections.iter().find(|name| {
        let is = |entry: &&CollectionEntry| entry.name.as_str() == name.as_str();
        !chosen.iter().any(is)
    });
    let nothing = "nothing: this command only reads";
    if let Some(name) = missing {
        let what = format!("recovery point {} has no collection {name}", manifest.id);
        return Err(Failure::new(Code::CollectionNotFound, what)
            .risking(nothing)
            .todo("see which there are: `holdfast backup show ID`"));
    }
    let several = chosen.len() > 1;
    if several && (args.shard.is_some() || !args.out.is_dir()) {
        let what = format!("these are {} collections, but one file", chosen.len());
        return Err(Failure::new(Code::Usage, what)
            .risking(nothing)
            .todo("name one with --collection, or an existing directory with -o"));
    }
    Ok(chosen)
}

fn file_name(manifest: &Manifest, collection: &CollectionEntry, shard: Option<ShardId>) -> String {
    let (name, id) = (&collection.name, &manifest.id);
    match shard {
        Some(shard) => format!("{name}-shard-{shard}-{id}.snapshot"),
        None => format!("{name}-{id}.snapshot"),
    }
}

/// The server that wrote it; the oldest, if shards differ.
fn versions(collection: &CollectionEntry, shard: Option<ShardId>) -> Option<String> {
    let wanted = |id| shard.is_none_or(|only| only == id);
    let shards = collection.shards.iter().filter(|s| wanted(s.shard_id));
    shards.map(|s| s.server_version.to_string()).min()
}

/// What the file alone does not bring back.
fn hints(collection: &CollectionEntry, shard: Option<ShardId>) -> Vec<String> {
    let mut hints = Vec::new();
    let keys = has_shard_keys(collection.cluster.as_ref());
    if shard.is_some() || keys {
        hints.push(format!(
            "the collection must exist with the captured settings{} before it is loaded: `holdfast backup show {}`",
            if keys { " and shard keys" } else { "" },
            "ID --output json"
        ));
    }
    if !collection.aliases.is_empty() {
        let list: Vec<&str> = collection.aliases.iter().map(|a| a.as_str()).collect();
        hints.push(format!(
            "aliases are not in a snapshot: {}",
            list.join(", ")
        ));
    }
    hints
}
