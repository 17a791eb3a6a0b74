//! The agent: runs beside one Qdrant node, obeys one coordinator, captures and restores.
//!
//! It dials out and listens for nothing but health checks. It holds no key that decrypts the repository,
//! decides nothing about schedules or retention, and touches Qdrant only through its API and its snapshot
//! files. Its memory does not grow with the size of a shard, but for its recipe ([`capture`] says how
//! much that is).
//!
//! [`Agent`] starts three tasks that meet in the [`journal`]: [`control`] takes commands in and reports,
//! [`executor`] runs them one at a time ([`capture`], [`restore`]) and has the [`janitor`] clean up,
//! [`observer`] looks at Qdrant for heartbeats and readiness. Beside them [`tail`] follows Qdrant's logs, and [`watch`] its storage directory.

pub mod agent;
pub mod attempts;
pub mod capture;
pub mod cli;
pub mod cold;
pub mod commands;
pub mod config;
pub mod control;
pub mod dial;
pub mod enrol;
pub mod executor;
pub mod failure;
pub mod fetch;
pub mod flow;
pub mod grpc;
pub mod janitor;
pub mod job;
pub mod journal;
pub mod link;
pub mod observer;
pub mod order;
pub mod outcome;
pub mod pace;
pub mod progress;
pub mod rebuild;
pub mod replay;
pub mod restore;
pub mod running;
pub mod spool;
pub mod tail;
pub mod watch;
pub mod window;

pub use agent::{Agent, AgentError};
pub use config::{AgentConfig, AgentConfigError};
