//! Where the files of a snapshot go.

/// Receives the files of a snapshot one after another: `begin`, any number of `data` and `zeros`
/// that add up to the announced size, `end`. Files come in the archive's order, each path once. All that was
/// received is void if the reader returns an error in the end.
pub trait FileSink {
    /// Why the sink can't go on; the reader hands it back as [`crate::ReadError::Sink`].
    type Error;
    /// A file of `size` bytes begins. `path` is relative, in normal form, and safe to join to a directory.
    fn begin(&mut self, path: &str, size: u64) -> Result<(), Self::Error>;
    /// The next bytes of the file: never empty, of any length.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// The next `len` bytes of the file are zeros.
    fn zeros(&mut self, len: u64) -> Result<(), Self::Error>;
    /// The file is complete.
    fn end(&mut self) -> Result<(), Self::Error>;
}
