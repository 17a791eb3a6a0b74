//! The ways to damage an object.

use bytes::Bytes;

/// A way to damage an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    /// Every bit of the first byte.
    FlipHead,
    /// Every bit of the byte in the middle.
    FlipMiddle,
    /// Every bit of the last byte.
    FlipTail,
    /// Only the first half is left.
    Cut,
    Remove,
    /// Exchanged with another of its kind; where there is one only, replaced by another repository's.
    Swap,
    /// Replaced by an older version of itself.
    Stale,
}

pub(crate) const HARMS: [Harm; 7] = [
    Harm::FlipHead,
    Harm::FlipMiddle,
    Harm::FlipTail,
    Harm::Cut,
    Harm::Remove,
    Harm::Swap,
    Harm::Stale,
];

impl Harm {
    /// The object without bytes of its own, or with others; `None` for the ways that leave no byte of it.
    pub(crate) fn spoil(self, sound: &Bytes) -> Option<Bytes> {
        let flip = |at: usize| {
            let mut bytes = sound.to_vec();
            bytes[at] ^= 0xff;
            Some(Bytes::from(bytes))
        };
        match self {
            Self::FlipHead => flip(0),
            Self::FlipMiddle => flip(sound.len() / 2),
            Self::FlipTail => flip(sound.len() - 1),
            Self::Cut => Some(sound.slice(..sound.len() / 2)),
            Self::Remove | Self::Swap | Self::Stale => None,
        }
    }
}
