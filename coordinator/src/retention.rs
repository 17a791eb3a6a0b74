//! Which recovery points stay: the rules applied, on command and by themselves, and what operators say of single points.
//!
//! Observe (catalogue, marks, jobs) → plan and check ([`holdfast_decide`]) → carry out, under one lock, so that no
//! restore begins of a point that is being removed. The repository keeps the marks: a restart forgets none.
//!
//! A run is a job ([`crate::upkeep`]) from the moment at which it is decided what goes. It may be cancelled before each point, before
//! log entries and before garbage; what is marked or deleted by then stays so.
//!
//! | while … | prune | delete, undelete, pin, hold | a restore begins | kill −9 |
//! |---|---|---|---|---|
//! | prune | waits | waits | waits | marks are kept; the next prune goes on |
//! | a restore runs | keeps its point | its point can't be deleted | – | goes on, keeps its point |

mod archive;
pub(crate) mod confirm;
mod facts;
mod ground;
mod guard;
mod holds;
mod job;
mod logs;
mod points;
pub(crate) mod proofs;
mod prune;
mod schedule;

pub(crate) use facts::of_listed;
pub use ground::{Ground, in_use};
pub use guard::Guard;
pub use holds::{HoldOrder, list_holds, place_hold, release_hold};
pub use job::OnCopy;
pub use points::{Removal, delete, pin, undelete, unpin};
pub use prune::{LogRemoval, Pruned, plan, plan_on, prune, prune_on};
pub use schedule::run as run_schedule;

/// Who the rules are, as the author of a mark. No operator can be called so.
const BY_POLICY: &str = "the rules";
