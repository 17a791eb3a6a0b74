//! What the target's answer to a [`Request`] means.

use super::Request;

/// The effect of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As ordered.
    Applied,
    /// A point was missing. It was missing at the source, too: the further requests of the same operation are not sent.
    Missed,
    /// The target refused it, for the reason that it gave. Where the source refused the operation for the same reason (a vector's name that the
    /// collection lacks) that is right; the log does not say so.
    Refused(String),
    /// The target can't take it now, or something is in between that is no Qdrant. Whether it was applied is not known.
    Failed(String),
}

impl Request {
    /// What an answer means: its status and its text.
    #[must_use]
    pub fn outcome(&self, status: u16, answer: &str) -> Outcome {
        let why = || answer.chars().take(500).collect();
        match status {
            200 => Outcome::Applied,
            404 if self.may_miss && answer.contains("No point with id") => Outcome::Missed,
            // How much is sent at once is this program's choice, so that "too large" (413) was not said at the source.
            400 | 422 => Outcome::Refused(why()),
            _ => Outcome::Failed(why()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::Outcome;

    /// Answers of Qdrant 1.18.3.
    #[test]
    fn answers_are_told_apart() {
        let mut request = Request {
            method: "POST",
            path: "points/payload".to_owned(),
            body: Vec::new(),
            may_miss: true,
            inexact: 0,
        };
        let missing = r#"{"status":{"error":"Not found: No point with id 5 found"},"time":0.1}"#;
        let unknown = r#"{"status":{"error":"Wrong input: Not existing vector name error: v"}}"#;
        let gone = r#"{"status":{"error":"Not found: Collection `b` doesn't exist!"}}"#;
        let ok = r#"{"result":{"operation_id":1,"status":"completed"},"status":"ok"}"#;
        assert_eq!(request.outcome(200, ok), Outcome::Applied);
        assert_eq!(request.outcome(404, missing), Outcome::Missed);
        assert_eq!(request.outcome(404, gone), Outcome::Failed(gone.to_owned()));
        assert_eq!(
            request.outcome(400, unknown),
            Outcome::Refused(unknown.to_owned())
        );
        for status in [202, 401, 403, 413, 500, 503] {
            assert_eq!(
                request.outcome(status, "x"),
                Outcome::Failed("x".to_owned())
            );
        }
        request.may_miss = false;
        assert_eq!(
            request.outcome(404, missing),
            Outcome::Failed(missing.to_owned())
        );
    }
}
