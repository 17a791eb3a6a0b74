//! Three ready policies: one rule for everything each.

use super::policy::{RetentionPolicy, Rule, whole_hours};

impl RetentionPolicy {
    /// For machines that can be rebuilt: the last 3 points and the newest of 3 days, every instant of 24 hours; 1 proven
    /// point; safety captures for 24 hours.
    #[must_use]
    pub fn development() -> Self {
        let rule = Rule {
            keep_last: 3,
            instants_within: whole_hours(24),
            daily: 3,
            ..Rule::default()
        };
        Self::of(rule, 1, 24)
    }

    /// For rehearsals: the last 5 points, all of the last 24 hours, the newest of 7 days and of 4
    /// weeks, every instant of 3 days; 2 proven points; safety captures for 3 days.
    #[must_use]
    pub fn staging() -> Self {
        let rule = Rule {
            keep_last: 5,
            keep_within: whole_hours(24),
            instants_within: whole_hours(3 * 24),
            daily: 7,
            weekly: 4,
            ..Rule::default()
        };
        Self::of(rule, 2, 3 * 24)
    }

    /// For what people rely on: the last 5 points, all of the last 48 hours, the newest of 72
    /// hours, 14 days, 8 weeks, 12 months and 5 years, every instant of 14 days; 3 proven points; safety captures for 14
    /// days.
    #[must_use]
    pub fn production() -> Self {
        let rule = Rule {
            keep_last: 5,
            keep_within: whole_hours(48),
            instants_within: whole_hours(14 * 24),
            hourly: 72,
            daily: 14,
            weekly: 8,
            monthly: 12,
            yearly: 5,
            ..Rule::default()
        };
        Self::of(rule, 3, 14 * 24)
    }

    fn of(rule: Rule, min_proven: u32, safety_hours: u32) -> Self {
        Self {
            rules: vec![rule],
            min_proven,
            keep_safety: whole_hours(safety_hours),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RetentionPolicy;
    use std::time::Duration;

    #[test]
    fn presets_are_valid_and_keep_what_the_docs_say() {
        let cases = [
            (
                RetentionPolicy::development(),
                "1 proven, safety 24 h, last 3, within 0 h, instants 24 h, 0 hours, 3 days, 0 weeks, 0 months, 0 years",
            ),
            (
                RetentionPolicy::staging(),
                "2 proven, safety 72 h, last 5, within 24 h, instants 72 h, 0 hours, 7 days, 4 weeks, 0 months, 0 years",
            ),
            (
                RetentionPolicy::production(),
                "3 proven, safety 336 h, last 5, within 48 h, instants 336 h, 72 hours, 14 days, 8 weeks, 12 months, 5 years",
            ),
        ];
        for (policy, expected) in cases {
            assert_eq!(policy.validate(), Ok(()));
            let [rule] = policy.rules.as_slice() else {
                panic!("not one rule: {policy:?}");
            };
            assert!(rule.collections.is_empty() && rule.except.is_empty() && rule.tags.is_empty());
            let hours = |period: Duration| period.as_secs_f64() / 3600.0;
            let said = format!(
                "{} proven, safety {} h, last {}, within {} h, instants {} h, {} hours, {} days, {} weeks, {} months, {} years",
                policy.min_proven,
                hours(policy.keep_safety),
                rule.keep_last,
                hours(rule.keep_within),
                hours(rule.instants_within),
                rule.hourly,
                rule.daily,
                rule.weekly,
                rule.monthly,
                rule.yearly,
            );
            assert_eq!(said, expected);
        }
    }
}
