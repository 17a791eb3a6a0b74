//! A measured figure and its two forms: a line for a reader, a JSON object for a program.

use crate::contender::Tool;
use serde_json::json;

/// Where figures go: to stdout at once, so that a run that is interrupted has shown what it found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// Whether as JSON, one object a line.
    pub(crate) json: bool,
}

/// Another figure of the same run that a figure stands beside.
pub(crate) type Peer<'a> = (&'a str, f64);

impl Report {
    /// One figure; `ratio` is `value` by the peer's.
    pub(crate) fn figure(
        self,
        bench: &str,
        metric: &str,
        (value, unit): (f64, &str),
        peer: Option<Peer<'_>>,
    ) {
        let ratio = peer.map(|(_, other)| value / other);
        if self.json {
            let peer = peer.map(|(name, value)| json!({"name": name, "value": value}));
            println!(
                "{}",
                json!({"bench": bench, "metric": metric, "value": value, "unit": unit, "peer": peer, "ratio": ratio})
            );
            return;
        }
        let beside = match (peer, ratio) {
            (Some((name, other)), Some(ratio)) => {
                format!("  {ratio:>6.2} × {name} ({other:.1} {unit})")
            }
            _ => String::new(),
        };
        println!("{bench:<28} {metric:<18} {value:>10.1} {unit:<9}{beside}");
    }

    /// Holdfast's figure beside that of every other tool, or alone where there is none.
    pub(crate) fn contest(self, bench: &str, metric: &str, unit: &str, all: &[(Tool, f64)]) {
        let Some((_, ours)) = all.iter().find(|(tool, _)| *tool == Tool::Holdfast) else {
            return;
        };
        let mut peers = all
            .iter()
            .filter(|(tool, _)| *tool != Tool::Holdfast)
            .peekable();
        if peers.peek().is_none() {
            self.figure(bench, metric, (*ours, unit), None);
        }
        for (tool, value) in peers {
            self.figure(bench, metric, (*ours, unit), Some((tool.name(), *value)));
        }
    }

    /// Something that was not measured, and why.
    pub(crate) fn skipped(self, what: &str, why: &str) {
        if self.json {
            println!("{}", json!({"bench": what, "skipped": why}));
        } else {
            println!("SKIPPED: {what}: {why}");
        }
    }
}

/// The middle of some values; of an even number the lower of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_middle_of_values() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
