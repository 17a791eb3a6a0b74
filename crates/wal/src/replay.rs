//! Logical replay: what to send to a collection so that an operation of another collection's log has the same effect there, whatever the
//! number of shards on either side.
//!
//! Pure: a [`Plan`] of requests comes out, and whoever sends them answers what a plan asks. What it rests on:
//!
//! - A point lies in one shard, by its id ([`Ring`]), and every operation on points treats each point by itself. So the logs of the source's
//!   shards may be replayed in any order among each other, if each is in its own.
//! - A filter in the log of one shard means the points of that shard only. Where the source has several, the target is asked which points
//!   match, those of other shards are left out, and the operation names the rest ([`Select`]). The target's points of that shard
//!   are as they were in the source at this place of the log, so the same ones match.
//! - What concerns the collection as a whole, an index or a named vector, stands in the log of every shard. It is sent once, when every log has
//!   come to it ([`Plan::Everywhere`], [`Together`]): sent earlier, it would reach points whose log is not so far. (A named vector that is removed
//!   takes its values along; a full-text index changes what a filter matches.)
//! - An operation that names points that are not there is carried out for those of its first 32 ids up to the first 32 of which one is
//!   missing, and then fails (`check_unprocessed_points`). So such operations go out by 32 ids, and the first answer
//!   that a point is missing ends them ([`Outcome::Missed`]).
//!
//! Nothing here is idempotent: an operation that is sent again can find other points. Replay begins exactly where the target stands.

mod body;
mod outcome;
mod plan;
mod ring;
mod select;
mod together;

pub use outcome::Outcome;
pub use plan::plan;
pub(crate) use plan::{points, selection};
pub use ring::Ring;
pub use select::Select;
pub use together::{Due, Together};

/// The shard whose log is replayed.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its number.
    pub shard: u32,
    /// The shards among which points are distributed: all of the collection, or those of one shard key.
    pub ring: Ring,
    /// The key of the shard, as JSON (a text or a number), where the collection has such keys. The target needs the same keys.
    pub key: Option<String>,
}

/// What has the effect of one operation.
#[derive(Clone, Debug)]
pub enum Plan<'a> {
    /// These, in order; none if the operation has no effect.
    Send(Vec<Request>),
    /// The target must be asked first.
    Select(Select<'a>),
    /// This, once for the collection, when the log of every shard has come to this operation.
    Everywhere(Request),
}

/// A request to the REST interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `PUT`, `POST` or `DELETE`.
    pub method: &'static str,
    /// Behind `/collections/<name>/`, with its query.
    pub path: String,
    /// JSON; empty for none.
    pub body: Vec<u8>,
    /// An answer that a point is missing (404, "No point with id …") means what it meant at the source: the requests
    /// behind this one, of the same operation, are not sent.
    pub may_miss: bool,
    /// Numbers of the operation for which there is no JSON that the server reads as they are (`json::number`). They differ in the last bit.
    pub inexact: u64,
}

/// Why an operation can't be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The log is not of the shard, or points are distributed in a way that this program does not know: after resharding, for instance.
    #[error("point {id} is in the log of shard {shard}, but belongs to shard {belongs}")]
    OtherShard {
        /// The point.
        id: String,
        /// Whose log it is.
        shard: u32,
        /// Where the ring puts it.
        belongs: u32,
    },
    /// The shard is none of the ring.
    #[error("shard {0} is not among the shards of the collection")]
    NoSuchShard(u32),
    /// Written by gRPC.
    #[error("a vector of point {0} holds a number that JSON can't express (NaN)")]
    NotANumber(String),
}

#[cfg(test)]
mod tests;
