//! `config check`: the parsers of the agent and of the coordinator, run strictly.

use super::Context;
use crate::args::{ConfigCheckArgs, ConfigCommand, ConfigKind};
use crate::failure::{Failure, Outcome};
use crate::view::ConfigCheckView;
use holdfast_service::config::Strictness;
use holdfast_service::failure::Code;
use std::path::Path;

/// `holdfast config …`.
pub(super) async fn run(context: Context, command: &ConfigCommand) -> Outcome<()> {
    match command {
        ConfigCommand::Check(args) => context.output.show(&check(args).await?),
    }
}

async fn check(args: &ConfigCheckArgs) -> Outcome<ConfigCheckView> {
    let kind = match args.kind {
        Some(kind) => kind,
        None => detect(&args.file)?,
    };
    let program = match kind {
        ConfigKind::Agent => {
            let (config, _) = holdfast_agent::config::load(&args.file, Strictness::Strict)
                .map_err(|error| refused(&args.file).caused_by(&error))?;
            if !args.no_paths {
                config
                    .check_paths()
                    .map_err(|error| refused(&args.file).caused_by(&error))?;
            }
            "agent"
        }
        ConfigKind::Coordinator => {
            let (config, _) = holdfast_coordinator::config::load(&args.file, Strictness::Strict)
                .map_err(|error| refused(&args.file).caused_by(&error))?;
            if !args.no_paths {
                config
                    .check_files()
                    .map_err(|error| refused(&args.file).caused_by(&error))?;
                holdfast_coordinator::repository::check_key(&config)
                    .await
                    .map_err(|error| refused(&args.file).caused_by(&error))?;
            }
            "coordinator"
        }
    };
    Ok(ConfigCheckView {
        file: args.file.clone(),
        program,
        valid: true,
    })
}

/// Tells the program by the sections that only one of them has.
fn detect(file: &Path) -> Outcome<ConfigKind> {
    let text = fs_err::read_to_string(file).map_err(|error| refused(file).caused_by(&error))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| refused(file).because(error.to_string().trim_end()))?;
    let has = |keys: &[&str]| keys.iter().any(|key| table.contains_key(*key));
    let agent = has(&["node", "coordinator", "qdrant", "spool"]);
    let coordinator = has(&["listen", "repository", "name"]);
    match (agent, coordinator) {
        (true, false) => Ok(ConfigKind::Agent),
        (false, true) => Ok(ConfigKind::Coordinator),
        (true, true) | (false, false) => Err(Failure::new(
            Code::Config,
            format!(
                "can't tell whether {} is for the agent or the coordinator",
                file.display()
            ),
        )
        .todo("say it with --kind agent or --kind coordinator")),
    }
}

fn refused(file: &Path) -> Failure {
    Failure::new(Code::Config, format!("{} is not a valid configuration", file.display()))
        .risking("nothing: nothing was started; a running service goes on with what it has")
        .todo("correct the file; `holdfast-agent config default` and `holdfast-coordinator config default` \
               print every key")
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::args::{ConfigCheckArgs, ConfigKind};
    use crate::failure::Outcome;
    use crate::view::ConfigCheckView;
    use holdfast_service::exit::ExitCode;

    async fn check_text(
        text: &str,
        kind: Option<ConfigKind>,
        no_paths: bool,
    ) -> Outcome<ConfigCheckView> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("c.toml");
        fs_err::write(&file, text).expect("written");
        check(&ConfigCheckArgs {
            file,
            kind,
            no_paths,
        })
        .await
    }

    #[tokio::test]
    async fn the_default_files_are_told_apart_and_valid() {
        let agent = check_text(holdfast_agent::config::DEFAULT_CONFIG, None, true).await;
        assert_eq!(agent.expect("valid").program, "agent");
        let coordinator =
            check_text(holdfast_coordinator::config::DEFAULT_CONFIG, None, true).await;
        assert_eq!(coordinator.expect("valid").program, "coordinator");
    }

    #[tokio::test]
    async fn an_unknown_key_is_an_error_here() {
        let text = holdfast_agent::config::DEFAULT_CONFIG.replace("state_dir =", "state_dri =");
        let failure = check_text(&text, None, true)
            .await
            .expect_err("unknown key");
        assert_eq!(failure.exit(), ExitCode::Config);
        let text = format!("nodee = \"x\"\n{}", holdfast_agent::config::DEFAULT_CONFIG);
        let failure = check_text(&text, None, true)
            .await
            .expect_err("unknown key");
        assert!(
            failure.render().contains("did you mean `node`"),
            "{}",
            failure.render()
        );
    }

    #[tokio::test]
    async fn paths_are_looked_at_unless_told_not_to() {
        let failure = check_text(holdfast_agent::config::DEFAULT_CONFIG, None, false).await;
        let text = failure.expect_err("no such files").render();
        assert!(text.contains("/etc/holdfast/tls/cert.pem"), "{text}");
    }

    #[tokio::test]
    async fn a_coordinators_key_and_directories_are_looked_at() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs_err::write(&path, text).expect("written");
            path.display().to_string()
        };
        let text = |key: &str, state: &str| {
            let mut text = holdfast_coordinator::config::DEFAULT_CONFIG.to_owned();
            let pem = file("x.pem", "");
            for name in ["cert.pem", "key.pem", "ca.pem"] {
                text = text.replace(&format!("/etc/holdfast/tls/{name}"), &pem);
            }
            let repository = dir.path().join("new/repository").display().to_string();
            text.replace("/etc/holdfast/repository.key", key)
                .replace("/var/lib/holdfast-repository", &repository)
                .replace("/var/lib/holdfast-coordinator", state)
        };
        let (good, bad) = (file("good", &"ab".repeat(32)), file("bad", "too short"));
        let state = dir.path().join("state").display().to_string();
        let under_a_file = format!("{good}/state");
        check_text(&text(&good, &state), None, false)
            .await
            .expect("valid");
        let failure = check_text(&text(&bad, &state), None, false)
            .await
            .expect_err("no key");
        assert!(failure.render().contains(&bad), "{}", failure.render());
        let failure = check_text(&text(&good, &under_a_file), None, false)
            .await
            .expect_err("no folder");
        assert!(
            failure.render().contains("state_dir"),
            "{}",
            failure.render()
        );
    }

    #[tokio::test]
    async fn what_can_not_be_told_is_asked_for() {
        let failure = check_text("[log]\nfilter = \"info\"\n", None, true)
            .await
            .expect_err("unclear");
        assert!(failure.render().contains("--kind"), "{}", failure.render());
    }
}
