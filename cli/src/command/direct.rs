//! Reaching the repository with no coordinator between: its configuration says where it is.

use crate::args::DirectArgs;
use crate::failure::{Failure, Outcome};
use holdfast_coordinator::config::{CoordinatorConfig, CopySection};
use holdfast_coordinator::fault::Fault;
use holdfast_coordinator::repository::{self, Creation};
use holdfast_repository::{Repository, RepositoryError};
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::config::Strictness;
use holdfast_service::failure::Code;
use std::path::Path;

/// Reads the coordinator's configuration.
pub(super) fn load(args: &DirectArgs) -> Outcome<CoordinatorConfig> {
    load_file(&args.coordinator_config)
}

/// Reads a coordinator's configuration.
pub(crate) fn load_file(file: &Path) -> Outcome<CoordinatorConfig> {
    let loaded = holdfast_coordinator::config::load(file, Strictness::Lenient);
    let (config, _) = loaded.map_err(|error| {
        let what = format!("{} is not a valid configuration", file.display());
        Failure::new(Code::Config, what)
            .caused_by(&error)
            .risking("nothing: nothing was done")
            .todo("correct it; `holdfast config check FILE` looks at every key")
    })?;
    Ok(config)
}

/// Opens the repository that the configuration names. Writes nothing.
pub(crate) async fn open(config: &CoordinatorConfig) -> Outcome<Repository> {
    let opened = repository::open(config, Creation::Never, SystemClock.now()).await;
    opened.map_err(|fault| told(&fault))
}

/// Opens a copy that the configuration names. Writes nothing.
pub(crate) async fn open_copy(config: &CoordinatorConfig, name: &str) -> Outcome<Repository> {
    let section = copy_section(config, name)?;
    let opened = repository::open_copy_alone(config, section).await;
    opened.map_err(|fault| told(&fault))
}

/// The copy of this name in the configuration.
pub(crate) fn copy_section<'a>(
    config: &'a CoordinatorConfig,
    name: &str,
) -> Outcome<&'a CopySection> {
    let mut copies = config.copies.iter();
    let found = copies.find(|section| section.name.as_str() == name);
    found.ok_or_else(|| {
        Failure::new(Code::CopyNotFound, format!("no [[copy]] is called {name}"))
            .risking("nothing: nothing was changed")
            .todo("name one of the configuration; it also says where the copy is")
    })
}

/// What an error of the repository says.
pub(crate) fn failed(error: &RepositoryError) -> Failure {
    told(&repository::fault_of(error))
}

/// What the coordinator's own code says of the repository.
pub(super) fn told(fault: &Fault) -> Failure {
    Failure::new(fault.known_code(), fault.message.clone())
}
