//! `holdfast repo …`: work on the repository itself, with no coordinator between.

use super::{ConnectionArgs, CopyCommand};
use clap::{ArgGroup, Args, Subcommand};
use holdfast_types::RecoveryPointId;
use std::path::PathBuf;

/// What to do with the repository.
#[derive(Debug, Subcommand)]
pub(crate) enum RepoCommand {
    /// Try whether the configured place keeps every promise that a repository needs, before trusting it.
    #[command(after_help = "Examples:
  holdfast repo probe --coordinator-config coordinator.toml
  holdfast repo probe --copy offsite         before `holdfast repo copy add offsite --confirm`
  holdfast repo probe --output json | jq '.checks[] | select(.failure)'")]
    Probe(ProbeArgs),
    /// Check what is stored, and name the recovery points and collections that damage concerns.
    ///
    /// Without --sample and --full it looks at sizes and small objects, and reads no pack. Damage ends with exit code 7. No
    /// object is changed, moved or deleted; what is found is recorded under quarantine/ in the repository, so that bad chunks
    /// are not taken for stored ones any more: the next backup sends them again, also of a coordinator that runs.
    ///
    /// With --as-job the coordinator does it, so that it gives way to backups and restores and can be watched by anybody.
    #[command(after_help = "Examples:
  holdfast repo verify --coordinator-config coordinator.toml
  holdfast repo verify --full --as-job       by the coordinator that runs
  holdfast repo verify --sample 5            every 20th run has read everything
  holdfast repo verify --full --resume       go on where an interrupted check stopped
  holdfast repo verify --output json | jq '.affected[].recovery_point'")]
    Verify(VerifyArgs),
    /// List what nothing needs or what does not belong there. Changes nothing.
    #[command(after_help = "Examples:
  holdfast repo check --coordinator-config coordinator.toml
  holdfast repo check --output json | jq '.unknown'")]
    Check(DirectArgs),
    /// Make the indexes anew from the packs, and remove the old ones. The coordinator must be stopped.
    ///
    /// Without --confirm it only shows what would be written and removed; a coordinator may run meanwhile.
    #[command(after_help = "Examples:
  holdfast repo rebuild-index --coordinator-config coordinator.toml
  holdfast repo rebuild-index --coordinator-config coordinator.toml --confirm")]
    RebuildIndex(RebuildIndexArgs),
    /// Put sound objects of a second copy in the place of damaged or lost ones. The coordinator must be stopped.
    ///
    /// Without --confirm it only shows what it would do. An object that is there is replaced only if it is proven damaged, and
    /// only by bytes that are proven right. Recovery points that only the copy has may have been removed here on purpose: they
    /// come back with --lost-points only.
    #[command(after_help = "Examples:
  holdfast repo heal --coordinator-config coordinator.toml --from-config copy.toml
  holdfast repo heal --from-copy offsite --full --confirm")]
    Heal(HealArgs),
    /// Copies of the repository in further stores.
    Copy {
        #[command(flatten)]
        connection: ConnectionArgs,
        #[command(subcommand)]
        command: CopyCommand,
    },
}

/// Which place to try.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    pub(crate) direct: DirectArgs,

    /// Try the place of this [[copy]] of the configuration in place of the repository's. A directory must exist.
    #[arg(long, value_name = "NAME")]
    pub(crate) copy: Option<String>,
}

/// Options of `repo rebuild-index`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RebuildIndexArgs {
    #[command(flatten)]
    pub(crate) direct: DirectArgs,

    /// Carry it out.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// What to heal, and with what.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("second copy").required(true).args(["from_config", "from_copy"])))]
pub(crate) struct HealArgs {
    #[command(flatten)]
    pub(crate) direct: DirectArgs,

    /// A coordinator's configuration that names the second copy and what unlocks it.
    #[arg(long, value_name = "FILE")]
    pub(crate) from_config: Option<PathBuf>,

    /// The name of a [[copy]] of the coordinator's configuration.
    #[arg(long, value_name = "NAME")]
    pub(crate) from_copy: Option<String>,

    /// Read every pack first; otherwise only damage is healed that is known or that a listing shows.
    #[arg(long)]
    pub(crate) full: bool,

    /// Bring back recovery points that only the copy has, too.
    #[arg(long)]
    pub(crate) lost_points: bool,

    /// Of those, only this one; may be given several times.
    #[arg(long, value_name = "ID", conflicts_with = "lost_points")]
    pub(crate) lost_point: Vec<RecoveryPointId>,

    /// Carry it out.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// Which part of the repository to check, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) direct: DirectArgs,

    /// Read and authenticate every chunk of this many percent of the packs, each time others, until all were read.
    #[arg(long, value_name = "PERCENT", group = "reading", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) sample: Option<u8>,

    /// Read and authenticate every chunk of every pack.
    #[arg(long, group = "reading")]
    pub(crate) full: bool,

    /// Repeat a sample: the seed that its report names. Default: as kept in the state file.
    #[arg(long, requires = "sample", requires = "from_slot")]
    pub(crate) seed: Option<u64>,

    /// Repeat a sample: the slot at which it began.
    #[arg(long, requires = "sample", requires = "seed", value_name = "SLOT", value_parser = clap::value_parser!(u8).range(0..=99))]
    pub(crate) from_slot: Option<u8>,

    /// Go on where an interrupted check stopped; begin one if none was interrupted.
    #[arg(long, requires = "reading")]
    pub(crate) resume: bool,

    /// Have the coordinator do it, as a job, and follow that. Ctrl-C leaves the job running.
    #[arg(long, conflicts_with_all = ["seed", "from_slot", "resume", "read_only", "state", "max_mib_per_sec"])]
    pub(crate) as_job: bool,

    /// Write nothing into the repository: findings are not recorded.
    #[arg(long)]
    pub(crate) read_only: bool,

    /// Where it is kept how far a check is, and which sample comes next. Default: verify.json in the coordinator's state_dir.
    #[arg(long, value_name = "FILE", requires = "reading")]
    pub(crate) state: Option<PathBuf>,

    /// Read packs no faster than this, in MiB per second.
    #[arg(long, value_name = "MIB", requires = "reading", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_mib_per_sec: Option<u32>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// How the repository is reached where no coordinator is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct DirectArgs {
    /// The coordinator's configuration: it says where the repository is and what unlocks it. No coordinator need run.
    #[arg(
        long,
        value_name = "FILE",
        env = "HOLDFAST_COORDINATOR_CONFIG",
        default_value = "/etc/holdfast/coordinator.toml",
        help_heading = "Repository"
    )]
    pub(crate) coordinator_config: PathBuf,
}
