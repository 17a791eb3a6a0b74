//! `[[extra]]`: files beside Qdrant's own that go into the same recovery point, and the programs that run around their capture.
//!
//! What is checked here is that nobody captures by mistake what must not be: the whole disk, the agent's own state and key,
//! Qdrant's storage. It looks at paths as they are written; where links lead is not looked at.

use super::AgentConfigError;
use super::raw::RawExtra;
use holdfast_archive::extra_listing::is_safe;
use holdfast_types::{ByteCount, ExtraName};
use std::collections::HashSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Most extras of one agent.
pub const MAX_EXTRAS: usize = 64;
/// Most paths of one extra.
const MAX_PATHS: usize = 256;

/// Files beside Qdrant's own, and the hooks around their capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraSection {
    /// Its name in recovery points.
    pub name: ExtraName,
    /// Files, and directories with everything in them; absolute.
    pub paths: Vec<PathBuf>,
    /// Whether it is Qdrant's own configuration.
    pub config: bool,
    /// Run before its files are read.
    pub before: Option<Hook>,
    /// Run when they have been, or could not be.
    pub after: Option<Hook>,
    /// How long each hook may take.
    pub timeout: Duration,
    /// Whether there must be no recovery point without it.
    pub required: bool,
    /// Most bytes of all its files.
    pub limit: ByteCount,
}

/// A program with its arguments, which no shell reads. Arguments may hold secrets, so nothing shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .finish()
    }
}

/// What an extra may not hold.
#[derive(Debug)]
pub(super) struct Forbidden<'a> {
    pub(super) state_dir: &'a Path,
    pub(super) key: &'a Path,
    pub(super) storage_dir: Option<&'a Path>,
    pub(super) snapshots_dir: Option<&'a Path>,
}

/// Checks them all.
///
/// # Errors
/// The first rule that one breaks.
pub(super) fn check(
    raw: Vec<RawExtra>,
    forbidden: &Forbidden<'_>,
) -> Result<Vec<ExtraSection>, AgentConfigError> {
    if raw.len() > MAX_EXTRAS {
        return Err(AgentConfigError::Value {
            key: "extra",
            rule: "there may be at most 64 of them",
        });
    }
    let mut names = HashSet::new();
    let mut extras = Vec::new();
    for raw in raw {
        let shown = raw.name.clone();
        let refused = |why: String| AgentConfigError::Extra {
            name: shown.clone(),
            why,
        };
        let extra = check_one(raw, forbidden).map_err(&refused)?;
        if !names.insert(extra.name.clone()) {
            return Err(refused("two have this name".to_owned()));
        }
        extras.push(extra);
    }
    Ok(extras)
}

fn check_one(raw: RawExtra, forbidden: &Forbidden<'_>) -> Result<ExtraSection, String> {
    let RawExtra {
        name,
        paths,
        config,
        before,
        after,
        timeout_secs,
        required,
        max_mib,
    } = raw;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    if paths.is_empty() || paths.len() > MAX_PATHS {
        return Err(format!(
            "paths must name 1 to {MAX_PATHS} files or directories"
        ));
    }
    for (n, path) in paths.iter().enumerate() {
        check_path(path, forbidden)?;
        let others = paths.iter().take(n);
        let mut overlapping = others.filter(|o| path.starts_with(o) || o.starts_with(path));
        if let Some(other) = overlapping.next() {
            return Err(format!(
                "paths {} and {} overlap: name one of them",
                other.display(),
                path.display()
            ));
        }
    }
    if !(1..=86_400).contains(&timeout_secs) {
        return Err("timeout_secs must be from 1 to 86400".to_owned());
    }
    if !(1..=262_144).contains(&max_mib) {
        return Err("max_mib must be from 1 to 262144".to_owned());
    }
    Ok(ExtraSection {
        name,
        paths,
        config,
        before: check_hook("before", before)?,
        after: check_hook("after", after)?,
        timeout: Duration::from_secs(timeout_secs),
        required,
        limit: ByteCount::mib(max_mib),
    })
}

fn check_path(path: &Path, forbidden: &Forbidden<'_>) -> Result<(), String> {
    let shown = path.display();
    let inside = path.to_str().and_then(|text| text.strip_prefix('/'));
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if path == Path::new("/") {
        return Err("paths must not name /: that is the whole machine".to_owned());
    }
    if !path.components().all(plain)
        || !inside.is_some_and(|inside| is_safe(inside.trim_end_matches('/')))
    {
        return Err(format!(
            "path {shown} must be absolute, without . and .., control characters and backslashes"
        ));
    }
    let touches = |dir: &Path| {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        path.starts_with(&dir) || dir.starts_with(path)
    };
    if touches(forbidden.state_dir) {
        return Err(format!(
            "path {shown} overlaps state_dir, which is the agent's own"
        ));
    }
    let qdrant = [forbidden.storage_dir, forbidden.snapshots_dir];
    if qdrant.into_iter().flatten().any(touches) {
        return Err(format!(
            "path {shown} overlaps Qdrant's storage or snapshots directory: a copy of a running server's files is no backup; collections are captured anyway"
        ));
    }
    let key = std::path::absolute(forbidden.key);
    if key.is_ok_and(|key| key.starts_with(path)) {
        return Err(format!(
            "path {shown} holds this agent's private key (tls.key), which must not leave the machine: name what else is there"
        ));
    }
    Ok(())
}

fn check_hook(key: &str, argv: Vec<String>) -> Result<Option<Hook>, String> {
    let mut argv = argv.into_iter();
    let Some(program) = argv.next() else {
        return Ok(None);
    };
    let program = PathBuf::from(program);
    let args: Vec<String> = argv.collect();
    if !program.is_absolute() {
        return Err(format!(
            "{key} must begin with the absolute path of a program; no shell reads it"
        ));
    }
    let nul = program.as_os_str().as_encoded_bytes().contains(&0);
    if nul || args.iter().any(|arg| arg.contains('\0')) {
        return Err(format!("{key} must not contain NUL"));
    }
    Ok(Some(Hook { program, args }))
}
