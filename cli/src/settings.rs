//! Where the coordinator is and who we are: command line, then environment, then settings file.
//!
//! It only finds the settings; whether the certificates are any good is seen when they are loaded.

use crate::args::ConnectionArgs;
use crate::failure::{Failure, Outcome};
use holdfast_service::config::{self, Strictness};
use holdfast_service::failure::Code;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Everything needed to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `https://host:port`.
    pub(crate) coordinator: String,
    /// Our certificate.
    pub(crate) cert: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// The authority that both sides trust.
    pub(crate) ca: PathBuf,
}

/// A settings file. Paths are relative to the directory of the file.
#[derive(Debug, Default, Deserialize)]
struct File {
    coordinator: Option<String>,
    tls_dir: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl Settings {
    /// Merges what was given with the settings file.
    pub(crate) fn find(args: &ConnectionArgs) -> Outcome<Self> {
        let file = match args.config.clone().or_else(default_file) {
            Some(path) => load(&path)?,
            None => File::default(),
        };
        Self::merge(args, file)
    }

    fn merge(args: &ConnectionArgs, file: File) -> Outcome<Self> {
        let coordinator = args.coordinator.clone().or(file.coordinator);
        let coordinator =
            coordinator.ok_or_else(|| missing("the coordinator's address", "--coordinator URL"))?;
        // A directory on the command line wins over single files in the settings file.
        let given = |one: &Option<PathBuf>, name: &str| {
            one.clone()
                .or_else(|| args.tls_dir.as_ref().map(|dir| dir.join(name)))
        };
        let filed = |one: Option<PathBuf>, name: &str| {
            one.or_else(|| file.tls_dir.as_ref().map(|dir| dir.join(name)))
        };
        let cert = given(&args.cert, "cert.pem").or_else(|| filed(file.cert.clone(), "cert.pem"));
        let key = given(&args.key, "key.pem").or_else(|| filed(file.key.clone(), "key.pem"));
        let ca = given(&args.ca, "ca.pem").or_else(|| filed(file.ca.clone(), "ca.pem"));
        Ok(Self {
            coordinator: with_scheme(&coordinator)?,
            cert: cert.ok_or_else(|| missing("a certificate", "--tls-dir DIR or --cert FILE"))?,
            key: key
                .ok_or_else(|| missing("the certificate's key", "--tls-dir DIR or --key FILE"))?,
            ca: ca.ok_or_else(|| {
                missing("the authority's certificate", "--tls-dir DIR or --ca FILE")
            })?,
        })
    }
}

fn missing(what: &str, option: &str) -> Failure {
    Failure::new(Code::Config, format!("{what} is not known"))
        .risking("nothing: no connection was made")
        .todo(format!(
            "give {option}, set the environment variable of the same name (HOLDFAST_…), or write it into \
             holdfast.toml"
        ))
}

/// Accepts `host:port` too; refuses plain text.
fn with_scheme(text: &str) -> Outcome<String> {
    match text.split_once("://") {
        None => Ok(format!("https://{text}")),
        Some(("https", _)) => Ok(text.trim_end_matches('/').to_owned()),
        Some((scheme, rest)) => Err(Failure::new(
            Code::Config,
            format!("coordinator {text:?}: scheme {scheme:?} is not supported"),
        )
        .risking("nothing: no connection was made")
        .todo(format!(
            "use https://{rest}: there is no unencrypted way in"
        ))),
    }
}

fn load(path: &Path) -> Outcome<File> {
    let loaded = config::load::<File>(path, Strictness::Strict).map_err(|error| {
        Failure::new(Code::Config, "the settings file was refused")
            .caused_by(&error)
            .risking("nothing: no connection was made")
            .todo("the keys are coordinator, tls_dir, cert, key and ca")
    })?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let here = |relative: PathBuf| dir.join(relative);
    let File {
        coordinator,
        tls_dir,
        cert,
        key,
        ca,
    } = loaded.value;
    Ok(File {
        coordinator,
        tls_dir: tls_dir.map(here),
        cert: cert.map(here),
        key: key.map(here),
        ca: ca.map(here),
    })
}

/// The first of the usual places that has a file.
fn default_file() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let places = [
        Some(PathBuf::from("holdfast.toml")),
        home.map(|dir| dir.join("holdfast/holdfast.toml")),
    ];
    places.into_iter().flatten().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::{File, Settings, load, with_scheme};
    use crate::args::ConnectionArgs;
    use std::path::PathBuf;

    #[test]
    fn options_win_over_the_file_one_by_one() {
        let args = ConnectionArgs {
            coordinator: Some("c1:6350".into()),
            cert: Some("mine.pem".into()),
            ..ConnectionArgs::default()
        };
        let file = File {
            coordinator: Some("https://other:1".into()),
            tls_dir: Some("tls".into()),
            ..File::default()
        };
        let settings = Settings::merge(&args, file).expect("complete");
        assert_eq!(settings.coordinator, "https://c1:6350");
        assert_eq!(settings.cert, PathBuf::from("mine.pem"));
        assert_eq!(settings.key, PathBuf::from("tls/key.pem"));
    }

    #[test]
    fn paths_are_relative_to_the_settings_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("holdfast.toml");
        fs_err::write(&path, "coordinator = \"h:1\"\ntls_dir = \"tls\"\n").expect("written");
        assert_eq!(
            load(&path).expect("valid").tls_dir,
            Some(dir.path().join("tls"))
        );
    }

    #[test]
    fn what_is_missing_or_plain_text_is_said() {
        let failure =
            Settings::merge(&ConnectionArgs::default(), File::default()).expect_err("nothing");
        insta::assert_snapshot!(failure.render(), @r"
error: the coordinator's address is not known
  at risk  nothing: no connection was made
  to do    give --coordinator URL, set the environment variable of the same name (HOLDFAST_…), or write it into holdfast.toml
");
        insta::assert_snapshot!(with_scheme("http://h:1").expect_err("plain").render(), @r#"
error: coordinator "http://h:1": scheme "http" is not supported
  at risk  nothing: no connection was made
  to do    use https://h:1: there is no unencrypted way in
"#);
    }

    #[test]
    fn an_unknown_key_in_the_settings_file_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("holdfast.toml");
        fs_err::write(&path, "coordinater = \"h:1\"\n").expect("written");
        let text = load(&path).expect_err("unknown key").render();
        assert!(text.contains("coordinater"), "{text}");
    }
}
