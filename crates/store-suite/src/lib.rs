//! What the tests of every object store share: the suites of promises, a real S3 server, and a proxy
//! that breaks HTTP on purpose.
//!
//! Only ever a development dependency. It knows no S3 client, so that a crate without one can use it.

mod conformance;
mod fault_proxy;
mod keeping;
mod weed;

pub use conformance::{conforms, conforms_in};
pub use fault_proxy::{FaultProxy, FaultTally, ProxyPlan};
pub use keeping::{can_not_lock, keeps, racers_end_with_the_longest_lock};
pub use weed::{S3Server, Weed};
