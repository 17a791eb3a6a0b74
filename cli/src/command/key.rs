//! `key …`: who may unlock the repository, reached as the coordinator's configuration says.

use super::{Context, direct};
use crate::args::{DirectArgs, KeyCommand, NewKeyArgs};
use crate::failure::{Failure, Outcome};
use crate::view::{KeyChangeView, KeysView, MasterRotationView};
use holdfast_coordinator::config::{
    CoordinatorConfig, KeySource, RawKeySource, validate_key_source,
};
use holdfast_coordinator::repository::{Creation, KeyUse, export_sheet, fault_of, open, read_kek};
use holdfast_repository::{KeyListing, KeyRefusal, Repository, RepositoryError};
use holdfast_service::clock::{Clock as _, SystemClock};
use holdfast_service::failure::Code;
use holdfast_types::{CopyName, KeyHolder};

/// `holdfast key …`.
pub(super) async fn run(context: Context, command: KeyCommand) -> Outcome<()> {
    let output = context.output;
    match command {
        KeyCommand::List(args) => {
            let opened = Opened::new(&args).await?;
            output.show(&KeysView::new(&opened.repository.place(), &opened.keys))
        }
        KeyCommand::Add(args) => {
            let opened = Opened::new(&args.repository).await?;
            output.show(&opened.add(&args.holder, args.new).await?)
        }
        KeyCommand::Remove(args) => {
            let opened = Opened::new(&args.repository).await?;
            output.show(&opened.remove(&args.holder, args.confirm).await?)
        }
        KeyCommand::Rotate(args) => {
            let opened = Opened::new(&args.repository).await?;
            let change = opened.rotate(args.holder, args.new, args.confirm).await?;
            output.show(&change)
        }
        KeyCommand::RotateMaster(args) => {
            let opened = Opened::new(&args.repository).await?;
            output.show(&opened.rotate_master(args.confirm).await?)
        }
        KeyCommand::Export(args) => {
            let Opened {
                config, repository, ..
            } = Opened::new(&args.repository).await?;
            let (holder, file, now) = (&args.holder, &args.out, SystemClock.now());
            let exported = export_sheet(&config, &repository, holder, file, now).await;
            exported.map_err(|fault| direct::told(&fault).risking(NOTHING))?;
            output.show(&KeyChangeView::exported(holder, file))
        }
    }
}

const NOTHING: &str = "nothing: the keys are as they were";

/// The repository, opened with the configured key.
struct Opened {
    config: CoordinatorConfig,
    repository: Repository,
    keys: Vec<KeyListing>,
}

impl Opened {
    async fn new(args: &DirectArgs) -> Outcome<Self> {
        let config = direct::load(args)?;
        let repository = open(&config, Creation::Never, SystemClock.now()).await;
        let repository = repository.map_err(|fault| direct::told(&fault).risking(NOTHING))?;
        let keys = repository
            .list_keys()
            .await
            .map_err(|error| refused(&error))?;
        Ok(Self {
            config,
            repository,
            keys,
        })
    }

    async fn add(&self, holder: &KeyHolder, new: NewKeyArgs) -> Outcome<KeyChangeView> {
        let kek = read_kek(&source(new)?, KeyUse::New).await;
        let kek = kek.map_err(|fault| direct::told(&fault).risking(NOTHING))?;
        let added = self.repository.add_key(&kek, holder, SystemClock.now());
        added.await.map_err(|error| refused(&error))?;
        Ok(KeyChangeView::added(holder))
    }

    async fn remove(&self, holder: &KeyHolder, confirm: bool) -> Outcome<KeyChangeView> {
        let of_holder = self.keys.iter().filter(|key| key.holder == *holder);
        let (own, others): (Vec<_>, Vec<_>) = of_holder.partition(|key| key.is_own);
        if confirm {
            let removed = self.repository.remove_key(holder, SystemClock.now());
            removed.await.map_err(|error| interrupted(&error))?;
        } else if others.is_empty() {
            let holder = holder.clone();
            let refusal = if own.is_empty() {
                KeyRefusal::NotFound { holder }
            } else {
                KeyRefusal::InUse { holder }
            };
            return Err(refused(&refusal.into()));
        }
        Ok(KeyChangeView::removed(holder, &self.copies(), confirm))
    }

    async fn rotate(
        &self,
        holder: Option<KeyHolder>,
        new: NewKeyArgs,
        confirm: bool,
    ) -> Outcome<KeyChangeView> {
        let source = source(new)?;
        let kek = read_kek(&source, KeyUse::New).await;
        let kek = kek.map_err(|fault| direct::told(&fault).risking(NOTHING))?;
        let own = self.own()?;
        let holder = match holder {
            Some(holder) => holder,
            None => self.next_name(&own.holder)?,
        };
        if confirm {
            let rotated = self.repository.rotate_key(&kek, &holder, SystemClock.now());
            rotated.await.map_err(|error| interrupted(&error))?;
        } else {
            let fits = self.repository.check_new_key(&kek, &holder).await;
            fits.map_err(|error| refused(&error))?;
        }
        let option = source.option();
        Ok(KeyChangeView::rotated(
            &own.holder,
            &holder,
            option,
            &self.copies(),
            confirm,
        ))
    }

    async fn rotate_master(&self, confirm: bool) -> Outcome<MasterRotationView> {
        let own = self.own()?;
        if !confirm {
            return Ok(MasterRotationView::planned(own, &self.keys));
        }
        let kek = read_kek(&self.config.repository.key, KeyUse::Opens).await;
        let kek = kek.map_err(|fault| direct::told(&fault).risking(NOTHING))?;
        let rotated = self.repository.rotate_master(&kek, SystemClock.now()).await;
        match rotated {
            Ok(done) => Ok(MasterRotationView::done(&done)),
            Err(error @ RepositoryError::Locked { .. }) => Err(refused(&error)
                .todo("stop the coordinator, repeat the command, and start it again")),
            Err(error) => Err(interrupted(&error)),
        }
    }

    fn copies(&self) -> Vec<&CopyName> {
        self.config.copies.iter().map(|copy| &copy.name).collect()
    }

    fn own(&self) -> Outcome<&KeyListing> {
        self.keys.iter().find(|key| key.is_own).ok_or_else(|| {
            Failure::new(
                Code::KeyInUse,
                "the configured key is being removed by somebody else",
            )
            .risking(NOTHING)
            .todo("see what is left: `holdfast key list`")
        })
    }

    /// The first of `name-2`, `name-3`, … that is free.
    fn next_name(&self, old: &KeyHolder) -> Outcome<KeyHolder> {
        let taken = |name: &KeyHolder| self.keys.iter().any(|key| key.holder == *name);
        let names = (2..).map_while(|n| numbered(old.as_str(), n));
        let mut free = names.filter(|name| !taken(name));
        free.next().ok_or_else(|| {
            Failure::new(Code::Usage, "the new key needs a name")
                .risking(NOTHING)
                .todo("give one with --holder")
        })
    }
}

/// `ops` and `ops-2` are followed by `ops-3`.
fn numbered(old: &str, n: u32) -> Option<KeyHolder> {
    let stem = match old.rsplit_once('-') {
        Some((stem, number)) if number.parse::<u32>().is_ok() => stem,
        Some(_) | None => old,
    };
    format!("{stem}-{n}").parse().ok()
}

fn source(new: NewKeyArgs) -> Outcome<KeySource> {
    let raw = RawKeySource {
        key_file: new.new_key_file,
        key_env: new.new_key_env,
        passphrase_file: new.new_passphrase_file,
        passphrase_env: new.new_passphrase_env,
        key_command: new
            .new_key_command
            .map(|line| line.split_whitespace().map(str::to_owned).collect()),
        key_command_timeout_secs: None,
        recovery_sheet: new.new_recovery_sheet,
    };
    validate_key_source(raw).map_err(|error| {
        Failure::new(Code::Usage, "the new key is not named as it should be")
            .caused_by(&error)
            .risking(NOTHING)
            .todo("see `holdfast key add --help`")
    })
}

/// Nothing was changed.
fn refused(error: &RepositoryError) -> Failure {
    direct::told(&fault_of(error)).risking(NOTHING)
}

/// Something may have been changed, unless it was refused at once.
fn interrupted(error: &RepositoryError) -> Failure {
    if matches!(error, RepositoryError::Keys(_)) {
        return refused(error);
    }
    direct::told(&fault_of(error)).risking(
        "nothing that is stored: a key that opened the repository before, or the new one, still does; \
         `holdfast key list` shows how far it came, and the same command goes on from there",
    )
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn a_new_key_has_the_next_number() {
        for (old, n, want) in [
            ("ops", 2, Some("ops-2")),
            ("ops-2", 3, Some("ops-3")),
            ("ops-de", 2, Some("ops-de-2")),
            (&"a".repeat(63), 2, None),
        ] {
            let name = numbered(old, n);
            assert_eq!(name.as_ref().map(|name| name.as_str()), want);
        }
    }
}
