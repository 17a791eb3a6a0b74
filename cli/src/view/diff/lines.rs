//! The text for people: what is lacking first, then what was written, each with the way to just before it.

use super::{DiffView, FateView, FilterView, IdView, LackView, LargeView, PlaceView, SchemaView};
use crate::output::View;
use crate::view::text::{grouped, table};
use holdfast_types::ByteCount;

impl View for DiffView {
    const KIND: &'static str = "diff";

    fn text(&self) -> String {
        let unread = self.unread.iter();
        let unread = unread.map(|unread| format!("{}: {}", grouped(unread.count), unread.why));
        let parts = [
            self.head(),
            self.lacks_text(),
            self.kinds_text(),
            self.points_text(),
            self.way_back(),
            section(
                "Operations that name most points",
                self.largest.iter().map(LargeView::line),
                0,
            ),
            section(
                "Operations by filter (whom they met is not known)",
                self.by_filter.iter().map(FilterView::line),
                self.by_filter_left_out,
            ),
            section(
                "Changes of payload indexes and named vectors",
                self.schema.iter().map(SchemaView::line),
                self.schema_left_out,
            ),
            section(
                "Operations that could not be read in full (their points are not among those above)",
                unread,
                self.unread_left_out,
            ),
            section("Notes", self.remarks().into_iter(), 0),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n\n")
    }
}

/// Lines below a heading; nothing if there is none.
fn section(head: &str, lines: impl Iterator<Item = String>, left_out: u64) -> String {
    let more = (left_out > 0).then(|| format!("and {} more", grouped(left_out)));
    let lines: Vec<String> = lines.chain(more).map(|line| format!("  {line}")).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("{head}:\n{}", lines.join("\n"))
}

impl DiffView {
    fn head(&self) -> String {
        format!(
            "{} from {} to {}: {} operations, about {}",
            self.collection,
            self.from,
            self.to,
            grouped(self.operations),
            ByteCount(self.bytes)
        )
    }

    fn lacks_text(&self) -> String {
        let lacks = section(
            "INCOMPLETE: more may have been written than is shown. What is not known",
            self.gaps.iter().map(LackView::line),
            0,
        );
        if lacks.is_empty() {
            return lacks;
        }
        format!(
            "{lacks}\nNext: if only the end is not known, ask again in some seconds. `holdfast status` shows whether an agent is away or behind,\n\
             `holdfast restore window {}` which instants can be restored, and why not the others.",
            self.collection
        )
    }

    fn kinds_text(&self) -> String {
        if self.operations == 0 {
            return match self.complete {
                true => "Nothing was written.".to_owned(),
                false => "Of what is known, nothing was written.".to_owned(),
            };
        }
        let seen = |place: &Option<PlaceView>| {
            let by = place.as_ref().map(|place| place.by.to_string());
            by.unwrap_or_default()
        };
        let rows = self.kinds.iter().map(|kind| {
            vec![
                kind.operation.clone(),
                grouped(kind.count),
                grouped(kind.points),
                seen(&kind.first),
                seen(&kind.last),
            ]
        });
        let header = [
            "OPERATION",
            "COUNT",
            "POINTS NAMED",
            "FIRST SEEN BY",
            "LAST SEEN BY",
        ];
        let table = table(&header, rows);
        match self.kinds_left_out {
            0 => table,
            more => format!("{table}\nand {} of other kinds", grouped(more)),
        }
    }

    fn points_text(&self) -> String {
        let named = self.points.iter().filter(|fate| fate.count > 0);
        let rows: Vec<Vec<String>> = named
            .map(|fate| vec![fate.fate.clone(), grouped(fate.count), fate.ids_text()])
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        let table = table(&["POINTS THAT WERE", "COUNT", "IDS"], rows);
        match self.points_left_out {
            0 => table,
            more => format!(
                "{table}\nThese are too few: further points were named {} times, more than are remembered. Choose a shorter time.",
                grouped(more)
            ),
        }
    }

    /// What to do with the instants that lines begin with.
    fn way_back(&self) -> String {
        if self.largest.is_empty() && self.by_filter.is_empty() && self.schema.is_empty() {
            return String::new();
        }
        format!(
            "Below, --to is an instant just before each operation. To look at what was there then, beside the collection:\n  \
             holdfast restore run --to INSTANT --collection {0} --as {0}_before",
            self.collection
        )
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = self.notes.clone();
        if self.perhaps_earlier > 0 {
            remarks.push(format!(
                "{} of these operations may have been written before {}: they were found later",
                grouped(self.perhaps_earlier),
                self.from
            ));
        }
        if self.perhaps_later > 0 {
            remarks.push(format!(
                "{} more operations may have been written by {}: they were found later, and don't count",
                grouped(self.perhaps_later),
                self.to
            ));
        }
        remarks
    }
}

impl LackView {
    fn line(&self) -> String {
        let whose = match self.shard {
            Some(shard) => format!("shard {shard}"),
            None => "which shards there were".to_owned(),
        };
        format!("{whose}, {} to {}: {}", self.after, self.before, self.why)
    }
}

impl FateView {
    fn ids_text(&self) -> String {
        let ids = self.ids.iter().map(|id| match id {
            IdView::Number(number) => number.to_string(),
            IdView::Uuid(uuid) => uuid.clone(),
        });
        let ids = ids.collect::<Vec<_>>().join(", ");
        match (self.more, ids.as_str()) {
            (0, _) | (_, "") => ids,
            (more, _) => format!("{ids} and {} more", grouped(more)),
        }
    }
}

/// The option that leads to just before an operation.
fn restore_to(place: Option<&PlaceView>) -> String {
    let Some(place) = place else {
        return String::new();
    };
    match place.restore_to {
        Some(instant) => format!("--to {instant}  "),
        None => "(no instant before it is known)  ".to_owned(),
    }
}

/// Where it stands, for people.
fn number(place: Option<&PlaceView>) -> String {
    place.map_or_else(String::new, |place| {
        format!("shard {}, operation {}", place.shard, place.number)
    })
}

impl LargeView {
    fn line(&self) -> String {
        let at = self.at.as_ref();
        format!(
            "{}{} of {} points ({})",
            restore_to(at),
            self.operation,
            grouped(self.points),
            number(at)
        )
    }
}

impl FilterView {
    fn line(&self) -> String {
        let first = self.first.as_ref();
        let times = match self.count {
            1 => String::new(),
            count => format!(", the first of {}", grouped(count)),
        };
        format!(
            "{}{} {} ({}{times})",
            restore_to(first),
            self.operation,
            self.filter,
            number(first)
        )
    }
}

impl SchemaView {
    fn line(&self) -> String {
        let at = self.at.as_ref();
        format!(
            "{}{} of {} ({})",
            restore_to(at),
            self.operation,
            self.name,
            number(at)
        )
    }
}
