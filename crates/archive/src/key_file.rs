//! The master keys at rest: wrapped by a KEK, in `keys/<name>.json`.
//!
//! Any number of files may wrap the same ring for different holders; replacing one rewrites no data.
//! Which file stands where, and in which order files are written and removed, is the repository's business.

mod format_1;

use crate::aead::{AeadKey, nonce};
use crate::kek::{Kek, KekError, KekParams};
use crate::keyring::{Keyring, MAX_MASTERS, RingKey};
use crate::keys::MasterKey;
use holdfast_types::{Epoch, KeyHolder, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The key file format that this program writes and the newest it reads.
pub const KEY_FORMAT: u32 = 2;

/// Holder of the key with which a repository was made.
pub const FIRST_HOLDER: &str = "first";

/// Derives the wrapping key from the KEK.
const WRAP_LABEL: &[u8] = b"holdfast v2 wrap";

/// Longest hint that is read, in bytes.
const MAX_HINT_BYTES: usize = 32;

/// The content of a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// It opens the repository.
    Wrapped(WrappedKeys),
    /// It was removed. The mark stays where an older program would look for a key, so that it refuses.
    Removed(RemovedKey),
}

/// The ring of master keys, wrapped by one KEK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKeys {
    /// [`KEY_FORMAT`] of the writer.
    pub format: u32,
    /// Who holds the KEK.
    pub holder: KeyHolder,
    /// When it was wrapped; unknown in format 1.
    pub created: Option<Timestamp>,
    /// Where the KEK comes from: a [`crate::kek::KeyHint`], or what a later program calls it.
    pub hint: String,
    /// The master keys inside, oldest first.
    pub masters: Vec<MasterName>,
    /// Which kind of KEK unwraps it, and its parameters.
    pub kek: KekParams,
    /// Random salt, 64 hexadecimal digits.
    pub salt: String,
    /// AES-256-GCM of the master keys, oldest first, with its tag: 64 hexadecimal digits each, and 32.
    pub wrapped: String,
}

/// A master key as the file names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterName {
    /// Its fingerprint, 16 hexadecimal digits.
    pub fingerprint: String,
    /// The epoch from which on it seals what is written; 0 for the first.
    pub since: Epoch,
}

/// What stands in place of a removed key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedKey {
    /// [`KEY_FORMAT`] of the writer.
    pub format: u32,
    /// Whose key it was.
    pub holder: KeyHolder,
    /// When it was removed.
    pub removed: Timestamp,
}

impl WrappedKeys {
    /// Wraps a ring. `salt` is random and never used twice.
    ///
    /// # Errors
    /// None for a KEK made by its constructors, with memory to spare.
    pub fn wrap(
        ring: &Keyring,
        kek: &Kek,
        holder: KeyHolder,
        created: Timestamp,
        salt: [u8; 32],
    ) -> Result<Self, KekError> {
        Self::wrap_with(ring, kek, kek.params(), (holder, created), salt)
    }

    fn wrap_with(
        ring: &Keyring,
        kek: &Kek,
        params: KekParams,
        (holder, created): (KeyHolder, Timestamp),
        salt: [u8; 32],
    ) -> Result<Self, KekError> {
        let names = ring.iter().map(|key| MasterName {
            fingerprint: hex::encode(key.master.fingerprint()),
            since: key.since,
        });
        let mut file = Self {
            format: KEY_FORMAT,
            holder,
            created: Some(created),
            hint: kek.hint().as_str().to_owned(),
            masters: names.collect(),
            kek: params,
            salt: hex::encode(salt),
            wrapped: String::new(),
        };
        let key = AeadKey::new(&*kek.stretch(params, &salt, WRAP_LABEL)?);
        let mut plain = Zeroizing::new(Vec::with_capacity(32 * ring.generation()));
        for key in ring.iter() {
            plain.extend_from_slice(key.master.expose());
        }
        let tag = key.seal(nonce(0, 0), &file.aad()?, &mut plain);
        file.wrapped = hex::encode(&*plain) + &hex::encode(tag);
        Ok(file)
    }

    /// Unwraps the master keys.
    ///
    /// # Errors
    /// The wrong key, the wrong kind of key, or a file that makes no sense.
    pub fn unwrap(&self, kek: &Kek) -> Result<Keyring, KekError> {
        self.check()?;
        let salt = field::<32>(&self.salt, "salt")?;
        let label = match self.format {
            1 => format_1::WRAP_LABEL,
            _ => WRAP_LABEL,
        };
        let key = AeadKey::new(&*kek.stretch(self.kek, &salt, label)?);
        let wrapped = hex::decode(&self.wrapped).map_err(|_| KekError::Damaged("wrapped"))?;
        let mut wrapped = Zeroizing::new(wrapped);
        let plain = key
            .open(nonce(0, 0), &self.aad()?, &mut wrapped)
            .ok_or(KekError::WrongKey)?;
        let (keys, rest) = plain.as_chunks::<32>();
        if keys.len() != self.masters.len() || !rest.is_empty() {
            return Err(KekError::Damaged("wrapped"));
        }
        let mut ring = None;
        for (key, name) in keys.iter().zip(&self.masters) {
            let master = MasterKey::from_bytes(*key);
            if hex::encode(master.fingerprint()) != name.fingerprint {
                return Err(KekError::Damaged("fingerprint"));
            }
            ring = Some(match ring {
                None => Keyring::new(master),
                Some(ring) => Keyring::with(&ring, name.key(master))
                    .map_err(|_| KekError::Damaged("masters"))?,
            });
        }
        ring.ok_or(KekError::Damaged("masters"))
    }

    /// Number of master keys inside: a file with fewer than another was left behind by a rotation.
    #[must_use]
    pub fn generation(&self) -> usize {
        self.masters.len()
    }

    /// Fingerprint of the newest master key inside, 16 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        self.masters.last().map_or("", |name| &name.fingerprint)
    }

    /// What can be checked without a KEK.
    fn check(&self) -> Result<(), KekError> {
        match self.format {
            0 => return Err(KekError::Damaged("format")),
            1..=KEY_FORMAT => {}
            newer => return Err(KekError::NewerFormat(newer)),
        }
        if self.masters.is_empty() || self.masters.len() > MAX_MASTERS {
            return Err(KekError::Damaged("masters"));
        }
        for name in &self.masters {
            field::<8>(&name.fingerprint, "fingerprint")?;
        }
        field::<32>(&self.salt, "salt")?;
        if self.hint.len() > MAX_HINT_BYTES {
            return Err(KekError::Damaged("hint"));
        }
        let digits = 64 * self.masters.len() + 32;
        let hexadecimal = self.wrapped.bytes().all(|b| b.is_ascii_hexdigit());
        if self.wrapped.len() != digits || !hexadecimal {
            return Err(KekError::Damaged("wrapped"));
        }
        Ok(())
    }

    /// Binds the visible fields to the wrapped keys.
    fn aad(&self) -> Result<Vec<u8>, KekError> {
        if self.format == 1 {
            return format_1::aad(self);
        }
        let (kind, costs) = self.kek.numbers();
        let mut aad = b"holdfast v2 wrapped key ".to_vec();
        aad.push(kind);
        for cost in costs {
            aad.extend_from_slice(&cost.to_le_bytes());
        }
        let created = self.created.ok_or(KekError::Damaged("created"))?;
        aad.extend_from_slice(&created.as_micros().to_le_bytes());
        for text in [self.holder.as_str(), &self.hint] {
            aad.extend_from_slice(&(text.len() as u64).to_le_bytes());
            aad.extend_from_slice(text.as_bytes());
        }
        for name in &self.masters {
            aad.extend_from_slice(&field::<8>(&name.fingerprint, "fingerprint")?);
            aad.extend_from_slice(&name.since.0.to_le_bytes());
        }
        Ok(aad)
    }
}

impl MasterName {
    fn key(&self, master: MasterKey) -> RingKey {
        let since = self.since;
        RingKey { master, since }
    }
}

impl RemovedKey {
    /// The mark of a removal.
    #[must_use]
    pub const fn new(holder: KeyHolder, removed: Timestamp) -> Self {
        let format = KEY_FORMAT;
        Self {
            format,
            holder,
            removed,
        }
    }
}

impl KeyFile {
    /// The file's content: readable JSON and a newline.
    ///
    /// # Errors
    /// Never for values of this type; the signature leaves the decision to the caller.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = match self {
            Self::Wrapped(keys) => serde_json::to_vec_pretty(keys)?,
            Self::Removed(mark) => serde_json::to_vec_pretty(mark)?,
        };
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// [`KekError::Damaged`] or [`KekError::NewerFormat`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, KekError> {
        #[derive(Deserialize)]
        struct Mark {
            format: u32,
            removed: Option<Timestamp>,
        }
        let damaged = |_| KekError::Damaged("not the JSON of a wrapped key");
        let mark: Mark = serde_json::from_slice(bytes).map_err(damaged)?;
        match mark.format {
            1 => return format_1::from_json(bytes).map(Self::Wrapped),
            2.. if mark.format > KEY_FORMAT => return Err(KekError::NewerFormat(mark.format)),
            _ => {}
        }
        if mark.removed.is_some() {
            let removed = serde_json::from_slice(bytes).map_err(damaged)?;
            return Ok(Self::Removed(removed));
        }
        let keys: WrappedKeys = serde_json::from_slice(bytes).map_err(damaged)?;
        keys.check()?;
        Ok(Self::Wrapped(keys))
    }
}

fn field<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], KekError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| KekError::Damaged(name))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
