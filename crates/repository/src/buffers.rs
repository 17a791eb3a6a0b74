//! Memory of packs, used again: a fresh one would be zeroed by the kernel, page by page, for every pack.
//!
//! A buffer comes back when the last reference to the object made of it is dropped.

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Idle buffers. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Buffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    most: usize,
}

struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = self.home.idle();
        if idle.len() < self.home.most {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Buffers {
    /// Keeps at most this many while they are idle.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            idle: Arc::default(),
            most,
        }
    }

    /// An idle one with whatever it held, or an empty new one.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.idle().pop().unwrap_or_default()
    }

    /// The buffer's content as an object, after which it comes back.
    pub(crate) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent {
            bytes,
            home: self.clone(),
        })
    }

    /// Frees those that are idle.
    pub(crate) fn free(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // Pushing and popping leave it whole even where they panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Buffers;

    #[test]
    fn a_buffer_comes_back_with_its_last_reference() {
        let buffers = Buffers::new(1);
        let object = buffers.lend(vec![7; 100]);
        let slice = object.slice(10..20);
        drop(object);
        assert_eq!(buffers.take().capacity(), 0);
        drop(slice);
        assert_eq!(buffers.take(), vec![7; 100]);
    }

    #[test]
    fn no_more_are_kept_than_said_and_none_after_free() {
        let buffers = Buffers::new(1);
        let (one, two) = (buffers.lend(vec![1; 10]), buffers.lend(vec![2; 10]));
        drop((one, two));
        assert_eq!(buffers.take(), vec![1; 10]);
        assert!(buffers.take().is_empty());
        drop(buffers.lend(vec![3; 10]));
        buffers.free();
        assert!(buffers.take().is_empty());
    }
}
