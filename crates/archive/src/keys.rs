//! The master key and what is derived from it: one HKDF-SHA-256 key per purpose and object.
//!
//! The master key itself encrypts nothing. How it is stored is [`crate::key_file`]'s business, what becomes of
//! it when there is a newer one [`crate::keyring`]'s.

use crate::chunk_key::ChunkKey;
use crate::sealed::ObjectKind;
use holdfast_types::Namespace;
use ring::hkdf::{HKDF_SHA256, Salt};
use std::fmt;
use zeroize::Zeroizing;

/// A derived 32-byte key; wiped from memory when dropped.
pub type DerivedKey = Zeroizing<[u8; 32]>;

/// The 32 random bytes that protect a repository. Wiped from memory when dropped.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// Wraps 32 bytes from the operating system's random source, or from a key file.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key of the pack with this salt.
    #[must_use]
    pub fn derive_pack_key(&self, salt: &[u8; 32]) -> DerivedKey {
        derive(&self.0, salt, &[b"holdfast v1 pack"])
    }

    /// The key that orders the chunks of the pack with this salt.
    pub(crate) fn derive_order_key(&self, salt: &[u8; 32]) -> DerivedKey {
        derive(&self.0, salt, &[b"holdfast v1 pack order"])
    }

    /// The key of the sealed object of this kind with this salt.
    #[must_use]
    pub fn derive_object_key(&self, kind: ObjectKind, salt: &[u8; 32]) -> DerivedKey {
        derive(&self.0, salt, &[b"holdfast v1 object ", &[kind.number()]])
    }

    /// A number that decides how much a sealed object is padded.
    pub(crate) fn object_padding(&self, kind: ObjectKind, salt: &[u8; 32]) -> u64 {
        let info: [&[u8]; 2] = [b"holdfast v1 object padding ", &[kind.number()]];
        let [a, b, c, d, e, f, g, h, ..] = *derive(&self.0, salt, &info);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The key of the chunk ids of a namespace.
    #[must_use]
    pub fn chunk_key(&self, namespace: &Namespace) -> ChunkKey {
        let info: [&[u8]; 2] = [b"holdfast v1 chunk id ", namespace.as_str().as_bytes()];
        ChunkKey::from_bytes(*derive(&self.0, &[], &info))
    }

    /// Names the key without telling it: stands in every pack and sealed object.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 8] {
        let full = derive(&self.0, &[], &[b"holdfast v1 fingerprint"]);
        let mut short = [0; 8];
        short.copy_from_slice(&full[..8]);
        short
    }

    /// The key itself, to be wrapped.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", hex::encode(self.fingerprint()))
    }
}

/// HKDF-SHA-256 (RFC 5869) to 32 bytes.
pub(crate) fn derive(secret: &[u8; 32], salt: &[u8], info: &[&[u8]]) -> DerivedKey {
    let mut key = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(info, HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("HKDF-SHA-256 yields up to 8160 bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::MasterKey;
    use crate::ObjectKind;

    /// Changing any of these makes every existing repository unreadable.
    #[test]
    fn golden_derivations() {
        let master = MasterKey::from_bytes([7; 32]);
        let salt = [9; 32];
        let demo = "demo".parse().unwrap();
        let other = "other".parse().unwrap();
        for (got, want) in [
            (
                hex::encode(*master.derive_pack_key(&salt)),
                "f85d1c7b7e0c7979c428042c5b0d7636b342dbca707eeb9a28dd186d9912ecdc",
            ),
            (
                hex::encode(*master.derive_order_key(&salt)),
                "51fb0997a949f1ca5f11e2691aef4d96b41854d5285713639c43f52d579488cb",
            ),
            (
                hex::encode(*master.derive_object_key(ObjectKind::Manifest, &salt)),
                "01c027763ee42fe267783ce322853bcadea0096eece86cad0e59643942f916c3",
            ),
            (
                hex::encode(*master.derive_object_key(ObjectKind::Index, &salt)),
                "7b3a79b787576923c03adf24dc5a26f7e068014cf7a14add66c04165de91f937",
            ),
            (
                hex::encode(master.chunk_key(&demo).as_bytes()),
                "6e4b31af5862409e35d197707fae0321184984face8bebe695dbc9b5b873ff1f",
            ),
            (
                hex::encode(master.chunk_key(&other).as_bytes()),
                "e184cbba51a1d9111116bfbb53a55a3111b8e358b1cadbe007bf44473ddc72c7",
            ),
            (hex::encode(master.fingerprint()), "2eced808082adbdd"),
            (
                master.chunk_key(&demo).id(b"holdfast").to_string(),
                "57eae928b1437d121d92be77716209591f55ed23be6f6bf8100c05caa7223509",
            ),
        ] {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn debug_tells_only_the_fingerprint() {
        let master = MasterKey::from_bytes([7; 32]);
        let text = format!("{master:?}");
        assert!(text.contains(&hex::encode(master.fingerprint())));
        assert!(!text.contains(&"07".repeat(4)), "{text}");
    }
}
