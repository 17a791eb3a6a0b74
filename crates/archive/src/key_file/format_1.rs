//! Key files as first written: one master key, and nothing said of the holder. Only read.

use super::{FIRST_HOLDER, MasterName, WrappedKeys, field};
use crate::kek::{KekError, KekParams};
use holdfast_types::Epoch;
use serde::Deserialize;

/// Derives the wrapping key from the KEK.
pub(super) const WRAP_LABEL: &[u8] = b"holdfast v1 wrap";

/// Reads the JSON of a file of this format.
pub(super) fn from_json(bytes: &[u8]) -> Result<WrappedKeys, KekError> {
    #[derive(Deserialize)]
    struct File {
        fingerprint: String,
        kek: KekParams,
        salt: String,
        wrapped: String,
    }
    let file: File = serde_json::from_slice(bytes)
        .map_err(|_| KekError::Damaged("not the JSON of a wrapped key"))?;
    let hint = match file.kek {
        KekParams::Raw => "key-file",
        KekParams::Argon2id { .. } => "passphrase",
    };
    let since = Epoch(0);
    let keys = WrappedKeys {
        format: 1,
        holder: FIRST_HOLDER.parse().expect("a constant lowercase word"),
        created: None,
        hint: hint.to_owned(),
        masters: vec![MasterName {
            fingerprint: file.fingerprint,
            since,
        }],
        kek: file.kek,
        salt: file.salt,
        wrapped: file.wrapped,
    };
    keys.check()?;
    Ok(keys)
}

/// Binds the visible fields to the wrapped key.
pub(super) fn aad(keys: &WrappedKeys) -> Result<Vec<u8>, KekError> {
    let (kind, costs) = keys.kek.numbers();
    let mut aad = b"holdfast v1 wrapped key ".to_vec();
    aad.push(kind);
    for cost in costs {
        aad.extend_from_slice(&cost.to_le_bytes());
    }
    aad.extend_from_slice(&field::<8>(keys.fingerprint(), "fingerprint")?);
    Ok(aad)
}
