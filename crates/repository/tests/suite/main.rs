//! The repository against stores that crash, fill up, lose and damage objects.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test file: a failed expectation is a failed test"
)]

mod checkpoints;
mod copy_crash;
mod copy_promotion;
mod copy_refusals;
mod copy_stress;
mod copying;
mod crash;
mod damage;
mod damage_others;
mod disk;
mod epochs;
mod extras;
mod garbage;
mod keeping;
mod keys;
mod keys_crash;
mod late;
mod master;
mod newer;
mod opening;
mod place;
mod proofs;
mod quarantine;
mod reading;
mod refusal;
mod s3;
mod sizes;
mod stress;
mod support;
mod upkeep;
mod verifying;
mod wal;
mod wal_change;
mod writing;
