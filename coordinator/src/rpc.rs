//! The gRPC services, and what Prometheus is told: wire in, domain values inside, wire out. They hold no state of their own.

pub mod admin;
pub mod control;
pub mod copies;
mod follow;
pub mod ingest;
pub mod jobs;
pub mod logs;
pub mod metrics;
mod peer;
pub mod restore;
pub mod retention;
pub mod schedules;
pub mod wire;
