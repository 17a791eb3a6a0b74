//! Tests of the whole crate with real sockets on 127.0.0.1.

mod authz_walk;
mod enrol;
mod handshake;
mod reload;
mod scope;
mod support;
