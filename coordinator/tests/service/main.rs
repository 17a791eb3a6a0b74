//! The coordinator's services over real mutual TLS, with scripted agents instead of Qdrant.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod cluster;
mod cluster_restore;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod copies_by_clock;
#[cfg(test)]
mod diff;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod extras;
#[cfg(test)]
mod instant;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod log_parts;
#[cfg(test)]
mod members;
#[cfg(test)]
mod missed;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod removal;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod schedule;
#[cfg(test)]
mod upkeep;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod world;
