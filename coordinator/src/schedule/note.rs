//! The note of a scheduled job: which run it is, and what it leaves out. It stands with the recovery point, too, so that
//! another coordinator finds there what was done.

use holdfast_types::{ScheduleName, Timestamp};

/// Stands before what is left out.
const WITHOUT: &str = "; without ";

/// Longest note in bytes, as for the notes of operators.
const LONGEST: usize = 4000;

/// The note of a run.
pub(super) fn note(name: &ScheduleName, planned: Timestamp, left_out: &[String]) -> String {
    let run = format!("schedule {name}, planned {planned}");
    if left_out.is_empty() {
        return run;
    }
    let mut note = format!("{run}{WITHOUT}{}", left_out.join("; "));
    if note.len() > LONGEST {
        note.truncate(note.floor_char_boundary(LONGEST));
        note.push('…');
    }
    note
}

/// Whether a note is of this run.
pub(super) fn is_of(note: &str, name: &ScheduleName, planned: Timestamp) -> bool {
    let run = self::note(name, planned, &[]);
    note == run || note.starts_with(&format!("{run}{WITHOUT}"))
}

/// What a run left out.
pub(super) fn left_out(note: &str) -> Vec<String> {
    let without = note.split_once(WITHOUT);
    without
        .map(|(_, text)| text.to_owned())
        .into_iter()
        .collect()
}

/// The planned instant of a run of this schedule that left nothing out.
pub(super) fn answered(note: &str, name: &ScheduleName) -> Option<Timestamp> {
    let rest = note.strip_prefix(&format!("schedule {name}, planned "))?;
    rest.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{answered, is_of, left_out, note};
    use holdfast_types::Timestamp;

    #[test]
    fn a_note_says_which_run_it_is_and_what_is_missing() {
        let (name, other) = ("nightly".parse().unwrap(), "nightly-2".parse().unwrap());
        let planned: Timestamp = "2026-11-21T02:00:00Z".parse().unwrap();
        let whole = note(&name, planned, &[]);
        assert_eq!(whole, "schedule nightly, planned 2026-11-21T02:00:00Z");
        assert!(is_of(&whole, &name, planned) && !is_of(&whole, &other, planned));
        assert_eq!(answered(&whole, &name), Some(planned));
        assert_eq!(answered(&whole, &other), None);
        assert_eq!(left_out(&whole), Vec::<String>::new());
        let half = note(&name, planned, &["books: node n2 is away".into()]);
        assert!(is_of(&half, &name, planned));
        assert_eq!(answered(&half, &name), None, "it is no success");
        assert_eq!(left_out(&half), ["books: node n2 is away"]);
    }
}
