//! The exit codes of every Holdfast program: a contract with scripts.
//!
//! Which failure leads to which code stands in [`crate::failure`].

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// Unexpected; please report it.
    Internal = 1,
    /// Wrong command line.
    Usage = 2,
    /// The configuration file is missing, unreadable or invalid.
    Config = 3,
    /// A certificate, key or identity was refused, or a clock is off.
    Certificate = 4,
    /// The coordinator can't be reached.
    Coordinator = 5,
    /// Qdrant can't be reached, refuses us, or is not supported.
    Qdrant = 6,
    /// The repository is foreign, newer, damaged, locked, or the key is wrong.
    Repository = 7,
    /// Storage is full, read-only or out of reach.
    Storage = 8,
    /// No such recovery point, collection or node.
    NotFound = 9,
    /// Refused: a target exists, versions don't fit, or a plan is blocked.
    Refused = 10,
    /// A job started and failed.
    JobFailed = 11,
    /// What was restored is not equal to what was captured.
    ProofFailed = 12,
    /// The role of the certificate may not do this.
    PermissionDenied = 13,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl ExitCode {
    /// Every code, ascending.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::Internal,
        Self::Usage,
        Self::Config,
        Self::Certificate,
        Self::Coordinator,
        Self::Qdrant,
        Self::Repository,
        Self::Storage,
        Self::NotFound,
        Self::Refused,
        Self::JobFailed,
        Self::ProofFailed,
        Self::PermissionDenied,
        Self::Interrupted,
    ];

    /// The number given to the operating system.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// One line for help texts and the reference.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Internal => "unexpected error",
            Self::Usage => "wrong command line",
            Self::Config => "configuration missing or invalid",
            Self::Certificate => "certificate, key, identity or clock refused",
            Self::Coordinator => "coordinator unreachable",
            Self::Qdrant => "Qdrant unreachable, unauthorised or unsupported",
            Self::Repository => "repository foreign, newer, damaged, locked, or wrong key",
            Self::Storage => "storage full, read-only or out of reach",
            Self::NotFound => "no such recovery point, collection or node",
            Self::Refused => "refused: target exists, version mismatch, or plan blocked",
            Self::JobFailed => "job failed",
            Self::ProofFailed => "proof failed: restored data is not equal",
            Self::PermissionDenied => "permission denied for this role",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn the_table_is_a_contract() {
        let table: Vec<u8> = ExitCode::ALL.iter().map(|c| c.code()).collect();
        assert_eq!(
            table,
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 130],
            "codes are never renumbered"
        );
    }
}
