//! `repo …`: the repository itself, reached as the coordinator's configuration says.

mod copy;
mod promote;
mod state;
mod upkeep;
mod verify;

use super::{Context, direct};
use crate::args::{ProbeArgs, RepoCommand};
use crate::failure::{Failure, Outcome};
use crate::view::ProbeView;
use holdfast_coordinator::repository;
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::failure::Code;

/// `holdfast repo …`.
pub(super) async fn run(context: Context, command: RepoCommand) -> Outcome<()> {
    match command {
        RepoCommand::Probe(args) => probe(context, &args).await,
        RepoCommand::Verify(args) => verify::run(context, args).await,
        RepoCommand::Check(args) => upkeep::check(context, &args).await,
        RepoCommand::RebuildIndex(args) => upkeep::rebuild_index(context, &args).await,
        RepoCommand::Heal(args) => upkeep::heal(context, &args).await,
        RepoCommand::Copy {
            connection,
            command,
        } => copy::run(context, &connection, command).await,
    }
}

async fn probe(context: Context, args: &ProbeArgs) -> Outcome<()> {
    let config = direct::load(&args.direct)?;
    let now = SystemClock.now();
    let report = match &args.copy {
        None => repository::probe_place(&config, now).await,
        Some(name) => repository::probe_copy(direct::copy_section(&config, name)?, now).await,
    };
    let view = ProbeView::new(&report.map_err(|fault| direct::told(&fault))?);
    context.output.show(&view)?;
    verdict(&view)
}

fn verdict(view: &ProbeView) -> Outcome<()> {
    let (failed, all) = (view.failed(), view.checks.len());
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Code::RepositoryForeign,
        format!(
            "{} can't hold a repository: {failed} of {all} checks failed",
            view.place
        ),
    )
    .risking("nothing: what the probe wrote is removed again")
    .todo("grant the rights that the failed checks name, or choose another place")
    .already_shown())
}
