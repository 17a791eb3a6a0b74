//! A recovery sheet: a fresh key, printed to a file and added to the repository.

use super::{PROGRAM, fault_of};
use crate::config::{CoordinatorConfig, Location, recovery_config};
use crate::fault::{Fault, storage_code};
use holdfast_archive::recovery_sheet::RecoverySheet;
use holdfast_archive::{Kek, KeyHint};
use holdfast_repository::Repository;
use holdfast_service::failure::Code;
use holdfast_types::{KeyHolder, Timestamp};
use std::io::Write as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Writes a sheet to `file`, which must not exist, readable by its owner only, and adds its key. The file comes
/// first: a sheet whose key was never added is worthless, a key without its sheet would be a holder whom nobody knows.
///
/// # Errors
/// If the file or the key can't be written. No sheet is left behind whose key was not added.
pub async fn export_sheet(
    config: &CoordinatorConfig,
    repository: &Repository,
    holder: &KeyHolder,
    file: &Path,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice())
        .map_err(|error| Fault::new(Code::Internal, format!("no random bytes: {error}")))?;
    let description = repository.description();
    let sheet = RecoverySheet {
        repository: &description.id,
        cluster: &description.cluster,
        place: &place(config),
        holder,
        created: now,
        program: PROGRAM,
        config: &recovery_config(config),
    };
    let page = sheet.print(&key);
    write_new(file, page.as_bytes()).map_err(|error| unwritable(file, &error))?;
    let kek = Kek::from_bytes(&key, KeyHint::RecoverySheet);
    if let Err(error) = repository.add_key(&kek, holder, now).await {
        let _left_behind = fs_err::remove_file(file);
        return Err(fault_of(&error));
    }
    Ok(())
}

/// A relative path means nothing on another machine.
fn place(config: &CoordinatorConfig) -> String {
    match &config.repository.place {
        Location::Disk(path) => match std::path::absolute(path) {
            Ok(path) => path.display().to_string(),
            Err(_) => path.display().to_string(),
        },
        s3 @ Location::S3(_) => s3.to_string(),
    }
}

fn write_new(file: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(text)?;
    file.sync_all()
}

fn unwritable(file: &Path, error: &std::io::Error) -> Fault {
    let place = file.display();
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        let message = format!("{place} exists already: name another file for the sheet");
        return Fault::new(Code::Usage, message);
    }
    let code = storage_code(error.kind()).unwrap_or(Code::Config);
    Fault::from_error(code, error).within(&format!("the sheet can't be written to {place}"))
}
