//! Cross-crate tests with real processes on loopback. One binary, one module for each subject.

mod archive;
mod bad_input;
mod by_hand;
mod cluster;
mod cluster_faults;
mod cluster_restore;
mod cluster_restore_faults;
mod cold;
mod copies;
mod crashes;
mod end_to_end;
mod export;
mod import;
mod instant;
mod jobs;
mod lost_place;
mod metrics;
mod retention;
mod roles;
mod s3;
mod scenarios;
mod schedules;
mod sheet;
mod storage;
mod upkeep_jobs;
mod ways;
