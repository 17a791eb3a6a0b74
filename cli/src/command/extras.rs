//! `backup files`, and `backup export --extra`.

use super::{Context, coordinator};
use crate::args::{BackupExportArgs, BackupFilesArgs, ConnectionArgs};
use crate::export::{ExtraDir, HeldExtra, Origin, list_extra, write_extra};
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::view::{ExtraExportView, ExtraFilesView, ExtraView};
use holdfast_archive::{ExtraEntry, Manifest, NodeEntry};
use holdfast_service::failure::Code;
use holdfast_types::{ExtraName, NodeId};
use std::path::Path;

const NOTHING: &str = "nothing: this command only reads";

/// Lists the extras of a recovery point with their files.
pub(super) async fn files(
    context: Context,
    connection: &ConnectionArgs,
    args: BackupFilesArgs,
) -> Outcome<()> {
    let interrupt = Interrupt::listen()?;
    let config = args.coordinator_config.as_deref();
    let mut origin = origin(connection, config, args.from_copy.as_deref()).await?;
    let manifest = origin.manifest(&args.id, &[]).await?;
    let mut extras = Vec::new();
    for (node, extra) in chosen(&manifest, args.node.as_ref(), args.extra.as_ref()) {
        let listing = match &extra.captured {
            None => None,
            Some(captured) => {
                let held = HeldExtra {
                    manifest: &manifest,
                    node: &node.node,
                    name: &extra.name,
                    captured,
                };
                Some(Box::pin(list_extra(&mut origin, held, &interrupt)).await?)
            }
        };
        extras.push(ExtraView::new(&node.node, extra, listing));
    }
    if extras.is_empty() && (args.node.is_some() || args.extra.is_some()) {
        return Err(not_found(
            &manifest,
            args.node.as_ref(),
            args.extra.as_ref(),
        ));
    }
    let unknown = manifest.nodes.iter().filter_map(|node| {
        let why = node.extras_unknown.as_ref()?;
        Some(format!("{}: {why}", node.node))
    });
    context.output.show(&ExtraFilesView {
        recovery_point: manifest.id.to_string(),
        extras,
        unknown: unknown.collect(),
    })
}

/// Writes the files of one extra into a directory.
pub(super) async fn export(
    context: Context,
    connection: &ConnectionArgs,
    args: &BackupExportArgs,
    name: &ExtraName,
) -> Outcome<()> {
    let interrupt = Interrupt::listen()?;
    let config = args.coordinator_config.as_deref();
    let mut origin = origin(connection, config, args.from_copy.as_deref()).await?;
    let manifest = origin.manifest(&args.id, &[]).await?;
    let (node, extra) = only(&manifest, args.node.as_ref(), name)?;
    let captured = extra.captured.as_ref().ok_or_else(|| {
        let why = extra.missing.as_deref().unwrap_or("nobody knows why");
        let what = format!(
            "recovery point {} lacks extra {name} of node {}: {why}",
            manifest.id, node.node
        );
        Failure::new(Code::ExtraNotFound, what)
            .risking(NOTHING)
            .todo("see which points have it: `holdfast backup list --output json`")
    })?;
    let dir = ExtraDir::open(&args.out, args.force, captured.bytes)?;
    let held = HeldExtra {
        manifest: &manifest,
        node: &node.node,
        name,
        captured,
    };
    let listing = Box::pin(write_extra(&mut origin, held, dir, &interrupt)).await?;
    let path = std::path::absolute(&args.out).unwrap_or_else(|_| args.out.clone());
    context.output.show(&ExtraExportView {
        recovery_point: manifest.id.to_string(),
        path: path.display().to_string(),
        extra: ExtraView::new(&node.node, extra, Some(listing)),
    })
}

async fn origin(
    connection: &ConnectionArgs,
    config: Option<&Path>,
    copy: Option<&str>,
) -> Outcome<Origin> {
    match config {
        Some(file) => Origin::repository(file, copy).await,
        None => {
            let coordinator = coordinator(connection).await?;
            Ok(Origin::Coordinator(Box::new(coordinator.reading(copy))))
        }
    }
}

fn chosen<'a>(
    manifest: &'a Manifest,
    node: Option<&NodeId>,
    name: Option<&ExtraName>,
) -> Vec<(&'a NodeEntry, &'a ExtraEntry)> {
    let nodes = manifest.nodes.iter();
    nodes
        .filter(|entry| node.is_none_or(|node| entry.node == *node))
        .flat_map(|entry| entry.extras.iter().map(move |extra| (entry, extra)))
        .filter(|(_, extra)| name.is_none_or(|name| extra.name == *name))
        .collect()
}

/// The extra of this name, of the node or of the only one that has it.
fn only<'a>(
    manifest: &'a Manifest,
    node: Option<&NodeId>,
    name: &ExtraName,
) -> Outcome<(&'a NodeEntry, &'a ExtraEntry)> {
    let found = chosen(manifest, node, Some(name));
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(not_found(manifest, node, Some(name))),
        several => {
            let nodes: Vec<&str> = several.iter().map(|(n, _)| n.node.as_str()).collect();
            let what = format!("several nodes have an extra {name}: {}", nodes.join(", "));
            Err(Failure::new(Code::Usage, what)
                .risking(NOTHING)
                .todo("name one with --node"))
        }
    }
}

fn not_found(manifest: &Manifest, node: Option<&NodeId>, name: Option<&ExtraName>) -> Failure {
    let name = name.map_or_else(|| "any extra".to_owned(), |name| format!("an extra {name}"));
    let node = node.map_or_else(String::new, |node| format!(" of node {node}"));
    let what = format!(
        "recovery point {} does not tell of {name}{node}",
        manifest.id
    );
    Failure::new(Code::ExtraNotFound, what)
        .risking(NOTHING)
        .todo(format!(
            "see which there are: `holdfast backup files {}`",
            manifest.id
        ))
}
