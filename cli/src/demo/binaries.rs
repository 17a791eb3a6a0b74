//! Finds the programs that the demo runs; in a source checkout it has cargo build what is missing.

use crate::args::ServerChoice;
use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use holdfast_service::failure::Code;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// The programs that will be run.
#[derive(Debug)]
pub(super) struct Binaries {
    pub(super) agent: PathBuf,
    pub(super) coordinator: PathBuf,
    pub(super) server: ServerBinary,
}

/// A Qdrant, real or not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerBinary {
    /// A real server.
    Qdrant(PathBuf),
    /// The stand-in.
    Devnode(PathBuf),
}

/// Where our own programs are, and how to build them.
#[derive(Debug)]
struct Home {
    /// Directory of this executable.
    dir: PathBuf,
    /// The source checkout it was built from, if it is one.
    source: Option<PathBuf>,
    /// Whether `cargo run` started us: then what is there may be older than the source.
    under_cargo: bool,
}

impl Binaries {
    /// Finds them, building as needed.
    pub(super) async fn find(choice: ServerChoice, progress: &mut Progress) -> Outcome<Self> {
        let home = Home::find()?;
        let ours = home
            .programs(&["holdfast-agent", "holdfast-coordinator"], progress)
            .await?;
        let qdrant = match choice {
            ServerChoice::Devnode => None,
            ServerChoice::Auto | ServerChoice::Qdrant => find_qdrant()?,
        };
        let server = match (qdrant, choice) {
            (Some(path), _) => ServerBinary::Qdrant(path),
            (None, ServerChoice::Qdrant) => return Err(no_qdrant()),
            (None, ServerChoice::Auto | ServerChoice::Devnode) => {
                home.programs(&["holdfast-devnode"], progress).await?;
                ServerBinary::Devnode(home.dir.join("holdfast-devnode"))
            }
        };
        let [agent, coordinator] = [&ours[0], &ours[1]].map(Clone::clone);
        Ok(Self {
            agent,
            coordinator,
            server,
        })
    }
}

impl Home {
    fn find() -> Outcome<Self> {
        let exe = std::env::current_exe().map_err(|error| {
            Failure::new(Code::Internal, "can't find this program's own file").caused_by(&error)
        })?;
        let dir = exe.parent().unwrap_or(Path::new("/")).to_owned();
        let under_cargo = std::env::var_os("CARGO").is_some();
        // `cargo run` names the package's directory; else a checkout is recognised around target/.
        let start = std::env::var_os("CARGO_MANIFEST_DIR")
            .filter(|_| under_cargo)
            .map_or_else(|| dir.clone(), PathBuf::from);
        let source = start
            .ancestors()
            .find(|dir| is_checkout(dir))
            .map(Path::to_owned);
        Ok(Self {
            dir,
            source,
            under_cargo,
        })
    }

    /// Paths of our own programs `names`.
    async fn programs(&self, names: &[&str], progress: &mut Progress) -> Outcome<Vec<PathBuf>> {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.dir.join(name)).collect();
        let missing = paths.iter().any(|path| !path.is_file());
        match &self.source {
            Some(source) if missing || self.under_cargo => {
                self.build(source, names, progress).await?
            }
            Some(_) | None => {}
        }
        match paths.iter().find(|path| !path.is_file()) {
            None => Ok(paths),
            Some(path) => Err(
                Failure::new(Code::Config, format!("{} is missing", path.display()))
                    .risking("nothing: nothing was started")
                    .todo("install the Holdfast programs into one directory"),
            ),
        }
    }

    async fn build(&self, source: &Path, names: &[&str], progress: &mut Progress) -> Outcome<()> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let args = self.build_args(names);
        let shown: Vec<String> = args
            .iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        progress.say(&format!(
            "Building what is missing: cargo {}",
            shown.join(" ")
        ));
        let failed = |reason: String| {
            Failure::new(Code::Config, format!("can't build {}", names.join(" and ")))
                .because(reason)
                .risking("nothing: nothing was started")
                .todo(format!(
                    "run in {}: cargo {}",
                    source.display(),
                    shown.join(" ")
                ))
        };
        let mut command = Command::new(cargo);
        command
            .args(&args)
            .current_dir(source)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // What `cargo run` tells us about our own package is input of some build scripts: left in, it
        // would have them and all that depends on them built anew.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        let mut build = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let status = build
            .wait()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if status.success() {
            Ok(())
        } else {
            Err(failed(format!("cargo: {status}")))
        }
    }

    /// The same profile and target directory as our own, so that the result lies beside us.
    fn build_args(&self, names: &[&str]) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["build".into()];
        match self.dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some("release") => args.push("--release".into()),
            Some(profile) => args.extend(["--profile".into(), profile.into()]),
        }
        if let Some(target) = self.dir.parent() {
            args.extend(["--target-dir".into(), target.into()]);
        }
        for name in names {
            args.extend(["-p".into(), (*name).into()]);
        }
        args
    }
}

/// Whether `dir` is the root of Holdfast's source.
fn is_checkout(dir: &Path) -> bool {
    dir.join("Cargo.lock").is_file()
        && ["agent", "coordinator", "devnode"]
            .iter()
            .all(|part| dir.join(part).join("Cargo.toml").is_file())
}

/// A real server: named by the environment, else on the PATH.
fn find_qdrant() -> Outcome<Option<PathBuf>> {
    if let Some(named) = std::env::var_os("HOLDFAST_QDRANT_BIN").filter(|name| !name.is_empty()) {
        let path = PathBuf::from(named);
        if path.is_file() {
            return Ok(Some(path));
        }
        return Err(Failure::new(
            Code::Config,
            format!(
                "HOLDFAST_QDRANT_BIN names {}, which is no file",
                path.display()
            ),
        )
        .risking("nothing: nothing was started")
        .todo("correct it, or unset it"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("qdrant"))
        .find(|file| file.is_file());
    Ok(found)
}

fn no_qdrant() -> Failure {
    Failure::new(Code::Config, "no Qdrant server was found")
        .risking("nothing: nothing was started")
        .todo("set HOLDFAST_QDRANT_BIN to its path, put it on the PATH, or use --server devnode")
}

#[cfg(test)]
mod tests {
    use super::{Home, is_checkout};
    use std::path::{Path, PathBuf};

    fn args(dir: &str) -> Vec<String> {
        let home = Home {
            dir: PathBuf::from(dir),
            source: None,
            under_cargo: true,
        };
        let args = home.build_args(&["holdfast-agent"]);
        args.iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_build_lands_beside_this_program() {
        let tail = ["--target-dir", "/src/target", "-p", "holdfast-agent"];
        let with = |profile: &[&'static str]| [&["build"], profile, &tail].concat();
        assert_eq!(args("/src/target/release"), with(&["--release"]));
        assert_eq!(args("/src/target/debug"), with(&[]));
        assert_eq!(args("/src/target/dist"), with(&["--profile", "dist"]));
    }

    #[test]
    fn this_checkout_is_recognised() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(manifest.ancestors().any(is_checkout));
        assert!(!is_checkout(Path::new("/")));
    }
}
