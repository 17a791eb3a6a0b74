//! The least configuration that opens the repository on another machine, as it stands on a recovery sheet.

use super::{CoordinatorConfig, CopySection, Location, S3Location};
use holdfast_repository::{ColdRule, LockRule};
use holdfast_store::{ColdClass, LockMode};
use holdfast_store_s3::Credentials;
use std::time::Duration;

/// TOML that names the place and `sheet.txt`. The rest are the examples of the sheet's other steps.
#[must_use]
pub fn recovery_config(config: &CoordinatorConfig) -> String {
    let mut text = format!(
        "name = \"c1\"\ncluster = {}\n",
        quoted(config.cluster.as_str())
    );
    if config.namespace.as_str() != config.cluster.as_str() {
        text += &format!("namespace = {}\n", quoted(config.namespace.as_str()));
    }
    text += "listen = \"127.0.0.1:6350\"\nstate_dir = \"state\"\n\n[tls]\n";
    for file in ["cert", "key", "ca"] {
        text += &format!("{file} = \"tls/coordinator/{file}.pem\"\n");
    }
    text += "\n[repository]\nrecovery_sheet = \"sheet.txt\"\n";
    text += &place(&config.repository.place);
    text
}

/// What stands under `[repository]` once this copy is the primary, but for the key, which stays as it is.
#[must_use]
pub fn promoted_config(section: &CopySection) -> String {
    let mut text = format!("[repository]\n{}", place(&section.place));
    if let Location::S3(s3) = &section.place
        && let Credentials::Profile { name, file } = &s3.options.credentials
    {
        text += &format!("profile = {}\n", quoted(name));
        if let Some(file) = file {
            text += &format!("profile_file = {}\n", quoted(&file.display().to_string()));
        }
    }
    text
}

/// The keys that name a place.
fn place(place: &Location) -> String {
    let mut text = String::new();
    match place {
        Location::Disk(path) => {
            // A relative path means nothing on another machine.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            text += &format!("path = {}\n", quoted(&path.display().to_string()));
        }
        Location::S3(s3) => {
            let options = &s3.options;
            text += &format!("\n[repository.s3]\nbucket = {}\n", quoted(&options.bucket));
            let endpoint = options.endpoint.as_ref().map(ToString::to_string);
            let ca_file = options
                .ca_file
                .as_ref()
                .map(|path| path.display().to_string());
            let prefix = (!options.prefix.is_empty()).then(|| options.prefix.clone());
            for (key, value) in [
                ("prefix", prefix),
                ("region", options.region.clone()),
                ("endpoint", endpoint),
                ("ca_file", ca_file),
            ] {
                if let Some(value) = value {
                    text += &format!("{key} = {}\n", quoted(&value));
                }
            }
            if options.path_style {
                text += "path_style = true\n";
            }
            text += &kept(s3);
        }
    }
    text
}

/// The keys of locks and classes: whoever leaves them out locks nothing any more.
fn kept(s3: &S3Location) -> String {
    let days = |period: Duration| period.as_secs() / (24 * 3600);
    let mut text = String::new();
    if let Some(LockRule { mode, period }) = s3.lock {
        let mode = match mode {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        };
        text += &format!("lock_days = {}\nlock_mode = \"{mode}\"\n", days(period));
    }
    if let Some(ColdRule { class, after }) = s3.cold {
        let class = match class {
            ColdClass::InfrequentAccess => "infrequent-access",
            ColdClass::InstantArchive => "instant-archive",
        };
        text += &format!(
            "cold_after_days = {}\ncold_class = \"{class}\"\n",
            days(after)
        );
    }
    text
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::recovery_config;
    use crate::config::{CoordinatorConfig, DEFAULT_CONFIG, KeySource, load};
    use holdfast_service::config::Strictness;

    fn read(text: &str) -> CoordinatorConfig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, Strictness::Strict).unwrap().0
    }

    #[test]
    fn it_names_the_same_place_with_the_sheet_as_its_key() {
        let bucket = DEFAULT_CONFIG
            .replace("path = \"/var/lib/holdfast-repository\"", "")
            .replace("# namespace = \"demo\"", "namespace = \"other\"");
        let bucket = bucket.replace(
            "\n[limits]\n",
            "\n[repository.s3]\nbucket = \"backups\"\nprefix = \"p/q\"\nregion = \"eu-1\"\nendpoint = \"https://s3.example.com\"\npath_style = true\nca_file = \"/a \\\"b\\\"\"\nlock_days = 30\nlock_mode = \"compliance\"\ncold_after_days = 90\ncold_class = \"instant-archive\"\n[limits]\n",
        );
        for text in [DEFAULT_CONFIG.to_owned(), bucket] {
            let config = read(&text);
            let again = read(&recovery_config(&config));
            assert_eq!(again.repository.place, config.repository.place);
            assert_eq!(again.cluster, config.cluster);
            assert_eq!(again.namespace, config.namespace);
            assert!(matches!(again.repository.key, KeySource::RecoverySheet(_)));
        }
    }
}
