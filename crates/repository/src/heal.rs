//! Healing from a second copy: what is damaged or missing here is fetched from a repository with the same
//! identity, proven sound, and only then put in its place.
//!
//! An object that is present is replaced only if it is proven damaged at that moment, and by bytes whose name or
//! seal proves them right: so a copy that is itself damaged, older or another's can make nothing worse.
//! Recovery points that only the copy has are not brought back unless that is asked for: they may have been
//! removed here on purpose.

mod proof;

use crate::core_state::CoreState;
use crate::gc::stones;
use crate::packer::Packer;
use crate::quarantine::{self, QuarantineState};
use crate::{Damage, RepositoryError, VerifyReport, epochs, layout, load};
use holdfast_archive::RepositoryFile;
use holdfast_store::{ObjectKey, PutMode};
use holdfast_types::{Epoch, RecoveryPointId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a copy can heal.
#[derive(Clone, Debug, Default)]
pub struct HealPlan {
    /// Objects that the copy has sound, by name, with their sizes in bytes there.
    pub objects: BTreeMap<String, u64>,
    /// Objects that it can't heal, and why.
    pub unhealable: BTreeMap<String, String>,
    /// Recovery points that only the copy has: removed here on purpose, or lost. They are among the objects
    /// if they were asked for.
    pub only_in_copy: Vec<String>,
    /// Records of quarantine about objects that are sound again.
    pub settled: Vec<String>,
}

/// Which of the recovery points come back that only the copy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostPoints {
    /// None: they may have been removed on purpose.
    None,
    /// Every one.
    All,
    /// Of these, those that only the copy has.
    These(BTreeSet<RecoveryPointId>),
}

impl LostPoints {
    fn include(&self, key: &ObjectKey) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(ids) => layout::parse_point(key).is_some_and(|id| ids.contains(&id)),
        }
    }
}

/// What healing did.
#[derive(Clone, Debug, Default)]
pub struct Healed {
    /// Objects that were put in place, with their sizes in bytes.
    pub objects: BTreeMap<String, u64>,
    /// Objects that turned out to be sound, or whose copy turned out not to be.
    pub left: BTreeMap<String, String>,
    /// Records of quarantine that were removed.
    pub cleared: u64,
}

/// Two repositories with one identity.
pub(crate) struct Pair<'a> {
    pub(crate) ours: &'a Arc<CoreState>,
    pub(crate) copy: &'a Arc<CoreState>,
    pub(crate) description: &'a RepositoryFile,
}

impl Pair<'_> {
    /// What the copy can do about what a check has found.
    pub(crate) async fn plan(
        &self,
        report: &VerifyReport,
        lost: &LostPoints,
    ) -> Result<HealPlan, RepositoryError> {
        let mut plan = HealPlan::default();
        let open = report.open().map(|found| found.object.clone());
        let mut wanted: Vec<String> = open.collect();
        wanted.extend(self.packs_with(report));
        for found in self.copy.store.list(&layout::points()).await? {
            if self.ours.store.head(&found.key).await?.is_none() {
                let object = found.key.to_string();
                if lost.include(&found.key) {
                    wanted.push(object.clone());
                }
                plan.only_in_copy.push(object);
            }
        }
        for object in wanted {
            let sound = self.fetch(&object).await?;
            match sound {
                Ok(bytes) => {
                    plan.objects.insert(object, bytes.len() as u64);
                }
                Err(why) => {
                    plan.unhealable.insert(object, why);
                }
            }
        }
        let records = report.quarantine.iter();
        let settled = records.filter(|record| record.state == QuarantineState::Sound);
        plan.settled = settled.map(|record| record.object.clone()).collect();
        Ok(plan)
    }

    /// Packs of the copy that hold what points miss here, under whatever name.
    fn packs_with(&self, report: &VerifyReport) -> Vec<String> {
        let catalog = self.copy.catalog();
        let missing = report.missing.iter();
        let packs = missing.filter_map(|id| {
            let places = catalog.places(id);
            let (_, pack) = places.first()?;
            catalog
                .is_readable(id)
                .then(|| layout::pack(&pack.id).to_string())
        });
        packs.collect()
    }

    /// The object's bytes in the copy, if they are proven right; else why it can't heal.
    async fn fetch(&self, object: &str) -> Result<Result<bytes::Bytes, String>, RepositoryError> {
        let Ok(key) = object.parse::<ObjectKey>() else {
            return Ok(Err("it is no object of its own".to_owned()));
        };
        let bytes = match self.copy.store.get(&key).await {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(format!("the copy: {}", Damage::of_read(error)?))),
        };
        let proven = proof::prove(&key, &bytes, self.ours, self.description);
        Ok(proven
            .map(|()| bytes)
            .map_err(|why| format!("the copy: {why}")))
    }

    /// Carries out a plan.
    pub(crate) async fn heal(
        &self,
        packer: &Packer,
        epoch: Epoch,
        plan: &HealPlan,
    ) -> Result<Healed, RepositoryError> {
        let mut healed = Healed::default();
        self.take_tombstones_back(epoch, plan).await?;
        for object in plan.objects.keys() {
            epochs::check(self.ours, epoch).await?;
            match self.replace(object).await? {
                Ok(bytes) => {
                    healed.objects.insert(object.clone(), bytes);
                }
                Err(why) => {
                    healed.left.insert(object.clone(), why);
                }
            }
        }
        self.ours.compare_packs().await?;
        packer.adopt(load::adopt_new(self.ours).await?);
        packer.write_index(epoch).await?;
        healed.cleared = self.clear(plan, &healed).await?;
        Ok(healed)
    }

    /// What comes back was perhaps deleted on purpose before: no tombstone may delete it again.
    async fn take_tombstones_back(
        &self,
        epoch: Epoch,
        plan: &HealPlan,
    ) -> Result<(), RepositoryError> {
        epochs::check(self.ours, epoch).await?;
        let keys = plan.objects.keys().filter_map(|object| object.parse().ok());
        let keys: Vec<ObjectKey> = keys.collect();
        let packs = keys.iter().filter_map(layout::parse_pack).collect();
        stones::reprieve(self.ours, epoch, &packs).await?;
        for point in keys.iter().filter_map(layout::parse_point) {
            let tombstone = layout::point_tombstone(&point);
            self.ours.store.delete(&tombstone).await?;
        }
        Ok(())
    }

    /// Puts one object in place. Returns its size, or why it was left alone.
    async fn replace(&self, object: &str) -> Result<Result<u64, String>, RepositoryError> {
        let bytes = match self.fetch(object).await? {
            Ok(bytes) => bytes,
            Err(why) => return Ok(Err(why)),
        };
        let Ok(key) = object.parse::<ObjectKey>() else {
            return Ok(Err("it is no object of its own".to_owned()));
        };
        let store = &self.ours.store;
        let mode = match store.get(&key).await {
            Ok(present) => match proof::prove(&key, &present, self.ours, self.description) {
                Ok(()) => return Ok(Err("it is sound by now".to_owned())),
                Err(_) => PutMode::Overwrite,
            },
            Err(error) if matches!(Damage::of_read(error.clone())?, Damage::Missing) => {
                PutMode::CreateNew
            }
            // Too large to be read: nothing of Holdfast is.
            Err(_) => PutMode::Overwrite,
        };
        store.put(&key, bytes.clone(), mode).await?;
        // What was put is what counts from now on, so it is read once.
        let written = store.get(&key).await?;
        if written != bytes {
            return Err(RepositoryError::damaged(key, Damage::Hash));
        }
        if let Some(pack) = layout::parse_pack(&key) {
            self.ours.catalog_mut().trust(&pack);
        }
        tracing::info!(object, "healed from a second copy");
        Ok(Ok(bytes.len() as u64))
    }

    /// Removes the records of what is sound again.
    async fn clear(&self, plan: &HealPlan, healed: &Healed) -> Result<u64, RepositoryError> {
        let known = quarantine::load(&self.ours.store, &self.ours.master).await?;
        let mut cleared = 0;
        for record in known.records.values() {
            let object = &record.object;
            if healed.objects.contains_key(object) || plan.settled.contains(object) {
                quarantine::remove(&self.ours.store, record).await?;
                cleared += 1;
            }
        }
        Ok(cleared)
    }
}
