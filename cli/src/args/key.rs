//! `holdfast key …`: who may unlock the repository.

use super::DirectArgs;
use clap::{Args, Subcommand};
use holdfast_types::KeyHolder;
use std::path::PathBuf;

/// What to do with the keys of the repository.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List who may unlock the repository.
    #[command(after_help = "Examples:
  holdfast key list --coordinator-config coordinator.toml
  holdfast key list --output json | jq '.keys[] | select(.state != \"sound\")'")]
    List(DirectArgs),
    /// Let a further key unlock the repository. The coordinator may run.
    #[command(after_help = "Examples:
  holdfast key add --holder ops --new-key-file ops.key
  holdfast key add --holder alice --new-passphrase-file alice.txt
  holdfast key add --holder kms --new-key-command \"vault kv get -field=key secret/holdfast\"

Make a key file with: (umask 077; openssl rand -hex 32 > ops.key)")]
    Add(KeyAddArgs),
    /// Let a key unlock nothing any more. Shows what it would do, unless confirmed. The coordinator may run.
    #[command(after_help = "Examples:
  holdfast key remove alice
  holdfast key remove alice --confirm

The key that the configuration names is never removed: it is the only one that is proven to be at hand. Who had
the removed key may have kept the master key: `holdfast key rotate-master` makes that worthless for new data.")]
    Remove(KeyRemoveArgs),
    /// Put a new key in the place of the configured one. Shows what it would do, unless confirmed. No data is
    /// rewritten, and the coordinator may run.
    #[command(after_help = "Examples:
  holdfast key rotate --new-key-file new.key
  holdfast key rotate --new-key-file new.key --confirm

Name the new key in the coordinator's configuration afterwards.")]
    Rotate(KeyRotateArgs),
    /// Make a new master key: what is written from now on is sealed under it, what was written stays readable. All keys
    /// but the configured one are dropped. Shows what it would do, unless confirmed. Stop the coordinator first.
    #[command(after_help = "Examples:
  holdfast key rotate-master
  holdfast key rotate-master --confirm

Do this if a key or the master key may have leaked. Add the dropped keys again with `holdfast key add`, and print
new recovery sheets with `holdfast key export`.")]
    RotateMaster(KeyRotateMasterArgs),
    /// Print a recovery sheet: a new key as a code that can be typed in, and how to restore from nothing with it.
    #[command(after_help = "Examples:
  holdfast key export --holder safe-2026 -o sheet.txt
  lp sheet.txt && shred -u sheet.txt

Try it: name the sheet as recovery_sheet under [repository] of a copy of the configuration, and run
`holdfast key list --coordinator-config` on that.")]
    Export(KeyExportArgs),
}

/// Options of `key add`.
#[derive(Debug, Args)]
pub(crate) struct KeyAddArgs {
    #[command(flatten)]
    pub(crate) repository: DirectArgs,
    /// Who holds the key: 1 to 63 of a-z, 0-9, '-', '_' and '.'.
    #[arg(long, value_name = "NAME")]
    pub(crate) holder: KeyHolder,
    #[command(flatten)]
    pub(crate) new: NewKeyArgs,
}

/// Options of `key remove`.
#[derive(Debug, Args)]
pub(crate) struct KeyRemoveArgs {
    #[command(flatten)]
    pub(crate) repository: DirectArgs,
    /// Whose key it is.
    #[arg(value_name = "HOLDER")]
    pub(crate) holder: KeyHolder,
    /// Do it.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// Options of `key rotate`.
#[derive(Debug, Args)]
pub(crate) struct KeyRotateArgs {
    #[command(flatten)]
    pub(crate) repository: DirectArgs,
    /// Name of the new key [default: that of the old one with a number].
    #[arg(long, value_name = "NAME")]
    pub(crate) holder: Option<KeyHolder>,
    #[command(flatten)]
    pub(crate) new: NewKeyArgs,
    /// Do it.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// Options of `key rotate-master`.
#[derive(Debug, Args)]
pub(crate) struct KeyRotateMasterArgs {
    #[command(flatten)]
    pub(crate) repository: DirectArgs,
    /// Do it.
    #[arg(long)]
    pub(crate) confirm: bool,
}

/// Options of `key export`.
#[derive(Debug, Args)]
pub(crate) struct KeyExportArgs {
    #[command(flatten)]
    pub(crate) repository: DirectArgs,
    /// Name of the new key.
    #[arg(long, value_name = "NAME")]
    pub(crate) holder: KeyHolder,
    /// The file to write the sheet to; an existing one is never overwritten.
    #[arg(long = "out", short, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Where a new key comes from: exactly one of these.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false, id = "new_key")]
pub(crate) struct NewKeyArgs {
    /// A file with 64 hexadecimal digits.
    #[arg(long, value_name = "FILE", help_heading = "New key")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// An environment variable with 64 hexadecimal digits.
    #[arg(long, value_name = "NAME", help_heading = "New key")]
    pub(crate) new_key_env: Option<String>,
    /// A file with a passphrase.
    #[arg(long, value_name = "FILE", help_heading = "New key")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// An environment variable with a passphrase.
    #[arg(long, value_name = "NAME", help_heading = "New key")]
    pub(crate) new_passphrase_env: Option<String>,
    /// A program that prints 64 hexadecimal digits or 32 bytes, with its arguments parted by spaces. No shell reads
    /// it; it may take 30 seconds.
    #[arg(long, value_name = "COMMAND", help_heading = "New key")]
    pub(crate) new_key_command: Option<String>,
    /// A recovery sheet, or a file with the lines of its code: to add a printed sheet again after a rotation of the
    /// master key.
    #[arg(long, value_name = "FILE", help_heading = "New key")]
    pub(crate) new_recovery_sheet: Option<PathBuf>,
}
