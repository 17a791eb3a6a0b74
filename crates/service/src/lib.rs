//! What every Holdfast process needs around its work: clock, configuration file, log, shutdown,
//! health endpoint, exit codes and failure codes.
//!
//! It knows no domain: no collection, no repository, no wire message. It also never installs a TLS
//! provider and opens no connection other than a health probe.

pub mod clock;
pub mod config;
pub mod exit;
pub mod failure;
pub mod health;
pub mod logging;
pub mod shutdown;
