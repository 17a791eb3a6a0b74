//! The command that loads an exported file into a Qdrant server.

use holdfast_types::{CollectionName, ShardId};
use std::fmt::Write as _;
use std::path::Path;

/// Stands for the address of the server, which only the user knows.
const SERVER: &str = "http://localhost:6333";

/// The `curl` command for a POSIX shell. `priority=snapshot` is not left out: the default means something else to
/// different releases, and `replica` can stop a cluster's consensus.
pub(crate) fn load_command(
    collection: &CollectionName,
    shard: Option<ShardId>,
    file: &Path,
    sha256: &str,
) -> String {
    let mut url = format!("{SERVER}/collections/{}", encoded(collection.as_str()));
    if let Some(shard) = shard {
        // A String takes everything.
        let _ = write!(url, "/shards/{shard}");
    }
    let _ = write!(url, "/snapshots/upload?priority=snapshot&checksum={sha256}");
    let form = format!("snapshot=@\"{}\"", escaped(&file.display().to_string()));
    format!("curl -fsS -X POST {} -F {}", quoted(&url), quoted(&form))
}

/// Percent-encodes everything but what needs no encoding anywhere in a path.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// As curl wants a file name between double quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::load_command;
    use holdfast_types::ShardId;
    use std::path::Path;

    #[test]
    fn names_survive_url_and_shell() {
        let command = load_command(
            &"it's 100% ü".parse().unwrap(),
            Some(ShardId(3)),
            Path::new("/tmp/a b'c.snapshot"),
            "ab",
        );
        assert_eq!(
            command,
            "curl -fsS -X POST 'http://localhost:6333/collections/it%27s%20100%25%20%C3%BC/shards/3/snapshots/\
             upload?priority=snapshot&checksum=ab' -F 'snapshot=@\"/tmp/a b'\\''c.snapshot\"'"
        );
    }
}
