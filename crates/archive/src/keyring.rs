//! The master keys of a repository. There is one, until it is rotated; then the newest seals what is
//! written, and whatever is read names its own by fingerprint.

use crate::chunk_key::ChunkKey;
use crate::keys::MasterKey;
use holdfast_types::{Epoch, Namespace};

/// Most master keys of one repository.
pub const MAX_MASTERS: usize = 64;

/// Something that may have the master key with a fingerprint: one key, or a ring of them.
pub trait MasterKeys {
    /// The key, if it is there.
    fn find(&self, fingerprint: [u8; 8]) -> Option<&MasterKey>;
}

/// Every master key of a repository, oldest first, never empty. Wiped from memory when dropped.
#[derive(Clone, Debug)]
pub struct Keyring {
    first: RingKey,
    later: Vec<RingKey>,
}

/// A master key and the epoch from which on it seals what is written.
#[derive(Clone, Debug)]
pub struct RingKey {
    /// The key.
    pub master: MasterKey,
    /// 0 for the first key.
    pub since: Epoch,
}

/// A repository can't have more master keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a repository has at most {MAX_MASTERS} master keys")]
pub struct KeyringFull;

impl Keyring {
    /// The ring of a new repository.
    #[must_use]
    pub const fn new(master: MasterKey) -> Self {
        let since = Epoch(0);
        let first = RingKey { master, since };
        let later = Vec::new();
        Self { first, later }
    }

    /// This ring and a newer key.
    ///
    /// # Errors
    /// [`KeyringFull`].
    pub fn with(&self, newest: RingKey) -> Result<Self, KeyringFull> {
        if self.later.len() + 1 >= MAX_MASTERS {
            return Err(KeyringFull);
        }
        let mut ring = self.clone();
        ring.later.push(newest);
        Ok(ring)
    }

    /// The key that the repository was made with: it stays the same however often there is a new one.
    #[must_use]
    pub const fn first(&self) -> &MasterKey {
        &self.first.master
    }

    /// The key that seals what is written.
    #[must_use]
    pub fn newest(&self) -> &MasterKey {
        &self.later.last().unwrap_or(&self.first).master
    }

    /// Every key, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RingKey> {
        let count = self.generation();
        (0..count).map(|i| i.checked_sub(1).map_or(&self.first, |i| &self.later[i]))
    }

    /// Number of keys: grows by one with each rotation.
    #[must_use]
    pub fn generation(&self) -> usize {
        self.later.len() + 1
    }

    /// The key of the chunk ids of a namespace: always the first master key's, so that rotation does not
    /// end deduplication.
    #[must_use]
    pub fn chunk_key(&self, namespace: &Namespace) -> ChunkKey {
        self.first.master.chunk_key(namespace)
    }
}

impl MasterKeys for MasterKey {
    fn find(&self, fingerprint: [u8; 8]) -> Option<&MasterKey> {
        (self.fingerprint() == fingerprint).then_some(self)
    }
}

impl MasterKeys for Keyring {
    fn find(&self, fingerprint: [u8; 8]) -> Option<&MasterKey> {
        // Mostly the newest is meant.
        let newest_first = self.later.iter().rev().chain([&self.first]);
        newest_first
            .map(|key| &key.master)
            .find(|master| master.fingerprint() == fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::{Keyring, KeyringFull, MAX_MASTERS, MasterKeys, RingKey};
    use crate::MasterKey;
    use holdfast_types::Epoch;

    fn key(byte: u8) -> RingKey {
        RingKey {
            master: MasterKey::from_bytes([byte; 32]),
            since: Epoch(byte.into()),
        }
    }

    #[test]
    fn the_newest_seals_and_every_key_is_found() {
        let ring = Keyring::new(key(0).master).with(key(1)).unwrap();
        let ring = ring.with(key(2)).unwrap();
        assert_eq!(ring.generation(), 3);
        assert_eq!(ring.newest().fingerprint(), key(2).master.fingerprint());
        for (n, member) in (0..3).zip(ring.iter()) {
            let fingerprint = key(n).master.fingerprint();
            assert_eq!(member.master.fingerprint(), fingerprint);
            assert_eq!(member.since, key(n).since);
            assert_eq!(ring.find(fingerprint).unwrap().fingerprint(), fingerprint);
        }
        assert!(ring.find(key(3).master.fingerprint()).is_none());
        let demo = "demo".parse().unwrap();
        let first = key(0).master.chunk_key(&demo);
        assert_eq!(ring.chunk_key(&demo).as_bytes(), first.as_bytes());
    }

    #[test]
    fn a_ring_is_bounded() {
        let mut ring = Keyring::new(key(0).master);
        for _ in 1..MAX_MASTERS {
            ring = ring.with(key(1)).unwrap();
        }
        assert_eq!(ring.with(key(1)).unwrap_err(), KeyringFull);
    }
}
