//! A leader's way to the store, on which another coordinator takes over at a chosen moment.

use super::{Coordinator, World, garbage};
use crate::place::TestStore;
use crate::support::{SMALL, kek};
use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_repository::{Repository, RepositoryError};
use holdfast_store::{
    KeyPrefix, LockAttempt, ObjectKeeper, ObjectKey, ObjectMeta, ObjectStore, PutMode, StoreError,
};
use std::sync::{Arc, Mutex};

/// What is to happen on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// After so many puts and deletes, before the next gets there.
    TakeOverAfter(u32),
    Done,
}

/// Passes everything on.
pub(super) struct Road {
    to: Arc<TestStore>,
    plan: Mutex<Plan>,
}

impl Road {
    pub(super) fn to(to: Arc<TestStore>) -> Self {
        Self {
            to,
            plan: Mutex::new(Plan::Nothing),
        }
    }

    /// Another coordinator claims the epoch when so many more puts and deletes have passed.
    pub(super) fn take_over_after(&self, mutations: u32) {
        *self.plan.lock().unwrap() = Plan::TakeOverAfter(mutations);
    }

    /// Whether it has. If not, it won't.
    pub(super) fn was_taken_over(&self) -> bool {
        std::mem::replace(&mut *self.plan.lock().unwrap(), Plan::Nothing) == Plan::Done
    }

    async fn before_a_mutation(&self) {
        let now = {
            let mut plan = self.plan.lock().unwrap();
            let now = *plan;
            *plan = match now {
                Plan::TakeOverAfter(0) | Plan::Done => Plan::Done,
                Plan::TakeOverAfter(left) => Plan::TakeOverAfter(left - 1),
                Plan::Nothing => Plan::Nothing,
            };
            now
        };
        if now == Plan::TakeOverAfter(0) {
            let other = Repository::open_with(self.to.clone(), kek(), SMALL).await;
            other.unwrap().claim_epoch().await.unwrap();
        }
    }
}

impl World {
    /// Another coordinator claims the epoch while garbage is collected: what the old one has begun is refused or harmless.
    pub(super) async fn depose_in_mid_collection(&mut self) {
        let mutations = self.draw(8);
        let Coordinator {
            repository,
            epoch,
            road,
            ..
        } = &self.leader;
        road.take_over_after(mutations);
        let outcome = repository.collect_garbage(*epoch, garbage(self.now)).await;
        let taken_over = road.was_taken_over();
        if self.leader.store.is_stopped() {
            return;
        }
        if !taken_over {
            assert!(outcome.is_ok(), "{outcome:?}");
            return;
        }
        self.count("deposed in mid-collection");
        match outcome {
            // It was the last that it had to do.
            Ok(_) => {}
            Err(RepositoryError::StaleEpoch { .. }) => self.count("refused in mid-collection"),
            Err(error) => panic!("{error:?}"),
        }
        self.depose().await;
    }
}

impl ObjectStore for Road {
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        data: Bytes,
        mode: PutMode,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.before_a_mutation().await;
            self.to.put(key, data, mode).await
        })
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.to.get(key)
    }

    fn get_range<'a>(
        &'a self,
        key: &'a ObjectKey,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.to.get_range(key, offset, len)
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        self.to.head(key)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>, StoreError>> {
        self.to.list(prefix)
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.to.is_empty()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.before_a_mutation().await;
            self.to.delete(key).await
        })
    }

    fn try_lock<'a>(&'a self, holder: &'a str) -> BoxFuture<'a, Result<LockAttempt, StoreError>> {
        self.to.try_lock(holder)
    }

    fn keeper(&self) -> Option<&dyn ObjectKeeper> {
        self.to.keeper()
    }

    fn stretch(&self) -> u64 {
        self.to.stretch()
    }

    fn describe(&self) -> String {
        self.to.describe()
    }
}
