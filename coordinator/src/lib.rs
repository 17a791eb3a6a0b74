//! The coordinator: takes captured data into the repository, plans and carries out backups and
//! restores, and answers operators.
//!
//! Observe ([`observe`]), plan and check ([`plan`], over `holdfast-decide`), record ([`job`],
//! [`catalog`]) and execute ([`execute`], [`dispatch`]) are separate; [`ingest`] and [`rpc`] are the
//! doors. Losing it never hurts Qdrant: state outside the repository is a cache, or jobs that go on.
//!
//! | while … | a capture is delivered | a backup commits | a restore runs | kill −9 |
//! |---|---|---|---|---|
//! | a capture is delivered | shares packs | waits for it | never: one job at a time | delivered again, stored chunks are kept |
//! | a backup commits | – | never | never | committed or not, never half |
//! | a restore runs | only its own safety capture, before | – | never | commands go on under the same ids |

pub mod catalog;
pub mod cli;
pub mod config;
pub mod copies;
pub mod core;
pub mod dispatch;
pub mod enrolment;
pub mod execute;
pub mod export;
pub mod fault;
pub mod ingest;
pub mod instant;
pub mod job;
pub mod keeping;
pub mod logs;
pub mod members;
pub mod missed;
pub mod observe;
pub mod plan;
pub mod repository;
pub mod retention;
pub mod rpc;
pub mod schedule;
pub mod serve;
pub mod start;
pub mod storage;
pub mod tickets;
pub mod upkeep;
pub mod verify;

#[cfg(test)]
mod fixture;
