//! What the `key` commands found and did. No view ever has a key in it.

use super::some;
use super::text::{list, short_time, table};
use crate::output::View;
use holdfast_repository::{KeyListing, KeyState, MasterRotation};
use holdfast_types::{CopyName, KeyHolder, Timestamp};
use serde::Serialize;
use std::path::Path;

/// `key list`.
#[derive(Debug, Serialize)]
pub(crate) struct KeysView {
    place: String,
    keys: Vec<KeyView>,
}

#[derive(Debug, Serialize)]
struct KeyView {
    holder: String,
    /// Where the key comes from; `None` if the file is damaged.
    source: Option<String>,
    created: Option<Timestamp>,
    /// `sound`, `superseded`, `newer-master`, `removing` or `damaged`.
    state: &'static str,
    /// Whether it is the configured one.
    configured: bool,
    /// Fingerprint of the newest master key that it opens.
    master_key: Option<String>,
    /// How many master keys it opens.
    master_keys: usize,
    object: String,
    /// What is wrong with its two copies.
    damaged: Vec<String>,
}

/// `key add`, `remove`, `rotate`, `export`.
#[derive(Debug, Serialize)]
pub(crate) struct KeyChangeView {
    /// False if only shown.
    done: bool,
    added: Option<String>,
    removed: Option<String>,
    /// The recovery sheet.
    file: Option<String>,
    to_do: Option<String>,
}

/// `key rotate-master`.
#[derive(Debug, Serialize)]
pub(crate) struct MasterRotationView {
    /// False if only shown.
    done: bool,
    /// Whether it ends a rotation that died, in place of a new one.
    resumes: bool,
    kept: String,
    dropped: Vec<String>,
    /// From which epoch on the newest key seals; `None` if only shown.
    since_epoch: Option<u64>,
    master_key: Option<String>,
    master_keys: usize,
}

impl KeysView {
    pub(crate) fn new(place: &str, keys: &[KeyListing]) -> Self {
        Self {
            place: place.to_owned(),
            keys: keys.iter().map(KeyView::new).collect(),
        }
    }
}

impl KeyView {
    fn new(key: &KeyListing) -> Self {
        Self {
            holder: key.holder.to_string(),
            source: some(&key.hint),
            created: key.created,
            state: match key.state {
                KeyState::Sound => "sound",
                KeyState::Superseded => "superseded",
                KeyState::NewerMaster => "newer-master",
                KeyState::Removing => "removing",
                KeyState::Damaged => "damaged",
            },
            configured: key.is_own,
            master_key: some(&key.fingerprint),
            master_keys: key.generation,
            object: key.object.clone(),
            damaged: key.damaged.iter().map(ToString::to_string).collect(),
        }
    }

    fn row(&self) -> Vec<String> {
        let configured = if self.configured { "configured" } else { "" };
        vec![
            self.holder.clone(),
            self.source.clone().unwrap_or_default(),
            self.created.map(short_time).unwrap_or_default(),
            self.state.to_owned(),
            self.master_key.clone().unwrap_or_default(),
            configured.to_owned(),
        ]
    }

    /// What to do about it.
    fn advice(&self) -> Option<String> {
        let holder = &self.holder;
        let again =
            format!("remove it (`holdfast key remove {holder} --confirm`) and add it again");
        match self.state {
            "superseded" => Some(format!(
                "{holder}: left behind by a rotation of the master key that did not end; `holdfast key rotate-master --confirm` ends it"
            )),
            "newer-master" => Some(format!(
                "{holder}: opens newer master keys than the configured key; what is sealed under those can't be read with the configured one"
            )),
            "removing" => Some(format!(
                "{holder}: its removal did not end; `holdfast key remove {holder} --confirm` ends it"
            )),
            "damaged" => Some(format!("{holder}: opens nothing any more; {again}")),
            _ if self.damaged.is_empty() => None,
            _ => Some(format!(
                "{holder}: {}; the coordinator mends what it can at its next start, else {again}",
                self.damaged.join(", ")
            )),
        }
    }
}

impl View for KeysView {
    const KIND: &'static str = "keys";

    fn text(&self) -> String {
        let header = ["HOLDER", "SOURCE", "CREATED", "STATE", "MASTER KEY", ""];
        let mut text = table(&header, self.keys.iter().map(KeyView::row));
        for advice in self.keys.iter().filter_map(KeyView::advice) {
            text.push_str("\n\n");
            text.push_str(&advice);
        }
        text
    }
}

impl KeyChangeView {
    pub(crate) fn added(holder: &KeyHolder) -> Self {
        Self {
            done: true,
            added: Some(holder.to_string()),
            removed: None,
            file: None,
            to_do: None,
        }
    }

    pub(crate) fn exported(holder: &KeyHolder, file: &Path) -> Self {
        Self {
            file: Some(file.display().to_string()),
            to_do: Some(
                "print the sheet, try it, and remove the file: whoever reads it can read every backup"
                    .to_owned(),
            ),
            ..Self::added(holder)
        }
    }

    /// `copies` are those of the repository.
    pub(crate) fn removed(holder: &KeyHolder, copies: &[&CopyName], done: bool) -> Self {
        let to_do = match done {
            true => format!(
                "if the key may have leaked: `holdfast key rotate-master`{}",
                on_copies(copies)
            ),
            false => "repeat with --confirm".to_owned(),
        };
        Self {
            done,
            added: None,
            removed: Some(holder.to_string()),
            file: None,
            to_do: Some(to_do),
        }
    }

    /// `option` names the new key's kind in the configuration.
    pub(crate) fn rotated(
        old: &KeyHolder,
        new: &KeyHolder,
        option: &str,
        copies: &[&CopyName],
        done: bool,
    ) -> Self {
        let to_do = match done {
            true => format!(
                "name the new key as {option} under [repository] in the coordinator's configuration before it starts again{}",
                on_copies(copies)
            ),
            false => "repeat with --confirm".to_owned(),
        };
        Self {
            done,
            added: Some(new.to_string()),
            removed: Some(old.to_string()),
            file: None,
            to_do: Some(to_do),
        }
    }
}

/// What else is to do where copies have the key that was removed.
fn on_copies(copies: &[&CopyName]) -> String {
    let commands = copies
        .iter()
        .map(|name| format!("`holdfast repo copy sync {name} --release --confirm`"));
    let commands: Vec<_> = commands.collect();
    match commands.as_slice() {
        [] => String::new(),
        all => format!(
            "; it opens the copies until they have had a run and then {}",
            all.join(", ")
        ),
    }
}

impl View for KeyChangeView {
    const KIND: &'static str = "key-change";

    fn text(&self) -> String {
        let (opens, nothing) = match self.done {
            true => ("opens", "opens nothing any more"),
            false => ("would open", "would open nothing any more"),
        };
        let mut lines = Vec::new();
        if let Some(holder) = &self.added {
            lines.push(format!("the key of {holder} {opens} the repository"));
        }
        if let Some(holder) = &self.removed {
            lines.push(format!("the key of {holder} {nothing}"));
        }
        if let Some(file) = &self.file {
            lines.push(format!("its recovery sheet is in {file}"));
        }
        if let Some(to_do) = &self.to_do {
            lines.push(format!("to do: {to_do}"));
        }
        lines.join("\n")
    }
}

impl MasterRotationView {
    /// What it would do.
    pub(crate) fn planned(own: &KeyListing, keys: &[KeyListing]) -> Self {
        let resumes = keys.iter().any(|key| key.state == KeyState::Superseded);
        let goes = |key: &&KeyListing| match key.state {
            KeyState::Superseded | KeyState::Damaged => true,
            KeyState::Sound => !resumes,
            KeyState::NewerMaster | KeyState::Removing => false,
        };
        let dropped = keys.iter().filter(|key| key.holder != own.holder);
        let dropped = dropped.filter(goes).map(|key| key.holder.to_string());
        Self {
            done: false,
            resumes,
            kept: own.holder.to_string(),
            dropped: dropped.collect(),
            since_epoch: None,
            master_key: None,
            master_keys: own.generation + usize::from(!resumes),
        }
    }

    pub(crate) fn done(rotation: &MasterRotation) -> Self {
        Self {
            done: true,
            resumes: rotation.resumed,
            kept: rotation.kept.to_string(),
            dropped: rotation.dropped.iter().map(ToString::to_string).collect(),
            since_epoch: Some(rotation.since.0),
            master_key: Some(rotation.fingerprint.clone()),
            master_keys: rotation.generation,
        }
    }
}

impl View for MasterRotationView {
    const KIND: &'static str = "key-rotate-master";

    fn text(&self) -> String {
        let dropped = list(&self.dropped, "none");
        let kept = &self.kept;
        let what = match (self.done, self.resumes) {
            (true, false) => "a new master key seals what is written from now on",
            (true, true) => "the earlier rotation has been ended",
            (false, false) => "a new master key would seal what is written from then on",
            (false, true) => {
                "an earlier rotation did not end: it would be ended, and no further key made"
            }
        };
        let key = match (&self.master_key, self.since_epoch) {
            (Some(key), Some(epoch)) => format!(": {key}, from epoch {epoch} on"),
            (_, _) => String::new(),
        };
        let next = match (self.done, self.dropped.is_empty()) {
            (false, _) => "stop the coordinator, repeat with --confirm, and start it again",
            (true, true) => "start the coordinator again",
            (true, false) => {
                "start the coordinator again; add the dropped keys with `holdfast key add`, and print new recovery sheets with `holdfast key export`"
            }
        };
        format!("{what}{key}\nkept:    {kept}\ndropped: {dropped}\nto do:   {next}")
    }
}

#[cfg(test)]
mod tests;
