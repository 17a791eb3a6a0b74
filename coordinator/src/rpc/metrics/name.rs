//! Names of metrics: one place, so that documentation and alert rules can be checked against it.

/// A gauge. Its full name begins with `holdfast_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The release.
    BuildInfo,
    /// When the coordinator started.
    Started,
    /// Its term.
    Epoch,
    /// What `holdfast status` warns of.
    Warnings,
    /// Recovery points.
    RecoveryPoints,
    /// Size of the repository.
    StoredBytes,
    /// Chunks in it.
    Chunks,
    /// How the newest ended job ended.
    LastJobFailed,
    /// When the last check of the repository ended.
    LastCheck,
    /// What it found.
    Damaged,
    /// Whether an agent is there.
    NodeConnected,
    /// Whether its Qdrant answers.
    NodeQdrantUp,
    /// Its clock.
    NodeClockOffset,
    /// Whether it is drained.
    NodeDrained,
    /// How long searches take there.
    SearchTime,
    /// For how long captures gave way to them.
    HeldUp,
    /// Free bytes of its storage volume.
    StorageFree,
    /// All of them.
    StorageTotal,
    /// When it is full.
    StorageFull,
    /// What is wrong with the storage directory.
    StorageTroubles,
    /// Whether changes are found by looks alone.
    StoragePolled,
    /// How often events were lost.
    StorageOverflows,
    /// What was written to a collection's files.
    Touched,
    /// Segments that its optimizers have replaced.
    GoneSegments,
    /// Up to when a collection could be brought back.
    RecoverableUntil,
    /// How long ago that is.
    Rpo,
    /// How long ago it may be.
    RpoTarget,
    /// Whether it advances by itself.
    Continuous,
    /// Logs that need a person.
    LogTroubles,
    /// How late a schedule is.
    ScheduleLate,
    /// Its last success.
    ScheduleLastSuccess,
    /// Its next run.
    ScheduleNext,
    /// How far a copy is behind.
    CopyLag,
    /// How far it may be.
    CopyMaxLag,
    /// Recovery points that it lacks.
    CopyLagPoints,
    /// Their bytes.
    CopyLagBytes,
    /// Whether its last run failed.
    CopyTrouble,
}

impl Metric {
    /// All of them, in the order in which they are told.
    pub const ALL: &[Self] = &[
        Self::BuildInfo,
        Self::Started,
        Self::Epoch,
        Self::Warnings,
        Self::RecoveryPoints,
        Self::StoredBytes,
        Self::Chunks,
        Self::LastJobFailed,
        Self::LastCheck,
        Self::Damaged,
        Self::NodeConnected,
        Self::NodeQdrantUp,
        Self::NodeClockOffset,
        Self::NodeDrained,
        Self::SearchTime,
        Self::HeldUp,
        Self::StorageFree,
        Self::StorageTotal,
        Self::StorageFull,
        Self::StorageTroubles,
        Self::StoragePolled,
        Self::StorageOverflows,
        Self::Touched,
        Self::GoneSegments,
        Self::RecoverableUntil,
        Self::Rpo,
        Self::RpoTarget,
        Self::Continuous,
        Self::LogTroubles,
        Self::ScheduleLate,
        Self::ScheduleLastSuccess,
        Self::ScheduleNext,
        Self::CopyLag,
        Self::CopyMaxLag,
        Self::CopyLagPoints,
        Self::CopyLagBytes,
        Self::CopyTrouble,
    ];

    /// Its name, without the prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.described().0
    }

    /// What it says, without a full stop.
    #[must_use]
    pub fn help(self) -> &'static str {
        self.described().2
    }

    /// What it is told of each of; `None` if there is one value.
    #[must_use]
    pub fn label(self) -> Option<&'static str> {
        self.described().1
    }

    /// Name, label, help.
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn described(self) -> (&'static str, Option<&'static str>, &'static str) {
        let (node, collection) = (Some("node"), Some("collection"));
        let (schedule, copy) = (Some("schedule"), Some("copy"));
        match self {
            Self::BuildInfo => (
                "build_info",
                Some("version"),
                "1, with the coordinator's release",
            ),
            Self::Started => (
                "start_time_seconds",
                None,
                "When the coordinator started, since 1970",
            ),
            Self::Epoch => (
                "epoch",
                None,
                "The coordinator's term: it grows whenever one takes over",
            ),
            Self::Warnings => ("warnings", None, "Warnings of holdfast status"),
            Self::RecoveryPoints => (
                "recovery_points",
                None,
                "Recovery points that are not marked for removal",
            ),
            Self::StoredBytes => (
                "repository_stored_bytes",
                None,
                "Bytes in packs of the repository",
            ),
            Self::Chunks => (
                "repository_chunks",
                None,
                "Distinct chunks in the repository",
            ),
            Self::LastJobFailed => (
                "last_job_failed",
                None,
                "1 if the job that ended last failed",
            ),
            Self::LastCheck => (
                "last_check_time_seconds",
                None,
                "When the last check of the repository ended, since 1970",
            ),
            Self::Damaged => (
                "last_check_needs_attention",
                None,
                "1 if the last check of the repository found something that a person must see to",
            ),
            Self::NodeConnected => ("node_connected", node, "1 if the node's agent is connected"),
            Self::NodeQdrantUp => (
                "node_qdrant_up",
                node,
                "1 if the node's Qdrant answered its agent's last look",
            ),
            Self::NodeClockOffset => (
                "node_clock_offset_seconds",
                node,
                "The node's clock minus the coordinator's",
            ),
            Self::NodeDrained => ("node_drained", node, "1 while the node is drained"),
            Self::SearchTime => (
                "node_search_seconds",
                node,
                "How long searches took between its agent's last two looks, the mean; absent if there were none, or no schedule has max_query_latency",
            ),
            Self::HeldUp => (
                "node_held_up_seconds",
                node,
                "For how long its captures were held up as searches took longer than max_query_latency, since the coordinator's start",
            ),
            Self::StorageFree => (
                "node_storage_free_bytes",
                node,
                "Bytes that are free for Qdrant on the volume of its storage",
            ),
            Self::StorageTotal => ("node_storage_total_bytes", node, "Bytes of that volume"),
            Self::StorageFull => (
                "node_storage_full_in_seconds",
                node,
                "When the volume's bytes or inodes will be used up, if it goes on as in the last hour; absent if nothing is foretold",
            ),
            Self::StorageTroubles => (
                "node_storage_troubles",
                node,
                "What was wrong with Qdrant's storage directory in the last hour",
            ),
            Self::StoragePolled => (
                "node_storage_polled",
                node,
                "1 if changes of the storage directory are found by looks alone, as the kernel tells of none",
            ),
            Self::StorageOverflows => (
                "node_storage_event_overflows",
                node,
                "How often the kernel lost events of the storage directory since the agent's start; a look followed each time",
            ),
            Self::Touched => (
                "collection_touched_bytes",
                collection,
                "Bytes on disk of the files that were found new or written to, counted at each look since the agents' start; rate() takes restarts into account",
            ),
            Self::GoneSegments => (
                "collection_gone_segments",
                collection,
                "Segments that went since the agents' start, as optimizers replace them",
            ),
            Self::RecoverableUntil => (
                "collection_recoverable_until_seconds",
                collection,
                "Everything acknowledged before this instant, since 1970, is durable and could be brought back; absent if nothing could",
            ),
            Self::Rpo => (
                "collection_rpo_seconds",
                collection,
                "How long ago that instant is: what would be lost if the collection were lost now",
            ),
            Self::RpoTarget => (
                "collection_rpo_target_seconds",
                collection,
                "How much that may be, by the policy",
            ),
            Self::Continuous => (
                "collection_continuous",
                collection,
                "1 if the instant advances by itself, as the logs of all shards are archived",
            ),
            Self::LogTroubles => (
                "collection_log_troubles",
                collection,
                "Logs of the collection that are not archived as they should be",
            ),
            Self::ScheduleLate => (
                "schedule_late_seconds",
                schedule,
                "How late the schedule is; 0 if it is not",
            ),
            Self::ScheduleLastSuccess => (
                "schedule_last_success_time_seconds",
                schedule,
                "The planned instant of its last success, since 1970",
            ),
            Self::ScheduleNext => (
                "schedule_next_run_time_seconds",
                schedule,
                "When it runs next, since 1970",
            ),
            Self::CopyLag => (
                "copy_lag_seconds",
                copy,
                "Age of the oldest recovery point that the copy lacks",
            ),
            Self::CopyMaxLag => ("copy_max_lag_seconds", copy, "How much that may be"),
            Self::CopyLagPoints => (
                "copy_lag_points",
                copy,
                "Recovery points that the copy lacks",
            ),
            Self::CopyLagBytes => ("copy_lag_bytes", copy, "About what has to be copied"),
            Self::CopyTrouble => (
                "copy_trouble",
                copy,
                "1 if no run of the copy has ended well since one failed",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Metric;

    const REFERENCE: &str = include_str!("../../../../docs/reference/metrics.md");
    const RULES: &str = include_str!("../../../../deploy/prometheus/holdfast.rules.yml");

    #[test]
    fn every_metric_is_documented() {
        for metric in Metric::ALL {
            let row = format!("| `holdfast_{}` |", metric.name());
            assert!(REFERENCE.contains(&row), "{row}");
        }
    }

    #[test]
    fn rules_and_reference_name_no_other() {
        let names: Vec<String> = Metric::ALL
            .iter()
            .map(|metric| format!("holdfast_{}", metric.name()))
            .collect();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for text in [REFERENCE, RULES] {
            let words = text.split(|c| !is_word(c));
            for word in words.filter(|word| word.starts_with("holdfast_")) {
                assert!(names.iter().any(|name| name == word), "{word}");
            }
        }
    }
}
