//! `holdfast`: the admin command line of Holdfast, and its demo.
//!
//! It asks the coordinator over mTLS and shows the answers: results on standard output, as text or as
//! documented JSON, progress and errors on standard error. It decides nothing about backups, holds no
//! state, and never touches a repository; only the demo starts processes and talks to a Qdrant.

mod app;
mod args;
mod client;
mod command;
mod demo;
mod failure;
mod interrupt;
mod job;
mod output;
mod pki;
mod progress;
mod settings;
mod view;

pub use app::{command, run};
