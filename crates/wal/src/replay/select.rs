//! Operations on whatever matches, made into operations on named points.

use super::body::Body;
use super::plan::by_ids;
use super::{Refusal, Request, Source};
use crate::change::{Change, Json, PointId};

/// How many ids a page of the target's answer holds.
const PAGE: u32 = 10_000;

/// An operation for which the target must be asked which points it has. Ask with [`Self::page`] until no page is left, keep what
/// [`Self::keeps`], then [`Self::requests`].
#[derive(Clone, Debug)]
pub struct Select<'a> {
    pub(super) change: Change<'a>,
    pub(super) source: Source,
    pub(super) filter: Option<Json<'a>>,
    pub(super) from: Option<PointId>,
    pub(super) to: Option<PointId>,
}

impl Select<'_> {
    /// Asks for ids, beginning with `from`: `next_page_offset` of the page before, absent for the first. Ids come in ascending order.
    #[must_use]
    pub fn page(&self, from: Option<PointId>) -> Request {
        let mut body = Body::new().source(&self.source).json("filter", self.filter);
        if let Some(from) = from.or(self.from) {
            body.field("offset").id(from);
        }
        body.field("limit").display(PAGE);
        body.field("with_payload").display(false);
        body.field("with_vector").display(false);
        let mut request = body.request("POST", "points/scroll", false);
        "points/scroll?consistency=all".clone_into(&mut request.path);
        request
    }

    /// Whether a point of the answer is meant.
    #[must_use]
    pub fn keeps(&self, id: PointId) -> bool {
        self.source.ring.shard_of(id) == Some(self.source.shard)
            && self.from.is_none_or(|from| from <= id)
            && self.to.is_none_or(|to| id < to)
    }

    /// Whether no later id can be meant: ask for no further page.
    #[must_use]
    pub fn is_behind(&self, id: PointId) -> bool {
        self.to.is_some_and(|to| to <= id)
    }

    /// The operation on these points, which the target has.
    ///
    /// # Errors
    /// A number that JSON has no word for.
    pub fn requests(&self, ids: &[PointId]) -> Result<Vec<Request>, Refusal> {
        by_ids(&self.change, ids, &self.source)
    }
}
