//! AES-256-GCM over buffers. Every key is fresh per object, so nonces only have to differ within
//! one object: the caller numbers them.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes that sealing adds to a chunk.
pub(crate) const TAG_LEN: usize = 16;

/// A nonce: a position within the object and what stands there.
pub(crate) fn nonce(position: u64, domain: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&position.to_le_bytes());
    nonce[8..].copy_from_slice(&domain.to_le_bytes());
    nonce
}

/// A key that seals and opens; opens only what it sealed.
pub(crate) struct AeadKey(LessSafeKey);

impl AeadKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes any 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts `data` in place and returns the tag that belongs behind it.
    pub(crate) fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), data)
            .expect("every object is far below AES-GCM's 64 GiB");
        let mut out = [0; TAG_LEN];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Decrypts ciphertext ‖ tag in place; `None` if it is not what was sealed.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.0.open_in_place(nonce, Aad::from(aad), sealed) {
            Ok(plain) => Some(plain),
            Err(ring::error::Unspecified) => None,
        }
    }
}
