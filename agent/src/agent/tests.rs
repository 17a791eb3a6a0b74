//! The whole agent against stand-ins of Qdrant and the coordinator, in one process, on loopback.

mod capture;
mod coordinator;
mod qdrant;
mod restore;
mod shard;
mod world;
