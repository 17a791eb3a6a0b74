//! Leave to read a recovery point without a command: for an operator who exports it, and for the agent of a node
//! whose Qdrant is down and shall be restored cold.
//!
//! A ticket belongs to one identity: its number alone opens nothing, the certificate must fit. Tickets live in
//! memory only, and a restart of the coordinator ends them: they are made in a moment, and one that outlived what
//! it was made for would be a hole. Nothing here writes, and nothing here knows what is done with the data.

use crate::dispatch::{Readable, RestoreGrant};
use crate::export::Reading;
use crate::fault::Fault;
use holdfast_archive::{CollectionEntry, Manifest};
use holdfast_certs::Identity;
use holdfast_service::failure::Code;
use holdfast_types::{CaptureId, CopyName, RecoveryPointId, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Tickets open at once. Each may hold the list of its chunks: 32 bytes for each.
const MAX_OPEN: usize = 64;

/// An export that is not used for so long is over.
const EXPORT_IDLE: Duration = Duration::from_secs(3600);

/// The open tickets.
#[derive(Debug, Default)]
pub struct Tickets {
    open: Mutex<HashMap<CaptureId, Open>>,
}

#[derive(Debug)]
struct Open {
    holder: Identity,
    ends: Timestamp,
    /// Whether use puts the end off.
    idle: Option<Duration>,
    reads: Vec<Arc<RestoreGrant>>,
}

impl Tickets {
    /// Opens one collection to an operator.
    ///
    /// # Errors
    /// If too many are open.
    pub fn export(
        &self,
        holder: Identity,
        manifest: Arc<Manifest>,
        collection: &CollectionEntry,
        from_copy: Option<CopyName>,
        reading: &Arc<Reading>,
        now: Timestamp,
    ) -> Result<CaptureId, Fault> {
        let collections = std::slice::from_ref(collection);
        let grants = grants(&manifest, collections, from_copy.as_ref(), Some(reading));
        self.open(holder, grants, now, EXPORT_IDLE, true)
    }

    /// Opens an extra to an operator.
    ///
    /// # Errors
    /// If too many are open.
    pub fn extra(
        &self,
        holder: Identity,
        manifest: Arc<Manifest>,
        what: Readable,
        from_copy: Option<CopyName>,
        now: Timestamp,
    ) -> Result<CaptureId, Fault> {
        let grant = RestoreGrant {
            from_copy,
            manifest,
            what,
            logs: Vec::new(),
            reading: None,
            chunks: OnceCell::new(),
        };
        self.open(holder, vec![Arc::new(grant)], now, EXPORT_IDLE, true)
    }

    /// Opens collections to a node's agent, for as long as `valid`.
    ///
    /// # Errors
    /// If too many are open.
    pub fn restore(
        &self,
        holder: Identity,
        manifest: Arc<Manifest>,
        collections: &[CollectionEntry],
        from_copy: Option<CopyName>,
        now: Timestamp,
        valid: Duration,
    ) -> Result<CaptureId, Fault> {
        let grants = grants(&manifest, collections, from_copy.as_ref(), None);
        self.open(holder, grants, now, valid, false)
    }

    fn open(
        &self,
        holder: Identity,
        reads: Vec<Arc<RestoreGrant>>,
        now: Timestamp,
        valid: Duration,
        renewed: bool,
    ) -> Result<CaptureId, Fault> {
        let id = new_id()?;
        let ticket = Open {
            holder,
            ends: now.after(valid),
            idle: renewed.then_some(valid),
            reads,
        };
        let mut open = self.lock();
        open.retain(|_, ticket| ticket.ends > now);
        if open.len() >= MAX_OPEN {
            return Err(Fault::new(
                Code::JobConflict,
                format!(
                    "{MAX_OPEN} exports and restore tickets are open: wait until one is done or has ended"
                ),
            ));
        }
        open.insert(id.clone(), ticket);
        Ok(id)
    }

    /// What the holder may read, with the id that stands for each collection.
    #[must_use]
    pub fn redeem(
        &self,
        id: &CaptureId,
        holder: &Identity,
        now: Timestamp,
    ) -> Option<Vec<(CaptureId, Arc<RestoreGrant>)>> {
        let open = self.lock();
        let ticket = open.get(id).filter(|ticket| ticket.is_for(holder, now))?;
        let reads = ticket.reads.iter().enumerate();
        reads
            .map(|(n, grant)| Some((read_id(id, n)?, Arc::clone(grant))))
            .collect()
    }

    /// What a read id allows its holder; `None` if it is not open or another's.
    #[must_use]
    pub fn grant(
        &self,
        read: &CaptureId,
        holder: &Identity,
        now: Timestamp,
    ) -> Option<Arc<RestoreGrant>> {
        let (id, n) = read.as_str().rsplit_once('-')?;
        let (id, n): (CaptureId, usize) = (id.parse().ok()?, n.parse().ok()?);
        let mut open = self.lock();
        let ticket = open.get_mut(&id).filter(|t| t.is_for(holder, now))?;
        ticket.is_used(now);
        ticket.reads.get(n).cloned()
    }

    /// The recovery points that open tickets are for.
    #[must_use]
    pub fn points(&self, now: Timestamp) -> BTreeSet<RecoveryPointId> {
        let open = self.lock();
        let valid = open.values().filter(|ticket| ticket.ends > now);
        let reads = valid.flat_map(|ticket| &ticket.reads);
        reads.map(|grant| grant.manifest.id.clone()).collect()
    }

    /// Ends a ticket of this holder. Returns what it was for.
    #[must_use]
    pub fn close(&self, id: &CaptureId, holder: &Identity) -> Vec<Arc<RestoreGrant>> {
        let mut open = self.lock();
        if open.get(id).is_some_and(|ticket| ticket.holder == *holder) {
            let closed = open.remove(id);
            return closed.map(|ticket| ticket.reads).unwrap_or_default();
        }
        Vec::new()
    }

    /// A ticket is in use: where that counts, its end is put off.
    pub fn used(&self, id: &CaptureId, now: Timestamp) {
        let mut open = self.lock();
        if let Some(ticket) = open.get_mut(id).filter(|ticket| ticket.ends > now) {
            ticket.is_used(now);
        }
    }

    /// Whether a ticket still opens what it is for.
    #[must_use]
    pub fn is_open(&self, id: &CaptureId, now: Timestamp) -> bool {
        self.lock().get(id).is_some_and(|ticket| ticket.ends > now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CaptureId, Open>> {
        // No code that holds this lock can panic half-way through a change.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One for each collection.
fn grants(
    manifest: &Arc<Manifest>,
    collections: &[CollectionEntry],
    from_copy: Option<&CopyName>,
    reading: Option<&Arc<Reading>>,
) -> Vec<Arc<RestoreGrant>> {
    let grant = |collection: &CollectionEntry| {
        Arc::new(RestoreGrant {
            from_copy: from_copy.cloned(),
            manifest: Arc::clone(manifest),
            what: Readable::Collection(collection.clone()),
            logs: Vec::new(),
            reading: reading.cloned(),
            chunks: OnceCell::new(),
        })
    };
    collections.iter().map(grant).collect()
}

impl Open {
    fn is_for(&self, holder: &Identity, now: Timestamp) -> bool {
        self.holder == *holder && self.ends > now
    }

    fn is_used(&mut self, now: Timestamp) {
        if let Some(idle) = self.idle {
            self.ends = now.after(idle);
        }
    }
}

/// The manifest that these grants are of, with their collections only.
///
/// # Panics
/// Without any grant.
#[must_use]
pub fn narrowed<'a>(grants: impl Iterator<Item = &'a RestoreGrant>) -> Manifest {
    let grants: Vec<_> = grants.collect();
    let first = grants.first().expect("a ticket is for some collection");
    Manifest {
        collections: grants
            .iter()
            .filter_map(|grant| grant.collection().cloned())
            .collect(),
        // Who reads collections needs no extras, and may be of a release that knows none.
        ..(*first.manifest).clone().without_extras()
    }
}

/// The id of a ticket's nth collection.
#[must_use]
pub fn read_id(ticket: &CaptureId, n: usize) -> Option<CaptureId> {
    format!("{ticket}-{n}").parse().ok()
}

fn new_id() -> Result<CaptureId, Fault> {
    let unforeseen = |what: String| Fault::new(Code::Internal, what);
    let mut number = [0; 16];
    getrandom::fill(&mut number)
        .map_err(|error| unforeseen(format!("no random numbers: {error}")))?;
    let number: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("ticket-{number}").parse();
    id.map_err(|error| unforeseen(format!("a ticket has no valid id: {error}")))
}

#[cfg(test)]
mod tests {
    use super::{EXPORT_IDLE, MAX_OPEN, Tickets};
    use crate::fixture;
    use holdfast_certs::{Identity, Role};
    use holdfast_types::Timestamp;
    use std::sync::Arc;
    use std::time::Duration;

    fn who(role: Role, name: &str) -> Identity {
        Identity::new("test".parse().unwrap(), role, name).unwrap()
    }

    #[test]
    fn only_the_holder_reads_and_only_until_the_end() {
        let tickets = Tickets::default();
        let manifest = Arc::new(fixture::manifest("20261121t101530z-0a1b2c3d", 0));
        let (n1, hour) = (who(Role::Agent, "n1"), Duration::from_secs(3600));
        let now = Timestamp::from_micros(1_000_000);
        let collections = &manifest.collections.clone();
        let id = tickets
            .restore(n1.clone(), manifest, collections, None, now, hour)
            .unwrap();
        let redeemed = tickets.redeem(&id, &n1, now).unwrap();
        assert_eq!(redeemed.len(), collections.len());
        let (read, _) = &redeemed[0];
        for other in [who(Role::Agent, "n2"), who(Role::Operator, "n1")] {
            assert!(tickets.redeem(&id, &other, now).is_none());
            assert!(tickets.grant(read, &other, now).is_none());
            assert!(tickets.close(&id, &other).is_empty());
        }
        assert!(tickets.grant(&id, &n1, now).is_none(), "it names nothing");
        let late = now.after(hour - Duration::from_secs(1));
        assert!(tickets.grant(read, &n1, late).is_some());
        assert!(tickets.grant(read, &n1, now.after(hour)).is_none());
        assert!(tickets.is_open(&id, late));
        tickets.used(&id, late);
        assert!(!tickets.is_open(&id, now.after(hour)), "its end is fixed");
        assert!(!tickets.close(&id, &n1).is_empty());
        assert!(!tickets.is_open(&id, late));
        assert!(tickets.grant(read, &n1, now).is_none());
    }

    #[test]
    fn use_keeps_an_export_open_and_the_number_is_bounded() {
        let tickets = Tickets::default();
        let manifest = Arc::new(fixture::manifest("20261121t101530z-0a1b2c3d", 0));
        let alice = who(Role::Operator, "alice");
        let mut now = Timestamp::from_micros(1_000_000);
        let export = |now| {
            let entry = &manifest.collections[0];
            let reading = Arc::default();
            tickets.export(
                alice.clone(),
                Arc::clone(&manifest),
                entry,
                None,
                &reading,
                now,
            )
        };
        let id = export(now).unwrap();
        let read = super::read_id(&id, 0).unwrap();
        // One answer may last for long: what it sends counts as use.
        for _ in 0..5 {
            now = now.after(EXPORT_IDLE - Duration::from_secs(1));
            tickets.used(&id, now);
        }
        for _ in 0..5 {
            now = now.after(EXPORT_IDLE - Duration::from_secs(1));
            assert!(tickets.grant(&read, &alice, now).is_some());
        }
        for _ in 1..MAX_OPEN {
            export(now).unwrap();
        }
        assert!(export(now).is_err());
        assert!(
            export(now.after(EXPORT_IDLE)).is_ok(),
            "what ended makes room"
        );
    }
}
