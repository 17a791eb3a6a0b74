//! Which role may call which method: one table, and the layer that applies it.
//!
//! The table is closed: a method that is not in it is refused to everybody, so that a new one can't be
//! forgotten. Which objects a caller may touch within a method (an agent only its own node's commands)
//! is the method's business.

mod layer;

use crate::identity::Role;
pub use layer::{Authz, AuthzLayer, Gate};

/// One row: a method's path as in HTTP/2, and the roles that may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Such as `/holdfast.v1.Admin/Status`.
    pub path: &'static str,
    /// Empty of what is served to callers without a certificate, at an address of its own.
    pub roles: &'static [Role],
}

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allowed,
    /// The method needs one of these roles.
    WrongRole(&'static [Role]),
    /// There is no such method.
    UnknownMethod,
}

const AGENT: &[Role] = &[Role::Agent];
const OPERATOR: &[Role] = &[Role::Operator];
const AGENT_OR_OPERATOR: &[Role] = &[Role::Agent, Role::Operator];
const READER: &[Role] = &[Role::Operator, Role::Viewer];
const ANYONE: &[Role] = &Role::ALL;
/// Served elsewhere, to callers without any role.
const NOBODY: &[Role] = &[];

/// Every method, and who may call it.
pub const RULES: &[Rule] = &[
    rule("/holdfast.v1.AgentControl/Connect", AGENT),
    rule("/holdfast.v1.Ingest/OpenSession", AGENT_OR_OPERATOR),
    rule("/holdfast.v1.Ingest/HaveChunks", AGENT_OR_OPERATOR),
    rule("/holdfast.v1.Ingest/PutChunks", AGENT_OR_OPERATOR),
    rule("/holdfast.v1.Ingest/CommitCapture", AGENT_OR_OPERATOR),
    rule("/holdfast.v1.LogArchive/Follow", AGENT),
    rule("/holdfast.v1.Restore/FetchRecipe", AGENT_OR_OPERATOR),
    rule("/holdfast.v1.Restore/FetchChunks", AGENT_OR_OPERATOR),
    rule("/holdfast.v1.Restore/FetchLog", AGENT),
    rule("/holdfast.v1.Restore/RedeemTicket", AGENT),
    rule("/holdfast.v1.Restore/CloseTicket", AGENT_OR_OPERATOR),
    rule("/holdfast.v1.Admin/Status", READER),
    rule("/holdfast.v1.Admin/ListNodes", READER),
    rule("/holdfast.v1.Admin/ListCollections", READER),
    rule("/holdfast.v1.Admin/CreateBackup", OPERATOR),
    rule("/holdfast.v1.Admin/PlanBackup", READER),
    rule("/holdfast.v1.Admin/ImportBackup", OPERATOR),
    rule("/holdfast.v1.Admin/ListBackups", READER),
    rule("/holdfast.v1.Admin/ShowBackup", READER),
    rule("/holdfast.v1.Admin/RestoreWindow", READER),
    rule("/holdfast.v1.Admin/Diff", OPERATOR),
    rule("/holdfast.v1.Admin/PlanRestore", READER),
    rule("/holdfast.v1.Admin/RunRestore", OPERATOR),
    rule("/holdfast.v1.Admin/OpenExport", OPERATOR),
    rule("/holdfast.v1.Admin/CreateTicket", OPERATOR),
    rule("/holdfast.v1.Admin/CancelJob", OPERATOR),
    rule("/holdfast.v1.Jobs/ShowJob", READER),
    rule("/holdfast.v1.Jobs/WatchJob", READER),
    rule("/holdfast.v1.Jobs/VerifyRepository", OPERATOR),
    rule("/holdfast.v1.Nodes/DrainNode", OPERATOR),
    rule("/holdfast.v1.Nodes/UndrainNode", OPERATOR),
    rule("/holdfast.v1.Nodes/RemoveNode", OPERATOR),
    rule("/holdfast.v1.Nodes/CreateToken", OPERATOR),
    rule("/holdfast.v1.Nodes/ListTokens", READER),
    rule("/holdfast.v1.Nodes/RevokeToken", OPERATOR),
    rule("/holdfast.v1.Enrolment/Enrol", NOBODY),
    rule("/holdfast.v1.Copies/ListCopies", READER),
    rule("/holdfast.v1.Copies/AddCopy", OPERATOR),
    rule("/holdfast.v1.Copies/SyncCopy", OPERATOR),
    rule("/holdfast.v1.Copies/VerifyCopy", OPERATOR),
    rule("/holdfast.v1.Copies/RemoveCopy", OPERATOR),
    rule("/holdfast.v1.Copies/PruneCopy", OPERATOR),
    rule("/holdfast.v1.Retention/PlanPrune", READER),
    rule("/holdfast.v1.Retention/RunPrune", OPERATOR),
    rule("/holdfast.v1.Retention/DeleteBackup", OPERATOR),
    rule("/holdfast.v1.Retention/UndeleteBackup", OPERATOR),
    rule("/holdfast.v1.Retention/PinBackup", OPERATOR),
    rule("/holdfast.v1.Retention/UnpinBackup", OPERATOR),
    rule("/holdfast.v1.Retention/PlaceHold", OPERATOR),
    rule("/holdfast.v1.Retention/ReleaseHold", OPERATOR),
    rule("/holdfast.v1.Retention/ListHolds", READER),
    rule("/holdfast.v1.Schedules/ListSchedules", READER),
    rule("/holdfast.v1.Schedules/GetPolicy", READER),
    rule("/grpc.health.v1.Health/Check", ANYONE),
    rule("/grpc.health.v1.Health/Watch", ANYONE),
    rule("/grpc.health.v1.Health/List", ANYONE),
    rule(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        READER,
    ),
    rule(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        READER,
    ),
];

const fn rule(path: &'static str, roles: &'static [Role]) -> Rule {
    Rule { path, roles }
}

/// Whether `role` may call the method at `path`.
#[must_use]
pub fn allowed(role: Role, path: &str) -> Decision {
    match RULES.iter().find(|rule| rule.path == path) {
        Some(rule) if rule.roles.contains(&role) => Decision::Allowed,
        Some(rule) => Decision::WrongRole(rule.roles),
        None => Decision::UnknownMethod,
    }
}
