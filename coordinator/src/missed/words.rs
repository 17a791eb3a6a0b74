//! What is said of recovery points that are gone: in the log once, in status until they are back or acknowledged.

use super::{Astray, AstrayState};
use crate::catalog::PointSummary;
use crate::fault::Fault;
use holdfast_service::failure::Code;
use holdfast_types::CopyName;

/// Points that are named one by one.
const NAMED: usize = 5;

/// What status says of missed points, those of which it is certain first.
pub(crate) fn warnings(astray: &[Astray], copies: &[&CopyName]) -> Vec<String> {
    let of = |by_others: bool| {
        let missed = astray.iter().filter(move |astray| match astray.state {
            AstrayState::Missed { others, .. } => others == by_others,
            AstrayState::Unreadable => false,
        });
        missed.map(|astray| &astray.point).collect::<Vec<_>>()
    };
    let (certain, perhaps) = (of(false), of(true));
    let copy = copies.first().map_or("NAME", |name| name.as_str());
    let mut warnings = Vec::new();
    for point in certain.iter().take(NAMED) {
        warnings.push(format!(
            "{}, and nobody is known to have removed it: it can't be restored from here; if a copy has it, stop the coordinator and bring it back: `holdfast repo heal --from-copy {copy} --lost-points` shows all that would come, with --confirm it does; else `holdfast backup create` now. Find out what deletes objects there; `holdfast backup delete {} --confirm` ends this warning, and lets garbage be collected again",
            name(point),
            point.id
        ));
    }
    for point in perhaps.iter().take(NAMED) {
        warnings.push(format!(
            "{}: other programs have written to it since this coordinator last did, and one of them may have removed it by its rules; if none did, stop the coordinator and bring it back from a copy (`holdfast repo heal --from-copy {copy} --lost-points` shows all that would come, with --confirm it does); `holdfast backup delete {} --confirm` ends this warning",
            name(point),
            point.id
        ));
    }
    let unnamed = certain.len().saturating_sub(NAMED) + perhaps.len().saturating_sub(NAMED);
    if unnamed > 0 {
        warnings.push(format!(
            "{unnamed} more recovery points are gone from the repository: the coordinator's log names them; `holdfast-coordinator rebuild` makes a listing that knows of none of them"
        ));
    }
    warnings
}

/// Why garbage is not collected.
pub(crate) fn kept_for(point: &PointSummary) -> Fault {
    let message = format!(
        "{}, and nobody is known to have removed it: garbage is not collected, so that what it needs stays. Bring it back from a copy (`holdfast repo heal --lost-points`), or give it up: `holdfast backup delete {} --confirm`",
        name(point),
        point.id
    );
    Fault::new(Code::RepositoryDamaged, message)
}

/// Logs that a point is missed.
pub(crate) fn tell(point: &PointSummary) {
    tracing::error!(
        point = %point.id,
        collections = names(point),
        committed = %point.committed,
        "a recovery point is gone from the repository"
    );
}

/// What is said of it first.
pub(super) fn name(point: &PointSummary) -> String {
    let (id, names, committed) = (&point.id, names(point), point.committed);
    format!("recovery point {id} ({names}; committed {committed}) is gone from the repository")
}

fn names(point: &PointSummary) -> String {
    let names: Vec<&str> = point.collections.iter().map(|name| name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{NAMED, warnings};
    use crate::catalog::PointSummary;
    use crate::fixture::{NOW, manifest};
    use crate::missed::{Astray, AstrayState};

    fn point(n: u32) -> PointSummary {
        PointSummary::of(&manifest(
            &format!("20261121t101530z-{n:08x}"),
            i64::from(n),
        ))
    }

    fn missed(n: u32, others: bool) -> Astray {
        let since = NOW;
        Astray {
            point: point(n),
            state: AstrayState::Missed { since, others },
        }
    }

    #[test]
    fn warnings_name_the_point_and_the_next_command() {
        let unreadable = Astray {
            point: point(1),
            state: AstrayState::Unreadable,
        };
        let astray = [unreadable, missed(2, true), missed(3, false)];
        let copy = "offsite".parse().unwrap();
        let told = warnings(&astray, &[&copy]);
        assert_eq!(told.len(), 2);
        let certain = format!(
            "recovery point {} (docs; committed {}) is gone from the repository, and nobody is known to have removed it: it can't be restored from here; if a copy has it, stop the coordinator and bring it back: `holdfast repo heal --from-copy offsite --lost-points` shows",
            point(3).id,
            point(3).committed
        );
        assert!(told[0].starts_with(&certain), "{}", told[0]);
        let ends = format!("`holdfast backup delete {} --confirm` ends", point(2).id);
        assert!(told[1].contains("may have removed it") && told[1].contains(&ends));
        let many: Vec<_> = (0..7).map(|n| missed(n, false)).collect();
        let told = warnings(&many, &[]);
        assert_eq!(told.len(), NAMED + 1);
        assert!(
            told[NAMED].starts_with("2 more recovery points"),
            "{told:?}"
        );
    }
}
