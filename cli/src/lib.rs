//! `holdfast`: the admin command line of Holdfast, and its demo.
//!
//! It asks the coordinator over mTLS and shows the answers: results on standard output, as text or as
//! documented JSON, progress and errors on standard error. It decides nothing about backups, holds no
//! state, and touches a repository only where it is told so (`repo …`, `--coordinator-config`), reading; only
//! the demo starts processes and talks to a Qdrant.

mod app;
mod args;
mod client;
mod command;
mod demo;
mod export;
mod failure;
mod interrupt;
mod job;
mod output;
mod pki;
mod progress;
mod settings;
mod view;

pub use app::{command, run};
