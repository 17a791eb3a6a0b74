//! Sends what logical replay has planned to a collection, and counts what came of it.
//!
//! An answer that does not come, or says nothing of the request, leaves the collection in a state that is not known: nothing here tries again.

use crate::failure::Failed;
use crate::job::{Halt, qdrant_failed};
use holdfast_qdrant::QdrantClient;
use holdfast_service::failure::Code;
use holdfast_types::CollectionName;
use holdfast_wal::change::PointId;
use holdfast_wal::replay::{Outcome, Request, Select};
use serde::Deserialize;
use serde_json::Value;

/// A collection that operations of another one's logs are sent to.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'a> {
    /// Its server.
    pub qdrant: &'a QdrantClient,
    /// Its name.
    pub name: &'a CollectionName,
}

/// What came of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Requests that were sent.
    pub requests: u64,
    /// Operations that ended at a point that is missing, as they did at the source.
    pub missed: u64,
    /// Operations that Qdrant refused.
    pub refused: u64,
    /// Its words for the first of them.
    pub first_refusal: Option<String>,
    /// Numbers that differ in the last bit, since JSON can't say them to Qdrant.
    pub inexact: u64,
}

impl Effects {
    /// Adds what came of others.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.missed += other.missed;
        self.refused += other.refused;
        self.inexact += other.inexact;
        if self.first_refusal.is_none() {
            self.first_refusal = other.first_refusal;
        }
    }

    /// What people should know of them.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(words) = &self.first_refusal {
            notes.push(format!(
                "Qdrant refused {} of the replayed operations, as it does when they are ordered for the first time: what it refused then has had no effect now either; the first time it said: {words}",
                self.refused
            ));
        }
        if self.inexact > 0 {
            notes.push(format!(
                "{} numbers of payloads have no JSON that Qdrant reads as they were: they differ in their last bit; --by splice keeps every bit",
                self.inexact
            ));
        }
        notes
    }
}

/// A page of the answer to [`Select::page`].
#[derive(Deserialize)]
struct Page {
    points: Vec<Found>,
    next_page_offset: Option<Value>,
}

#[derive(Deserialize)]
struct Found {
    id: Value,
}

#[derive(Deserialize)]
struct Envelope {
    result: Page,
}

impl Receiver<'_> {
    /// Sends the requests of one operation, up to the first that has no effect.
    ///
    /// # Errors
    /// [`Halt::Broken`] if the effect of a request is not known.
    pub async fn send(&self, requests: Vec<Request>) -> Result<Effects, Halt> {
        let mut effects = Effects::default();
        for request in requests {
            effects.requests += 1;
            let (status, answer) = self.ask(&request).await?;
            match request.outcome(status, &String::from_utf8_lossy(&answer)) {
                Outcome::Applied => effects.inexact += request.inexact,
                Outcome::Missed => {
                    effects.missed += 1;
                    break;
                }
                Outcome::Refused(why) => {
                    effects.refused += 1;
                    effects.first_refusal = Some(why);
                    break;
                }
                Outcome::Failed(why) => return Err(self.lost(&request, status, &why)),
            }
        }
        Ok(effects)
    }

    /// Asks which points an operation is for, and sends it for these.
    ///
    /// # Errors
    /// As [`Self::send`]; an operation that can't be expressed.
    pub async fn select(&self, select: &Select<'_>) -> Result<Effects, Halt> {
        let (mut ids, mut from) = (Vec::new(), None);
        loop {
            let request = select.page(from);
            let (status, answer) = self.ask(&request).await?;
            let page = (status == 200)
                .then(|| serde_json::from_slice::<Envelope>(&answer).ok())
                .flatten();
            let Some(Envelope { result: page }) = page else {
                return Err(self.lost(&request, status, &String::from_utf8_lossy(&answer)));
            };
            let unreadable = || self.lost(&request, status, "it names points by no ids");
            for found in &page.points {
                ids.push(point_id(&found.id).ok_or_else(unreadable)?);
            }
            from = match &page.next_page_offset {
                Some(next) => Some(point_id(next).ok_or_else(unreadable)?),
                None => None,
            };
            if from.is_none_or(|id| select.is_behind(id)) {
                break;
            }
        }
        ids.retain(|id| select.keeps(*id));
        let requests = select.requests(&ids);
        let requests = requests.map_err(|e| Failed::from_error(Code::PlanBlocked, &e))?;
        self.send(requests).await
    }

    async fn ask(&self, request: &Request) -> Result<(u16, Vec<u8>), Halt> {
        let Request {
            method, path, body, ..
        } = request;
        let sent = self.qdrant.change(self.name, method, path, body.clone());
        match sent.await {
            Ok(answer) => Ok((answer.status, answer.body)),
            Err(error) => Err(Halt::Broken(qdrant_failed(&error))),
        }
    }

    fn lost(&self, request: &Request, status: u16, why: &str) -> Halt {
        let path = request.path.split('?').next().unwrap_or_default();
        let why: String = why.chars().take(300).collect();
        Halt::Broken(Failed::new(
            Code::QdrantError,
            format!(
                "Qdrant answered {} {path} of {} with status {status}, so that its effect is not known: {why}",
                request.method, self.name
            ),
        ))
    }
}

fn point_id(json: &Value) -> Option<PointId> {
    match json {
        Value::Number(number) => number.as_u64().map(PointId::Number),
        Value::String(text) => PointId::parse_uuid(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Effects, point_id};
    use holdfast_wal::change::PointId;
    use serde_json::json;

    #[test]
    fn ids_are_numbers_or_uuids() {
        assert_eq!(point_id(&json!(u64::MAX)), Some(PointId::Number(u64::MAX)));
        let uuid = point_id(&json!("01010101-0101-0101-0101-010101010101"));
        assert_eq!(uuid, Some(PointId::Uuid([1; 16])));
        for other in [json!(-1), json!(1.5), json!("x"), json!(null), json!([1])] {
            assert_eq!(point_id(&other), None, "{other}");
        }
    }

    #[test]
    fn only_what_is_unusual_is_told() {
        let mut all = Effects::default();
        all.add(Effects {
            requests: 9,
            missed: 2,
            ..Effects::default()
        });
        assert_eq!(all.notes(), [""; 0]);
        for words in ["first", "second"] {
            all.add(Effects {
                refused: 1,
                first_refusal: Some(words.to_owned()),
                inexact: 3,
                ..Effects::default()
            });
        }
        let notes = all.notes();
        assert!(notes[0].contains("refused 2 of") && notes[0].ends_with("said: first"));
        assert!(notes[1].starts_with("6 numbers"), "{notes:?}");
    }
}
