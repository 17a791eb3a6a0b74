//! What people ask for: the rules by which recovery points are kept.

use super::pattern::NamePattern;
use super::point::PointFacts;
use holdfast_types::CollectionName;
use holdfast_types::Tag;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Rules that a policy may have.
const MAX_RULES: usize = 100;

/// Which recovery points are kept. A point stays if any rule keeps it, and whatever the rules say
/// if the floor of its collections needs it or something guards it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionPolicy {
    /// At least one.
    pub rules: Vec<Rule>,
    /// Newest proven points of each collection that no rule may go below; 2 if not given.
    #[serde(default = "default_min_proven")]
    pub min_proven: u32,
    /// How long a safety capture, made before something was overwritten, stays whatever the rules
    /// say. In whole hours, 168 if not given.
    #[serde(
        rename = "keep_safety_hours",
        with = "hours",
        default = "default_keep_safety"
    )]
    pub keep_safety: Duration,
}

/// How much is kept of which collections. Counts of zero keep nothing; a rule of zeros says that
/// what it covers is kept by nothing but the floor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Collections that it covers; empty means all.
    pub collections: Vec<NamePattern>,
    /// Collections that it leaves to other rules although `collections` names them.
    pub except: Vec<NamePattern>,
    /// Tags that a point must have, all of them; empty means any point.
    pub tags: BTreeSet<Tag>,
    /// The newest points.
    pub keep_last: u32,
    /// Every point that is at most this much older than the newest of its series. In whole hours.
    #[serde(rename = "keep_within_hours", with = "hours")]
    pub keep_within: Duration,
    /// Every instant that is at most this old can be restored, where logs are archived: keeps the entries and the points that
    /// this takes. In whole hours; not together with `tags`.
    #[serde(rename = "instants_within_hours", with = "hours")]
    pub instants_within: Duration,
    /// The newest point of each of the newest hours that have points.
    pub hourly: u32,
    /// The newest point of each of the newest days that have points.
    pub daily: u32,
    /// The newest point of each of the newest ISO weeks (from Monday) that have points.
    pub weekly: u32,
    /// The newest point of each of the newest months that have points.
    pub monthly: u32,
    /// The newest point of each of the newest years that have points.
    pub yearly: u32,
}

/// A policy that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no rule.
    #[error("the retention policy has no rules: add one, like keep_last = 7")]
    NoRules,
    /// No rule keeps any point.
    #[error(
        "the retention policy keeps nothing: give at least one rule a count above zero, like daily = 7"
    )]
    KeepsNothing,
    /// Entries of a log have no tags.
    #[error(
        "a rule of the retention policy has both tags and instants_within_hours, which is about all points of a collection: write two rules"
    )]
    TaggedInstants,
    /// More rules than make sense.
    #[error("the retention policy has {found} rules: at most {MAX_RULES} are allowed")]
    TooManyRules {
        /// How many.
        found: usize,
    },
    /// A period that a policy file can't express.
    #[error(
        "{key} of the retention policy is {value:?}: use whole hours, at most {}",
        u32::MAX
    )]
    NotWholeHours {
        /// Which field.
        key: &'static str,
        /// What it is.
        value: Duration,
    },
}

impl RetentionPolicy {
    /// Refuses a policy that is surely not meant.
    ///
    /// # Errors
    /// Says what is wrong with it and what to write instead.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.rules.is_empty() {
            return Err(PolicyError::NoRules);
        }
        if self.rules.len() > MAX_RULES {
            let found = self.rules.len();
            return Err(PolicyError::TooManyRules { found });
        }
        let tagged = |rule: &Rule| !rule.instants_within.is_zero() && !rule.tags.is_empty();
        if self.rules.iter().any(tagged) {
            return Err(PolicyError::TaggedInstants);
        }
        let within = |rule: &Rule| {
            let instants = ("instants_within_hours", rule.instants_within);
            [("keep_within_hours", rule.keep_within), instants]
        };
        let periods = self.rules.iter().flat_map(within);
        for (key, value) in periods.chain([("keep_safety_hours", self.keep_safety)]) {
            if hours_of(value).is_none() {
                return Err(PolicyError::NotWholeHours { key, value });
            }
        }
        if self.rules.iter().all(Rule::keeps_nothing) {
            return Err(PolicyError::KeepsNothing);
        }
        Ok(())
    }
}

impl RetentionPolicy {
    /// How far back every instant of a collection stays restorable; `None` if no rule says so: then as far as any recovery point reaches.
    #[must_use]
    pub fn window(&self, collection: &CollectionName) -> Option<Duration> {
        let rules = self.rules.iter().filter(|rule| rule.names(collection));
        let windows = rules.map(|rule| rule.instants_within);
        windows.max().filter(|window| !window.is_zero())
    }
}

impl Rule {
    /// Whether it is about this collection.
    pub(super) fn names(&self, collection: &CollectionName) -> bool {
        let fits = |pattern: &NamePattern| pattern.matches(collection);
        (self.collections.is_empty() || self.collections.iter().any(fits))
            && !self.except.iter().any(fits)
    }

    /// Whether it says anything about this collection in this point.
    #[must_use]
    pub(super) fn covers(&self, point: &PointFacts, collection: &CollectionName) -> bool {
        self.names(collection) && self.tags.is_subset(&point.tags)
    }

    fn keeps_nothing(&self) -> bool {
        let Self {
            collections: _,
            except: _,
            tags: _,
            keep_last,
            keep_within,
            instants_within,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        } = self;
        keep_within.is_zero()
            && instants_within.is_zero()
            && [keep_last, hourly, daily, weekly, monthly, yearly].map(|count| *count) == [0; 6]
    }
}

fn default_min_proven() -> u32 {
    2
}

fn default_keep_safety() -> Duration {
    whole_hours(7 * 24)
}

pub(super) fn whole_hours(hours: u32) -> Duration {
    Duration::from_secs(u64::from(hours) * 3600)
}

/// The period as a whole number of hours; `None` if it is not one.
fn hours_of(period: Duration) -> Option<u32> {
    let hours = u32::try_from(period.as_secs() / 3600).ok()?;
    (whole_hours(hours) == period).then_some(hours)
}

/// A period as a whole number of hours.
mod hours {
    use serde::{Deserialize, Deserializer, Serializer, ser::Error};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(period: &Duration, s: S) -> Result<S::Ok, S::Error> {
        match super::hours_of(*period) {
            Some(hours) => s.serialize_u32(hours),
            None => Err(S::Error::custom("not a whole number of hours")),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u32::deserialize(d).map(super::whole_hours)
    }
}

#[cfg(test)]
mod tests {
    use super::{PolicyError, RetentionPolicy, Rule};
    use crate::fixture::name;
    use std::time::Duration;

    fn parse(text: &str) -> Result<RetentionPolicy, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_people_write() {
        let policy = parse(
            r#"
            min_proven = 3
            [[rules]]
            daily = 7
            keep_within_hours = 48
            except = ["scratch*"]
            [[rules]]
            collections = ["docs-*", "books"]
            tags = ["audit"]
            yearly = 10
            "#,
        );
        let policy = policy.unwrap();
        assert_eq!(policy.validate(), Ok(()));
        let expected = RetentionPolicy {
            rules: vec![
                Rule {
                    except: vec!["scratch*".parse().unwrap()],
                    keep_within: Duration::from_hours(48),
                    daily: 7,
                    ..Rule::default()
                },
                Rule {
                    collections: vec!["docs-*".parse().unwrap(), "books".parse().unwrap()],
                    tags: ["audit".parse().unwrap()].into(),
                    yearly: 10,
                    ..Rule::default()
                },
            ],
            min_proven: 3,
            keep_safety: Duration::from_hours(168),
        };
        assert_eq!(policy, expected);
        assert_eq!(parse(&toml::to_string(&policy).unwrap()), Ok(policy));
    }

    #[test]
    fn the_floor_is_two_if_nothing_is_said() {
        assert_eq!(parse("[[rules]]\ndaily = 1").unwrap().min_proven, 2);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for bad in [
            "",
            "rules = []\nkeep_lsat = 3",
            "[[rules]]\ndaly = 7",
            "[[rules]]\ndaily = -1",
            "[[rules]]\nkeep_within_hours = \"two\"",
            "[[rules]]\ncollections = [\"a/b\"]",
            "[[rules]]\ntags = [\"A b\"]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_what_keeps_nothing() {
        let with = |rules: Vec<Rule>| RetentionPolicy {
            rules,
            ..RetentionPolicy::production()
        };
        assert_eq!(with(vec![]).validate(), Err(PolicyError::NoRules));
        let zeros = with(vec![Rule::default(); 2]);
        assert_eq!(zeros.validate(), Err(PolicyError::KeepsNothing));
        let many = with(vec![Rule::default(); 101]);
        let too_many = PolicyError::TooManyRules { found: 101 };
        assert_eq!(many.validate(), Err(too_many));
        let mut most = with(vec![Rule::default(); 100]);
        let fields: [fn(&mut Rule); 7] = [
            |rule| rule.keep_last = 1,
            |rule| rule.keep_within = Duration::from_hours(1),
            |rule| rule.hourly = 1,
            |rule| rule.daily = 1,
            |rule| rule.weekly = 1,
            |rule| rule.monthly = 1,
            |rule| rule.yearly = 1,
        ];
        for set in fields {
            most.rules[99] = Rule::default();
            set(&mut most.rules[99]);
            assert_eq!(most.validate(), Ok(()));
        }
    }

    #[test]
    fn the_longest_window_of_a_collection_counts() {
        let policy = parse(
            r#"
            [[rules]]
            collections = ["docs*"]
            instants_within_hours = 24
            [[rules]]
            collections = ["docs", "books"]
            instants_within_hours = 72
            [[rules]]
            daily = 7
            "#,
        );
        let policy = policy.unwrap();
        let hours = |text| Some(policy.window(&name(text))?.as_secs() / 3600);
        assert_eq!(hours("docs"), Some(72));
        assert_eq!(hours("docs2"), Some(24));
        assert_eq!(hours("scratch"), None);
    }

    #[test]
    fn refuses_what_a_file_could_not_say() {
        let mut policy = RetentionPolicy::staging();
        policy.rules[0].keep_within = Duration::from_mins(90);
        let error = policy.validate().unwrap_err().to_string();
        assert!(
            error.starts_with("keep_within_hours of the retention policy is 5400s"),
            "{error}"
        );
        assert!(toml::to_string(&policy).is_err());
        let mut policy = RetentionPolicy::staging();
        policy.keep_safety = Duration::MAX;
        assert!(policy.validate().is_err());
    }
}
