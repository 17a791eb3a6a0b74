//! Which rule a collection follows, and why.

use super::Policy;
use crate::retention::NamePattern;
use holdfast_types::{CollectionName, ScheduleName};
use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

/// The place in the order of recovery of what no rule gives one.
pub(crate) const LAST_IN_ORDER: u32 = 1000;

/// What is asked for some collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Where it stands.
    pub origin: RuleOrigin,
    /// Collections that follow it; at least one pattern.
    pub collections: Vec<NamePattern>,
    /// But not these.
    pub except: Vec<NamePattern>,
    /// Of several rules the greater goes first.
    pub priority: i32,
    /// What captures them; nothing if empty.
    pub schedules: Vec<ScheduleName>,
    /// How old the newest recovery point may get; by the schedules if not given.
    pub rpo: Option<Duration>,
    /// The least comes back first.
    pub recovery_order: u32,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleOrigin {
    /// In the file; counted from 1.
    File(usize),
    /// In the preset.
    Preset,
    /// Nowhere: without rules and preset, every schedule captures everything.
    Implied,
}

/// The rule that a collection follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The rule.
    pub rule: &'a PolicyRule,
    /// Its pattern that names the collection.
    pub pattern: &'a NamePattern,
    /// Why not each of the others that name it, too.
    pub beaten: Vec<String>,
}

/// Best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: Reverse<i32>,
    has_star: bool,
    letters: Reverse<usize>,
    stars: usize,
    position: usize,
}

impl PolicyRule {
    /// Its most specific pattern that names the collection.
    fn pattern_for(&self, collection: &CollectionName) -> Option<&NamePattern> {
        if self
            .except
            .iter()
            .any(|pattern| pattern.matches(collection))
        {
            return None;
        }
        let fitting = self.collections.iter();
        let fitting = fitting.filter(|pattern| pattern.matches(collection));
        fitting.min_by_key(|pattern| specificity(pattern))
    }
}

fn specificity(pattern: &NamePattern) -> (bool, Reverse<usize>, usize) {
    let stars = pattern.as_str().matches('*').count();
    let letters = pattern.as_str().chars().count() - stars;
    (stars > 0, Reverse(letters), stars)
}

impl Policy {
    /// The rule that a collection follows; `None` if none names it.
    #[must_use]
    pub fn rule_of(&self, collection: &CollectionName) -> Option<Chosen<'_>> {
        let fitting = self.rules.iter().enumerate();
        let mut fitting: Vec<(Rank, &PolicyRule, &NamePattern)> = fitting
            .filter_map(|(position, rule)| {
                let pattern = rule.pattern_for(collection)?;
                let (has_star, letters, stars) = specificity(pattern);
                let rank = Rank {
                    priority: Reverse(rule.priority),
                    has_star,
                    letters,
                    stars,
                    position,
                };
                Some((rank, rule, pattern))
            })
            .collect();
        fitting.sort_by(|a, b| a.0.cmp(&b.0));
        let mut fitting = fitting.into_iter();
        let (best, rule, pattern) = fitting.next()?;
        let beaten = fitting.map(|(rank, other, pattern)| {
            let why = if rank.priority != best.priority {
                format!(
                    "its priority is {} and not {}",
                    other.priority, rule.priority
                )
            } else if specificity(pattern) != (best.has_star, best.letters, best.stars) {
                format!("{pattern} is less specific")
            } else {
                "it stands further down".to_owned()
            };
            format!("{} names it, too: {why}", other.origin)
        });
        Some(Chosen {
            rule,
            pattern,
            beaten: beaten.collect(),
        })
    }
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(number) => write!(f, "rule {number}"),
            Self::Preset => f.write_str("the preset's rule"),
            Self::Implied => f.write_str("the rule for everything"),
        }
    }
}
