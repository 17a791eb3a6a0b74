//! To which instants collections can be brought, and how: a captured shard, and archived entries of its log up to there.
//!
//! [`choose`] says from which recovery point, and which entries of which logs are replayed; [`windows`] says which instants
//! there are at all, and why not the others; [`check_choice`] reads a choice again and shares no code with it. What `after`,
//! `by`, `certain` and a timeline mean is said in `docs/rfcs/0002-continuous-protection.md`; [`between()`] says what was written from one
//! instant to another. The rules, for an instant T:
//!
//! 1. **Entries.** Those with `by` ≤ T are replayed, from `certain` of the captured shard on, without a gap. Entries of other
//!    timelines never are. So nothing is contained that was written after T.
//! 2. **A captured shard may be used for T** only if everything that it may contain was written by T. It contains what is below
//!    `certain`, written before it was captured; it may contain any operation below `next`, also one written *while* the
//!    snapshot was made. So `captured_at` ≤ T, and either `certain` = `next` or the archive holds the entry `next` − 1 and says
//!    that it was there by T. Where the archive ends before `next`, nobody knows when the rest was written: the shard can be
//!    restored as it is, not to an instant.
//! 3. **T must be within reach:** the archive must say that nothing is lacking up to T. Evidence that the log had no entry from i
//!    on until an instant t (that "everything acknowledged before t is below i") is `after` of a look that begins at i; a
//!    capture of the same timeline at t with `next` = i; and what an agent that is connected has said. Reach is the newest
//!    instant for which all that was there is archived. `latest` alone goes to the end of each log, and says how far each is
//!    known.
//! 4. **One recovery point** for all that is asked for at once, so that the descriptions of the collections fit, and one T.
//!
//! Instants are of the agents' clocks. If one was set back, entries share a stamp until it has caught up, and what was captured
//! in between counts as captured at that stamp.

mod between;
mod check;
mod choose;
mod doubt;
mod dropped;
mod extend;
mod history;
mod operation;
mod run;
mod window;

#[cfg(test)]
mod tests;

pub use between::{Between, Lack, Listed, Piece, between};
pub use check::check_choice;
pub use choose::{
    Choice, CollectionLogs, InstantRequest, InstantTarget, ReplayWay, ShardLog, choose,
};
pub use doubt::Doubt;
pub use history::{
    ArchivedLog, Base, BasePoint, History, LogPart, Look, PartView, Present, Standing,
};
pub use run::Ended;
pub use window::{Gap, Single, Stretch, Window, windows};
