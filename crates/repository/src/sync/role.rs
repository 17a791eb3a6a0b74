//! What a store is among the stores of its repository, as it says itself in `copies/role`.
//!
//! A primary that never was a copy has no such note. The note is sealed: nobody without the key makes a copy
//! of a primary, or a primary of a copy.

use crate::core_state::CoreState;
use crate::{RepositoryError, layout, notes};
use holdfast_archive::{Keyring, ObjectKind};
use holdfast_store::{ObjectStore, PutMode};
use holdfast_types::{CopyName, Epoch, Timestamp};
use serde::{Deserialize, Serialize};

/// What a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreRole {
    /// Brought up to date from the primary, and written by nobody else.
    Copy,
    /// Was a copy, and is left as it is.
    Detached,
    /// Was a copy, and is the primary now.
    Promoted,
    /// Was the primary, and was replaced by one of its copies.
    Retired,
}

/// The note in which a store says what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TheRole {
    /// What it is.
    pub role: StoreRole,
    /// The name of the copy that it is or was, or that has replaced it.
    pub name: CopyName,
    /// Since when.
    pub at: Timestamp,
}

/// A store that is not what it was taken for. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleRefusal {
    /// A copy was to be used as the primary.
    #[error("{place} is the copy {name} of the repository, and written by its coordinator only")]
    IsCopy {
        /// The store.
        place: String,
        /// Which copy it is.
        name: CopyName,
    },
    /// It was replaced.
    #[error("{place} was replaced by its copy {name} at {at}")]
    Retired {
        /// The store.
        place: String,
        /// The copy that replaced it.
        name: CopyName,
        /// When.
        at: Timestamp,
    },
    /// The store of a copy was promoted.
    #[error("{place}, once the copy {name}, was promoted to be the primary at {at}")]
    Promoted {
        /// The store.
        place: String,
        /// Which copy it was.
        name: CopyName,
        /// When.
        at: Timestamp,
    },
    /// The store of a copy is no longer kept up to date.
    #[error("{place}, once the copy {name}, was detached at {at}")]
    Detached {
        /// The store.
        place: String,
        /// Which copy it was.
        name: CopyName,
        /// When.
        at: Timestamp,
    },
    /// It has the repository's identity and was never made a copy.
    #[error("{place} is this repository itself, or a duplicate that was never made a copy")]
    NoCopy {
        /// The store.
        place: String,
    },
    /// It is another copy.
    #[error("{place} is the copy {found}, not {wanted}")]
    OtherName {
        /// The store.
        place: String,
        /// What it is called.
        found: CopyName,
        /// What it was taken for.
        wanted: CopyName,
    },
    /// A coordinator of a duplicate of the primary writes to it.
    #[error(
        "{place} is written by another coordinator in the same term {epoch}: there is a duplicate of this repository"
    )]
    OtherWriter {
        /// The store.
        place: String,
        /// The term of both.
        epoch: Epoch,
    },
    /// The copy's master key was rotated, that of the primary was not.
    #[error("{place} is sealed under a master key that this repository does not have")]
    OtherMaster {
        /// The store.
        place: String,
    },
}

/// What whoever is about to write takes the store for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected<'a> {
    /// The primary.
    Primary,
    /// The copy of this name.
    Copy(&'a CopyName),
}

impl Expected<'_> {
    /// Refuses a store that is something else.
    pub(crate) async fn check(self, core: &CoreState) -> Result<(), RepositoryError> {
        let found = read_role(core.store.as_ref(), &core.master).await?;
        Ok(self.judge(found, core.store.describe())?)
    }

    pub(crate) fn judge(self, found: Option<TheRole>, place: String) -> Result<(), RoleRefusal> {
        let Some(TheRole { role, name, at }) = found else {
            return match self {
                Self::Primary => Ok(()),
                Self::Copy(_) => Err(RoleRefusal::NoCopy { place }),
            };
        };
        match (self, role) {
            (Self::Primary, StoreRole::Promoted) => Ok(()),
            (Self::Copy(wanted), StoreRole::Copy) if *wanted == name => Ok(()),
            (Self::Copy(wanted), StoreRole::Copy) => Err(RoleRefusal::OtherName {
                place,
                found: name,
                wanted: wanted.clone(),
            }),
            (Self::Primary, StoreRole::Copy) => Err(RoleRefusal::IsCopy { place, name }),
            (Self::Primary | Self::Copy(_), StoreRole::Retired) => {
                Err(RoleRefusal::Retired { place, name, at })
            }
            (Self::Primary | Self::Copy(_), StoreRole::Detached) => {
                Err(RoleRefusal::Detached { place, name, at })
            }
            (Self::Copy(_), StoreRole::Promoted) => Err(RoleRefusal::Promoted { place, name, at }),
        }
    }
}

/// What the store says that it is; nothing if it never was a copy.
pub(crate) async fn read_role(
    store: &dyn ObjectStore,
    master: &Keyring,
) -> Result<Option<TheRole>, RepositoryError> {
    let found = notes::read_from(store, master, layout::role(), ObjectKind::Config).await?;
    Ok(found.map(|found| found.note))
}

/// Says anew what the store is.
pub(crate) async fn write_role(
    store: &dyn ObjectStore,
    master: &Keyring,
    epoch: Epoch,
    role: &TheRole,
) -> Result<(), RepositoryError> {
    let key = layout::role();
    let object = notes::seal(master, &key, ObjectKind::Config, epoch, role)?;
    Ok(store.put(&key, object, PutMode::Overwrite).await?)
}

#[cfg(test)]
mod tests {
    use super::{Expected, RoleRefusal, StoreRole, TheRole};
    use holdfast_types::Timestamp;

    #[test]
    fn a_store_is_used_as_what_it_is_only() {
        let (name, other) = ("b".parse().unwrap(), "c".parse().unwrap());
        let judge = |expected: Expected<'_>, role: Option<StoreRole>| {
            let found = role.map(|role| TheRole {
                role,
                name: "b".parse().unwrap(),
                at: Timestamp::EPOCH,
            });
            expected.judge(found, "here".into())
        };
        let copy = Some(StoreRole::Copy);
        assert_eq!(judge(Expected::Primary, None), Ok(()));
        assert_eq!(judge(Expected::Primary, Some(StoreRole::Promoted)), Ok(()));
        assert_eq!(judge(Expected::Copy(&name), copy), Ok(()));
        let refused = [
            (Expected::Primary, copy),
            (Expected::Primary, Some(StoreRole::Retired)),
            (Expected::Primary, Some(StoreRole::Detached)),
            (Expected::Copy(&name), None),
            (Expected::Copy(&other), copy),
            (Expected::Copy(&name), Some(StoreRole::Promoted)),
            (Expected::Copy(&name), Some(StoreRole::Retired)),
            (Expected::Copy(&name), Some(StoreRole::Detached)),
        ];
        for (expected, role) in refused {
            assert!(judge(expected, role).is_err(), "{expected:?} {role:?}");
        }
        let no_copy = judge(Expected::Copy(&name), None).unwrap_err();
        assert!(matches!(no_copy, RoleRefusal::NoCopy { .. }));
    }
}
